//! Files of a run's project, and nothing beside them.
//!
//! [`Workspace`] is the only way in: it is opened once from the server's configuration and hands
//! out [`ProjectDir`]s, whose methods take a [`RelPath`] and never a path of the host. Every
//! component of a path is opened by handle, one by one and without following links, so what was
//! checked is what is used.

mod error;
mod list;
mod project_dir;
mod rel_path;
mod tools;
mod workspace;

pub use self::{
    error::{FileError, FileErrorKind},
    list::{Entry, EntryKind, ListOptions, Listing},
    project_dir::{ProjectDir, Written},
    rel_path::RelPath,
    tools::{FilesList, FilesRead, FilesWrite},
    workspace::{FsLimits, Workspace},
};

#[cfg(test)]
mod tests;
