//! `doc`: read, write and list documents of a node; export and import are `transfer`.

mod past;
mod watch;

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use axum::http::{Method, StatusCode, header};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Answer, Client, Target, next_page};
use super::output::{Failure, print, to_terminal};
use super::table::{Align, table};
use super::transfer::{Export, Import};
use crate::base::limits::{LIST_PAGE_MOST, MAX_BODY_BYTES};
use crate::base::{DocId, DocIdError};
use crate::http::{document_path, percent_encode};

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Doc {
    #[command(flatten)]
    target: Target,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a document: indented on a terminal, the node's exact bytes elsewhere
    Get {
        /// Id of the document, as lists/groceries
        #[arg(value_parser = document)]
        id: DocId,
        /// Mark texts, counters, timestamps and bytes as such
        #[arg(long)]
        typed: bool,
        /// A past version, as `--version-too` or a write has shown it
        #[arg(long, value_name = "VERSION")]
        at: Option<String>,
        /// Print the version too, on standard error: what `put --parents` and `get --at` take
        #[arg(long)]
        version_too: bool,
    },
    /// Create a document, or replace its content by the smallest set of changes
    ///
    /// The difference is taken from --parents, and what others have written since is kept. Without
    /// --parents the version that the node has now is read first and named: only what others write in that
    /// moment is kept. To lose nothing of what came after your own reading, say which version you read.
    Put {
        /// Id of the document, as lists/groceries
        #[arg(value_parser = document)]
        id: DocId,
        /// File with the JSON object; - or nothing: standard input
        file: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Change parts of a document; a merge patch or operations create it where it is missing
    Patch {
        /// Id of the document, as lists/groceries
        #[arg(value_parser = document)]
        id: DocId,
        /// File with the patch; - or nothing: standard input
        file: Option<PathBuf>,
        /// The patch is a list of typed operations, as [{"op": "increment", "path": "/views", "by": 1}];
        /// otherwise a merge patch (RFC 7396), as {"title": "new", "old": null}
        #[arg(long)]
        ops: bool,
        /// The patch is a JSON Patch (RFC 6902), as [{"op": "move", "from": "/old", "path": "/new"}]
        #[arg(long, conflicts_with = "ops")]
        json_patch: bool,
        #[command(flatten)]
        how: How,
    },
    /// Show who changed a document and when, newest first: a table
    History {
        /// Id of the document, as lists/groceries
        #[arg(value_parser = document)]
        id: DocId,
        /// At most so many changes
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// A line of JSON for each change, as the node tells it
        #[arg(long)]
        json: bool,
    },
    /// Show the fields that have more than one value, with who wrote each
    Conflicts {
        /// Id of the document, as lists/groceries
        #[arg(value_parser = document)]
        id: DocId,
        /// At a past version
        #[arg(long, value_name = "VERSION")]
        at: Option<String>,
        /// JSON, as the node tells it
        #[arg(long)]
        json: bool,
    },
    /// Delete a document everywhere; what others write on it at the same time brings it back
    Delete {
        /// Id of the document, as lists/groceries
        #[arg(value_parser = document)]
        id: DocId,
        #[command(flatten)]
        how: How,
    },
    /// List documents: a table on a terminal, an id a line elsewhere
    List {
        /// Only ids that begin so
        #[arg(default_value = "")]
        prefix: String,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print each document too: a line of JSON for each, with its id, version and value
        #[arg(long)]
        values: bool,
        /// Mark texts, counters, timestamps and bytes as such
        #[arg(long, requires = "values")]
        typed: bool,
    },
    /// Show a document as it changes, until it is interrupted
    Watch {
        /// Id of the document; or what ids begin with, ending with a slash, as lists/; or nothing: all
        #[arg(default_value = "")]
        what: String,
        /// A line of JSON for each frame, as the node sends it
        #[arg(long)]
        json: bool,
    },
    /// Print documents as NDJSON, a line each, with texts and counters marked: what `import` takes
    Export(Export),
    /// Write the documents of an export, or any lines that /v1/bulk takes; what is equal is not touched, so it
    /// may be run again
    Import(Import),
}

#[derive(Args)]
struct How {
    /// The version that the change was made at; what came since is merged [default: the one that is there]
    #[arg(long, value_name = "VERSION")]
    parents: Option<String>,
    /// Name no version: change whatever is there when the request arrives
    #[arg(long, conflicts_with = "parents")]
    force: bool,
    /// Who made the change [default: the node's name]
    #[arg(long, env = "SYNCLINE_AUTHOR", value_name = "NAME", hide_env_values = true)]
    author: Option<String>,
}

/// What is written how.
struct Write<'a> {
    method: Method,
    media: &'static str,
    id: &'a DocId,
    body: Vec<u8>,
    how: How,
}

