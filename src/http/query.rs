//! The query of a request. What a call does not know is refused: a client that asks for more durability or
//! another form than there is must not believe that it got it.

use axum::http::Uri;

use super::headers;
use super::percent::decode;
use super::problem::{MALFORMED, Problem};
use crate::base::Heads;

pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// `MALFORMED` where it is badly encoded, or names something twice.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let query = uri.query().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = read(name)?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(bad(&name, "is there twice"));
            }
            pairs.push((name, read(value)?));
        }
        Ok(Self(pairs))
    }

    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// `true` or `false`; absent is false.
    pub fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad(name, "is true or false")),
        }
    }

    /// `limit`: how many on a page.
    pub fn take_limit(&mut self, default: usize, most: usize) -> Result<usize, Problem> {
        let Some(text) = self.take("limit") else { return Ok(default) };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| bad("limit", &format!("is a number from 1 to {most}")))
    }

    /// A version that names at least one change.
    pub fn take_version(&mut self, name: &str) -> Result<Option<Heads>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match headers::parse_version(&text) {
            Ok(heads) if heads.is_empty() => Err(bad(name, "names no version")),
            Ok(heads) => Ok(Some(heads)),
            Err(why) => Err(bad(name, &why)),
        }
    }

    /// # Errors
    /// `MALFORMED` where anything is left.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(bad(name, "is not known here")),
        }
    }
}

pub(super) fn bad(name: &str, why: &str) -> Problem {
    Problem::new(&MALFORMED, format!("the query parameter {name:?} {why}")).with("parameter", name)
}

fn read(text: &str) -> Result<String, Problem> {
    // As forms write it; a literal plus comes as %2B.
    Ok(decode(&text.replace('+', " "))?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, Problem> {
        Query::of(&format!("/v1/docs?{text}").parse().expect("a URI"))
    }

    #[test]
    fn a_query_is_read_and_nothing_may_be_left() {
        let mut read = query("prefix=a%2Bb+c&typed=true&after").expect("well-formed");
        assert_eq!(read.take("prefix").as_deref(), Some("a+b c"));
        assert_eq!(read.take("after").as_deref(), Some(""));
        assert_eq!(read.take("limit"), None);
        assert!(read.take_flag("typed").expect("a flag"));
        assert!(!read.take_flag("typed").expect("absent"));
        assert!(read.end().is_ok());
        assert!(query("acks=2").expect("well-formed").end().is_err());
    }

    #[test]
    fn bad_queries_are_refused() {
        assert!(query("a=1&a=2").is_err());
        assert!(query("a=%f").is_err());
        assert!(query("typed=yes").expect("well-formed").take_flag("typed").is_err());
    }
}
