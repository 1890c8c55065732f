//! What changes a project's files besides writing a whole one.

use std::io;

use cap_fs_ext::{DirExt, MetadataExt};
use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use super::{
    baseline::Before,
    error::{FileError, FileErrorKind},
    list::EntryKind,
    project_dir::{Missing, ProjectDir, Written, not_regular, sync_dir},
    quota::{Usage, count},
    rel_path::RelPath,
};

/// What a removal took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// What it was.
    pub kind: EntryKind,
    /// Files and directories that are gone.
    pub entries: u64,
    /// Bytes that were in them.
    pub bytes: u64,
}

/// What is done where the target of a move or copy exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it is replaced, or it is not")]
pub enum Existing {
    /// It is refused.
    Refuse,
    /// A file takes the place of a file.
    Replace,
}

/// What is done with each file: its directory, its name there, its path.
type Visit<'a> = dyn FnMut(&ProjectDir, &Dir, &str, &RelPath) -> Result<(), FileError> + 'a;

fn conflict(said: String) -> FileError {
    FileError::new(FileErrorKind::Conflict, said)
}

impl ProjectDir {
    /// Adds to the end of a file, which is made if there is none. The file is replaced as a whole,
    /// so a reader sees it before or after.
    ///
    /// # Errors
    /// As [`ProjectDir::read`] and [`ProjectDir::write`].
    pub fn append(
        &self,
        path: &RelPath,
        content: &[u8],
        stop: &CancellationToken,
    ) -> Result<Written, FileError> {
        let mut whole = match self.read(path, stop) {
            Ok(whole) => whole,
            Err(error) if error.kind() == FileErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        whole.extend_from_slice(content);
        self.write(path, &whole, stop)
    }

    /// Makes a directory and those above it; whether it was not there before.
    ///
    /// # Errors
    /// [`FileErrorKind::Denied`] for links; [`FileErrorKind::Conflict`] when a file is in the way;
    /// [`FileErrorKind::NoSpace`]; what the disk says.
    pub fn make_dir(&self, path: &RelPath, stop: &CancellationToken) -> Result<bool, FileError> {
        match self.descend(path, path.components(), Missing::Refuse) {
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == FileErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let new = u64::try_from(path.components().count()).unwrap_or(u64::MAX);
        let more = Usage { bytes: 0, entries: new };
        self.fits(more, 0, stop)?;
        self.descend(path, path.components(), Missing::Create)?;
        Ok(true)
    }

    /// Removes a file, a link, or a directory; one that is not empty only when `recursive`.
    ///
    /// # Errors
    /// [`FileErrorKind::NotFound`]; [`FileErrorKind::Conflict`] for a directory that is not empty;
    /// what the disk says.
    pub fn remove(
        &self,
        path: &RelPath,
        recursive: bool,
        stop: &CancellationToken,
    ) -> Result<Removed, FileError> {
        let (parents, name) = path.split_name();
        let parent = self.descend(path, parents, Missing::Refuse)?;
        let fail = |error| FileError::io(path, error);
        let metadata = parent.symlink_metadata(name).map_err(fail)?;
        let removed = if metadata.is_dir() {
            let dir = parent.open_dir_nofollow(name).map_err(fail)?;
            let inside = count(&dir, self.limits(), stop)?;
            if inside.entries > 0 && !recursive {
                return Err(conflict(format!(
                    "`{path}` is not empty: it holds {} entries; set `recursive` to delete them too",
                    inside.entries
                )));
            }
            self.keep_below(&dir, path.as_str(), stop)?;
            drop(dir);
            parent.remove_dir_all(name).map_err(|error| fail(error).effect_possible())?;
            let entries = inside.entries.saturating_add(1);
            Removed { kind: EntryKind::Directory, entries, bytes: inside.bytes }
        } else {
            self.keep_file(&parent, name, path)?;
            parent.remove_file(name).map_err(fail)?;
            let kind = if metadata.is_symlink() { EntryKind::Symlink } else { EntryKind::File };
            let bytes = if metadata.is_file() { metadata.len() } else { 0 };
            Removed { kind, entries: 1, bytes }
        };
        sync_dir(&parent).map_err(|error| fail(error).effect_possible())?;
        self.lost(Usage { bytes: removed.bytes, entries: removed.entries });
        Ok(removed)
    }

    /// Gives a file or directory another name.
    ///
    /// # Errors
    /// [`FileErrorKind::NotFound`]; [`FileErrorKind::Conflict`] when something of the new name is
    /// there, or a directory would go into itself; [`FileErrorKind::Denied`] for links and special
    /// files; what the disk says.
    pub fn rename(
        &self,
        from: &RelPath,
        to: &RelPath,
        existing: Existing,
        stop: &CancellationToken,
    ) -> Result<EntryKind, FileError> {
        if from == to {
            return Err(conflict(format!("`{from}` has that name already")));
        }
        let inside = to.as_str().strip_prefix(from.as_str());
        if inside.is_some_and(|rest| rest.starts_with('/')) {
            return Err(conflict(format!("`{from}` cannot go into itself")));
        }
        let (parents, name) = from.split_name();
        let source = self.descend(from, parents, Missing::Refuse)?;
        let metadata = source.symlink_metadata(name).map_err(|error| FileError::io(from, error))?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(not_regular(&metadata, from));
        }
        let (target, new_name) = self.parent_for(to, 0, stop)?;
        self.check_target(&target, new_name, to, existing, metadata.is_dir())?;
        if metadata.is_dir() {
            let dir = source.open_dir_nofollow(name).map_err(|error| FileError::io(from, error))?;
            self.keep_below(&dir, from.as_str(), stop)?;
            self.keep_moved(&dir, from.as_str(), to.as_str(), stop)?;
        } else {
            self.keep_file(&source, name, from)?;
            self.keep_file(&target, new_name, to)?;
        }
        let fail = |error| FileError::io(to, error);
        source.rename(name, &target, new_name).map_err(fail)?;
        sync_dir(&target).map_err(|error| fail(error).effect_possible())?;
        sync_dir(&source).map_err(|error| fail(error).effect_possible())?;
        Ok(if metadata.is_dir() { EntryKind::Directory } else { EntryKind::File })
    }

    /// Copies a file. A target that holds the same already is no conflict.
    ///
    /// # Errors
    /// As [`ProjectDir::read`] and [`ProjectDir::write`]; [`FileErrorKind::Conflict`] when
    /// something else of the new name is there.
    pub fn copy(
        &self,
        from: &RelPath,
        to: &RelPath,
        existing: Existing,
        stop: &CancellationToken,
    ) -> Result<Written, FileError> {
        if from == to {
            return Err(conflict(format!("`{from}` cannot be copied onto itself")));
        }
        let content = self.read(from, stop)?;
        let (parents, name) = to.split_name();
        if let Ok(target) = self.descend(to, parents, Missing::Refuse)
            && target.symlink_metadata(name).is_ok()
            && self.read(to, stop).ok().as_ref() != Some(&content)
        {
            self.check_target(&target, name, to, existing, false)?;
        }
        self.write(to, &content, stop)
    }

    fn check_target(
        &self,
        target: &Dir,
        name: &str,
        to: &RelPath,
        existing: Existing,
        is_dir: bool,
    ) -> Result<(), FileError> {
        match target.symlink_metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(FileError::io(to, error)),
            Ok(metadata) if !metadata.is_file() => Err(not_regular(&metadata, to)),
            Ok(_) if is_dir => Err(conflict(format!("`{to}` is a file, and a directory is moved"))),
            Ok(_) if existing == Existing::Refuse => Err(conflict(format!(
                "`{to}` exists already: set `overwrite`, or choose another name"
            ))),
            Ok(_) => Ok(()),
        }
    }

