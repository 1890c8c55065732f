//! Bytes for clients: ranges, conditions, and headers that keep a browser from running them
//! (HTTP-7 of the security requirements).

use std::ops::Range;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::problem::{Code, Problem};

/// What may not stand as it is in an `ext-value` (RFC 8187, section 3.2.1).
const EXT_VALUE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'*')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

/// Media types that are sent as they are; all others as bytes.
const PLAIN: [&str; 9] = [
    "text/plain",
    "text/markdown",
    "text/csv",
    "text/x-diff",
    "application/json",
    "application/pdf",
    "application/zip",
    "image/png",
    "image/jpeg",
];

/// What is sent.
pub(crate) struct Meta<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its media type.
    pub(crate) media_type: &'a str,
    /// Its size.
    pub(crate) bytes: u64,
    /// SHA-256 of it, hex.
    pub(crate) sha256: &'a str,
}

/// A strong tag (RFC 9110, section 8.8.3).
pub(crate) fn etag(sha256: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{sha256}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client has that content already.
pub(crate) fn is_known(headers: &HeaderMap, sha256: &str) -> bool {
    let Some(tags) = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| {
        tag == "*" || tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')) == Some(sha256)
    })
}

pub(crate) fn not_modified(sha256: &str) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag(sha256))]).into_response()
}

/// The one range that is asked for; `None` for the whole. What is no range of bytes is ignored, as
/// RFC 9110 (section 14.2) has it; so is a range under an `If-Range` that does not hold.
///
/// # Errors
/// 416 for a range that begins after the end.
pub(crate) fn range(
    headers: &HeaderMap,
    bytes: u64,
    sha256: &str,
) -> Result<Option<Range<u64>>, Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|tag| tag.trim_matches('"') != sha256) {
        return Ok(None);
    }
    let Some(spec) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let outside =
        || Problem::new(Code::RangeNotSatisfiable, format!("there are {bytes} bytes, not so many"));
    let (start, end) = match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
        (Some(start), Some(last)) if last >= start => (start, last.saturating_add(1).min(bytes)),
        (Some(start), None) if last.is_empty() => (start, bytes),
        (None, Some(0)) if first.is_empty() => return Err(outside()),
        (None, Some(tail)) if first.is_empty() => (bytes.saturating_sub(tail), bytes),
        _ => return Ok(None),
    };
    if start >= bytes {
        return Err(outside());
    }
    Ok(Some(start..end))
}

/// The answer that carries the bytes of `range`, or all of them.
pub(crate) fn respond(meta: &Meta<'_>, range: Option<&Range<u64>>, body: Body) -> Response {
    let (status, length) = match range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range.end - range.start),
        None => (StatusCode::OK, meta.bytes),
    };
    let essence = meta.media_type.split(';').next().unwrap_or_default().trim();
    let media_type = match PLAIN.iter().find(|plain| **plain == essence.to_ascii_lowercase()) {
        Some(plain) if plain.starts_with("text/") => format!("{plain}; charset=utf-8"),
        Some(plain) => (*plain).to_owned(),
        None => "application/octet-stream".to_owned(),
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, HeaderValue::from_str(&media_type).ok());
    set(header::CONTENT_LENGTH, Some(HeaderValue::from(length)));
    set(header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition(meta.name)).ok());
    set(header::ETAG, Some(etag(meta.sha256)));
    set(header::ACCEPT_RANGES, Some(HeaderValue::from_static("bytes")));
    set(header::CACHE_CONTROL, Some(HeaderValue::from_static("private, no-cache")));
    set(header::X_CONTENT_TYPE_OPTIONS, Some(HeaderValue::from_static("nosniff")));
    let sandbox = HeaderValue::from_static("sandbox; default-src 'none'");
    set(header::CONTENT_SECURITY_POLICY, Some(sandbox));
    if let Some(Range { start, end }) = range {
        let text = format!("bytes {start}-{}/{}", end.saturating_sub(1), meta.bytes);
        set(header::CONTENT_RANGE, HeaderValue::from_str(&text).ok());
    }
    response
}

/// `attachment` with the name in the two forms of RFC 6266.
pub(crate) fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    let exact = utf8_percent_encode(name, EXT_VALUE);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(range).unwrap())])
    }

    #[test]
    fn a_range_is_within_the_bytes_or_refused_or_ignored() {
        for (text, want) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-4", Some(2..5)),
            ("bytes=2-", Some(2..10)),
            ("bytes=2-99", Some(2..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=x-y", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(range(&asked(text), 10, "s").unwrap(), want, "{text}");
        }
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            let refused = range(&asked(text), 10, "s").unwrap_err();
            assert_eq!(refused.code(), Code::RangeNotSatisfiable, "{text}");
        }
        let mut headers = asked("bytes=0-1");
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(range(&headers, 10, "s").unwrap(), None);
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        let shown = disposition("a\r\nSet-Cookie: x=1; \"é\".txt");
        assert!(!shown.contains(['\r', '\n']), "{shown}");
        assert_eq!(shown.matches('"').count(), 2, "{shown}");
        assert!(HeaderValue::from_str(&shown).is_ok());
        assert!(
            shown.ends_with("filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x%3D1%3B%20%22%C3%A9%22.txt")
        );
    }
}
