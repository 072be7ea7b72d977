//! The frames of `syncline.sub.v1`, as told in `docs/subscriptions.md`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::cbor;
use crate::base::limits::{MAX_SUBSCRIBE_FRAME_BYTES, MAX_SUBSCRIPTIONS, MAX_VERSION_HASHES};
use crate::base::{DocId, Hash, Heads, canonical_heads};
use crate::http::problem::{FENCED, Kind, MALFORMED, Problem};
use crate::node::{Mode, Node, Since, Step, Target};

/// How frames are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Json,
    Cbor,
}

/// What a client sends.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Asked {
    Hello {
        token: Option<String>,
        session: Option<String>,
    },
    Subscribe {
        id: String,
        // Read later: a mistake in them is the subscription's, not the connection's.
        #[serde(default)]
        target: Value,
        #[serde(default)]
        mode: Value,
        #[serde(default)]
        since: Value,
    },
    Unsubscribe {
        id: String,
    },
    Ping {},
}

/// What a node sends. In a feed it bears no `id`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Told<'a> {
    Welcome {
        node: &'a str,
        role: &'a str,
        limits: Limits,
    },
    Subscribed {
        id: &'a str,
    },
    Notify {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        doc: &'a str,
        version: Version<'a>,
    },
    Snapshot {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        doc: &'a str,
        version: Version<'a>,
        value: &'a RawValue,
    },
    Patch {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        doc: &'a str,
        from: Version<'a>,
        to: Version<'a>,
        patch: &'a RawValue,
    },
    Changes {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        doc: &'a str,
        from: Version<'a>,
        to: Version<'a>,
        changes: Vec<String>,
    },
    Deleted {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        doc: &'a str,
        version: Version<'a>,
    },
    UpToDate {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        cursor: String,
    },
    Refetch {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        reason: &'a str,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        problem: Value,
    },
    /// Of feeds only: all so far is what the cursor names.
    Checkpoint {
        cursor: String,
    },
    /// Of feeds only: the node is there, and has nothing to tell.
    Alive {},
    Pong {},
}

#[derive(Serialize)]
pub(super) struct Limits {
    subscriptions: usize,
    frame_bytes: usize,
}

/// A version as a list of hashes.
pub(super) struct Version<'a>(&'a [Hash]);

impl Serialize for Version<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Hash::to_string))
    }
}

impl Asked {
    /// # Errors
    /// What is wrong with the message, in words.
    pub fn read(message: &[u8], format: Format) -> Result<Self, String> {
        match format {
            Format::Json => serde_json::from_slice(message).map_err(|error| error.to_string()),
            Format::Cbor => {
                let value = cbor::decode(message)?;
                serde_json::from_value(value).map_err(|error| error.to_string())
            }
        }
    }
}

impl<'a> Told<'a> {
    pub fn welcome(node: &'a Node) -> Self {
        let limits = Limits { subscriptions: MAX_SUBSCRIPTIONS, frame_bytes: MAX_SUBSCRIBE_FRAME_BYTES };
        Told::Welcome { node: node.name(), role: node.role().as_str(), limits }
    }

    /// None of what the client is not told.
    pub fn step(
        id: Option<&'a str>,
        step: &'a Step,
        cursor: impl FnOnce() -> Option<String>,
    ) -> Option<Self> {
        Some(match step {
            Step::Notify { doc, version } => {
                Told::Notify { id, doc: doc.as_str(), version: Version(version) }
            }
            Step::Snapshot { doc, version, value } => {
                Told::Snapshot { id, doc: doc.as_str(), version: Version(version), value }
            }
            Step::Patch { doc, from, to, patch } => {
                Told::Patch { id, doc: doc.as_str(), from: Version(from), to: Version(to), patch }
            }
            Step::Changes { doc, from, to, changes } => {
                let changes = changes.iter().map(|change| BASE64.encode(change)).collect();
                Told::Changes { id, doc: doc.as_str(), from: Version(from), to: Version(to), changes }
            }
            Step::Deleted { doc, version } => {
                Told::Deleted { id, doc: doc.as_str(), version: Version(version) }
            }
            Step::Fenced { doc, reason } => {
                let problem = Problem::new(&FENCED, reason.as_str()).with("doc", doc.as_str());
                Told::Error { id, problem: problem.body() }
            }
            Step::Mark { up_to_date: true } => Told::UpToDate { id, cursor: cursor()? },
            Step::Refetch { reason } => Told::Refetch { id, reason },
            // A subscriber has no use for it.
            Step::Mark { up_to_date: false } if id.is_none() => Told::Checkpoint { cursor: cursor()? },
            Step::Mark { up_to_date: false } | Step::Idle { .. } => return None,
        })
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What happens, as a feed names it.
    pub fn name(&self) -> &'static str {
        match self {
            Told::Welcome { .. } => "welcome",
            Told::Subscribed { .. } => "subscribed",
            Told::Notify { .. } => "notify",
            Told::Snapshot { .. } => "snapshot",
            Told::Patch { .. } => "patch",
            Told::Changes { .. } => "changes",
            Told::Deleted { .. } => "deleted",
            Told::UpToDate { .. } => "up-to-date",
            Told::Refetch { .. } => "refetch",
            Told::Error { .. } => "error",
            Told::Checkpoint { .. } => "checkpoint",
            Told::Alive {} => "alive",
            Told::Pong {} => "pong",
        }
    }

