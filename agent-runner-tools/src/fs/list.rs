//! Listing a directory tree under a budget.

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, DirEntry};
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{error::FileError, rel_path::check_component, workspace::FsLimits};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, which no operation follows.
    Symlink,
    /// A pipe, socket or device, which no operation opens.
    Special,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Entry {
    /// Its path from the project's directory.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes in a regular file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A listing, sorted by name, each directory before what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether there is more than fits the limit, the depth or the budget of one call.
    pub truncated: bool,
    /// Entries left out because no path can name them, Git's own directory among them.
    pub hidden: u64,
}

/// What to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Whether to list what is in the directories too.
    pub recursive: bool,
    /// Most entries; the limit of the workspace when `None` or above it.
    pub limit: Option<usize>,
}

impl ListOptions {
    /// The same, with everything below.
    #[must_use]
    pub const fn recursive(mut self) -> Self {
        self.recursive = true;
        self
    }

    /// The same, with at most `limit` entries.
    #[must_use]
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// A walk in progress.
pub(super) struct Walk<'a> {
    limits: FsLimits,
    recursive: bool,
    limit: usize,
    stop: &'a CancellationToken,
    depth: usize,
    /// Directory entries read so far.
    seen: usize,
    found: Listing,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        limits: FsLimits,
        options: &ListOptions,
        stop: &'a CancellationToken,
    ) -> Self {
        let limit = options.limit.unwrap_or(usize::MAX).min(limits.list_entries_max);
        let found = Listing::default();
        Self { limits, recursive: options.recursive, limit, stop, depth: 0, seen: 0, found }
    }

    pub(super) fn finish(self) -> Listing {
        self.found
    }

    /// Adds what is in `dir`, whose path is `prefix`.
    pub(super) fn visit(&mut self, dir: &Dir, prefix: &str) -> Result<(), FileError> {
        let shown = if prefix.is_empty() { "." } else { prefix };
        for (name, entry) in self.names(dir, shown)? {
            if self.stop.is_cancelled() {
                return Err(FileError::cancelled());
            }
            if self.found.entries.len() >= self.limit {
                self.found.truncated = true;
                return Ok(());
            }
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            // Deleted since the directory was read: it is not there, which is no error.
            let Ok(metadata) = entry.metadata() else { continue };
            let kind = if metadata.is_dir() {
                EntryKind::Directory
            } else if metadata.is_file() {
                EntryKind::File
            } else if metadata.is_symlink() {
                EntryKind::Symlink
            } else {
                EntryKind::Special
            };
            let size = metadata.is_file().then(|| metadata.len());
            self.found.entries.push(Entry { path: path.clone(), kind, size });
            if kind == EntryKind::Directory && self.recursive {
                self.enter(dir, &name, &path)?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, parent: &Dir, name: &str, path: &str) -> Result<(), FileError> {
        if self.depth >= self.limits.depth_max {
            self.found.truncated = true;
            return Ok(());
        }
        // Replaced by a link or deleted since: not entered.
        let Ok(dir) = parent.open_dir_nofollow(name) else { return Ok(()) };
        self.depth += 1;
        self.visit(&dir, path)?;
        self.depth -= 1;
        Ok(())
    }

    /// The names in a directory, sorted, as far as the budget reaches.
    fn names(&mut self, dir: &Dir, shown: &str) -> Result<Vec<(String, DirEntry)>, FileError> {
        let mut names = Vec::new();
        for entry in dir.entries().map_err(|error| FileError::io(shown, error))? {
            if self.stop.is_cancelled() {
                return Err(FileError::cancelled());
            }
            if self.seen >= self.limits.walk_entries_max {
                self.found.truncated = true;
                break;
            }
            self.seen += 1;
            let entry = entry.map_err(|error| FileError::io(shown, error))?;
            match entry.file_name().into_string() {
                Ok(name) if check_component(&name).is_ok() => names.push((name, entry)),
                _ => self.found.hidden += 1,
            }
        }
        names.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }
}
