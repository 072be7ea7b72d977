//! The rules of the house. Each takes sources and returns what it found, one line a finding.

use std::collections::BTreeSet;

use crate::lex::{Parsed, absolute_paths, parse, starts_with};

/// Room → floor. Imports point to lower floors.
pub const FLOORS: [(&str, u8); 13] = [
    ("base", 0),
    ("crdt", 1),
    ("wire", 1),
    ("replication", 2),
    ("store", 2),
    ("node", 3),
    ("net", 4),
    ("http", 4),
    ("config", 5),
    ("telemetry", 5),
    ("server", 5),
    ("cli", 6),
    ("main", 6),
];

/// Imports within one floor: composition needs its parts, `main` its commands.
const BESIDE: [(&str, &str); 3] = [("server", "config"), ("server", "telemetry"), ("main", "cli")];

/// Names under which anything could be kept, so that everything ends there.
const BANNED_MODULES: [&str; 8] =
    ["util", "utils", "helper", "helpers", "common", "handler", "handlers", "misc"];

/// Lines of a file outside its tests: about what one reading takes in. A longer file does two things.
const MAX_LINES: usize = 600;

/// A file of the package, named from its root with forward slashes.
#[derive(Clone)]
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// `src/node/api.rs` → `node`, `api`; the crate's roots → nothing.
    fn module(&self) -> Vec<String> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|m| matches!(m.as_str(), "mod" | "lib" | "main")) {
            module.pop();
        }
        module
    }

    /// None for `src/lib.rs`, which only names the rooms.
    pub fn room(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let room = inner.split('/').next()?.trim_end_matches(".rs");
        (room != "lib").then_some(room)
    }
}

pub fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Imports point downward only; the few pairs of [`BESIDE`] excepted.
pub fn imports(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let Some(room) = source.room() else { continue };
        let Some(from) = floor(room) else {
            found.push(format!("{}: the room `{room}` has no floor", source.path));
            continue;
        };
        let mut imported = BTreeSet::new();
        for (line, path) in absolute_paths(&parse(&source.text).all, &source.module()) {
            imported.insert((line, path.first().map_or("*", String::as_str).to_owned()));
        }
        for (line, to) in imported.into_iter().filter(|(_, to)| to != room) {
            if to == "*" {
                found.push(format!("{}:{line}: imports the whole package", source.path));
            }
            let beside = BESIDE.contains(&(room, to.as_str()));
            if floor(&to).is_some_and(|to| to >= from) && !beside {
                found.push(format!("{}:{line}: `{room}` must not import `{to}`", source.path));
            }
        }
    }
    found
}

/// A module is named after what it does.
pub fn module_names(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let path = source.path.trim_end_matches(".rs");
        if let Some(name) = path.split('/').find(|part| BANNED_MODULES.contains(part)) {
            found.push(format!("{}: a module must not be called `{name}`", source.path));
        }
        let tokens = parse(&source.text).all;
        for (i, token) in tokens.iter().enumerate() {
            if starts_with(&tokens, i + 1, &["{"])
                && BANNED_MODULES.contains(&token.text.as_str())
                && i > 0
                && tokens[i - 1].text == "mod"
            {
                found.push(format!(
                    "{}:{}: a module must not be called `{}`",
                    source.path, token.line, token.text
                ));
            }
        }
    }
    found
}

/// What ships reports errors; it does not assume that there are none.
pub fn unwraps(sources: &[Source]) -> Vec<String> {
    let patterns: [&[&str]; 2] = [&[".", "unwrap", "(", ")"], &[".", "expect", "("]];
    find(sources, |_| true, &patterns, "handle the error, or make it impossible by types")
}

/// Below `node`, time and randomness are arguments: else the simulator could not replay a run.
pub fn clocks_and_entropy(sources: &[Source]) -> Vec<String> {
    let patterns: [&[&str]; 9] = [
        &["::", "now", "("],
        &["::", "now", ")"],
        &["SystemTime"],
        &["fastrand"],
        &["getrandom"],
        &["rand", "::"],
        &["thread_rng"],
        &["ActorId", "::", "random"],
        &["RandomState"],
    ];
    let below_node = |room: &str| floor(room) < floor("node");
    find(sources, below_node, &patterns, "clock and entropy are arguments below `node`")
}

fn find(sources: &[Source], rooms: impl Fn(&str) -> bool, patterns: &[&[&str]], why: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (source, parsed) in shipped(sources) {
        if !source.room().is_some_and(&rooms) {
            continue;
        }
        for i in 0..parsed.shipped.len() {
            if let Some(pattern) = patterns.iter().find(|p| starts_with(&parsed.shipped, i, p)) {
                let line = parsed.shipped[i].line;
                found.push(format!("{}:{line}: `{}`: {why}", source.path, pattern.concat()));
            }
        }
    }
    found
}

pub fn long_files(sources: &[Source]) -> Vec<String> {
    shipped(sources)
        .into_iter()
        .filter(|(_, parsed)| parsed.shipped_lines > MAX_LINES)
        .map(|(source, parsed)| {
            format!("{}: {} lines outside tests, more than {MAX_LINES}", source.path, parsed.shipped_lines)
        })
        .collect()
}

/// The files that are compiled into the program, without their tests.
fn shipped(sources: &[Source]) -> Vec<(&Source, Parsed)> {
    let parsed: Vec<(&Source, Parsed)> = sources.iter().map(|s| (s, parse(&s.text))).collect();
    let mut tests = BTreeSet::new();
    for (source, parsed) in &parsed {
        for name in &parsed.test_modules {
            let mut module = source.module();
            module.push(name.clone());
            tests.insert(module);
        }
    }
    let is_test = |source: &Source| {
        let module = source.module();
        (1..=module.len()).any(|n| tests.contains(&module[..n]))
    };
    parsed.into_iter().filter(|(source, _)| !is_test(source)).collect()
}

/// Folders that exist on one machine only. Put together here, so that this file passes its own check.
pub fn machine_paths(files: &[Source]) -> Vec<String> {
    let banned = ["root", "work", "home"].map(|folder| format!("/{folder}/"));
    let mut found = Vec::new();
    for file in files {
        for (n, line) in file.text.lines().enumerate() {
            // `net/work/` is a relative path of that name: only the start of a path counts.
            let starts =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "/.}_-".contains(c));
            for path in &banned {
                if line.match_indices(path.as_str()).any(|(at, _)| starts(at)) {
                    found.push(format!("{}:{}: `{path}` is a path of one machine", file.path, n + 1));
                }
            }
        }
    }
    found
}
