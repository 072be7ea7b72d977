//! Settings looked at without starting a node: every problem at once, and where each setting comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;
use serde_json::Value;
use toml::Spanned;

use super::{ConfigError, Given, Settings, first_token, read_token_file};

/// What the command line and the environment give, and which of it is from the environment.
#[derive(Clone, Debug, Default)]
pub struct Sourced {
    pub given: Given,
    environment: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Flag,
    Environment,
    File,
    Default,
}

/// One setting as it is in force. Files of tokens are named, and never opened.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Shown {
    pub name: String,
    /// Null, or an empty list, where nothing is given and the node finds it by itself or does without.
    pub value: Value,
    pub from: Source,
}

/// What is found in settings.
#[derive(Debug, Default)]
pub struct Findings {
    /// With any of these a node does not start.
    pub problems: Vec<ConfigError>,
    /// It does with these, and says so.
    pub warnings: Vec<String>,
    /// Where they could be read at all.
    pub settings: Settings,
}

impl Sourced {
    /// Everything that a node would find wrong with these settings and those of `file`.
    pub fn check(self, file: Option<&Path>) -> Findings {
        let (in_file, mut problems) = file.map(read_all).unwrap_or_default();
        let settings = Settings::fill(self.given.or(in_file));
        problems.extend(settings.problems());
        let mut warnings = Vec::new();
        match settings.token_file.as_deref().map(|path| (path, read_token_file(path))) {
            Some((path, Ok((_, true)))) => warnings.push(open_to_all(path)),
            Some((_, Err(error))) => problems.push(error),
            Some((_, Ok((_, false)))) | None => {}
        }
        problems.extend(settings.peer_token_file.as_deref().and_then(|path| first_token(path).err()));
        Findings { problems, warnings, settings }
    }

    /// All settings in force, in order of their names.
    ///
    /// # Errors
    /// As [`Given::settle`].
    pub fn show(self, file: Option<&Path>) -> Result<Vec<Shown>, ConfigError> {
        let in_file = file.map(Given::read).transpose()?.unwrap_or_default();
        let (flags, lines) = (entries(&self.given), entries(&in_file));
        let settings = Settings::new(self.given.or(in_file))?;
        let given = |map: &BTreeMap<String, Value>, name: &str| map.get(name).is_some_and(is_given);
        let shown = entries(&settings.into()).into_iter().map(|(name, value)| {
            let from = match () {
                () if self.environment.contains(&name) => Source::Environment,
                () if given(&flags, &name) => Source::Flag,
                () if given(&lines, &name) => Source::File,
                () => Source::Default,
            };
            Shown { name, value, from }
        });
        Ok(shown.collect())
    }
}

/// What to say of a token file that everybody on the machine can read.
pub fn open_to_all(path: &Path) -> String {
    format!("everybody on this machine can read the tokens: chmod o-r {}", path.display())
}

fn entries(given: &Given) -> BTreeMap<String, Value> {
    let map = serde_json::to_value(given).and_then(serde_json::from_value);
    // A list of texts is always JSON.
    map.unwrap_or_default()
}

fn is_given(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
}

/// Reads a TOML file setting by setting: what is right in it, and all that is wrong.
fn read_all(path: &Path) -> (Given, Vec<ConfigError>) {
    let wrong = |line, reason| ConfigError::File { path: path.to_owned(), line, reason };
    let text = match Given::text(path) {
        Ok(text) => text,
        Err(error) => return (Given::default(), vec![error]),
    };
    let lines = match toml::from_str::<BTreeMap<Spanned<String>, toml::Value>>(&text) {
        Ok(lines) => lines,
        // Not even TOML: what comes after the fault cannot be told.
        Err(_) => {
            let fault = Given::parse(&text).err().map(|(line, reason)| wrong(line, reason));
            return (Given::default(), fault.into_iter().collect());
        }
    };
    let (mut given, mut problems) = (Given::default(), Vec::new());
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in lines {
        let before = text.get(..name.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let single: toml::Table = [(name.into_inner(), value)].into_iter().collect();
        match single.try_into::<Given>() {
            Ok(one) => given = given.or(one),
            Err(error) => problems.push(wrong(line, error.message().replace('\n', " "))),
        }
    }
    (given, problems)
}

impl FromArgMatches for Sourced {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = Given::from_arg_matches(matches)?;
        let ids = matches.ids().map(clap::Id::as_str);
        let environment = ids.filter(|id| matches.value_source(id) == Some(ValueSource::EnvVariable));
        Ok(Self { given, environment: environment.map(|id| id.replace('_', "-")).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Sourced {
    fn augment_args(command: Command) -> Command {
        Given::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Given::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn problems(given: Given, text: &str) -> Vec<String> {
        let sourced = Sourced { given, ..Sourced::default() };
        let found = sourced.check(Some(file(text).path()));
        found.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line() {
        let found = problems(
            Given::default(),
            "name = ''\nrole = 'boss'\npeeer = ['x']\n\nlisten = '0.0.0.0:1'\npeer = [\n  'b:2',\n]\n\
             upstream = ['http://a:1']\npeer-token-file = 'not there'\n",
        );
        let has = |what: &str| assert!(found.iter().any(|line| line.contains(what)), "{what}: {found:#?}");
        for what in
            ["line 2: ", "line 3: ", "line 6: ", "--name", "--token-file", "--role replica", "not there"]
        {
            has(what);
        }
        assert_eq!(found.len(), 7, "{found:#?}");
        assert_eq!(problems(Given::default(), "name = 'a'\npeer = ['http://b:2']\n"), [""; 0]);
    }

    #[test]
    fn what_is_no_toml_is_one_problem() {
        let found = problems(Given::default(), "name = 'a'\nlisten = \nrole = 'boss'\n");
        assert!(found.len() == 1 && found[0].contains("line 2"), "{found:?}");
    }

    #[test]
    fn each_setting_is_shown_with_where_it_comes_from() {
        let command = Sourced::augment_args(Command::new("test"));
        let matches = command.get_matches_from(["test", "--cluster", "flag", "--peer", "http://f:1"]);
        let mut sourced = Sourced::from_arg_matches(&matches).unwrap();
        sourced.given.log = Some("debug".into());
        sourced.environment.insert("log".into());
        let text = "cluster = 'file'\ndata-dir = 'd'\nallow-host = ['h']\n";
        let shown = sourced.show(Some(file(text).path())).unwrap();
        let of = |name: &str| {
            let found = shown.iter().find(|one| one.name == name).unwrap();
            (found.value.to_string(), found.from)
        };
        assert_eq!(of("cluster"), ("\"flag\"".into(), Source::Flag));
        assert_eq!(of("peer"), ("[\"http://f:1\"]".into(), Source::Flag));
        assert_eq!(of("log"), ("\"debug\"".into(), Source::Environment));
        assert_eq!(of("data-dir"), ("\"d\"".into(), Source::File));
        assert_eq!(of("allow-host"), ("[\"h\"]".into(), Source::File));
        assert_eq!(of("listen"), ("\"127.0.0.1:4380\"".into(), Source::Default));
        assert_eq!(of("role"), ("\"master\"".into(), Source::Default));
        assert_eq!(of("token-file"), ("null".into(), Source::Default));
        assert_eq!(shown.len(), 17);
    }
}