fn document(id: &str) -> Result<DocId, DocIdError> {
    DocId::new(id)
}

impl Doc {
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.target.client()?;
        match self.command {
            Command::Get { id, typed, at, version_too } => {
                get(&client, &id, typed, at.as_deref(), version_too).await
            }
            Command::Put { id, file, how } => {
                let body = read(file.as_deref())?;
                let write = Write { method: Method::PUT, media: "application/json", id: &id, body, how };
                write.send(&client).await
            }
            Command::Patch { id, file, ops, json_patch, how } => {
                let body = read(file.as_deref())?;
                let media = match (ops, json_patch) {
                    (true, _) => "application/vnd.syncline.ops+json",
                    (_, true) => "application/json-patch+json",
                    _ => "application/merge-patch+json",
                };
                Write { method: Method::PATCH, media, id: &id, body, how }.send(&client).await
            }
            Command::Delete { id, how } => {
                let write = Write { method: Method::DELETE, media: "", id: &id, body: Vec::new(), how };
                write.send(&client).await
            }
            Command::History { id, limit, json } => past::history(&client, &id, limit, json).await,
            Command::Conflicts { id, at, json } => past::conflicts(&client, &id, at.as_deref(), json).await,
            Command::List { prefix, limit, values, typed } => {
                let values = values.then_some(if typed { Values::Typed } else { Values::Plain });
                list(&client, &prefix, limit, values).await
            }
            Command::Watch { what, json } => watch::watch(&client, &what, json).await,
            Command::Export(export) => export.run(&client).await,
            Command::Import(import) => import.run(&client).await,
        }
    }
}

async fn get(
    client: &Client,
    id: &DocId,
    typed: bool,
    at: Option<&str>,
    version: bool,
) -> Result<(), Failure> {
    let mut target = document_path(id);
    let at = at.map(|at| format!("at={}", percent_encode(&quoted(at))));
    let queries: Vec<String> = typed.then(|| "typed=true".to_owned()).into_iter().chain(at).collect();
    if !queries.is_empty() {
        target = format!("{target}?{}", queries.join("&"));
    }
    let answer = client.get(&target).await?;
    if version {
        eprintln!("{}", answer.header("version"));
    }
    match answer.header("conflicts") {
        "" | "0" => {}
        conflicts => eprintln!("note: {conflicts} fields have more than one value; one of each is shown"),
    }
    if !to_terminal() {
        return Ok(print(&answer.body)?);
    }
    let value: Value = answer.json()?;
    Ok(print(format!("{value:#}\n"))?)
}

impl Write<'_> {
    async fn send(self, client: &Client) -> Result<(), Failure> {
        let path = document_path(self.id);
        let parents = match self.how.parents {
            Some(parents) => Some(quoted(&parents)),
            None if self.how.force => None,
            None => present(client, &path).await?,
        };
        let mut request = client.request(self.method, &path);
        if !self.media.is_empty() {
            request = request.header(header::CONTENT_TYPE, self.media);
        }
        if let Some(parents) = parents {
            request = request.header("parents", parents);
        }
        if let Some(author) = self.how.author {
            request = request.header("author", author);
        }
        let answer = client.send(request, self.body).await?.done()?;
        Ok(print(written(self.id, &answer))?)
    }
}

/// The version that the node has now; None where the document is not there.
async fn present(client: &Client, path: &str) -> Result<Option<String>, Failure> {
    let answer = client.send(client.request(Method::GET, path), "").await?;
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
        _ => Ok(Some(answer.done()?.header("version").to_owned())),
    }
}

/// What a write did, for people; the version is what `--parents` and `--at` take.
fn written(id: &DocId, answer: &Answer) -> String {
    let verb = match answer.status {
        StatusCode::CREATED => "created",
        StatusCode::NO_CONTENT => "deleted",
        _ => "wrote",
    };
    let (version, current) = (answer.header("version"), answer.header("current-version"));
    let mut text = format!("{verb} {id}, version {version}\n");
    if !current.is_empty() && current != version {
        text.push_str(&format!("merged with what others wrote, version {current}\n"));
    }
    text
}

/// One page of a list, as far as it is shown.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    documents: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    id: String,
    changes: u64,
    bytes: u64,
    modified: String,
    version: Vec<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// A line of a list with values.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    version: &'a [String],
    value: Option<&'a RawValue>,
}

