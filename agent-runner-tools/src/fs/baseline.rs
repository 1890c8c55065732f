//! What files held before a run changed them, so that it can be shown what the run changed.
//!
//! The first change of a path by a run keeps the content before, beside the projects in
//! `.runs/<project>/<run>`, in a file named by the SHA-256 of the path: a line of JSON, then the
//! bytes. It is kept for people who look, and not made durable against loss of power.

use std::io::{self, Read, Write};

use agent_runner_core::id::{ProjectId, RunId};
use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::{
    fs::{Dir, OpenOptions},
    time::SystemClock,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{error::FileError, rel_path::RelPath};

/// The directory beside the projects.
const RUNS: &str = ".runs";
/// Most paths that are kept of a run.
const PATHS_MAX: usize = 2_000;
/// Runs of a project that are looked at when old ones are cleaned up.
const SWEPT_MAX: usize = 200;
/// How long they are kept.
const KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3_600);

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing.
    Absent,
    /// This.
    Content(Vec<u8>),
    /// Something too large to keep.
    Large,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    path: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Absent,
    Content,
    Large,
}

/// The baselines of one run.
#[derive(Debug)]
pub(super) struct Baseline {
    dir: Dir,
}

fn file_name(path: &str) -> String {
    Sha256::digest(path.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn enter(parent: &Dir, name: &str) -> io::Result<Dir> {
    match parent.create_dir(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    parent.open_dir_nofollow(name)
}

impl Baseline {
    /// The baselines of a run, made on first use.
    pub(super) fn open(root: &Dir, project: ProjectId, run: RunId) -> io::Result<Self> {
        let of_project = enter(&enter(root, RUNS)?, &project.to_string())?;
        let name = run.to_string();
        let dir = match of_project.open_dir_nofollow(&name) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                sweep(&of_project);
                enter(&of_project, &name)?
            }
            Err(error) => return Err(error),
        };
        Ok(Self { dir })
    }

    /// The baselines of a run, if it changed anything.
    pub(super) fn find(root: &Dir, project: ProjectId, run: RunId) -> Option<Self> {
        let runs = root.open_dir_nofollow(RUNS).ok()?;
        let of_project = runs.open_dir_nofollow(project.to_string()).ok()?;
        Some(Self { dir: of_project.open_dir_nofollow(run.to_string()).ok()? })
    }

    /// Keeps what a path held before the first change; `read` is asked for it only then.
    pub(super) fn keep(&self, path: &str, read: impl FnOnce() -> Before) -> Result<(), FileError> {
        let name = file_name(path);
        if self.dir.symlink_metadata(&name).is_ok() {
            return Ok(());
        }
        let fail = |error| FileError::io(path, error);
        if self.dir.entries().map_err(fail)?.take(PATHS_MAX).count() >= PATHS_MAX {
            return Ok(());
        }
        let (kind, content) = match read() {
            Before::Absent => (Kind::Absent, Vec::new()),
            Before::Content(content) => (Kind::Content, content),
            Before::Large => (Kind::Large, Vec::new()),
        };
        let head = serde_json::to_vec(&Head { path: path.to_owned(), kind })
            .map_err(|error| FileError::io(path, error.into()))?;
        let mut file = cap_tempfile::TempFile::new(&self.dir).map_err(fail)?;
        file.write_all(&head).map_err(fail)?;
        file.write_all(b"\n").map_err(fail)?;
        file.write_all(&content).map_err(fail)?;
        file.replace(&name).map_err(fail)
    }

    /// Everything that was kept, by path.
    pub(super) fn all(&self) -> io::Result<Vec<(RelPath, Before)>> {
        let mut found = Vec::new();
        for entry in self.dir.entries()?.take(PATHS_MAX) {
            let mut options = OpenOptions::new();
            options.read(true).follow(FollowSymlinks::No);
            let mut file = self.dir.open_with(entry?.file_name(), &options)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { continue };
            let (head, content) = bytes.split_at(end);
            let Ok(head) = serde_json::from_slice::<Head>(head) else { continue };
            let Ok(path) = RelPath::parse(&head.path) else { continue };
            let before = match head.kind {
                Kind::Absent => Before::Absent,
                Kind::Large => Before::Large,
                Kind::Content => Before::Content(content.iter().skip(1).copied().collect()),
            };
            found.push((path, before));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

/// Removes what is kept of runs that are long over. What cannot be removed stays for another time.
fn sweep(of_project: &Dir) {
    let Ok(entries) = of_project.entries() else { return };
    let now = SystemClock::new(cap_std::ambient_authority()).now();
    for entry in entries.take(SWEPT_MAX).flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let old = age.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT));
        if old {
            let _ = of_project.remove_dir_all(entry.file_name());
        }
    }
}
