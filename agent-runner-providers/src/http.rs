//! Talking HTTP to model services: one client, two stream decoders, no secret in any error.
//!
//! Nothing here knows a provider. Nothing here retries: the engine does, durably and in the open.

mod answer;
mod base;
mod client;
mod ndjson;
mod piece;
mod rate_limits;
mod redact;
mod retry_after;
mod scrub;
mod sse;

pub(crate) use self::base::base_url;
pub use self::client::Timeouts;
pub(crate) use self::ndjson::LineDecoder;
pub(crate) use self::sse::SseDecoder;
pub(crate) use self::sse::SseEvent;
pub(crate) use self::{
    answer::{Body, Refusal},
    client::HttpClient,
};

/// Longest event or line of a stream in bytes. Tool arguments arrive in one line from some
/// servers, so a megabyte is too small; a server that never ends its line must not fill memory.
pub(crate) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A single event or line of a stream that is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// The bound in bytes.
    pub(crate) limit: usize,
}
