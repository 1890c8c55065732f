//! What can go wrong with a tool.

use std::{error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolErrorKind {
    /// The arguments do not fit the schema or make no sense.
    InvalidArgs,
    /// The run has no such tool.
    UnknownTool,
    /// What the call names is not there.
    NotFound,
    /// The call is not allowed.
    Denied,
    /// The state of things does not allow it now.
    Conflict,
    /// Too many calls.
    RateLimited,
    /// The connection could not be made or broke.
    Network,
    /// It took too long.
    Timeout,
    /// The run no longer wants it.
    Cancelled,
    /// Input or output is larger than allowed.
    TooLarge,
    /// There is no room for it: a quota or the disk.
    NoSpace,
    /// Whether it happened is not known, and it must not be tried again.
    Indeterminate,
    /// A defect of the tool.
    Internal,
}

impl ToolErrorKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::InvalidArgs,
        Self::UnknownTool,
        Self::NotFound,
        Self::Denied,
        Self::Conflict,
        Self::RateLimited,
        Self::Network,
        Self::Timeout,
        Self::Cancelled,
        Self::TooLarge,
        Self::NoSpace,
        Self::Indeterminate,
        Self::Internal,
    ];

    /// The stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgs => "invalid_args",
            Self::UnknownTool => "unknown_tool",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::RateLimited => "rate_limited",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::TooLarge => "too_large",
            Self::NoSpace => "no_space",
            Self::Indeterminate => "indeterminate",
            Self::Internal => "internal",
        }
    }

    /// Whether another try may cure it.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Network | Self::Timeout)
    }
}

/// An error of a tool.
#[derive(Debug)]
pub struct ToolError {
    kind: ToolErrorKind,
    for_model: String,
    code: Option<&'static str>,
    may_have_run: bool,
    retry_after: Option<Duration>,
    untrusted: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ToolError {
    /// An error whose effect certainly did not happen. `for_model` says what was wrong and what
    /// to do instead; it is sent to the model.
    #[must_use]
    pub fn new(kind: ToolErrorKind, for_model: impl Into<String>) -> Self {
        Self {
            kind,
            for_model: for_model.into(),
            code: None,
            may_have_run: false,
            retry_after: None,
            untrusted: None,
            source: None,
        }
    }

    /// The effect may have happened.
    #[must_use]
    pub const fn may_have_run(mut self) -> Self {
        self.may_have_run = true;
        self
    }

    /// What exactly it was, for programs: lower case with `_`, such as `path_escape`.
    #[must_use]
    pub const fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The time to wait before another try.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the model is told has words of somebody who is not trusted, such as `mcp:tickets`; see
    /// [`ToolOutput::untrusted`](super::ToolOutput::untrusted).
    #[must_use]
    pub fn untrusted(mut self, origin: impl Into<String>) -> Self {
        self.untrusted = Some(origin.into());
        self
    }

    /// With its cause, which is logged and never sent to the model.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happened.
    #[must_use]
    pub const fn kind(&self) -> ToolErrorKind {
        self.kind
    }

    /// What exactly it was; the kind's spelling unless the tool says more.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code.unwrap_or(self.kind.as_str())
    }

    /// What the model is told.
    #[must_use]
    pub fn for_model(&self) -> &str {
        &self.for_model
    }

    /// Whether the effect may have happened.
    #[must_use]
    pub const fn effect_possible(&self) -> bool {
        self.may_have_run
    }

    /// Whose words are in what the model is told, when nobody in charge trusts them.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.untrusted.as_deref()
    }

    /// The time to wait before another try.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.for_model)
    }
}

impl Error for ToolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
