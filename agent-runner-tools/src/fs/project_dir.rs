//! One project's directory, held by handle.

use std::{
    cell::OnceCell,
    fmt,
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};

use agent_runner_core::id::{ProjectId, RunId};
use cap_fs_ext::{DirExt, FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::{Dir, File, Metadata, OpenOptions};
use cap_tempfile::TempFile;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    baseline::Baseline,
    error::{FileError, FileErrorKind},
    list::{ListOptions, Listing, Walk},
    quota::{Quota, Usage},
    rel_path::RelPath,
    workspace::FsLimits,
};

/// Bytes moved between two looks at the cancellation token: some milliseconds of a slow disk.
const CHUNK_BYTES: usize = 256 * 1024;

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes in the file.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Whether there was no file of that name before. A call that is repeated finds the file of
    /// the first, and says so.
    pub created: bool,
}

/// What a caller expects to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are the conditions of HTTP")]
pub enum Expected {
    /// Whatever is there.
    #[default]
    Anything,
    /// Nothing.
    Absent,
    /// A file.
    Present,
    /// A file with this SHA-256.
    Sha256(String),
}

impl Expected {
    /// A file with that SHA-256, or anything when there is none.
    #[must_use]
    pub fn maybe(sha256: Option<String>) -> Self {
        sha256.map_or(Self::Anything, |sha256| Self::Sha256(sha256.to_ascii_lowercase()))
    }

    fn check(&self, path: &RelPath, now: Option<&[u8]>) -> Result<(), FileError> {
        let said = match (self, now) {
            (Self::Anything, _) | (Self::Absent, None) | (Self::Present, Some(_)) => return Ok(()),
            (Self::Sha256(want), Some(content)) if *want == sha256_hex(content) => return Ok(()),
            (Self::Absent, Some(_)) => format!("`{path}` exists already"),
            (_, None) => format!("`{path}` is not there any more"),
            (_, Some(content)) => {
                let now = sha256_hex(content);
                format!(
                    "`{path}` changed since it was read, its SHA-256 is {now} now: read it again"
                )
            }
        };
        Err(FileError::new(FileErrorKind::Changed, said))
    }
}

/// The directory of one project. Its methods block; call them through
/// [`Workspace::run`](super::Workspace::run).
///
/// Symbolic links are neither followed nor created, special files are not opened, and a file that
/// has another name elsewhere (a hard link) is not read.
pub struct ProjectDir {
    dir: Dir,
    limits: FsLimits,
    quota: Option<Quota>,
    run: Option<OfRun>,
    /// Held by whoever reads a file to write it again.
    turn: Arc<Mutex<()>>,
}

/// Where to keep what a run changes.
struct OfRun {
    root: Dir,
    project: ProjectId,
    run: RunId,
    baseline: OnceCell<Baseline>,
}

impl fmt::Debug for ProjectDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectDir").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What to do when a directory on the way is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Refuse,
    Create,
}

impl ProjectDir {
    pub(super) const fn new(dir: Dir, limits: FsLimits, turn: Arc<Mutex<()>>) -> Self {
        Self { dir, limits, quota: None, run: None, turn }
    }

    /// The same, which holds no more than `quota`.
    pub(super) fn within(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// The same, which keeps what this run changes, under `root`.
    pub(super) fn of_run(mut self, root: Dir, project: ProjectId, run: RunId) -> Self {
        self.run = Some(OfRun { root, project, run, baseline: OnceCell::new() });
        self
    }

    /// Reads a file, changes it and writes it again, while nobody else of this process does.
    ///
    /// # Errors
    /// [`FileErrorKind::Changed`] when the file is not what the caller expects; as
    /// [`ProjectDir::read`] and [`ProjectDir::write`]; what `change` says.
    pub fn update(
        &self,
        path: &RelPath,
        expected: &Expected,
        stop: &CancellationToken,
        change: impl FnOnce(Option<Vec<u8>>) -> Result<Vec<u8>, FileError>,
    ) -> Result<Written, FileError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.read_if_there(path, stop)?;
        expected.check(path, now.as_deref())?;
        self.write(path, &change(now)?, stop)
    }

