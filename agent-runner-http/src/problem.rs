//! Errors as people and programs see them: `application/problem+json` (RFC 9457).
//!
//! This is the one map from what went wrong inside to status, code and words outside. Causes stay
//! inside: they are logged here and never sent.

mod code;
mod tool;

use agent_runner_core::{
    engine::{EngineError, EngineErrorKind},
    llm::{ErrorKind, ProviderError},
    store::StoreError,
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::{error, warn};
use utoipa::ToSchema;

pub(crate) use self::code::Code;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// Its place as a JSON Pointer (RFC 6901); `/limit` for the query parameter `limit`.
    #[schema(examples("/options/max_steps"))]
    pub(crate) pointer: String,
    /// What is wrong and what to do.
    pub(crate) detail: String,
}

/// An error on its way out. The request id and path are added when it leaves.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldProblem>,
    retry_after_seconds: Option<u32>,
}

/// Every error of this service (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A reference to the description of this kind of error.
    #[serde(rename = "type")]
    #[schema(examples("/docs#problem-validation"))]
    pub(crate) kind: String,
    /// The kind of error in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What was wrong this time and what to do.
    pub(crate) detail: String,
    /// The path that was asked.
    pub(crate) instance: String,
    /// The kind of error for programs.
    #[schema(examples("validation"))]
    pub(crate) code: String,
    /// Names this request in the server's log; also in the `X-Request-Id` header.
    pub(crate) request_id: String,
    /// The fields that are wrong; empty for errors that are not about fields.
    pub(crate) errors: Vec<FieldProblem>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_seconds: None }
    }

    /// A request of which one field is wrong.
    pub(crate) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldProblem { pointer: pointer.into(), detail: detail.into() }])
    }

    /// A request whose fields are wrong; there is at least one.
    pub(crate) fn fields(errors: Vec<FieldProblem>) -> Self {
        let first = errors.first().map_or_else(String::new, |e| {
            if e.pointer.is_empty() {
                e.detail.clone()
            } else {
                format!("{}: {}", e.pointer, e.detail)
            }
        });
        let detail = match errors.len() {
            0 | 1 => first,
            n => format!("{first} (and {} more)", n - 1),
        };
        Self { errors, ..Self::new(Code::Validation, detail) }
    }

    pub(crate) const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            Code::Internal,
            "something is wrong inside; the log has the cause under this request id",
        )
    }

    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    /// What a bare response of that status means, for those made by axum and hyper themselves.
    pub(crate) fn from_response(response: &Response) -> Self {
        let status = response.status();
        let allow = response.headers().get(header::ALLOW).and_then(|value| value.to_str().ok());
        let detail = match (status, allow) {
            (StatusCode::METHOD_NOT_ALLOWED, Some(allow)) => {
                format!("this resource does not take that method; use one of {allow}")
            }
            _ => Code::from_status(status).title().to_owned(),
        };
        Self::new(Code::from_status(status), detail)
    }

    /// The body as it is sent.
    pub(crate) fn body(&self, instance: &str, request_id: &str) -> ProblemBody {
        ProblemBody {
            kind: format!("/docs#problem-{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            instance: instance.to_owned(),
            code: self.code.as_str().to_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
        }
    }
}

impl IntoResponse for Problem {
    /// The body is written by the outermost layer, which knows request id and path.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The code of an engine's error kind.
fn engine_code(kind: EngineErrorKind) -> Code {
    match kind {
        EngineErrorKind::NotFound => Code::NotFound,
        EngineErrorKind::Validation => Code::Validation,
        EngineErrorKind::InvalidTransition => Code::InvalidTransition,
        EngineErrorKind::Conflict => Code::Conflict,
        EngineErrorKind::Gone => Code::Expired,
        EngineErrorKind::IdempotencyMismatch => Code::IdempotencyMismatch,
        EngineErrorKind::TooLarge => Code::TooLarge,
        EngineErrorKind::BrokenOff => Code::BadRequest,
        EngineErrorKind::Busy => Code::Overloaded,
        EngineErrorKind::StoreUnavailable => Code::StoreUnavailable,
        EngineErrorKind::StoreFull => Code::Quota,
        // A kind this version does not know is a defect until it gets its row; a test walks all.
        EngineErrorKind::Internal | _ => Code::Internal,
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        match engine_code(error.kind()) {
            Code::Validation if !error.fields().is_empty() => Self::fields(
                error
                    .fields()
                    .iter()
                    .map(|f| FieldProblem { pointer: f.pointer.clone(), detail: f.detail.clone() })
                    .collect(),
            ),
            Code::Overloaded => Self::new(Code::Overloaded, error.to_string()).retry_after(1),
            Code::StoreUnavailable => {
                warn!(%error, cause, "the store does not answer");
                Self::new(
                    Code::StoreUnavailable,
                    "the database cannot be reached or written; try again later",
                )
                .retry_after(5)
            }
            Code::Quota => {
                error!(%error, cause, "the store is full");
                Self::new(
                    Code::Quota,
                    "the database has no room left; an operator has to make some",
                )
            }
            Code::Internal => {
                error!(%error, cause, "a request failed inside");
                Self::internal()
            }
            code => Self::new(code, error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        match error.kind() {
            ErrorKind::ModelNotFound => Self::field("/model", error.report()),
            ErrorKind::InvalidRequest
            | ErrorKind::UnsupportedFeature
            | ErrorKind::ContextLength
            | ErrorKind::PayloadTooLarge => Self::new(Code::Validation, error.report()),
            _ => {
                warn!(%error, kind = error.kind().as_str(), "a provider did not answer well");
                let detail = format!("{} [{}]", error.report(), error.kind().as_str());
                let problem = Self::new(Code::ProviderError, detail);
                match error.retry_after().and_then(|wait| u32::try_from(wait.as_secs()).ok()) {
                    Some(seconds) => problem.retry_after(seconds.max(1)),
                    None => problem,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_runner_core::engine::FieldError;

    use super::*;

    #[test]
    fn every_engine_error_kind_has_its_own_code_and_only_internal_is_internal() {
        let mut seen = Vec::new();
        for kind in EngineErrorKind::ALL {
            let code = engine_code(kind);
            assert_eq!(code == Code::Internal, kind == EngineErrorKind::Internal, "{kind:?}");
            assert!(!seen.contains(&code), "{kind:?} shares {code:?}");
            seen.push(code);
            let problem = Problem::from(EngineError::new(kind, "said inside"));
            assert_eq!(problem.code(), code);
        }
    }

    #[test]
    fn what_happened_inside_is_not_told_outside() {
        for kind in [
            EngineErrorKind::Internal,
            EngineErrorKind::StoreUnavailable,
            EngineErrorKind::StoreFull,
        ] {
            let problem = Problem::from(EngineError::new(kind, "/var/lib/secret.db: EIO"));
            assert!(!problem.detail.contains("secret"), "{kind:?}: {}", problem.detail);
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        let error = EngineError::validation(vec![
            FieldError { pointer: "/goal".into(), detail: "say it".into() },
            FieldError { pointer: "/tags".into(), detail: "fewer".into() },
        ]);
        let body = Problem::from(error).body("/runs", "r1");
        assert_eq!(body.errors.len(), 2);
        assert_eq!(body.detail, "/goal: say it (and 1 more)");
        assert_eq!((body.status, body.code.as_str()), (422, "validation"));
    }
}
