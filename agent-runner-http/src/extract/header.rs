//! Headers that routes act on.

use std::fmt::Write as _;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use sha2::{Digest as _, Sha256};

use crate::{api::Api, problem::Problem};

/// Longest idempotency key (HTTP-3).
const KEY_BYTES_MAX: usize = 255;

/// The `Idempotency-Key` header, if there is one.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl IdempotencyKey {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(Self(None)) };
        let text = value.to_str().map(str::trim).unwrap_or_default();
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            return Err(Problem::field(
                "/idempotency_key",
                format!(
                    "the Idempotency-Key header must have 1 to {KEY_BYTES_MAX} ASCII characters"
                ),
            ));
        }
        Ok(Self(Some(text.to_owned())))
    }

    /// An inbox id made of the key, so that a repeated message is recognised by the run's own
    /// journal even when the record of the first answer is gone.
    pub(crate) fn inbox_id(&self) -> Option<String> {
        let key = self.0.as_deref()?;
        Some(format!("idempotency-{}", sha256_hex(&[key.as_bytes()])))
    }
}

impl FromRequestParts<Api> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers)
    }
}

/// The version that `If-Match` names, if it names one.
#[derive(Debug)]
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl FromRequestParts<Api> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().map(str::trim).unwrap_or_default();
        if text == "*" {
            return Ok(Self(None));
        }
        // A tag that this service never made fits nothing: version 0 does not exist.
        let version = text.strip_prefix("\"v").and_then(|rest| rest.strip_suffix('"'));
        Ok(Self(Some(version.and_then(|digits| digits.parse().ok()).unwrap_or(0))))
    }
}

/// SHA-256 over `parts`, each closed by a NUL, as lower-case hex.
pub(crate) fn sha256_hex(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    hex(&hasher.finalize())
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
