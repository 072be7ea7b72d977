//! `GET /docs`: the description, shown in a browser. One page that needs nothing else, from this node or any other.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::openapi;

pub(super) const PATH: &str = "/docs";

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Nothing but the style and the script of this page; both are known by their hashes.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

static PAGE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(page(&openapi::TEXT)));

pub(super) async fn answer() -> Response {
    let mut response = Response::new(Body::from(PAGE.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn page(description: &str) -> String {
    // Nothing in the description may end the element that it stands in.
    let description = description.replace('<', "\\u003c");
    FRAME.replace("{style}", STYLE).replace("{script}", SCRIPT).replace("{description}", &description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_cannot_end_the_element_it_stands_in() {
        let page = page(r#"{"a": "</script><script>alert(1)</script>"}"#);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("\\u003c/script>"));
    }

    #[test]
    fn the_page_asks_nobody_for_anything() {
        for word in
            ["src=", "fetch(", "XMLHttpRequest", "WebSocket", "import", "innerHTML", "style=", "onclick"]
        {
            assert!(![FRAME, STYLE, SCRIPT].iter().any(|part| part.contains(word)), "{word}");
        }
        assert!(!STYLE.contains("url("));
        assert!(!page("{}").contains("{style}") && page("{}").contains(SCRIPT));
    }

    #[test]
    fn the_policy_knows_style_and_script() {
        let policy = POLICY.to_str().expect("ASCII");
        assert_eq!(policy.matches("'sha256-").count(), 2);
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));
    }
}
