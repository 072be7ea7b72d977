//! The id of a request: the caller's own where it is sane, else one that is made without entropy or lock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::limits::MAX_REQUEST_ID_BYTES;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(HEADER) {
        Some(id) if is_sane(id.as_bytes()) => id.clone(),
        _ => next(),
    }
}

/// It goes into logs and answers as it is.
fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// This process's start in microseconds, and a number: unique as far as one searches logs.
fn next() -> HeaderValue {
    static START: LazyLock<u128> =
        LazyLock::new(|| SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros()));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    HeaderValue::try_from(format!("{:x}-{number:x}", *START)).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let ask = |id: &[u8]| {
            let value = HeaderValue::from_bytes(id).expect("a value");
            of(&[(HEADER, value)].into_iter().collect()).as_bytes() == id
        };
        assert!(ask(b"a") && ask(b"\"{7}\\") && ask(&[b'x'; MAX_REQUEST_ID_BYTES]));
        assert!(!ask(b"") && !ask(b"a b") && !ask("ü".as_bytes()) && !ask(&[b'x'; MAX_REQUEST_ID_BYTES + 1]));
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