    /// Removes what is of that name as [`ProjectDir::remove`] does, if it is what the caller expects.
    ///
    /// # Errors
    /// [`FileErrorKind::Changed`]; as [`ProjectDir::remove`].
    pub fn remove_if(
        &self,
        path: &RelPath,
        recursive: bool,
        expected: &Expected,
        stop: &CancellationToken,
    ) -> Result<super::Removed, FileError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if *expected != Expected::Anything {
            expected.check(path, self.read_if_there(path, stop)?.as_deref())?;
        }
        self.remove(path, recursive, stop)
    }

    fn read_if_there(
        &self,
        path: &RelPath,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, FileError> {
        match self.read(path, stop) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == FileErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) const fn limits(&self) -> &FsLimits {
        &self.limits
    }

    pub(crate) const fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where the run's changes are kept, if a run works here.
    pub(super) fn baseline(&self) -> Result<Option<&Baseline>, FileError> {
        let Some(of_run) = &self.run else { return Ok(None) };
        if let Some(baseline) = of_run.baseline.get() {
            return Ok(Some(baseline));
        }
        let opened = Baseline::open(&of_run.root, of_run.project, of_run.run).map_err(|error| {
            let said = "what the run changes cannot be kept; tell the operator";
            FileError::new(FileErrorKind::Internal, said).with_source(error)
        })?;
        Ok(Some(of_run.baseline.get_or_init(|| opened)))
    }

    /// Whether so much more fits the quota.
    pub(crate) fn fits(
        &self,
        more: Usage,
        freed: u64,
        stop: &CancellationToken,
    ) -> Result<(), FileError> {
        match &self.quota {
            Some(quota) => quota.check(&self.dir, &self.limits, stop, more, freed),
            None => Ok(()),
        }
    }

    pub(crate) fn took(&self, more: Usage, freed: u64) {
        if let Some(quota) = &self.quota {
            quota.add(more, freed);
        }
    }

    pub(super) fn lost(&self, less: Usage) {
        if let Some(quota) = &self.quota {
            quota.remove(less);
        }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// [`FileErrorKind::NotFound`]; [`FileErrorKind::Denied`] for links and special files;
    /// [`FileErrorKind::Conflict`] for a directory; [`FileErrorKind::TooLarge`];
    /// [`FileErrorKind::Cancelled`]; what the disk says.
    pub fn read(&self, path: &RelPath, stop: &CancellationToken) -> Result<Vec<u8>, FileError> {
        let (parents, name) = path.split_name();
        let parent = self.descend(path, parents, Missing::Refuse)?;
        let mut file = open_regular(&parent, name, path)?;
        let too_large = || {
            let max = self.limits.read_bytes_max;
            FileError::new(
                FileErrorKind::TooLarge,
                format!("`{path}` is larger than the {max} bytes that can be read"),
            )
        };
        let mut content = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if stop.is_cancelled() {
                return Err(FileError::cancelled());
            }
            let read = file.read(&mut chunk).map_err(|error| FileError::io(path, error))?;
            if read == 0 {
                return Ok(content);
            }
            if content.len().saturating_add(read) > self.limits.read_bytes_max {
                return Err(too_large());
            }
            content.extend(chunk.iter().take(read));
        }
    }

    /// Writes a whole file: all of it or nothing, on disk before this returns. Directories on the
    /// way are made. A file that was there is replaced under its name; another name of the same
    /// file keeps the old content.
    ///
    /// # Errors
    /// [`FileErrorKind::TooLarge`]; [`FileErrorKind::Denied`] for links and special files;
    /// [`FileErrorKind::Conflict`] when a directory or a file is in the way;
    /// [`FileErrorKind::NoSpace`]; [`FileErrorKind::Cancelled`]; what the disk says.
    pub fn write(
        &self,
        path: &RelPath,
        content: &[u8],
        stop: &CancellationToken,
    ) -> Result<Written, FileError> {
        if content.len() > self.limits.write_bytes_max {
            let max = self.limits.write_bytes_max;
            return Err(FileError::new(
                FileErrorKind::TooLarge,
                format!("the content has more than {max} bytes: write several smaller files"),
            ));
        }
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let (parent, name) = self.parent_for(path, bytes, stop)?;
        let before = replaceable(&parent, name, path)?;
        let freed = before.as_ref().map_or(0, Metadata::len);
        let more = Usage { bytes, entries: u64::from(before.is_none()) };
        self.fits(more, freed, stop)?;
        self.keep_file(&parent, name, path)?;
        let fail = |error| FileError::io(path, error);
        let mut temp = TempFile::new(&parent).map_err(fail)?;
        for chunk in content.chunks(CHUNK_BYTES) {
            if stop.is_cancelled() {
                return Err(FileError::cancelled());
            }
            temp.write_all(chunk).map_err(fail)?;
        }
        if let Some(before) = &before {
            keep_mode(temp.as_file(), before).map_err(fail)?;
        }
        temp.as_file().sync_all().map_err(fail)?;
        if stop.is_cancelled() {
            return Err(FileError::cancelled());
        }
        temp.replace(name).map_err(fail)?;
        sync_dir(&parent).map_err(|error| fail(error).effect_possible())?;
        self.took(more, freed);
        Ok(Written { bytes, sha256: sha256_hex(content), created: before.is_none() })
    }

    /// Lists a directory, the project's own when `under` is `None`.
    ///
    /// # Errors
    /// [`FileErrorKind::NotFound`]; [`FileErrorKind::Conflict`] when it is a file;
    /// [`FileErrorKind::Denied`] for links; [`FileErrorKind::Cancelled`]; what the disk says.
    pub fn list(
        &self,
        under: Option<&RelPath>,
        options: &ListOptions,
        stop: &CancellationToken,
    ) -> Result<Listing, FileError> {
        let mut walk = Walk::new(self.limits, options, stop);
        match under {
            None => walk.visit(&self.dir, "")?,
            Some(path) => {
                let dir = self.descend(path, path.components(), Missing::Refuse)?;
                walk.visit(&dir, path.as_str())?;
            }
        }
        Ok(walk.finish())
    }

    /// The directory in which a path is written, made if need be, and the name in it. Nothing is
    /// made for what would not fit.
    pub(super) fn parent_for<'a>(
        &self,
        path: &'a RelPath,
        bytes: u64,
        stop: &CancellationToken,
    ) -> Result<(Dir, &'a str), FileError> {
        let (parents, name) = path.split_name();
        match self.descend(path, parents, Missing::Refuse) {
            Ok(parent) => return Ok((parent, name)),
            Err(error) if error.kind() == FileErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let entries = u64::try_from(path.components().count()).unwrap_or(u64::MAX);
        self.fits(Usage { bytes, entries }, 0, stop)?;
        let (parents, name) = path.split_name();
        Ok((self.descend(path, parents, Missing::Create)?, name))
    }

    /// Opens the directory that `names` lead to, one name at a time and never through a link.
    pub(crate) fn descend<'a>(
        &self,
        path: &RelPath,
        names: impl Iterator<Item = &'a str>,
        missing: Missing,
    ) -> Result<Dir, FileError> {
        let mut dir = self.dir.try_clone().map_err(|error| FileError::io(path, error))?;
        for (depth, name) in names.enumerate() {
            if depth >= self.limits.depth_max {
                let max = self.limits.depth_max;
                return Err(FileError::new(
                    FileErrorKind::Invalid,
                    format!("a path has at most {max} directories"),
                ));
            }
            dir = match dir.open_dir_nofollow(name) {
                Ok(next) => next,
                Err(error)
                    if missing == Missing::Create && error.kind() == io::ErrorKind::NotFound =>
                {
                    let made =
                        make_dir(&dir, name).map_err(|error| explain(&dir, name, path, error))?;
                    self.took(Usage { bytes: 0, entries: 1 }, 0);
                    made
                }
                Err(error) => return Err(explain(&dir, name, path, error)),
            };
        }
        Ok(dir)
    }
}

