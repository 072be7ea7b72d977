//! Answers compressed: JSON of some length, for those who take gzip.
//!
//! The compressed form is a representation of its own, with a strong tag of its own (RFC 9110, 8.8.3.3): a weak
//! one could not guard a write. Either tag names the version, and either is as good for a reader who has it.

use std::io::{self, Write};

use axum::body::{Body, HttpBody};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;

use super::accept::{JSON, read};
use super::body::HEAVY_BYTES;
use super::headers::compressed_etag;
use super::problem::{FAILED, Problem};
use crate::base::limits::GZIP_FROM_BYTES;

/// Does whoever asks take gzip, and at least as gladly as plain text?
pub(super) fn is_taken<B>(request: &Request<B>) -> bool {
    // Not for HEAD: what it would tell is found out by compressing.
    request.method() != Method::HEAD && takes_gzip(request.headers())
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut plain, mut other) = (None, None, None);
    for line in headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok()) {
        for (name, quality) in line.split(',').map(read) {
            match name {
                "*" => other = Some(quality),
                _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                    gzip = Some(quality);
                }
                _ if name.eq_ignore_ascii_case("identity") => plain = Some(quality),
                _ => {}
            }
        }
    }
    let gzip = gzip.or(other).unwrap_or(0);
    gzip > 0 && plain.is_none_or(|plain| plain <= gzip)
}

/// Would this answer be compressed for those who take it? Only what lies in memory as a whole, and is long.
pub(super) fn may_be(response: &Response) -> bool {
    let length = response.body().size_hint().exact().unwrap_or(0);
    let headers = response.headers();
    length >= GZIP_FROM_BYTES as u64
        && !headers.contains_key(CONTENT_ENCODING)
        && headers.get(CONTENT_TYPE).is_some_and(|found| found == JSON)
}

/// The answer, compressed if so `wanted`; caches are told that it depends.
pub(super) async fn gzip(response: Response, wanted: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let headers = &mut parts.headers;
    let told = |line: &HeaderValue| line.to_str().is_ok_and(|line| line.contains("Accept-Encoding"));
    if !headers.get_all(VARY).iter().any(told) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if !wanted {
        return Response::from_parts(parts, body);
    }
    let packed = match body.collect().await.map(|collected| collected.to_bytes()) {
        Ok(text) if text.len() < HEAVY_BYTES => packed(&text),
        Ok(text) => tokio::task::block_in_place(|| packed(&text)),
        Err(error) => return Problem::new(&FAILED, error.to_string()).into_response(),
    };
    let packed = match packed {
        Ok(packed) => packed,
        Err(error) => return Problem::new(&FAILED, error.to_string()).into_response(),
    };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(CONTENT_LENGTH, packed.len().into());
    if let Some(etag) = headers.get(ETAG).map(compressed_etag) {
        headers.insert(ETAG, etag);
    }
    Response::from_parts(parts, Body::from(packed))
}

fn packed(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let ask = |line: &str| {
            takes_gzip(&[(ACCEPT_ENCODING, line.parse().expect("a value"))].into_iter().collect())
        };
        for line in ["gzip", "br, GZIP;q=0.5", "*", "x-gzip", "gzip, identity;q=0.5", "identity;q=0, *;q=0.1"]
        {
            assert!(ask(line), "{line}");
        }
        for line in ["", "br", "gzip;q=0", "gzip;q=0, *", "*;q=0", "identity", "gzip;q=0.5, identity"] {
            assert!(!ask(line), "{line}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
