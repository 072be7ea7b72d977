//! `Prefer` (RFC 7240): for how long to wait, and what to answer to a write.

use axum::http::{HeaderMap, HeaderName};

use crate::base::Millis;
use crate::base::limits::VERSION_WAIT_MS;

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Preferences {
    /// `wait=N`, in seconds there.
    pub wait: Millis,
    /// `return=…`.
    pub answer: Option<Wanted>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Minimal,
    Representation,
}

/// As the RFC wants it, a preference that cannot be read is none, and of several the first counts.
pub(super) fn preferences(headers: &HeaderMap) -> Preferences {
    let (mut wait, mut answer) = (None, None);
    for line in headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok()) {
        for preference in line.split(',') {
            // What follows a semicolon are the preference's parameters, of which we have none.
            let preference = preference.split(';').next().unwrap_or_default();
            let Some((name, value)) = preference.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("wait") {
                wait = wait.or(value.parse::<u64>().ok());
            } else if name.eq_ignore_ascii_case("return") {
                answer = answer.or(match value {
                    "minimal" => Some(Wanted::Minimal),
                    "representation" => Some(Wanted::Representation),
                    _ => None,
                });
            }
        }
    }
    let wait = wait.map_or(VERSION_WAIT_MS, |seconds| seconds.saturating_mul(1_000).min(VERSION_WAIT_MS));
    Preferences { wait: Millis(wait), answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &'static str) -> Preferences {
        preferences(&[(PREFER, line.parse().expect("a value"))].into_iter().collect())
    }

    #[test]
    fn a_wait_is_read_within_its_limit() {
        assert_eq!(ask("wait=2").wait, Millis(2_000));
        assert_eq!(ask("respond-async, Wait=0").wait, Millis(0));
        assert_eq!(ask("wait=99999999999999999999").wait, Millis(VERSION_WAIT_MS));
        assert_eq!(ask("wait=60").wait, Millis(VERSION_WAIT_MS));
        assert_eq!(ask("wait=soon").wait, Millis(VERSION_WAIT_MS));
        assert_eq!(preferences(&HeaderMap::new()).wait, Millis(VERSION_WAIT_MS));
    }

    #[test]
    fn the_first_answer_that_is_known_is_the_one_wanted() {
        assert_eq!(ask("return=minimal").answer, Some(Wanted::Minimal));
        assert_eq!(ask("wait=1, Return=\"representation\"; x=y").answer, Some(Wanted::Representation));
        assert_eq!(ask("return=all, return=minimal, return=representation").answer, Some(Wanted::Minimal));
        assert_eq!(ask("x; return=minimal").answer, None);
        assert_eq!(preferences(&HeaderMap::new()).answer, None);
    }
}
