//! Who may ask for what: tokens and their rights, the names by which a node may be called, foreign pages.

use std::fmt;
use std::str::FromStr;

use super::guard::Authority;

/// Bytes of a token at least: shorter ones can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// What a node asks of those who call it.
#[derive(Debug)]
pub struct Access {
    /// None: nobody needs one.
    tokens: Option<Vec<Known>>,
    /// Without ports.
    hosts: Vec<String>,
    /// As browsers write them.
    origins: Vec<String>,
}

/// A token as it is kept: whoever reads this memory, or a core dump, learns no secret.
struct Known {
    hash: blake3::Hash,
    rights: Rights,
}

/// A secret, and what whoever knows it may do.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub secret: String,
    pub rights: Rights,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Documents, lists, the cluster.
    Read,
    /// Writing documents.
    Write,
    /// Being a node: links between nodes.
    Peer,
    /// Reserved for what changes the cluster.
    Admin,
}

/// A set of rights. None implies another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rights(u8);

/// A file of tokens that cannot be used. Never shows a token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TokenFileError {
    pub line: usize,
    pub problem: TokenProblem,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenProblem {
    #[error("there is no token in the file")]
    NoTokens,
    #[error("a token has at least {MIN_TOKEN_BYTES} bytes")]
    TooShort,
    #[error("a token consists of letters, digits and -._~+/=")]
    Characters,
    #[error("after the token come its rights, with commas between: read, write, peer, admin")]
    Rights,
    #[error("the token of line {0} again")]
    Twice(usize),
}

impl Access {
    /// Everybody may do everything: for nodes that listen on loopback only.
    pub fn open() -> Self {
        Self { tokens: None, hosts: Vec::new(), origins: Vec::new() }
    }

    /// Only who has a token may do what it has rights for. Without any, nobody may.
    pub fn with_tokens(tokens: Vec<Token>) -> Self {
        let known =
            |token: Token| Known { hash: blake3::hash(token.secret.as_bytes()), rights: token.rights };
        Self { tokens: Some(tokens.into_iter().map(known).collect()), ..Self::open() }
    }

    /// Names and addresses by which the node may be called, besides those of loopback. Ports do not matter.
    pub fn allow_hosts(mut self, hosts: Vec<String>) -> Self {
        let name = |host: String| Authority::of(&host).map_or(host.clone(), |host| host.name.to_owned());
        self.hosts.extend(hosts.into_iter().map(name));
        self
    }

    /// Pages from elsewhere that may use the node from a browser: `https://app.example`, as browsers send it.
    pub fn allow_origins(mut self, origins: Vec<String>) -> Self {
        let origin = |origin: String| origin.trim_end_matches('/').to_owned();
        self.origins.extend(origins.into_iter().map(origin));
        self
    }

    /// Are tokens asked for?
    pub(super) fn needs_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The rights of whoever shows `secret`; None where nobody has such a token.
    pub(super) fn rights(&self, secret: &[u8]) -> Option<Rights> {
        let hash = blake3::hash(secret);
        // Hashes are compared in constant time.
        self.tokens.iter().flatten().find(|known| known.hash == hash).map(|known| known.rights)
    }

    /// May the node be called so?
    ///
    /// A page can make a browser believe that its own name has the address of this machine, and then its
    /// requests count as same-origin. What it cannot do is send another `Host`. So a node that asks for no
    /// token answers to names of loopback and to configured ones only; where tokens are asked for, such a page
    /// has none, and any name is right unless some are configured.
    pub(super) fn allows_host(&self, host: &Authority<'_>) -> bool {
        let any = self.needs_tokens() && self.hosts.is_empty();
        any || host.is_loopback() || self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host.name))
    }

    pub(super) fn allows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    /// May any page from elsewhere use the node?
    pub(super) fn has_origins(&self) -> bool {
        !self.origins.is_empty()
    }
}

impl Right {
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Write => "write",
            Right::Peer => "peer",
            Right::Admin => "admin",
        }
    }
}

impl FromStr for Right {
    type Err = TokenProblem;

    fn from_str(text: &str) -> Result<Self, TokenProblem> {
        let all = [Right::Read, Right::Write, Right::Peer, Right::Admin];
        all.into_iter().find(|right| right.as_str() == text).ok_or(TokenProblem::Rights)
    }
}

