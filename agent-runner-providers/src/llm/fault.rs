//! What a service says went wrong, before it is known which provider's error it becomes.

use std::time::Duration;

use agent_runner_core::llm::{ErrorKind, Recovery};

use crate::http::TooLong;

/// Something wrong, found in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What happened.
    pub(crate) kind: ErrorKind,
    /// The service's own code.
    pub(crate) code: Option<String>,
    /// The wait that the body asks for, where it does so in place of a header.
    pub(crate) retry_after: Option<Duration>,
    /// What to do, where the code says more than the kind.
    pub(crate) recovery: Option<Recovery>,
    /// The service's id of the request, where the head does not tell it.
    pub(crate) request_id: Option<String>,
    /// For people; the client cuts it to size and removes the key.
    pub(crate) message: String,
}

impl Fault {
    /// A fault without a code.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            retry_after: None,
            recovery: None,
            request_id: None,
            message: message.into(),
        }
    }

    /// With the service's own code.
    pub(crate) fn with_code(mut self, code: Option<String>) -> Self {
        self.code = code;
        self
    }

    /// The service sent what its protocol does not know.
    pub(crate) fn malformed(what: &str, text: &str) -> Self {
        Self::new(ErrorKind::MalformedResponse, format!("{what}: {text}"))
    }

    /// The kind of a failed request by its HTTP status alone.
    pub(crate) const fn kind_of_status(status: u16) -> ErrorKind {
        match status {
            401 => ErrorKind::Auth,
            402 => ErrorKind::QuotaExhausted,
            403 => ErrorKind::PermissionDenied,
            404 => ErrorKind::ModelNotFound,
            408 => ErrorKind::Timeout,
            413 => ErrorKind::PayloadTooLarge,
            429 => ErrorKind::RateLimited,
            // 498 is Groq's flex tier without capacity, 529 is what proxies of Anthropic pass on.
            498 | 503 | 529 => ErrorKind::Overloaded,
            // The official SDKs try again after a conflict as they do after a server error.
            409 | 500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::InvalidRequest,
        }
    }
}

impl From<TooLong> for Fault {
    fn from(TooLong { limit }: TooLong) -> Self {
        let message = format!("the service sent a single event larger than {limit} bytes");
        Self::new(ErrorKind::MalformedResponse, message)
    }
}
