//! A repository's `.git`, out of the project for as long as it is worked on.
//!
//! libgit2 takes paths. Programs that an agent starts may write anywhere in the project, at any
//! moment: what was checked there a moment ago may be a link to somewhere else by now. So `.git` is
//! renamed to a place beside the projects, checked there, used there, and renamed back. Links that
//! somebody makes in the project meanwhile lead libgit2 nowhere.

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use cap_fs_ext::{DirExt as _, FollowSymlinks, OpenOptionsFollowExt as _};
use cap_std::fs::{Dir, File, OpenOptions};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    error::{conflict, denied, disk, go_on, too_large},
    place::Place,
};

/// The directory of a repository.
pub(super) const DOT_GIT: &str = ".git";
/// Its name while it is worked on.
pub(super) const HELD: &str = "repo";
/// What is made before it takes its place in the project.
const NEW: &str = "new";
/// What was a directory of the project.
const GONE: &str = "gone";
/// Most files and directories of a repository.
const ENTRIES_MAX: usize = 200_000;
/// Deepest directory of a repository; names of branches are directories.
const DEPTH_MAX: usize = 128;
/// Largest configuration that is looked at, in bytes.
const CONFIG_BYTES_MAX: u64 = 64 * 1024;

/// The whole configuration of every repository: it is written before each use, so whatever was
/// there has no effect. Programs in the project that use git itself get the same.
///
/// Links are written as files that hold their target. Reflogs are off: they are the one thing that
/// libgit2 appends to in place. Attributes and ignored files of the machine play no part.
const CONFIG: &str = "\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tsymlinks = false
\tlogAllRefUpdates = false
\tprotectHFS = true
\tprotectNTFS = true
\tautocrlf = false
\tfsmonitor = false
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
[gc]
\tauto = 0
[protocol]
\tallow = never
";

/// A place beside the projects, for one directory of one project. While it is held, no other call,
/// of this process or of another, works in that directory.
#[derive(Debug)]
pub(super) struct Workbench {
    dir: Dir,
    path: PathBuf,
    _lock: std::fs::File,
}

impl Workbench {
    pub(super) fn take(place: &Place) -> Result<Self, ToolError> {
        let (dir, path) = place.beside()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).follow(FollowSymlinks::No);
        let lock = dir.open_with("lock", &options).map_err(disk)?.into_std();
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, path, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => {
                let said = "another server process works in this repository; try again";
                Err(conflict(said).with_retry_after(std::time::Duration::from_secs(1)))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(disk(error)),
        }
    }

    /// Whether a call that was killed has left a repository here.
    pub(super) fn has_left(&self) -> bool {
        self.dir.symlink_metadata(HELD).is_ok_and(|found| found.is_dir())
    }

    /// The repository that a call that was killed has left here.
    fn left(&self) -> Result<Option<Dir>, ToolError> {
        match self.dir.open_dir_nofollow(HELD) {
            Ok(git) => Ok(Some(git)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if self.has_left() => Err(disk(error)),
            // What took the place of `.git` as it was taken, and did not fit back.
            Err(_) => self.dir.remove_file(HELD).map(|()| None).map_err(disk),
        }
    }

    /// An empty directory, for what is made before it takes its place.
    pub(super) fn fresh(&self) -> Result<(Dir, PathBuf), ToolError> {
        self.discard(NEW)?;
        self.dir.create_dir(NEW).map_err(disk)?;
        Ok((self.dir.open_dir_nofollow(NEW).map_err(disk)?, self.path.join(NEW)))
    }

    /// Gives what was made its name in the project, where nothing of that name is.
    pub(super) fn publish(&self, parent: &Dir, name: &str) -> io::Result<()> {
        self.dir.rename(NEW, parent, name)
    }

    /// Removes a directory of the project, all at once for those who look.
    pub(super) fn remove(&self, parent: &Dir, name: &str) -> Result<(), ToolError> {
        self.discard(GONE)?;
        match parent.rename(name, &self.dir, GONE) {
            Ok(()) => self.discard(GONE),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(disk(error)),
        }
    }

    pub(super) fn discard_fresh(&self) {
        if let Err(error) = self.discard(NEW) {
            error!(%error, "what was to become a directory of the project could not be removed");
        }
    }

    fn discard(&self, name: &str) -> Result<(), ToolError> {
        match self.dir.remove_dir_all(name) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(disk(error)),
        }
    }
}

/// The `.git` of `home`, out of it until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    workbench: Workbench,
    home: Dir,
    git: Dir,
}