    pub fn message(&self, format: Format) -> Message {
        // Writing to memory cannot fail, and nothing here refuses to be written.
        match format {
            Format::Json => Message::Text(self.text().into()),
            Format::Cbor => {
                let mut value = serde_json::to_value(self).unwrap_or_default();
                let bytes = value.get_mut("changes").map(Value::take);
                Message::Binary(Bytes::from(cbor::encode(&value, bytes.as_ref())))
            }
        }
    }
}

/// What a subscription is to be.
#[derive(Debug, PartialEq)]
pub(super) struct Wish {
    pub target: Target,
    pub mode: Mode,
    pub since: Since,
}

impl Wish {
    /// # Errors
    /// `MALFORMED`, with the member at fault.
    pub fn read(target: &Value, mode: &Value, since: &Value, node: &Node) -> Result<Self, Problem> {
        let target = read_target(target)?;
        let mode = match mode.as_str() {
            Some("notify") => Mode::Notify,
            Some("changes") => Mode::Changes,
            Some("value") => Mode::Value,
            Some("patch") => Mode::Patch,
            _ => return Err(bad("mode", "is notify, changes, value or patch")),
        };
        let since = match since {
            Value::Null => Since::Beginning,
            Value::String(text) => read_since(text, node).map_err(|why| bad("since", &why))?,
            Value::Array(hashes) => match (read_version(hashes), &target) {
                (Some(heads), Target::Doc(_)) if heads.is_empty() => Since::Beginning,
                (Some(heads), Target::Doc(_)) => Since::Version(heads),
                (Some(_), Target::Prefix(_)) => {
                    return Err(bad("since", "is a version, which only a single document has"));
                }
                (None, _) => return Err(bad("since", "is no list of hashes of 64 hex digits")),
            },
            _ => return Err(bad("since", "is \"0\", \"now\", a cursor or a version")),
        };
        Ok(Self { target, mode, since })
    }
}

/// As a text: `0`, `now` or a cursor.
pub(super) fn read_since(text: &str, node: &Node) -> Result<Since, String> {
    match text {
        "0" => Ok(Since::Beginning),
        "now" => Ok(Since::Now),
        text => node.read_cursor(text).map(Since::Cursor).map_err(|error| format!("is wrong: {error}")),
    }
}

fn read_target(target: &Value) -> Result<Target, Problem> {
    let wrong = || bad("target", "is {\"doc\": ID}, {\"prefix\": TEXT} or {\"all\": true}");
    let members = target.as_object().filter(|members| members.len() == 1).ok_or_else(wrong)?;
    match members.iter().next() {
        Some((name, Value::String(id))) if name == "doc" => {
            DocId::new(id).map(Target::Doc).map_err(|error| bad("target", &error.to_string()))
        }
        Some((name, Value::String(prefix))) if name == "prefix" => Ok(Target::Prefix(prefix.clone())),
        Some((name, Value::Bool(true))) if name == "all" => Ok(Target::Prefix(String::new())),
        _ => Err(wrong()),
    }
}

fn read_version(hashes: &[Value]) -> Option<Heads> {
    if hashes.len() > MAX_VERSION_HASHES {
        return None;
    }
    let hashes = hashes.iter().map(|hash| hash.as_str()?.parse().ok());
    Some(canonical_heads(hashes.collect::<Option<Vec<Hash>>>()?))
}

fn bad(member: &'static str, why: &str) -> Problem {
    refusal(&MALFORMED, format!("{member:?} {why}")).with("member", member)
}

pub(super) fn refusal(kind: &'static Kind, detail: impl Into<String>) -> Problem {
    Problem::new(kind, detail)
}