    /// Keeps what a file holds before the run changes it.
    pub(super) fn keep_file(
        &self,
        parent: &Dir,
        name: &str,
        path: &RelPath,
    ) -> Result<(), FileError> {
        let Some(baseline) = self.baseline()? else { return Ok(()) };
        baseline.keep(path.as_str(), || self.before(parent, name, path))
    }

    fn before(&self, parent: &Dir, name: &str, path: &RelPath) -> Before {
        let stop = CancellationToken::new();
        match parent.symlink_metadata(name) {
            Err(_) => Before::Absent,
            Ok(metadata) if !metadata.is_file() || metadata.nlink() > 1 => Before::Large,
            Ok(_) => self.read(path, &stop).map_or(Before::Large, Before::Content),
        }
    }

    /// Keeps what all files below a directory hold.
    fn keep_below(
        &self,
        dir: &Dir,
        prefix: &str,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        self.each_below(dir, prefix, stop, &mut |project, parent, name, path| {
            project.keep_file(parent, name, path)
        })
    }

    /// Keeps that nothing was where the files of a directory go.
    fn keep_moved(
        &self,
        dir: &Dir,
        from: &str,
        to: &str,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        self.each_below(dir, from, stop, &mut |project, _, _, path| {
            let rest = path.as_str().strip_prefix(from).unwrap_or_default();
            match project.baseline()? {
                Some(baseline) => baseline.keep(&format!("{to}{rest}"), || Before::Absent),
                None => Ok(()),
            }
        })
    }

    fn each_below(
        &self,
        dir: &Dir,
        prefix: &str,
        stop: &CancellationToken,
        visit: &mut Visit<'_>,
    ) -> Result<(), FileError> {
        if self.baseline()?.is_none() {
            return Ok(());
        }
        let fail = |error| FileError::io(prefix, error);
        for entry in dir.entries().map_err(fail)? {
            if stop.is_cancelled() {
                return Err(FileError::cancelled());
            }
            let Ok(name) = entry.map_err(fail)?.file_name().into_string() else { continue };
            // What no path can name cannot be shown either.
            let Ok(path) = RelPath::parse(&format!("{prefix}/{name}")) else { continue };
            match dir.symlink_metadata(&name) {
                Ok(metadata) if metadata.is_dir() => {
                    if let Ok(below) = dir.open_dir_nofollow(&name) {
                        self.each_below(&below, path.as_str(), stop, visit)?;
                    }
                }
                Ok(metadata) if metadata.is_file() => visit(self, dir, &name, &path)?,
                _ => {}
            }
        }
        Ok(())
    }
}
