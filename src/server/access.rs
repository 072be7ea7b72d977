//! Who may do what here, and what this node shows to others.

use std::net::SocketAddr;

use axum::http::Uri;
use tracing::warn;

use crate::config::{ConfigError, Settings, first_token, open_to_all, read_token_file};
use crate::http::{Access, Right, Token};

/// What the token files say.
pub(super) struct Keys {
    /// None where no tokens are asked for.
    tokens: Option<Vec<Token>>,
    shown_to_peers: Option<String>,
}

impl Keys {
    /// # Errors
    /// When a token file cannot be used.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let tokens = match &settings.token_file {
            Some(path) => {
                let (tokens, open) = read_token_file(path)?;
                if open {
                    warn!("{}", open_to_all(path));
                }
                Some(tokens)
            }
            None => None,
        };
        let own = settings.peer_token_file.as_deref().map(first_token).transpose()?;
        let ours = || tokens.iter().flatten().find(|token| token.rights.contains(Right::Peer));
        let shown_to_peers = own.or_else(|| ours().map(|token| token.secret.clone()));
        Ok(Self { tokens, shown_to_peers })
    }

    /// What the node asks of others, and what it shows to them. `url` is where others are told to find it.
    pub fn into_access(
        self,
        settings: &Settings,
        url: Option<&str>,
        addr: SocketAddr,
    ) -> (Access, Option<String>) {
        let mut hosts = settings.allow_hosts.clone();
        // With tokens and no names given, any name is right: then none may be added.
        if self.tokens.is_none() || !hosts.is_empty() {
            let uri = url.and_then(|url| url.parse::<Uri>().ok());
            hosts.extend(uri.and_then(|uri| uri.authority().map(ToString::to_string)));
            hosts.push(addr.to_string());
        }
        let access = self.tokens.map_or_else(Access::open, Access::with_tokens);
        (access.allow_hosts(hosts).allow_origins(settings.allow_origins.clone()), self.shown_to_peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_shown_the_token_for_them() {
        let list = tempfile::NamedTempFile::new().unwrap();
        let (people, peers) = ("0123456789abcdef", "fedcba9876543210");
        std::fs::write(list.path(), format!("{people} read,write\n{peers} peer\n")).unwrap();
        let mut settings = Settings { token_file: Some(list.path().into()), ..Settings::default() };
        assert_eq!(Keys::read(&settings).unwrap().shown_to_peers.as_deref(), Some(peers));

        let own = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(own.path(), "another-one\n").unwrap();
        settings.peer_token_file = Some(own.path().into());
        assert_eq!(Keys::read(&settings).unwrap().shown_to_peers.as_deref(), Some("another-one"));

        assert_eq!(Keys::read(&Settings::default()).unwrap().shown_to_peers, None);
    }
}
