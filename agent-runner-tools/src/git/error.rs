//! What goes wrong in repositories, as tools say it. What libgit2 says goes to the log only: its
//! words hold paths of the host.

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use git2::{ErrorClass, ErrorCode};
use tokio_util::sync::CancellationToken;

pub(super) fn invalid(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::InvalidArgs, said)
}

pub(super) fn conflict(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::Conflict, said)
}

pub(super) fn denied(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::Denied, said)
}

pub(super) fn not_found(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::NotFound, said)
}

pub(super) fn too_large(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::TooLarge, said)
}

pub(super) fn cancelled() -> ToolError {
    ToolError::new(ToolErrorKind::Cancelled, "the call was cancelled")
}

/// A use of a remote that the project's settings do not allow.
pub(super) fn remote_not_allowed(said: impl Into<String>) -> ToolError {
    denied(said).with_code("remote_not_allowed")
}

/// Ends work that nobody waits for any more.
pub(super) fn go_on(stop: &CancellationToken) -> Result<(), ToolError> {
    if stop.is_cancelled() { Err(cancelled()) } else { Ok(()) }
}

/// What libgit2 could not do.
pub(super) fn failed(what: &str) -> impl FnOnce(git2::Error) -> ToolError {
    let what = what.to_owned();
    move |error| {
        let (kind, why) = match (error.code(), error.class()) {
            (ErrorCode::Owner, _) => {
                (ToolErrorKind::Denied, "it belongs to another user of the machine")
            }
            (ErrorCode::Locked, _) => (ToolErrorKind::Conflict, "another program works in it"),
            (ErrorCode::User, _) => return cancelled(),
            (ErrorCode::NotFound, _) => {
                (ToolErrorKind::Conflict, "the repository lacks something that it should have")
            }
            (_, ErrorClass::Zlib | ErrorClass::Object | ErrorClass::Odb) => {
                (ToolErrorKind::Conflict, "the repository is damaged")
            }
            (_, ErrorClass::NoMemory) => (ToolErrorKind::TooLarge, "it is too large"),
            (_, ErrorClass::Os) => (ToolErrorKind::Internal, "the disk reported an error"),
            _ => (ToolErrorKind::Internal, "the repository may be damaged"),
        };
        ToolError::new(kind, format!("git could not {what}: {why}")).with_source(error)
    }
}

/// What the disk said of Git's own files.
pub(super) fn disk(error: std::io::Error) -> ToolError {
    use std::io::ErrorKind as Io;
    let (kind, said) = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => {
            (ToolErrorKind::NoSpace, "the disk is full; tell the operator")
        }
        Io::CrossesDevices => (
            ToolErrorKind::Internal,
            "the project's directory is on another disk than the workspace; tell the operator",
        ),
        _ => (ToolErrorKind::Internal, "git's files could not be used: the disk reported an error"),
    };
    ToolError::new(kind, said).with_source(error)
}
