//! An answer as text, and where it came from.

use std::sync::LazyLock;

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use encoding_rs::{Encoding, UTF_8};
use regex::bytes::Regex;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::cache::Dated;

/// Bytes in which a page says how it is encoded (HTML standard, 13.2.3.2).
const PRESCAN: usize = 1_024;

static META: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)<meta[^>]{0,200}charset\s*=\s*["']?([a-z0-9_:.-]{1,40})"#).ok()
});

/// Where something was read, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Provenance {
    /// What was asked for.
    url: String,
    /// What answered, after redirects.
    final_url: String,
    /// The address that answered.
    ip: Option<String>,
    /// SHA-256 of the body as it was read, hex.
    sha256: String,
    /// When it was read (RFC 3339).
    fetched_at: String,
}

/// What kind of text a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Json,
    Text,
    /// No text.
    Binary,
}

/// An answer that came from the web.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) dated: Dated,
    pub(super) media_type: Option<String>,
    pub(super) kind: Kind,
    charset: Option<String>,
    asked: String,
}

impl Page {
    /// # Errors
    /// `RateLimited` for an answer that asks to wait.
    pub(super) fn new(asked: String, dated: Dated) -> Result<Self, ToolError> {
        asked_to_wait(&dated)?;
        let header = dated.answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mut parts = header.unwrap_or_default().split(';');
        let media_type = parts.next().map(|part| part.trim().to_ascii_lowercase());
        let media_type = media_type.filter(|text| !text.is_empty() && text.len() <= 100);
        let charset = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("charset").then(|| value.to_owned())
        });
        let kind = kind_of(media_type.as_deref());
        Ok(Self { dated, media_type, kind, charset, asked })
    }

    /// The host that answered.
    pub(super) fn host(&self) -> &str {
        self.dated.answer.final_url.host_str().unwrap_or_default()
    }

    /// Who wrote it.
    pub(super) fn origin(&self) -> String {
        format!("web:{}", self.host())
    }

    pub(super) fn provenance(&self) -> Provenance {
        let answer = &self.dated.answer;
        Provenance {
            url: self.asked.clone(),
            final_url: answer.final_url.to_string(),
            ip: answer.ip.map(|ip| ip.to_string()),
            sha256: Sha256::digest(&answer.body).iter().map(|b| format!("{b:02x}")).collect(),
            fetched_at: self.dated.fetched_at.to_string(),
        }
    }

    /// The body as text, by its byte order mark, its header, what the page says of itself, else
    /// as UTF-8.
    pub(super) fn text(&self) -> Result<String, ToolError> {
        if self.kind == Kind::Binary {
            let kind = self.media_type.as_deref().unwrap_or("of no stated type");
            let said = format!(
                "the body is {kind}, no text: keep it with `save_as` of web.fetch, or read \
                 something else"
            );
            return Err(ToolError::new(ToolErrorKind::InvalidArgs, said).may_have_run());
        }
        let body = &self.dated.answer.body;
        let stated = self.charset.as_deref().and_then(|name| Encoding::for_label(name.as_bytes()));
        let encoding = stated.or_else(|| self.own_encoding()).unwrap_or(UTF_8);
        // Looks for a byte order mark first; what makes no sense becomes U+FFFD.
        let (text, ..) = encoding.decode(body);
        Ok(text.into_owned())
    }

    fn own_encoding(&self) -> Option<&'static Encoding> {
        let body = &self.dated.answer.body;
        let start = body.get(..PRESCAN.min(body.len()))?;
        if self.kind != Kind::Html {
            return None;
        }
        let found = META.as_ref()?.captures(start)?.get(1)?;
        Encoding::for_label(found.as_bytes())
    }
}

/// By what the server says, never by what the bytes look like.
fn kind_of(media_type: Option<&str>) -> Kind {
    match media_type {
        Some("text/html" | "application/xhtml+xml") => Kind::Html,
        Some("application/json") => Kind::Json,
        Some(
            "application/xml"
            | "application/javascript"
            | "application/x-ndjson"
            | "application/yaml"
            | "application/toml",
        ) => Kind::Text,
        Some(other) if other.ends_with("+json") => Kind::Json,
        Some(other) if other.starts_with("text/") || other.ends_with("+xml") => Kind::Text,
        Some(_) | None => Kind::Binary,
    }
}

/// 429 (RFC 6585, section 4), and 503 with a `Retry-After` in seconds.
fn asked_to_wait(dated: &Dated) -> Result<(), ToolError> {
    let answer = &dated.answer;
    let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds: Option<u32> = seconds.and_then(|text| text.trim().parse().ok());
    if answer.status != 429 && !(answer.status == 503 && seconds.is_some()) {
        return Ok(());
    }
    let host = answer.final_url.host_str().unwrap_or_default();
    let said = format!("{host} asks to be left alone for a while (status {})", answer.status);
    let error = ToolError::new(ToolErrorKind::RateLimited, said).may_have_run();
    Err(match seconds {
        Some(seconds) => error.with_retry_after(std::time::Duration::from_secs(seconds.into())),
        None => error,
    })
}