impl Rights {
    pub fn contains(self, right: Right) -> bool {
        self.0 & 1 << right as u8 != 0
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Self {
        Self(rights.into_iter().fold(0, |all, right| all | 1 << right as u8))
    }
}

/// Reads a file of tokens. A line is `TOKEN right,right`; what comes after `#` is a comment.
///
/// # Errors
/// The first line that is not so, or a file without tokens.
pub fn read_tokens(text: &str) -> Result<Vec<Token>, TokenFileError> {
    let mut tokens: Vec<(usize, Token)> = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let token = read_token(content).map_err(|problem| TokenFileError { line, problem })?;
        if let Some((before, _)) = tokens.iter().find(|(_, known)| known.secret == token.secret) {
            return Err(TokenFileError { line, problem: TokenProblem::Twice(*before) });
        }
        tokens.push((line, token));
    }
    if tokens.is_empty() {
        return Err(TokenFileError { line: text.lines().count(), problem: TokenProblem::NoTokens });
    }
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

fn read_token(content: &str) -> Result<Token, TokenProblem> {
    let (secret, rights) = content.split_once(char::is_whitespace).ok_or(TokenProblem::Rights)?;
    if !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
        return Err(TokenProblem::Characters);
    }
    if secret.len() < MIN_TOKEN_BYTES {
        return Err(TokenProblem::TooShort);
    }
    let rights = rights.split(',').map(|right| right.trim().parse::<Right>());
    Ok(Token { secret: secret.to_owned(), rights: rights.collect::<Result<_, _>>()? })
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rights.fmt(f)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("rights", &self.rights).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn rights(rights: &[Right]) -> Rights {
        rights.iter().copied().collect()
    }

    #[test]
    fn a_file_of_tokens_is_read() {
        let text = format!("# ours\n\n{SECRET} read, write # laptop\n{SECRET}-2\tpeer\n");
        let tokens = read_tokens(&text).expect("well-formed");
        assert_eq!(
            tokens,
            [
                Token { secret: SECRET.into(), rights: rights(&[Right::Read, Right::Write]) },
                Token { secret: format!("{SECRET}-2"), rights: rights(&[Right::Peer]) },
            ]
        );
        let access = Access::with_tokens(tokens);
        let found = access.rights(SECRET.as_bytes()).expect("known");
        assert!(
            found.contains(Right::Write) && !found.contains(Right::Peer) && !found.contains(Right::Admin)
        );
        assert_eq!(access.rights(b"0123456789abcdeX"), None);
        assert_eq!(access.rights(b""), None);
    }

    #[test]
    fn a_bad_line_is_named_and_its_token_is_not() {
        let short = &SECRET[1..];
        let cases = [
            (format!("{short} read"), TokenProblem::TooShort),
            (SECRET.to_owned(), TokenProblem::Rights),
            (format!("{SECRET} "), TokenProblem::Rights),
            (format!("{SECRET} read,,write"), TokenProblem::Rights),
            (format!("read {SECRET}"), TokenProblem::TooShort),
            (format!("{SECRET}{SECRET} {SECRET}"), TokenProblem::Rights),
            (format!("{SECRET}é read"), TokenProblem::Characters),
            (format!("{SECRET}-good write"), TokenProblem::Twice(1)),
        ];
        for (line, problem) in cases {
            let error = read_tokens(&format!("{SECRET}-good read\n# two\n{line}\n")).expect_err(&line);
            assert_eq!(error, TokenFileError { line: 3, problem });
            assert!(!format!("{error} {error:?}").contains(short));
        }
        assert_eq!(read_tokens("# none\n").map_err(|e| e.problem), Err(TokenProblem::NoTokens));
    }

    #[test]
    fn secrets_are_not_shown() {
        let token = Token { secret: SECRET.into(), rights: rights(&[Right::Read]) };
        assert!(!format!("{token:?}").contains(SECRET));
        assert!(!format!("{:?}", Access::with_tokens(vec![token])).contains(SECRET));
    }

    #[test]
    fn a_node_answers_to_loopback_and_to_the_names_it_was_given() {
        let host = |text: &'static str| Authority::of(text).expect("an authority");
        let strange = host("evil.example:4380");
        assert!(!Access::open().allows_host(&strange));
        assert!(Access::with_tokens(Vec::new()).allows_host(&strange));
        let named = || vec!["Node.Example:1".to_owned(), "[fd00::1]".to_owned()];
        for access in [Access::open(), Access::with_tokens(Vec::new())] {
            let access = access.allow_hosts(named());
            assert!(!access.allows_host(&strange));
            for allowed in ["node.example", "NODE.example.:4380", "[fd00::1]:4380", "localhost:1"] {
                assert!(access.allows_host(&host(allowed)), "{allowed}");
            }
        }
    }
}