impl Held {
    /// Takes `.git` out of `home`, if there is one, and checks it.
    ///
    /// # Errors
    /// `Denied` when it is not what this module made or git makes: it then is where it was.
    pub(super) fn take(
        workbench: Workbench,
        home: Dir,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, ToolError> {
        // A call that was killed has left it: it is the repository, whatever is in its place now.
        let git = match workbench.left()? {
            Some(git) => git,
            None => match home.symlink_metadata(DOT_GIT) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(disk(error)),
                Ok(metadata) if !metadata.is_dir() => {
                    return Err(denied(
                        "`.git` is a link or a file there, and no directory: such repositories are not opened",
                    ));
                }
                Ok(_) => {
                    home.rename(DOT_GIT, &workbench.dir, HELD).map_err(disk)?;
                    match workbench.dir.open_dir_nofollow(HELD) {
                        Ok(git) => git,
                        Err(error) => {
                            // It was exchanged for something else since.
                            workbench.dir.rename(HELD, &home, DOT_GIT).map_err(disk)?;
                            return Err(denied("`.git` is no directory").with_source(error));
                        }
                    }
                }
            },
        };
        let held = Self { workbench, home, git };
        check(&held.git, stop)?;
        configure(&held.git)?;
        Ok(Some(held))
    }

    /// Where it is now.
    pub(super) fn path(&self) -> PathBuf {
        self.workbench.path.join(HELD)
    }

    /// It, by handle.
    pub(super) const fn git(&self) -> &Dir {
        &self.git
    }

    /// The directory that it belongs to.
    pub(super) const fn home(&self) -> &Dir {
        &self.home
    }

    /// The place where it is.
    pub(super) const fn workbench(&self) -> &Workbench {
        &self.workbench
    }

    fn put_back(&self) -> io::Result<()> {
        let workbench = &self.workbench.dir;
        match workbench.rename(HELD, &self.home, DOT_GIT) {
            Ok(()) => Ok(()),
            // The directory was deleted meanwhile, and with it the repository.
            Err(error) if error.kind() == io::ErrorKind::NotFound => workbench.remove_dir_all(HELD),
            Err(_) => {
                // A program has put something in its place.
                let _ = workbench.remove_dir_all(GONE).or_else(|_| workbench.remove_file(GONE));
                self.home.rename(DOT_GIT, workbench, GONE)?;
                workbench.rename(HELD, &self.home, DOT_GIT)?;
                workbench.remove_dir_all(GONE).or_else(|_| workbench.remove_file(GONE))
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            error!(%error, "a repository could not be put back; the next call takes it from where it is");
        }
    }
}

/// Refuses what could make git read or write elsewhere, or wait for ever. Names are looked at, and
/// kinds; contents are libgit2's to check.
fn check(git: &Dir, stop: &CancellationToken) -> Result<(), ToolError> {
    let foreign = |name: &str| {
        denied(format!(
            "`.git/{name}` leads out of the repository: such repositories are not opened"
        ))
    };
    for name in [
        "commondir",
        "gitdir",
        "config.worktree",
        "objects/info/alternates",
        "objects/info/http-alternates",
    ] {
        if git.symlink_metadata(name).is_ok() {
            return Err(foreign(name));
        }
    }
    let mut seen = 0_usize;
    let mut open = vec![(git.try_clone().map_err(disk)?, 0_usize)];
    while let Some((dir, depth)) = open.pop() {
        go_on(stop)?;
        for entry in dir.entries().map_err(disk)? {
            let entry = entry.map_err(disk)?;
            seen += 1;
            if seen > ENTRIES_MAX || depth > DEPTH_MAX {
                return Err(too_large("the repository has too many files of its own"));
            }
            let kind = entry.file_type().map_err(disk)?;
            if kind.is_dir() {
                let below = dir.open_dir_nofollow(entry.file_name()).map_err(disk)?;
                open.push((below, depth + 1));
            } else if !kind.is_file() {
                return Err(denied(
                    "`.git` holds a link, a pipe or a device: such repositories are not opened",
                ));
            }
        }
    }
    Ok(())
}

/// Writes the configuration, unless it is there.
pub(super) fn configure(git: &Dir) -> Result<(), ToolError> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    let mut now = Vec::new();
    match git.open_with("config", &options) {
        Ok(file) => {
            file.take(CONFIG_BYTES_MAX).read_to_end(&mut now).map_err(disk)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(disk(error)),
    }
    if now == CONFIG.as_bytes() {
        return Ok(());
    }
    if String::from_utf8_lossy(&now).to_ascii_lowercase().contains("[extensions") {
        return Err(conflict(
            "the repository uses extensions of git's format that are not supported; clone it again",
        ));
    }
    replace(git, "config", CONFIG.as_bytes())
}

/// Writes a file of Git's own, all of it or nothing.
pub(super) fn replace(dir: &Dir, name: impl AsRef<Path>, content: &[u8]) -> Result<(), ToolError> {
    let mut temp = cap_tempfile::TempFile::new(dir).map_err(disk)?;
    temp.write_all(content).map_err(disk)?;
    temp.replace(name.as_ref()).map_err(disk)
}

/// Reads a small file of Git's own, if it is there.
pub(super) fn small_file(dir: &Dir, name: &str) -> Result<Option<Vec<u8>>, ToolError> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    let file: File = match dir.open_with(name, &options) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk(error)),
    };
    let mut content = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut content).map_err(disk)?;
    Ok(Some(content))
}

/// An error of the server, said to be one.
pub(super) fn internal(
    said: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ToolError {
    ToolError::new(ToolErrorKind::Internal, said).with_source(error)
}
