//! The list of settings, as one source gives them: the command line with the environment, or a file.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ConfigError, Settings, Size, Span};
use crate::base::Role;
use crate::net::PeerUrl;

/// What one source says; empty is what it leaves to the next.
///
/// In the file a setting has the name of its flag, and those that may be repeated are lists.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Given {
    /// Name of this node, for people; also the author of writes that name none [default: HOSTNAME:PORT]
    #[arg(long, env = "SYNCLINE_NAME", value_name = "NAME", hide_env_values = true)]
    pub name: Option<String>,

    /// Address and port for clients and nodes alike; beyond loopback it needs --token-file
    /// [default: 127.0.0.1:4380]
    #[arg(long, env = "SYNCLINE_LISTEN", value_name = "ADDR", value_parser = address, hide_env_values = true)]
    #[serde(deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,

    /// Folder of this node's data, made where missing; one folder per node [default: ./syncline-data]
    #[arg(long, env = "SYNCLINE_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,

    /// master (takes writes) or replica (read-only) [default: master]
    #[arg(long, env = "SYNCLINE_ROLE", value_name = "ROLE", hide_env_values = true)]
    #[serde(serialize_with = "text", deserialize_with = "optional")]
    pub role: Option<Role>,

    /// For a master: base URL of a master to link with, as http://10.0.0.2:4380; may be repeated
    #[arg(
        long,
        help_heading = "Links",
        env = "SYNCLINE_PEER",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    #[serde(serialize_with = "texts", deserialize_with = "list")]
    pub peer: Vec<PeerUrl>,

    /// For a replica: base URL of the node to follow; repeated: the next where the one before fails
    #[arg(
        long,
        help_heading = "Links",
        env = "SYNCLINE_UPSTREAM",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    #[serde(serialize_with = "texts", deserialize_with = "list")]
    pub upstream: Vec<PeerUrl>,

    /// Name of the cluster; nodes of different clusters never link [default: syncline]
    #[arg(
        long,
        help_heading = "Links",
        env = "SYNCLINE_CLUSTER",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub cluster: Option<String>,

    /// Base URL at which others reach this node, told to them [default: the address of --listen, unless
    /// that is 0.0.0.0]
    #[arg(
        long,
        help_heading = "Links",
        env = "SYNCLINE_ADVERTISE",
        value_name = "URL",
        hide_env_values = true
    )]
    pub advertise: Option<String>,

    /// File of the tokens that clients and nodes must show [default: none are asked for, on loopback only]
    #[arg(
        long,
        help_heading = "Access",
        env = "SYNCLINE_TOKEN_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub token_file: Option<PathBuf>,

    /// File of the one token that this node shows to others [default: the first in --token-file with
    /// the right `peer`]
    #[arg(
        long,
        help_heading = "Access",
        env = "SYNCLINE_PEER_TOKEN_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub peer_token_file: Option<PathBuf>,

    /// A further name by which clients may call this node in `Host`, as behind a proxy; may be repeated
    #[arg(
        long,
        help_heading = "Access",
        env = "SYNCLINE_ALLOW_HOST",
        value_name = "HOST",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub allow_host: Vec<String>,

    /// A web origin whose pages may use this node, as https://app.example; may be repeated
    #[arg(
        long,
        help_heading = "Access",
        env = "SYNCLINE_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub allow_origin: Vec<String>,

    /// Bytes of the log, on disk, that are kept although every known node has them [default: 64MiB]
    #[arg(
        long,
        help_heading = "Storage",
        env = "SYNCLINE_LOG_KEEP",
        value_name = "SIZE",
        hide_env_values = true
    )]
    #[serde(serialize_with = "text", deserialize_with = "optional")]
    pub log_keep: Option<Size>,

    /// Bytes of the log, on disk, past which it is cut off although a node lacks what goes: that node is
    /// repaired by digest then [default: 1GiB]
    #[arg(
        long,
        help_heading = "Storage",
        env = "SYNCLINE_LOG_MOST",
        value_name = "SIZE",
        hide_env_values = true
    )]
    #[serde(serialize_with = "text", deserialize_with = "optional")]
    pub log_most: Option<Size>,

    /// How long a deleted document is kept, for what was written to it elsewhere meanwhile; then it goes
    /// with its history, once every known node has the deletion [default: 30d]
    #[arg(
        long,
        help_heading = "Storage",
        env = "SYNCLINE_KEEP_DELETED",
        value_name = "TIME",
        hide_env_values = true
    )]
    #[serde(serialize_with = "text", deserialize_with = "optional")]
    pub keep_deleted: Option<Span>,

    /// What to log: error, warn, info, debug, trace, or by module, as info,syncline::net=debug
    /// [default: info]
    #[arg(long, help_heading = "Logs", env = "SYNCLINE_LOG", value_name = "FILTER", hide_env_values = true)]
    pub log: Option<String>,

    /// How to log: lines for people, or an object a line [default: text]
    #[arg(
        long,
        help_heading = "Logs",
        env = "SYNCLINE_LOG_FORMAT",
        value_name = "FORMAT",
        hide_env_values = true
    )]
    pub log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Given {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or holds what is not a setting; with the line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = Self::text(path)?;
        Self::parse(&text).map_err(|(line, reason)| ConfigError::File { path: path.to_owned(), line, reason })
    }

    pub(super) fn text(path: &Path) -> Result<String, ConfigError> {
        std::fs::read_to_string(path)
            .map_err(|e| ConfigError::Unreadable { path: path.to_owned(), reason: e.to_string() })
    }

    /// The error is a line, counted from 1, and what is wrong there.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            // The parser's longer messages have several lines.
            (before.matches('\n').count() + 1, error.message().replace('\n', " "))
        })
    }

    /// These settings where there are any, else the `other` ones. A list is taken whole.
    pub fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            listen: self.listen.or(other.listen),
            data_dir: self.data_dir.or(other.data_dir),
            role: self.role.or(other.role),
            peer: first(self.peer, other.peer),
            upstream: first(self.upstream, other.upstream),
            cluster: self.cluster.or(other.cluster),
            advertise: self.advertise.or(other.advertise),
            token_file: self.token_file.or(other.token_file),
            peer_token_file: self.peer_token_file.or(other.peer_token_file),
            allow_host: first(self.allow_host, other.allow_host),
            allow_origin: first(self.allow_origin, other.allow_origin),
            log_keep: self.log_keep.or(other.log_keep),
            log_most: self.log_most.or(other.log_most),
            keep_deleted: self.keep_deleted.or(other.keep_deleted),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
        }
    }

    /// With what `config` says where these say nothing, judged as a whole.
    ///
    /// # Errors
    /// As [`Given::read`] and [`Settings::new`].
    pub fn settle(self, config: Option<&Path>) -> Result<Settings, ConfigError> {
        let file = config.map(Self::read).transpose()?.unwrap_or_default();
        Settings::new(self.or(file))
    }
}

