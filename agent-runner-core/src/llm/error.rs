//! What can go wrong with a provider, and what to do about it.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is missing or wrong.
    Auth,
    /// The key may not do this.
    PermissionDenied,
    /// The account has no money or quota left.
    QuotaExhausted,
    /// Too many requests or tokens in a time.
    RateLimited,
    /// The service has no capacity now.
    Overloaded,
    /// The service answered with a server error.
    Unavailable,
    /// The connection could not be made or broke.
    Network,
    /// Nothing came in time.
    Timeout,
    /// The conversation does not fit the model.
    ContextLength,
    /// The request is larger than the service takes.
    PayloadTooLarge,
    /// A filter blocked the prompt or the reply.
    ContentFilter,
    /// The request is not what the service understands.
    InvalidRequest,
    /// The model cannot do what was asked.
    UnsupportedFeature,
    /// There is no such model.
    ModelNotFound,
    /// The reply ended before it was complete.
    StreamTruncated,
    /// The reply is not what the protocol says.
    MalformedResponse,
    /// The caller gave up.
    Cancelled,
    /// A defect of the provider's implementation.
    Internal,
}

/// What the caller should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Recovery {
    /// Try again, later.
    Retry,
    /// Try again with a shorter conversation.
    Compact,
    /// Another provider may help; a person has to mend this one.
    Mend,
    /// Nothing helps.
    GiveUp,
}

/// Whether the request reached the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth case")]
pub enum SendState {
    /// It certainly did not.
    NotSent,
    /// Nobody knows.
    Unknown,
    /// It did, and may be billed.
    Sent,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Auth,
        Self::PermissionDenied,
        Self::QuotaExhausted,
        Self::RateLimited,
        Self::Overloaded,
        Self::Unavailable,
        Self::Network,
        Self::Timeout,
        Self::ContextLength,
        Self::PayloadTooLarge,
        Self::ContentFilter,
        Self::InvalidRequest,
        Self::UnsupportedFeature,
        Self::ModelNotFound,
        Self::StreamTruncated,
        Self::MalformedResponse,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::PermissionDenied => "permission_denied",
            Self::QuotaExhausted => "quota_exhausted",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::ContextLength => "context_length",
            Self::PayloadTooLarge => "payload_too_large",
            Self::ContentFilter => "content_filter",
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedFeature => "unsupported_feature",
            Self::ModelNotFound => "model_not_found",
            Self::StreamTruncated => "stream_truncated",
            Self::MalformedResponse => "malformed_response",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// What the caller should do.
    #[must_use]
    pub const fn recovery(self) -> Recovery {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Unavailable
            | Self::Network
            | Self::Timeout
            | Self::StreamTruncated
            | Self::MalformedResponse => Recovery::Retry,
            Self::ContextLength | Self::PayloadTooLarge => Recovery::Compact,
            Self::Auth
            | Self::PermissionDenied
            | Self::QuotaExhausted
            | Self::ModelNotFound
            | Self::UnsupportedFeature => Recovery::Mend,
            Self::ContentFilter | Self::InvalidRequest | Self::Cancelled | Self::Internal => {
                Recovery::GiveUp
            }
        }
    }
}

/// An error of a provider. It never contains a key, a header or a URL's query.
#[derive(Debug)]
pub struct ProviderError {
    kind: ErrorKind,
    provider: Cow<'static, str>,
    context: String,
    http_status: Option<u16>,
    // Boxed strings keep the error below the size that a `Result` should carry.
    code: Option<Box<str>>,
    request_id: Option<Box<str>>,
    retry_after: Option<Duration>,
    sent: SendState,
    recovery: Option<Recovery>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ProviderError {
    /// An error of that kind; `context` says what was wrong and what to do, for people.
    #[must_use]
    pub fn new(
        kind: ErrorKind,
        provider: impl Into<Cow<'static, str>>,
        context: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            provider: provider.into(),
            context: context.into(),
            http_status: None,
            code: None,
            request_id: None,
            retry_after: None,
            sent: SendState::Unknown,
            recovery: None,
            source: None,
        }
    }

    /// With the HTTP status of the answer.
    #[must_use]
    pub const fn with_http_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    /// With the service's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into().into_boxed_str());
        self
    }

    /// With the service's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into().into_boxed_str());
        self
    }

    /// With the time the service asks to wait.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With what is known of the request's way.
    #[must_use]
    pub const fn with_sent(mut self, sent: SendState) -> Self {
        self.sent = sent;
        self
    }

    /// With what the service itself says the caller should do (`x-should-retry`), which then
    /// counts more than the kind.
    #[must_use]
    pub const fn with_recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = Some(recovery);
        self
    }

    /// With its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happened.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The provider's id.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// What was wrong, for people, without the provider's name.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The HTTP status of the answer, if there was one.
    #[must_use]
    pub const fn http_status(&self) -> Option<u16> {
        self.http_status
    }

    /// The service's own code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The service's id of the request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The time the service asks to wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The whole error on one line, with the service's id of the request for its support.
    #[must_use]
    pub fn report(&self) -> String {
        match self.request_id() {
            Some(id) => format!("{self} (request {id})"),
            None => self.to_string(),
        }
    }

    /// Whether the request reached the service.
    #[must_use]
    pub const fn sent(&self) -> SendState {
        self.sent
    }

    /// What the caller should do: what the service said, else what the kind says.
    #[must_use]
    pub const fn recovery(&self) -> Recovery {
        match self.recovery {
            Some(recovery) => recovery,
            None => self.kind.recovery(),
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.context)?;
        if let Some(status) = self.http_status {
            write!(f, " (HTTP {status})")?;
        }
        Ok(())
    }
}

impl Error for ProviderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
