//! `doc history` and `doc conflicts`: what a document has been through, and what it holds beside what it shows.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::quoted;
use crate::base::DocId;
use crate::base::limits::HISTORY_PAGE_MOST;
use crate::cli::client::{Client, next_page};
use crate::cli::output::{Failure, print};
use crate::cli::table::{Align, table};
use crate::http::{document_path, percent_encode};

/// Changes that are asked for at once, and so aligned with each other.
const AT_ONCE: usize = 200;

/// Letters of a cell before it is cut.
const CELL: usize = 48;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    changes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Change {
    version: String,
    author: Option<String>,
    message: Option<String>,
    node: Option<Place>,
    time: Option<String>,
    operations: u64,
    what: Vec<String>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    derived: bool,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct Place {
    id: String,
    incarnation: u32,
}

pub(super) async fn history(
    client: &Client,
    id: &DocId,
    limit: Option<usize>,
    json: bool,
) -> Result<(), Failure> {
    let mut left = limit.unwrap_or(usize::MAX);
    let page = left.clamp(1, AT_ONCE.min(HISTORY_PAGE_MOST));
    let mut next = Some(format!("{}/history?limit={page}", document_path(id)));
    while let Some(target) = next.filter(|_| left > 0) {
        let answer = client.get(&target).await?;
        let page: Page<'_> = answer.json()?;
        let rows = page.changes.iter().take(left);
        print(if json {
            rows.map(|row| format!("{row}\n")).collect::<String>()
        } else {
            let changes: Result<Vec<Change>, _> = rows.map(|row| serde_json::from_str(row.get())).collect();
            history_table(&changes.map_err(foreign)?)
        })?;
        left -= page.changes.len().min(left);
        next = next_page(&answer);
    }
    Ok(())
}

fn history_table(changes: &[Change]) -> String {
    let heads = [
        ("TIME", Align::Left),
        ("AUTHOR", Align::Left),
        ("NODE", Align::Left),
        ("OPS", Align::Right),
        ("WHAT", Align::Left),
        ("VERSION", Align::Left),
    ];
    let row = |change: &Change| {
        let mut what = if change.deleted { "(deleted)".to_owned() } else { change.what.join(" ") };
        if change.more {
            what.push_str(" …");
        }
        [
            change.time.clone().unwrap_or_else(|| "-".into()),
            change.author.clone().or_else(|| change.message.clone()).map_or_else(
                || if change.derived { "(any master)".into() } else { "-".into() },
                |author| cell(&author),
            ),
            change.node.as_ref().map_or("-".into(), |node| format!("{}.{}", node.id, node.incarnation)),
            change.operations.to_string(),
            cell(what.trim_start()),
            change.version.clone(),
        ]
    };
    table(heads, &changes.iter().map(row).collect::<Vec<_>>())
}

#[derive(Deserialize)]
struct Conflicts<'a> {
    #[serde(borrow)]
    conflicts: Vec<Conflict<'a>>,
    left_out: Vec<LeftOut>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct Conflict<'a> {
    path: String,
    #[serde(borrow)]
    values: Vec<Candidate<'a>>,
}

#[derive(Deserialize)]
struct Candidate<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    author: Option<String>,
    time: Option<String>,
}

#[derive(Deserialize)]
struct LeftOut {
    change: String,
    author: Option<String>,
    why: String,
}

pub(super) async fn conflicts(
    client: &Client,
    id: &DocId,
    at: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let at = at.map(|at| format!("?at={}", percent_encode(&quoted(at)))).unwrap_or_default();
    let answer = client.get(&format!("{}/conflicts{at}", document_path(id))).await?;
    if json {
        print(&answer.body)?;
        return Ok(print("\n")?);
    }
    Ok(print(told(&answer.json()?))?)
}

fn told(found: &Conflicts<'_>) -> String {
    let mut text = String::new();
    for conflict in &found.conflicts {
        text.push_str(&format!("{}\n", line(&conflict.path)));
        for (i, candidate) in conflict.values.iter().enumerate() {
            let mark = if i == 0 { "shown" } else { "kept " };
            let author = line(candidate.author.as_deref().unwrap_or("-"));
            let time = candidate.time.as_deref().unwrap_or("-");
            let value = line(candidate.value.get());
            text.push_str(&format!("  {mark}  {time}  {author}  {value}\n"));
        }
    }
    if !found.left_out.is_empty() {
        text.push_str("changes that are kept and not shown\n");
    }
    for left in &found.left_out {
        let author = line(left.author.as_deref().unwrap_or("-"));
        text.push_str(&format!("  {}  {author}  {}\n", left.change, left.why));
    }
    if found.more {
        text.push_str("and more\n");
    }
    if text.is_empty() {
        text.push_str("no conflicts\n");
    }
    text
}

/// Cut where it is long: there is `--json` for the rest.
fn cell(text: &str) -> String {
    let text = line(text);
    match text.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Without what would break a line or move the terminal's cursor: anybody may have written it.
fn line(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn foreign(error: serde_json::Error) -> Failure {
    Failure::refused(format!("the answer is not that of a Syncline node: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_a_line_for_each_change() {
        let long = "/x".repeat(CELL);
        let changes = [
            r#"{"version": "cd", "parents": ["ab"], "author": "A\nnn", "node": {"id": "0f", "incarnation": 3},
                "time": "2026-01-31T12:00:00Z", "operations": 12, "what": ["/a", "/b"], "more": true}"#
                .to_owned(),
            format!(r#"{{"version": "ab", "parents": [], "operations": 1, "what": ["{long}"], "derived": true}}"#),
        ];
        let changes = changes.map(|change| serde_json::from_str(&change).unwrap());
        let text = history_table(&changes);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split("  ").collect()).collect();
        let words = |line: &[&str]| -> Vec<String> {
            line.iter().map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
        };
        assert_eq!(words(&lines[0]), ["TIME", "AUTHOR", "NODE", "OPS", "WHAT", "VERSION"]);
        let first = ["2026-01-31T12:00:00Z", "A\u{fffd}nn", "0f.3", "12", "/a /b …", "cd"];
        assert_eq!(words(&lines[1]), first);
        let cut = format!("{}…", &long[..CELL]);
        assert_eq!(words(&lines[2]), ["-", "(any master)", "-", "1", cut.as_str(), "ab"]);
    }

    #[test]
    fn conflicts_are_told_field_by_field() {
        let body = r#"{"conflicts": [{"path": "/a", "value": 2, "values": [
            {"value": 2, "author": "Bob", "time": "2026-01-31T12:00:00Z", "change": "cd"},
            {"value": {"$text": "x"}, "change": "ab"}]}],
            "left_out": [{"change": "ef", "author": "Ann", "why": "clash"}], "more": true}"#;
        assert_eq!(
            told(&serde_json::from_str(body).unwrap()),
            "/a\n  shown  2026-01-31T12:00:00Z  Bob  2\n  kept   -  -  {\"$text\": \"x\"}\n\
             changes that are kept and not shown\n  ef  Ann  clash\nand more\n"
        );
        let none = r#"{"conflicts": [], "left_out": []}"#;
        assert_eq!(told(&serde_json::from_str(none).unwrap()), "no conflicts\n");
    }
}
