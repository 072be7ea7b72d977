//! A node's settings: from the command line, then the environment, then a TOML file, then defaults.
//!
//! There is one list of settings, [`Given`]; each source fills one, and [`Settings::new`] judges the whole.

mod check;
mod given;
mod token;
mod units;

pub use check::{Findings, Shown, Source, Sourced, open_to_all};
pub use given::{Given, LogFormat};
pub use token::{first_token, read_token_file};
pub use units::{Size, Span};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use axum::http::Uri;

use crate::base::Role;
use crate::base::limits::{KEEP_DELETED_MS, LOG_KEEP_BYTES, LOG_MOST_BYTES, MAX_NAME_BYTES, MAX_TEXT_BYTES};
use crate::net::PeerUrl;

/// The port of a node where nobody names another.
pub const PORT: u16 = 4380;

/// What a node is to be, judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where absent, the host's name and the port.
    pub name: Option<String>,
    /// Port 0: any free one.
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub role: Role,
    /// Masters to link with, all of them.
    pub peers: Vec<PeerUrl>,
    /// For a replica: whom to follow, one at a time, in order of preference.
    pub upstreams: Vec<PeerUrl>,
    pub cluster: String,
    /// Where others reach this node, told to them. Where absent, the address of `listen`, if it is of one host.
    pub advertise: Option<String>,
    pub token_file: Option<PathBuf>,
    pub peer_token_file: Option<PathBuf>,
    pub allow_hosts: Vec<String>,
    pub allow_origins: Vec<String>,
    /// Bytes of the log that are kept although every node has them, and past which it is cut off.
    pub log_keep: Size,
    pub log_most: Size,
    /// How long a deleted document is kept.
    pub keep_deleted: Span,
    /// As in `RUST_LOG`: a level, or `module=level` separated by commas.
    pub log: String,
    pub log_format: LogFormat,
}