/// All of them, as if one source had given each.
impl From<Settings> for Given {
    fn from(settings: Settings) -> Self {
        Self {
            name: settings.name,
            listen: Some(settings.listen),
            data_dir: Some(settings.data_dir),
            role: Some(settings.role),
            peer: settings.peers,
            upstream: settings.upstreams,
            cluster: Some(settings.cluster),
            advertise: settings.advertise,
            token_file: settings.token_file,
            peer_token_file: settings.peer_token_file,
            allow_host: settings.allow_hosts,
            allow_origin: settings.allow_origins,
            log_keep: Some(settings.log_keep),
            log_most: Some(settings.log_most),
            keep_deleted: Some(settings.keep_deleted),
            log: Some(settings.log),
            log_format: Some(settings.log_format),
        }
    }
}

fn first<T>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
    if one.is_empty() { other } else { one }
}

/// An address and port. No names: which address a name stands for may change from start to start, and with
/// it who can reach the node. `localhost` is what people write for the one that never does.
fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("{text:?} is not an address and port, as 127.0.0.1:4380"))
}

fn listen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    address(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

fn optional<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

fn text<S: Serializer>(value: &Option<impl Display>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(to)
}

fn texts<S: Serializer>(values: &[impl Display], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(ToString::to_string))
}

fn list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_names_of_the_flags() {
        let given = Given::parse(
            "name = 'a'\nlisten = 'localhost:1'\ndata-dir = 'd'\nrole = 'slave'\nupstream = ['http://b:2']\n\
             cluster = 'c'\nadvertise = 'http://a:1'\ntoken-file = 't'\npeer-token-file = 'p'\n\
             allow-host = ['h']\nallow-origin = ['o']\nlog-keep = '1MiB'\nlog-most = '2MiB'\nkeep-deleted = '1h'\nlog = 'debug'\nlog-format = 'json'\n",
        );
        let settings = Settings::new(given.unwrap()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:1");
        assert_eq!(settings.role, Role::Replica);
        assert_eq!(settings.upstreams, ["http://b:2".parse().unwrap()]);
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.peer_token_file, Some("p".into()));
        assert_eq!((settings.log_keep.0, settings.log_most.0), (1 << 20, 2 << 20));
        assert_eq!(settings.keep_deleted, Span(3_600_000));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let (line, reason) = Given::parse("name = 'a'\n\npeeer = ['http://b:2']\n").unwrap_err();
        assert_eq!(line, 3);
        assert!(reason.contains("unknown field `peeer`") && reason.contains("`peer`"), "{reason}");
        assert!(!reason.contains('\n'));
    }

    #[test]
    fn a_value_that_is_none_is_refused_with_its_line() {
        for (text, what) in [
            ("name = 'a'\nrole = 'boss'", "boss"),
            ("name = 'a'\npeer = ['b:2']", "b:2"),
            ("name = 'a'\nlisten = 'somewhere'", "somewhere"),
            ("name = 'a'\nlog-format = 'xml'", "xml"),
            ("name = 'a'\nname = 'b'", "duplicate key"),
        ] {
            let (line, reason) = Given::parse(text).unwrap_err();
            assert!(line == 2 && reason.contains(what), "{text:?}: line {line}: {reason}");
        }
    }

    #[test]
    fn what_comes_first_wins_setting_by_setting() {
        let flags = Given {
            name: Some("flag".into()),
            peer: vec!["http://f:1".parse().unwrap()],
            ..Given::default()
        };
        let file =
            Given::parse("name = 'file'\ncluster = 'file'\npeer = ['http://x:1', 'http://y:1']").unwrap();
        let given = flags.or(file);
        assert_eq!(given.name.as_deref(), Some("flag"));
        assert_eq!(given.cluster.as_deref(), Some("file"));
        assert_eq!(given.peer, ["http://f:1".parse().unwrap()]);
    }
}