/// SHA-256 as lower-case hex.
pub(super) fn sha256_hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a directory and opens it. Somebody may have been faster, and may have put a link there.
fn make_dir(parent: &Dir, name: &str) -> io::Result<Dir> {
    match parent.create_dir(name) {
        Ok(()) => sync_dir(parent)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    parent.open_dir_nofollow(name)
}

/// Opens a file for reading. What it is, is asked of the open handle; `nonblock` keeps a FIFO
/// without a writer from blocking for ever, and means nothing for a regular file.
fn open_regular(parent: &Dir, name: &str, path: &RelPath) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    let file =
        parent.open_with(name, &options).map_err(|error| explain(parent, name, path, error))?;
    let metadata = file.metadata().map_err(|error| FileError::io(path, error))?;
    if !metadata.is_file() {
        return Err(not_regular(&metadata, path));
    }
    if metadata.nlink() > 1 {
        return Err(FileError::new(
            FileErrorKind::Denied,
            format!("`{path}` is a hard link: its content may belong to something outside"),
        ));
    }
    Ok(file)
}

/// The file that a write will replace, if there is one. Only for the answer: the rename that
/// follows replaces whatever has the name by then, and never what a link points to.
fn replaceable(parent: &Dir, name: &str, path: &RelPath) -> Result<Option<Metadata>, FileError> {
    match parent.symlink_metadata(name) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(metadata) => Err(not_regular(&metadata, path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::io(path, error)),
    }
}

/// Why `name` could not be opened: a look at what it is makes a better answer than an error code.
fn explain(parent: &Dir, name: &str, path: &RelPath, error: io::Error) -> FileError {
    match parent.symlink_metadata(name) {
        Ok(metadata) if metadata.is_symlink() => not_regular(&metadata, path),
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => not_regular(&metadata, path),
        _ => FileError::io(path, error),
    }
}

pub(super) fn not_regular(metadata: &Metadata, path: &RelPath) -> FileError {
    let (kind, said) = if metadata.is_dir() {
        (FileErrorKind::Conflict, "is a directory; name a file inside it")
    } else if metadata.is_symlink() {
        (FileErrorKind::Denied, "goes through a symbolic link, which the file tools do not follow")
    } else {
        (FileErrorKind::Denied, "is a special file (pipe, socket or device), not a regular one")
    };
    FileError::new(kind, format!("`{path}` {said}"))
}

/// Gives a replacement the permissions of what it replaces, without set-user-id and the like.
#[cfg(unix)]
fn keep_mode(file: &File, before: &Metadata) -> io::Result<()> {
    use cap_std::fs::{MetadataExt as _, Permissions, PermissionsExt};
    file.set_permissions(Permissions::from_mode(before.mode() & 0o777))
}

#[cfg(not(unix))]
fn keep_mode(_file: &File, _before: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Makes the names in a directory durable. The handle may be one that cannot be synced
/// (`O_PATH`), so the directory is opened once more through it.
pub(super) fn sync_dir(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}
