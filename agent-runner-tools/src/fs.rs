//! Files of a run's project, and nothing beside them.
//!
//! [`Workspace`] is the only way in: it is opened once from the server's configuration and hands
//! out [`ProjectDir`]s, whose methods take a [`RelPath`] and never a path of the host. Every
//! component of a path is opened by handle, one by one and without following links, so what was
//! checked is what is used.

mod baseline;
mod diff;
mod edit;
mod error;
mod find;
mod list;
mod port;
mod project_dir;
mod quota;
mod rel_path;
mod tools;
mod verbs;
mod workspace;

pub use self::{
    diff::{ChangeKind, ChangedFile, RunDiff},
    error::{FileError, FileErrorKind},
    find::{Glob, Hit, Hits, Search},
    list::{Entry, EntryKind, ListOptions, Listing},
    project_dir::{Expected, ProjectDir, Written},
    rel_path::RelPath,
    tools::{
        FilesAppend, FilesCopy, FilesDelete, FilesDiff, FilesEdit, FilesGlob, FilesList,
        FilesMkdir, FilesMove, FilesPatch, FilesRead, FilesSearch, FilesWrite,
    },
    verbs::{Existing, Removed},
    workspace::{FsLimits, Workspace},
};

#[cfg(all(feature = "shell", target_os = "linux"))]
pub(crate) use self::workspace::ProgramDir;
#[cfg(feature = "git")]
pub(crate) use self::{project_dir::Missing, quota::Usage, rel_path::check_component};

#[cfg(test)]
mod tests;
