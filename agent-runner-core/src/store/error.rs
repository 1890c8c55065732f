//! What can go wrong with a store.

use std::{error::Error, fmt};

/// What happened, named for what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It is not there.
    NotFound,
    /// The caller does not own the run (any more), or the run ended: drop everything.
    Fenced,
    /// The run's control state moved: read it again and decide anew.
    ControlChanged,
    /// This id was accepted before.
    Duplicate,
    /// The state of things does not allow it.
    Conflict,
    /// The store is occupied: try again.
    Busy,
    /// The store cannot be reached or written; an operator has to look.
    Unavailable,
    /// There is no room left.
    Full,
    /// What is stored, or asked to be stored, breaks a rule that must hold.
    Corrupt,
    /// The database was written by a newer version of this library.
    NewerVersion,
}

impl StoreErrorKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::NotFound,
        Self::Fenced,
        Self::ControlChanged,
        Self::Duplicate,
        Self::Conflict,
        Self::Busy,
        Self::Unavailable,
        Self::Full,
        Self::Corrupt,
        Self::NewerVersion,
    ];

    /// The stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Fenced => "fenced",
            Self::ControlChanged => "control_changed",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::NewerVersion => "newer_version",
        }
    }

    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable | Self::Full)
    }
}

/// An error of a store.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of that kind; `context` says what was wrong, where, and what to do.
    #[must_use]
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// With its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happened.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
