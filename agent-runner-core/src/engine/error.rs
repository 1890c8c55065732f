//! What can go wrong when the engine is asked for something.

use std::{error::Error, fmt};

use crate::store::{StoreError, StoreErrorKind};

/// What happened, named for what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineErrorKind {
    /// It is not there.
    NotFound,
    /// The request makes no sense; see [`EngineError::fields`].
    Validation,
    /// The run's state does not allow it.
    InvalidTransition,
    /// Something else changed it in the meantime, or it is in use.
    Conflict,
    /// It was there, and is over.
    Gone,
    /// The idempotency key was used for another request.
    IdempotencyMismatch,
    /// It is larger than allowed.
    TooLarge,
    /// What was sent broke off.
    BrokenOff,
    /// Too much is going on: try again.
    Busy,
    /// The store cannot be reached or written.
    StoreUnavailable,
    /// There is no room left.
    StoreFull,
    /// A rule that must hold is broken: a defect or a damaged database.
    Internal,
}

impl EngineErrorKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::NotFound,
        Self::Validation,
        Self::InvalidTransition,
        Self::Conflict,
        Self::Gone,
        Self::IdempotencyMismatch,
        Self::TooLarge,
        Self::BrokenOff,
        Self::Busy,
        Self::StoreUnavailable,
        Self::StoreFull,
        Self::Internal,
    ];
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Its place as a JSON Pointer (RFC 6901), such as `/options/max_steps`.
    pub pointer: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// An error of the engine.
#[derive(Debug)]
pub struct EngineError {
    kind: EngineErrorKind,
    context: String,
    fields: Vec<FieldError>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EngineError {
    /// An error of that kind; `context` says what was wrong and what to do.
    #[must_use]
    pub fn new(kind: EngineErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), fields: Vec::new(), source: None }
    }

    /// A request whose fields make no sense.
    #[must_use]
    pub fn validation(fields: Vec<FieldError>) -> Self {
        let mut error = Self::new(EngineErrorKind::Validation, "the request has wrong fields");
        error.fields = fields;
        error
    }

    /// With its cause, which is logged and never shown.
    pub(super) fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happened.
    #[must_use]
    pub const fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// The fields that are wrong, for `Validation`.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        for (n, field) in self.fields.iter().enumerate() {
            write!(f, "{} {}: {}", if n == 0 { ":" } else { ";" }, field.pointer, field.detail)?;
        }
        Ok(())
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        use StoreErrorKind as S;
        let kind = match error.kind() {
            S::NotFound => EngineErrorKind::NotFound,
            S::Conflict | S::Duplicate => EngineErrorKind::Conflict,
            S::Busy | S::ControlChanged | S::Fenced => EngineErrorKind::Busy,
            S::Unavailable | S::NewerVersion => EngineErrorKind::StoreUnavailable,
            S::Full => EngineErrorKind::StoreFull,
            S::Corrupt => EngineErrorKind::Internal,
        };
        Self { kind, context: error.to_string(), fields: Vec::new(), source: Some(Box::new(error)) }
    }
}
