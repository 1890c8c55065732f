//! The files of a work tree. libgit2 never touches them: each is reached by handle, one directory at
//! a time and never through a link, like everything else in a project.

use std::{
    cell::RefCell,
    io::{self, Read as _, Write as _},
    rc::Rc,
};

use agent_runner_core::tool::ToolError;
use cap_fs_ext::{
    DirExt as _, FollowSymlinks, MetadataExt as _, OpenOptionsFollowExt as _,
    OpenOptionsSyncExt as _,
};
use cap_std::fs::{Dir, Metadata, OpenOptions};
use git2::{IndexEntry, IndexTime, Oid};

use super::{
    error::{conflict, denied, too_large},
    hold::DOT_GIT,
};
use crate::fs::{FileError, check_component};

/// Modes as git writes them.
pub(super) mod mode {
    pub(in crate::git) const FILE: u32 = 0o100_644;
    pub(in crate::git) const PROGRAM: u32 = 0o100_755;
    pub(in crate::git) const LINK: u32 = 0o120_000;
    pub(in crate::git) const TREE: u32 = 0o040_000;
    pub(in crate::git) const MODULE: u32 = 0o160_000;
}

/// What the disk says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) size: u64,
    pub(super) program: bool,
    ino: u64,
    dev: u64,
    owner: (u32, u32),
    changed: (i64, u32),
    modified: (i64, u32),
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        let owned = owned(metadata);
        Self {
            size: metadata.len(),
            program: owned.program,
            ino: metadata.ino(),
            dev: metadata.dev(),
            owner: owned.owner,
            changed: owned.changed,
            modified: owned.modified,
        }
    }

    /// What is noted of what was never looked at: it differs from whatever is there.
    pub(super) const fn nothing() -> Self {
        let never = (0, 0);
        Self {
            size: 0,
            program: false,
            ino: 0,
            dev: 0,
            owner: (0, 0),
            changed: never,
            modified: never,
        }
    }

    /// As an entry of an index.
    pub(super) fn entry(&self, path: &str, mode: u32, id: Oid) -> IndexEntry {
        IndexEntry {
            ctime: time(self.changed),
            mtime: time(self.modified),
            dev: low(self.dev),
            ino: low(self.ino),
            mode,
            uid: self.owner.0,
            gid: self.owner.1,
            file_size: low(self.size),
            id,
            flags: 0,
            flags_extended: 0,
            path: path.as_bytes().to_vec(),
        }
    }

    /// Whether it is surely what it was when the entry was made, at a time before `written`, when
    /// the index was written: the same file, of the same mode
    /// and size, not touched since.
    pub(super) fn is_as_in(&self, entry: &IndexEntry, written: Option<(i64, u32)>) -> bool {
        let now = self.entry("", entry.mode, entry.id);
        let same = self.mode(Some(entry.mode)) == entry.mode
            && now.mtime == entry.mtime
            && now.ctime == entry.ctime
            && (now.dev, now.ino, now.file_size) == (entry.dev, entry.ino, entry.file_size);
        // A file that was touched as the index was written may have been touched after it.
        same && written.is_some_and(|written| self.modified < written && self.changed < written)
    }

    /// The mode that git gives it, where it had `before`.
    pub(super) const fn mode(&self, before: Option<u32>) -> u32 {
        match before {
            // Links are written as files.
            Some(mode::LINK) => mode::LINK,
            _ if self.program => mode::PROGRAM,
            _ => mode::FILE,
        }
    }
}

struct Owned {
    program: bool,
    owner: (u32, u32),
    changed: (i64, u32),
    modified: (i64, u32),
}

#[cfg(unix)]
fn owned(metadata: &Metadata) -> Owned {
    use cap_std::fs::MetadataExt as _;
    let nanos = |n: i64| u32::try_from(n).unwrap_or(0);
    Owned {
        program: metadata.mode() & 0o100 != 0,
        owner: (metadata.uid(), metadata.gid()),
        changed: (metadata.ctime(), nanos(metadata.ctime_nsec())),
        modified: (metadata.mtime(), nanos(metadata.mtime_nsec())),
    }
}

#[cfg(not(unix))]
fn owned(metadata: &Metadata) -> Owned {
    let at = metadata.modified().ok().map(|at| at.into_std());
    let since = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let at = (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos());
    Owned { program: false, owner: (0, 0), changed: at, modified: at }
}

/// The lowest 32 bits: all that an index keeps.
fn low(n: u64) -> u32 {
    u32::try_from(n & u64::from(u32::MAX)).unwrap_or(0)
}

fn time((seconds, nanos): (i64, u32)) -> IndexTime {
    IndexTime::new(i32::try_from(seconds).unwrap_or(i32::MAX), nanos)
}

/// When a file of Git's own was written.
pub(super) fn written_at(dir: &Dir, name: &str) -> Option<(i64, u32)> {
    dir.symlink_metadata(name).ok().map(|metadata| owned(&metadata).modified)
}

/// The files of a work tree.
#[derive(Debug)]
pub(super) struct Files {
    root: Rc<Dir>,
    /// The directory used last, and those above it, by name.
    open: RefCell<Vec<(String, Rc<Dir>)>>,
    /// Whether nobody else can be there: names need not be changed all at once.
    fresh: bool,
}

/// Whether there is nothing of that name: nor is there behind a file or a link.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Names come from indexes too, which may be anybody's: none leads out, or to Git's own files.
fn check(name: &str) -> io::Result<()> {
    check_component(name).map_err(|_| io::ErrorKind::PermissionDenied.into())
}

fn is_link(dir: &Dir, name: &str) -> bool {
    dir.symlink_metadata(name).is_ok_and(|metadata| metadata.is_symlink())
}

