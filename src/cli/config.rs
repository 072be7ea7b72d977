//! `config`: settings checked, and shown, without starting a node.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{Failure, REFUSED, print};
use super::table::{Align, table};
use crate::config::{Source, Sourced};
use crate::telemetry;

#[derive(Args)]
pub struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say everything that `serve` would find wrong; exit code 1 where there is anything
    Check(Check),
    /// Show the settings that `serve` would have, and where each comes from: flag, environment, file or
    /// default
    Show(Show),
}

#[derive(Args)]
struct Check {
    /// TOML file of settings
    #[arg(env = "SYNCLINE_CONFIG", value_name = "FILE", hide_env_values = true)]
    file: Option<PathBuf>,

    /// JSON: ok, problems, warnings
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sourced: Sourced,
}

#[derive(Args)]
#[command(after_help = "Tokens are never shown, only the files that hold them.")]
struct Show {
    /// TOML file of settings
    #[arg(long, env = "SYNCLINE_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,

    /// JSON: a list of objects with name, value, from
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sourced: Sourced,
}

impl Config {
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            ConfigCommand::Check(check) => check.run(),
            ConfigCommand::Show(show) => show.run(),
        }
    }
}

impl Check {
    fn run(self) -> Result<(), Failure> {
        let found = self.sourced.check(self.file.as_deref());
        let mut problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
        problems.extend(telemetry::check(&found.settings.log).err().map(|error| error.to_string()));
        let ok = problems.is_empty();
        if self.json {
            let answer = json!({ "ok": ok, "problems": problems, "warnings": found.warnings });
            print(format!("{answer}\n"))?;
        } else {
            let warnings = found.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            let problems = problems.iter().map(|problem| format!("problem: {problem}\n"));
            let fine = ok.then(|| "a node would start with these settings\n".to_owned());
            print(problems.chain(warnings).chain(fine).collect::<String>())?;
        }
        // All has been said.
        if ok { Ok(()) } else { Err(Failure::new(REFUSED, "")) }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let shown = self.sourced.show(self.config.as_deref())?;
        if self.json {
            return Ok(print(format!("{}\n", json!(shown)))?);
        }
        let rows: Vec<_> =
            shown.into_iter().map(|one| [one.name, plain(&one.value), word(one.from)]).collect();
        let heads = [("SETTING", Align::Left), ("VALUE", Align::Left), ("FROM", Align::Left)];
        Ok(print(table(heads, &rows))?)
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "-".into(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

fn word(source: Source) -> String {
    match source {
        Source::Flag => "flag",
        Source::Environment => "environment",
        Source::File => "file",
        Source::Default => "default",
    }
    .into()
}
