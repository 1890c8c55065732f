//! The two spellings of a stream.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde::Serialize;

use crate::problem::{Code, Problem};

/// How a stream is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Server-sent events (HTML standard, section 9.2).
    Sse,
    /// One JSON document per line.
    Ndjson,
}

/// How soon an `EventSource` reconnects, in milliseconds.
const RETRY_MS: u32 = 2000;

impl Format {
    /// What the client accepts; server-sent events when it does not say.
    pub(crate) fn wanted(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut accept = headers.get_all(header::ACCEPT).iter().peekable();
        if accept.peek().is_none() {
            return Ok(Self::Sse);
        }
        let listed = accept.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        for media in listed {
            match media.split(';').next().unwrap_or_default().trim() {
                "text/event-stream" | "text/*" | "*/*" => return Ok(Self::Sse),
                "application/x-ndjson" | "application/ndjson" => return Ok(Self::Ndjson),
                _ => {}
            }
        }
        Err(Problem::new(
            Code::NotAcceptable,
            "a stream comes as text/event-stream or as application/x-ndjson",
        ))
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// What comes first, at once, so that a client sees that it is connected.
    pub(crate) fn hello(self) -> Bytes {
        match self {
            Self::Sse => Bytes::from(format!("retry: {RETRY_MS}\n\n")),
            Self::Ndjson => Bytes::new(),
        }
    }

    /// What keeps proxies from closing a silent connection.
    pub(crate) const fn keep_alive(self) -> Bytes {
        match self {
            Self::Sse => Bytes::from_static(b": keep-alive\n\n"),
            Self::Ndjson => Bytes::from_static(b"\n"),
        }
    }

    /// One frame. JSON has no line breaks, so no text can forge a frame.
    pub(crate) fn frame(self, id: Option<u64>, event: &str, data: &impl Serialize) -> Bytes {
        // The wire types have string keys only: it cannot fail.
        let json = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
        match (self, id) {
            (Self::Sse, Some(id)) => format!("id: {id}\nevent: {event}\ndata: {json}\n\n").into(),
            (Self::Sse, None) => format!("event: {event}\ndata: {json}\n\n").into(),
            (Self::Ndjson, _) => format!("{json}\n").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_cannot_forge_a_frame() {
        let evil = json!({"text": "x\n\nevent: run.completed\ndata: {}\r\n"});
        let bytes = Format::Sse.frame(Some(7), "llm.completed", &evil);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert!(text.starts_with("id: 7\nevent: llm.completed\ndata: {"));
        assert_eq!(text.matches("\n\n").count(), 1);
    }

    #[test]
    fn the_accept_header_decides() {
        let wanted = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            Format::wanted(&headers).ok()
        };
        assert_eq!(Format::wanted(&HeaderMap::new()).ok(), Some(Format::Sse));
        assert_eq!(wanted("*/*"), Some(Format::Sse));
        assert_eq!(wanted("application/x-ndjson"), Some(Format::Ndjson));
        assert_eq!(wanted("application/x-ndjson, */*;q=0.1"), Some(Format::Ndjson));
        assert_eq!(wanted("text/html"), None);
    }
}