/// What is wrong with the settings, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings in {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{}, line {line}: {reason}", path.display())]
    File { path: PathBuf, line: usize, reason: String },
    #[error("the token file {}: {reason}", path.display())]
    Tokens { path: PathBuf, reason: String },
    #[error("--upstream is for replicas, and this node is a master: add --role replica, or use --peer")]
    UpstreamOnMaster,
    #[error("--peer is for masters, and this node is a replica: name whom it follows with --upstream")]
    PeerOnReplica,
    #[error(
        "listening on {0} without tokens would let anybody who reaches it do everything: name a --token-file, \
         or listen on 127.0.0.1"
    )]
    OpenToAll(SocketAddr),
    #[error("--{flag} must have 1 to {MAX_NAME_BYTES} bytes and no control characters: {text:?}")]
    Name { flag: &'static str, text: String },
    #[error("--log-most must be at least --log-keep: the log is cut off past it")]
    LogSizes,
    #[error("--advertise must be the URL at which others reach this node, as http://host:{PORT}: {0:?}")]
    Advertise(String),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            data_dir: "syncline-data".into(),
            role: Role::Master,
            peers: Vec::new(),
            upstreams: Vec::new(),
            cluster: "syncline".into(),
            advertise: None,
            token_file: None,
            peer_token_file: None,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            log_keep: Size(LOG_KEEP_BYTES),
            log_most: Size(LOG_MOST_BYTES),
            keep_deleted: Span(KEEP_DELETED_MS),
            log: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

impl Settings {
    /// Fills what is not given with defaults.
    ///
    /// # Errors
    /// Where one setting forbids another, or a text is none that others could be told.
    pub fn new(given: Given) -> Result<Self, ConfigError> {
        let settings = Self::fill(given);
        settings.problems().into_iter().next().map_or(Ok(settings), Err)
    }

    fn fill(given: Given) -> Self {
        let default = Self::default();
        Self {
            name: given.name,
            listen: given.listen.unwrap_or(default.listen),
            data_dir: given.data_dir.unwrap_or(default.data_dir),
            role: given.role.unwrap_or(default.role),
            peers: given.peer,
            upstreams: given.upstream,
            cluster: given.cluster.unwrap_or(default.cluster),
            advertise: given.advertise,
            token_file: given.token_file,
            peer_token_file: given.peer_token_file,
            allow_hosts: given.allow_host,
            allow_origins: given.allow_origin,
            log_keep: given.log_keep.unwrap_or(default.log_keep),
            log_most: given.log_most.unwrap_or(default.log_most),
            keep_deleted: given.keep_deleted.unwrap_or(default.keep_deleted),
            log: given.log.unwrap_or(default.log),
            log_format: given.log_format.unwrap_or(default.log_format),
        }
    }

    fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        match self.role {
            Role::Master if !self.upstreams.is_empty() => problems.push(ConfigError::UpstreamOnMaster),
            Role::Replica if !self.peers.is_empty() => problems.push(ConfigError::PeerOnReplica),
            Role::Master | Role::Replica => {}
        }
        if !self.listen.ip().is_loopback() && self.token_file.is_none() {
            problems.push(ConfigError::OpenToAll(self.listen));
        }
        for (flag, text) in [("name", self.name.as_deref()), ("cluster", Some(&*self.cluster))] {
            let bad = text.filter(|text| !is_name(text));
            problems.extend(bad.map(|text| ConfigError::Name { flag, text: text.to_owned() }));
        }
        if self.log_most.0 < self.log_keep.0 {
            problems.push(ConfigError::LogSizes);
        }
        let url = self.advertise.iter().find(|url| !is_base_url(url));
        problems.extend(url.map(|url| ConfigError::Advertise(url.clone())));
        problems
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Unlike a link's, it may be `https`: clients may come through a proxy that does TLS.
fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let web = uri.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
    web && text.len() <= MAX_TEXT_BYTES
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.path() == "/"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PeerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_given_has_a_default() {
        let settings = Settings::new(Given::default()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:4380");
        assert_eq!((settings.role, &*settings.cluster), (Role::Master, "syncline"));
        assert_eq!(settings.data_dir, PathBuf::from("syncline-data"));
    }

    #[test]
    fn a_master_follows_nobody_and_a_replica_follows_only_upstreams() {
        let master = Given { upstream: vec![url("http://a:1")], ..Given::default() };
        assert_eq!(Settings::new(master.clone()).err(), Some(ConfigError::UpstreamOnMaster));
        assert!(Settings::new(Given { role: Some(Role::Replica), ..master }).is_ok());
        let replica = Given { role: Some(Role::Replica), peer: vec![url("http://a:1")], ..Given::default() };
        assert_eq!(Settings::new(replica.clone()).err(), Some(ConfigError::PeerOnReplica));
        assert!(Settings::new(Given { role: None, ..replica }).is_ok());
    }

    #[test]
    fn beyond_loopback_there_are_tokens() {
        let open = |listen: &str| Given { listen: listen.parse().ok(), ..Given::default() };
        for listen in ["0.0.0.0:4380", "[::]:4380", "192.168.1.2:4380"] {
            assert!(matches!(Settings::new(open(listen)), Err(ConfigError::OpenToAll(_))), "{listen}");
            let guarded = Given { token_file: Some("tokens".into()), ..open(listen) };
            assert!(Settings::new(guarded).is_ok(), "{listen}");
        }
        assert!(Settings::new(open("127.0.0.1:0")).is_ok());
        assert!(Settings::new(open("[::1]:4380")).is_ok());
    }

    #[test]
    fn names_fit_into_a_header_and_a_line() {
        let named = |name: &str| Settings::new(Given { name: Some(name.into()), ..Given::default() });
        assert!(named("München 1").is_ok());
        assert!(named(&"x".repeat(128)).is_ok());
        for name in ["", "a\nb", &"x".repeat(129)] {
            assert!(matches!(named(name), Err(ConfigError::Name { flag: "name", .. })), "{name:?}");
        }
        let cluster = Given { cluster: Some(String::new()), ..Given::default() };
        assert!(matches!(Settings::new(cluster), Err(ConfigError::Name { flag: "cluster", .. })));
    }

    #[test]
    fn only_a_base_url_is_told_to_others() {
        let told = |url: &str| Settings::new(Given { advertise: Some(url.into()), ..Given::default() });
        assert!(told("http://a.example:4380").is_ok());
        assert!(told("https://a.example/").is_ok());
        for url in ["a.example:4380", "ftp://a", "http://a/path", "", "http://a b"] {
            assert!(matches!(told(url), Err(ConfigError::Advertise(_))), "{url:?}");
        }
    }
}