fn told(path: &str, error: io::Error) -> ToolError {
    FileError::io(path, error).into()
}

impl Files {
    pub(super) fn new(root: Dir) -> Self {
        Self { root: Rc::new(root), open: RefCell::default(), fresh: false }
    }

    /// The files of a directory that nobody else can reach yet.
    pub(super) fn fresh(root: Dir) -> Self {
        Self { fresh: true, ..Self::new(root) }
    }

    pub(super) fn root(&self) -> &Dir {
        &self.root
    }

    /// The directory of a file, and the file's own name.
    fn parent<'a>(&self, path: &'a str, make: bool) -> io::Result<(Rc<Dir>, &'a str)> {
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut open = self.open.borrow_mut();
        let mut known = 0;
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            if open.get(known).is_some_and(|(name, _)| name == part) {
                known += 1;
                continue;
            }
            open.truncate(known);
            check(part)?;
            let dir = open.last().map_or(&self.root, |(_, dir)| dir);
            let next = match dir.open_dir_nofollow(part) {
                Ok(next) => next,
                Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                    dir.create_dir(part)?;
                    dir.open_dir_nofollow(part)?
                }
                Err(_) if is_link(dir, part) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(error) => return Err(error),
            };
            open.push((part.to_owned(), Rc::new(next)));
            known += 1;
        }
        open.truncate(known);
        check(name)?;
        let dir = open.last().map_or(&self.root, |(_, dir)| dir);
        Ok((Rc::clone(dir), name))
    }

    /// What is of that name: a regular file, or nothing, as far as git is concerned.
    ///
    /// # Errors
    /// `Denied` for a link, a pipe or a device.
    pub(super) fn see(&self, path: &str) -> Result<Option<Seen>, ToolError> {
        let found = self.parent(path, false).and_then(|(dir, name)| dir.symlink_metadata(name));
        match found {
            Ok(metadata) if metadata.is_file() => Ok(Some(Seen::of(&metadata))),
            Ok(metadata) if metadata.is_dir() => Ok(None),
            Ok(_) => Err(special(path)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(told(path, error)),
        }
    }

    /// Reads a file, if there is one.
    pub(super) fn read(
        &self,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<(Vec<u8>, Seen)>, ToolError> {
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        let (dir, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(told(path, error)),
        };
        let file = match dir.open_with(name, &options) {
            Ok(file) => file,
            Err(_) if is_link(&dir, name) => return Err(special(path)),
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(told(path, error)),
        };
        let metadata = file.metadata().map_err(|error| told(path, error))?;
        if metadata.is_dir() {
            return Ok(None);
        }
        if !metadata.is_file() {
            return Err(special(path));
        }
        if metadata.nlink() > 1 {
            return Err(denied(format!(
                "`{path}` is a hard link: its content may belong to something outside"
            )));
        }
        let large = || {
            too_large(format!("`{path}` is larger than the {bytes_max} bytes that git takes here"))
        };
        if metadata.len() > bytes_max {
            return Err(large());
        }
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|error| told(path, error))?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(large());
        }
        Ok(Some((content, Seen::of(&metadata))))
    }

    /// Writes a file, whatever was there, but for a directory.
    pub(super) fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<Seen, ToolError> {
        let write = || -> io::Result<Seen> {
            let (dir, name) = self.parent(path, true)?;
            if self.fresh {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                let mut file = dir.open_with(name, &options)?;
                file.write_all(content)?;
                if mode == mode::PROGRAM {
                    make_program(&file)?;
                }
                return Ok(Seen::of(&file.metadata()?));
            }
            let mut temp = cap_tempfile::TempFile::new(&dir)?;
            temp.write_all(content)?;
            if mode == mode::PROGRAM {
                make_program(temp.as_file())?;
            }
            temp.replace(name)?;
            Ok(Seen::of(&dir.symlink_metadata(name)?))
        };
        write().map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory | io::ErrorKind::DirectoryNotEmpty => {
                conflict(format!("`{path}` is a directory now; move it out of the way"))
            }
            _ if absent(&error) || error.kind() == io::ErrorKind::AlreadyExists => conflict(
                format!("something else is in the way of `{path}`; move it out of the way"),
            ),
            _ => told(path, error),
        })
    }

    /// Writes the file that says where a worktree's repository is.
    pub(super) fn write_link(&self, content: &str) -> io::Result<()> {
        self.root.write(DOT_GIT, content)
    }

    /// Removes a file, and the directories that it leaves empty.
    pub(super) fn remove(&self, path: &str) -> Result<(), ToolError> {
        let removed = self.parent(path, false).and_then(|(dir, name)| dir.remove_file(name));
        match removed {
            Ok(()) => {}
            Err(error) if absent(&error) || error.kind() == io::ErrorKind::IsADirectory => {
                return Ok(());
            }
            Err(error) => return Err(told(path, error)),
        }
        let mut rest = path;
        while let Some((above, _)) = rest.rsplit_once('/') {
            self.open.borrow_mut().clear();
            let gone = self.parent(above, false).and_then(|(dir, name)| dir.remove_dir(name));
            if gone.is_err() {
                break;
            }
            rest = above;
        }
        Ok(())
    }
}

fn special(path: &str) -> ToolError {
    denied(format!(
        "`{path}` is a link, a pipe or a device, or behind one; git works on regular files here"
    ))
}

#[cfg(unix)]
fn make_program(file: &cap_std::fs::File) -> io::Result<()> {
    use cap_std::fs::{Permissions, PermissionsExt as _};
    file.set_permissions(Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_program(_file: &cap_std::fs::File) -> io::Result<()> {
    Ok(())
}
