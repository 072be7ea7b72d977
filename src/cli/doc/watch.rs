//! `doc watch`: documents as they change, for people in colours, for programs as the node's own frames.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::base::DocId;
use crate::base::limits::RECONNECT_MOST_MS;
use crate::cli::client::Client;
use crate::cli::output::{Failure, UNREACHABLE, print, to_terminal};
use crate::cli::subscriber::Subscriber;
use crate::net::backoff;

/// Letters of a value before it is cut.
const LETTERS: usize = 200;

/// Ways to show a change.
const ADDED: &str = "32";
const REMOVED: &str = "31";
const CHANGED: &str = "33";
const TITLE: &str = "1";
const QUIET: &str = "2";

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Frame {
    Snapshot {
        doc: String,
        version: Vec<String>,
        value: Value,
    },
    Patch {
        doc: String,
        to: Vec<String>,
        patch: Vec<Value>,
    },
    Deleted {
        doc: String,
        version: Vec<String>,
    },
    Error {
        problem: Value,
    },
    UpToDate {
        cursor: String,
    },
    Refetch {
        reason: String,
    },
    #[serde(other)]
    Other,
}

/// Until the command is interrupted. Where the connection ends it goes on from where it was.
pub(super) async fn watch(client: &Client, what: &str, as_json: bool) -> Result<(), Failure> {
    let target = match what {
        "" => json!({"all": true}),
        prefix if prefix.ends_with('/') => json!({"prefix": prefix}),
        id => json!({"doc": DocId::new(id).map_err(|error| Failure::usage(error.to_string()))?.as_str()}),
    };
    let colours = to_terminal();
    let mut since: Option<String> = None;
    let mut tries = 0;
    loop {
        let end = match Subscriber::open(client.authority(), client.token()).await {
            Ok(subscriber) => {
                tries = 0;
                follow(subscriber, &target, &mut since, as_json, colours).await
            }
            // The first time it is more likely a mistake.
            Err(failure) if since.is_none() => return Err(failure),
            Err(failure) => Err(failure),
        };
        match end {
            Err(failure) if failure.code == UNREACHABLE => eprintln!("{failure}; trying again"),
            Err(failure) => return Err(failure),
            Ok(reason) => {
                eprintln!("beginning again: {reason}");
                since = None;
                continue;
            }
        }
        sleep(backoff(tries, fastrand::f64()).min(Duration::from_millis(RECONNECT_MOST_MS))).await;
        tries = tries.saturating_add(1);
    }
}

/// Gives why all has to be begun again.
async fn follow(
    mut subscriber: Subscriber,
    target: &Value,
    since: &mut Option<String>,
    as_json: bool,
    colours: bool,
) -> Result<String, Failure> {
    let mut wish = json!({"type": "subscribe", "id": "1", "target": target, "mode": "patch"});
    if let Some(cursor) = &since {
        wish["since"] = cursor.as_str().into();
    }
    subscriber.say(&wish).await?;
    loop {
        let text = subscriber.hear().await?;
        let frame: Frame = serde_json::from_str(&text)
            .map_err(|error| Failure::refused(format!("a frame that no node sends: {error}")))?;
        if as_json {
            print(format!("{text}\n"))?;
        } else {
            print(shown(&frame, colours))?;
        }
        match frame {
            Frame::UpToDate { cursor } => *since = Some(cursor),
            Frame::Refetch { reason } => return Ok(reason),
            Frame::Error { problem } if problem.get("doc").is_none() => {
                let detail = problem["detail"].as_str().unwrap_or_default();
                return Err(Failure::refused(detail));
            }
            _ => {}
        }
    }
}

fn shown(frame: &Frame, colours: bool) -> String {
    let paint = |code: &str, text: &str| match colours {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let head = |doc: &str, version: &[String]| {
        let short: Vec<&str> = version.iter().map(|hash| hash.get(..8).unwrap_or(hash)).collect();
        format!("{} {}\n", paint(TITLE, doc), paint(QUIET, &short.join(" ")))
    };
    match frame {
        Frame::Snapshot { doc, version, value } => {
            let members = value.as_object().into_iter().flatten();
            let lines = members.map(|(key, value)| paint(ADDED, &format!("  {key}: {}\n", cut(value))));
            head(doc, version) + &lines.collect::<String>()
        }
        Frame::Patch { doc, to, patch } => {
            head(doc, to) + &patch.iter().map(|op| change(op, &paint)).collect::<String>()
        }
        Frame::Deleted { doc, version } => {
            format!("{}  {}\n", head(doc, version).trim_end(), paint(REMOVED, "deleted"))
        }
        Frame::Error { problem } => {
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}\n", paint(TITLE, &text("doc")), paint(REMOVED, &text("detail")))
        }
        Frame::UpToDate { .. } | Frame::Refetch { .. } | Frame::Other => String::new(),
    }
}

fn change(op: &Value, paint: &impl Fn(&str, &str) -> String) -> String {
    let path = op["path"].as_str().unwrap_or_default();
    let number = |name: &str| op[name].as_u64().unwrap_or(0);
    let what = match op["op"].as_str().unwrap_or_default() {
        "put" => paint(CHANGED, &format!("= {}", cut(&op["value"]))),
        "delete" => paint(REMOVED, "- removed"),
        "increment" => paint(CHANGED, &format!("{:+}", op["by"].as_i64().unwrap_or(0))),
        "text.splice" => {
            let (gone, come) = (number("delete"), op.get("insert"));
            let gone = (gone > 0).then(|| paint(REMOVED, &format!("-{gone} letters")));
            let come = come.map(|insert| paint(ADDED, &format!("+{}", cut(insert))));
            let both: Vec<String> = gone.into_iter().chain(come).collect();
            format!("at {}: {}", number("pos"), both.join(" "))
        }
        "list.insert" => {
            format!("at {}: {}", number("index"), paint(ADDED, &format!("+ {}", cut(&op["value"]))))
        }
        "list.delete" => {
            format!("at {}: {}", number("index"), paint(REMOVED, &format!("- {} items", number("count"))))
        }
        other => other.to_owned(),
    };
    format!("  {path} {what}\n")
}

/// JSON of one line, and not too long.
fn cut(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LETTERS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_a_line_for_each_operation() {
        let frame = json!({"type": "patch", "id": "1", "doc": "a", "from": [], "to": ["0123456789"], "patch": [
            {"op": "text.splice", "path": "/t", "pos": 3, "delete": 2, "insert": "\n"},
            {"op": "put", "path": "/n", "value": {"x": 1}},
            {"op": "increment", "path": "/c", "by": -2},
            {"op": "list.delete", "path": "/l", "index": 0, "count": 2},
        ]});
        let text =
            "a 01234567\n  /t at 3: -2 letters +\"\\n\"\n  /n = {\"x\":1}\n  /c -2\n  /l at 0: - 2 items\n";
        let frame = serde_json::from_value(frame).unwrap();
        assert_eq!(shown(&frame, false), text);
        assert!(shown(&frame, true).starts_with("\x1b[1ma\x1b[0m"));
    }

    #[test]
    fn long_values_are_cut_between_letters() {
        let text = cut(&Value::from("é".repeat(1_000)));
        assert_eq!((text.chars().count(), text.chars().last()), (LETTERS + 1, Some('…')));
        assert_eq!(cut(&json!([1])), "[1]");
    }
}