#[derive(Clone, Copy)]
enum Values {
    Plain,
    Typed,
}

async fn list(
    client: &Client,
    prefix: &str,
    limit: Option<usize>,
    values: Option<Values>,
) -> Result<(), Failure> {
    let mut left = limit.unwrap_or(usize::MAX);
    let page = left.min(LIST_PAGE_MOST);
    let include = match values {
        None => "",
        Some(Values::Plain) => "&include=value",
        Some(Values::Typed) => "&include=value&typed=true",
    };
    let mut next = Some(format!("/v1/docs?prefix={}&limit={page}{include}", percent_encode(prefix)));
    while let Some(target) = next.filter(|_| left > 0) {
        let answer = client.get(&target).await?;
        let page: Page<'_> = answer.json()?;
        // Printed page by page: neither the list nor the wait for its beginning grows with it.
        let rows = page.documents.iter().take(left);
        print(if values.is_some() { lines(rows) } else { shown(rows, to_terminal()) })?;
        left -= page.documents.len().min(left);
        next = next_page(&answer);
    }
    Ok(())
}

fn lines<'a>(rows: impl Iterator<Item = &'a Row<'a>>) -> String {
    let line =
        |row: &Row<'_>| serde_json::to_string(&Line { id: &row.id, version: &row.version, value: row.value });
    // Strings and JSON into memory: it cannot fail.
    rows.flat_map(line).map(|line| line + "\n").collect()
}

fn shown<'a>(rows: impl Iterator<Item = &'a Row<'a>>, for_people: bool) -> String {
    if !for_people {
        return rows.map(|row| format!("{}\n", row.id)).collect();
    }
    let cells = rows
        .map(|row| [row.id.clone(), row.changes.to_string(), row.bytes.to_string(), row.modified.clone()]);
    let heads =
        [("ID", Align::Left), ("CHANGES", Align::Right), ("BYTES", Align::Right), ("MODIFIED", Align::Left)];
    table(heads, &cells.collect::<Vec<_>>())
}

/// A version as the node writes it: a list of quoted strings. Shells eat quotes, so they may be left out.
fn quoted(version: &str) -> String {
    let parts = version.split(',').map(|part| format!("\"{}\"", part.trim().trim_matches('"')));
    parts.collect::<Vec<_>>().join(", ")
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let name = file.filter(|file| *file != Path::new("-"));
    // One byte more than a node takes, to see that there is more.
    let most = MAX_BODY_BYTES as u64 + 1;
    let done = match name {
        Some(file) => std::fs::File::open(file).and_then(|open| open.take(most).read_to_end(&mut body)),
        None => {
            if io::stdin().is_terminal() {
                eprintln!("reading from the terminal; end with Ctrl-D");
            }
            io::stdin().lock().take(most).read_to_end(&mut body)
        }
    };
    let name = name.map_or("standard input".into(), |file| file.display().to_string());
    done.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    if body.len() > MAX_BODY_BYTES {
        return Err(Failure::usage(format!(
            "{name} has more than the {MAX_BODY_BYTES} bytes that a node takes"
        )));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_may_be_named_with_or_without_quotes() {
        assert_eq!(quoted("ab"), "\"ab\"");
        assert_eq!(quoted("\"ab\", \"cd\""), "\"ab\", \"cd\"");
        assert_eq!(quoted("ab,cd"), "\"ab\", \"cd\"");
    }

    #[test]
    fn a_list_with_values_is_a_line_of_json_each() {
        let row = r#"{"id": "a", "changes": 1, "bytes": 2, "modified": "", "version": ["ab"], "value": {"n": 1.0}}"#;
        let page = format!(r#"{{"documents": [{row}]}}"#);
        let page: Page<'_> = serde_json::from_str(&page).unwrap();
        let line = "{\"id\":\"a\",\"version\":[\"ab\"],\"value\":{\"n\": 1.0}}\n";
        assert_eq!(lines(page.documents.iter()), line);
    }

    #[test]
    fn a_list_is_a_table_for_people_and_ids_for_programs() {
        let row = |id: &str, changes| Row {
            id: id.into(),
            changes,
            bytes: 80,
            modified: "today".into(),
            version: vec!["ab".into()],
            value: None,
        };
        let rows = [row("a", 1), row("lists/groceries", 120)];
        assert_eq!(shown(rows.iter(), false), "a\nlists/groceries\n");
        assert_eq!(
            shown(rows.iter(), true),
            "ID               CHANGES  BYTES  MODIFIED\n\
             a                      1     80  today\n\
             lists/groceries      120     80  today\n"
        );
    }
}
