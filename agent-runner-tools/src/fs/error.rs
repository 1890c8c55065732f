//! What can go wrong with a project's files.

use std::{error::Error, fmt, io};

use agent_runner_core::tool::{ToolError, ToolErrorKind};

/// What happened, named for what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// The path or an option makes no sense.
    Invalid,
    /// It leads out of the project, through a link, to Git's own files or to a special file.
    Denied,
    /// There is nothing of that name.
    NotFound,
    /// Something else is in the way, such as a directory where a file is meant.
    Conflict,
    /// It is not what the caller expects it to be any more.
    Changed,
    /// The file or the content is larger than allowed.
    TooLarge,
    /// The disk or the quota is full.
    NoSpace,
    /// It took too long.
    Timeout,
    /// Nobody wants it any more.
    Cancelled,
    /// The disk failed, or the code did.
    Internal,
}

impl FileErrorKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Invalid,
        Self::Denied,
        Self::NotFound,
        Self::Conflict,
        Self::Changed,
        Self::TooLarge,
        Self::NoSpace,
        Self::Timeout,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Changed => "changed",
            Self::TooLarge => "too_large",
            Self::NoSpace => "no_space",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    const fn for_tool(self) -> ToolErrorKind {
        match self {
            Self::Invalid => ToolErrorKind::InvalidArgs,
            Self::Denied => ToolErrorKind::Denied,
            Self::NotFound => ToolErrorKind::NotFound,
            Self::Conflict | Self::Changed => ToolErrorKind::Conflict,
            Self::NoSpace => ToolErrorKind::NoSpace,
            Self::TooLarge => ToolErrorKind::TooLarge,
            Self::Timeout => ToolErrorKind::Timeout,
            Self::Cancelled => ToolErrorKind::Cancelled,
            Self::Internal => ToolErrorKind::Internal,
        }
    }
}

/// An error of a project's files. Its text names paths as the project sees them, never as the
/// host does, and may be shown to a model or a client.
#[derive(Debug)]
pub struct FileError {
    kind: FileErrorKind,
    message: String,
    effect_possible: bool,
    source: Option<io::Error>,
}

impl FileError {
    pub(super) fn new(kind: FileErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), effect_possible: false, source: None }
    }

    /// What the system said of `what`, a path of the project.
    pub(crate) fn io(what: impl fmt::Display, source: io::Error) -> Self {
        use io::ErrorKind as Io;
        let (kind, said) = match source.kind() {
            Io::NotFound => {
                (FileErrorKind::NotFound, "does not exist; list the files to see which do")
            }
            Io::PermissionDenied | Io::CrossesDevices => {
                (FileErrorKind::Denied, "may not be used; choose another path")
            }
            Io::ReadOnlyFilesystem => (FileErrorKind::Denied, "is on a disk that is read-only"),
            Io::IsADirectory => (FileErrorKind::Conflict, "is a directory; name a file inside it"),
            Io::NotADirectory => {
                (FileErrorKind::Conflict, "goes through a file as if it were a directory")
            }
            Io::InvalidFilename | Io::InvalidInput => {
                (FileErrorKind::Invalid, "is not a name this disk can keep; choose a shorter one")
            }
            Io::StorageFull | Io::QuotaExceeded => {
                (FileErrorKind::NoSpace, "does not fit: the disk is full; tell the operator")
            }
            _ => (FileErrorKind::Internal, "could not be used: the disk reported an error"),
        };
        Self {
            kind,
            message: format!("`{what}` {said}"),
            effect_possible: false,
            source: Some(source),
        }
    }

    pub(super) fn cancelled() -> Self {
        Self::new(FileErrorKind::Cancelled, "the file operation was cancelled")
    }

    pub(super) fn with_source(mut self, source: io::Error) -> Self {
        self.source = Some(source);
        self
    }

    /// The effect may have happened although there is an error.
    pub(super) const fn effect_possible(mut self) -> Self {
        self.effect_possible = true;
        self
    }

    /// What happened.
    #[must_use]
    pub const fn kind(&self) -> FileErrorKind {
        self.kind
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<FileError> for ToolError {
    fn from(error: FileError) -> Self {
        let mut answer = Self::new(error.kind.for_tool(), error.message);
        answer = match error.kind {
            FileErrorKind::Denied => answer.with_code("path_escape"),
            FileErrorKind::Changed => answer.with_code("etag_mismatch"),
            _ => answer,
        };
        if error.effect_possible {
            answer = answer.may_have_run();
        }
        match error.source {
            Some(source) => answer.with_source(source),
            None => answer,
        }
    }
}
