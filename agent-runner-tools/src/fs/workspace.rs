//! The directory that holds all projects, and the one place where file work blocks.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    id::{ProjectId, RunId},
    project::FileQuota,
    tool::ToolCx,
};
use cap_fs_ext::DirExt;
#[cfg(feature = "git")]
use cap_fs_ext::MetadataExt as _;
use cap_std::{ambient_authority, fs::Dir};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    diff::{RunDiff, run_diff},
    error::{FileError, FileErrorKind},
    project_dir::{ProjectDir, sync_dir},
    quota::{Counts, Quota},
    rel_path::RelPath,
};
#[cfg(all(feature = "shell", target_os = "linux"))]
use super::{project_dir::Missing, quota::Usage};

/// Bounds of what one call may do to a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FsLimits {
    /// Largest file that is read, in bytes. 8 MiB: the most a tool may hand back.
    pub read_bytes_max: usize,
    /// Largest file that is written, in bytes.
    pub write_bytes_max: usize,
    /// Most entries of one listing.
    pub list_entries_max: usize,
    /// Most directories above a file.
    pub depth_max: usize,
    /// Most directory entries looked at for one listing.
    pub walk_entries_max: usize,
    /// Longest time of one call.
    pub call: Duration,
    /// Most bytes that a project holds.
    pub project_bytes_max: u64,
    /// Most files and directories that a project holds.
    pub project_files_max: u64,
    /// Calls at work at once, in all projects. Each may hold one file in memory.
    pub calls_max: usize,
}

impl Default for FsLimits {
    fn default() -> Self {
        Self {
            read_bytes_max: 8 * 1024 * 1024,
            write_bytes_max: 8 * 1024 * 1024,
            list_entries_max: 1_000,
            depth_max: 64,
            walk_entries_max: 50_000,
            call: Duration::from_secs(5),
            project_bytes_max: 1024 * 1024 * 1024,
            project_files_max: 10_000,
            calls_max: 32,
        }
    }
}

/// For whom something is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acting {
    pub(super) project: ProjectId,
    pub(super) quota: FileQuota,
    pub(super) run: Option<RunId>,
}

struct Inner {
    root: Dir,
    /// Where it was opened; for [`Workspace::beside`] and nobody else.
    #[cfg(feature = "git")]
    path: std::path::PathBuf,
    limits: FsLimits,
    permits: Arc<Semaphore>,
    counts: Arc<Counts>,
    turn: Arc<Mutex<()>>,
}

/// The directory that holds all projects, each in a directory named by its id. Cheap to clone.
///
/// Opened once, from the server's configuration. Its path does not leave this type.
#[derive(Clone)]
pub struct Workspace {
    inner: Arc<Inner>,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}

impl Workspace {
    /// Opens the directory, making it and those above it if need be. Blocks; for the start of a
    /// program.
    ///
    /// # Errors
    /// What the system says of the directory.
    #[expect(clippy::disallowed_methods, reason = "the operator's path, not an agent's")]
    pub fn open(root: &Path, limits: FsLimits) -> io::Result<Self> {
        Dir::create_ambient_dir_all(root, ambient_authority())?;
        let path = std::fs::canonicalize(root)?;
        let root = Dir::open_ambient_dir(&path, ambient_authority())?;
        let permits = Arc::new(Semaphore::new(limits.calls_max));
        Ok(Self {
            inner: Arc::new(Inner {
                #[cfg(feature = "git")]
                path,
                root,
                limits,
                permits,
                counts: Arc::default(),
                turn: Arc::default(),
            }),
        })
    }

    pub(super) fn limits(&self) -> &FsLimits {
        &self.inner.limits
    }

    /// The project's directory, for work with bounds of its own. Blocks.
    #[cfg(feature = "git")]
    pub(crate) fn enter(&self, cx: &ToolCx) -> Result<ProjectDir, FileError> {
        let acting = Acting { project: cx.project_id, quota: cx.settings.files, run: cx.run_id };
        self.inner.project(acting)
    }

    /// A directory beside the projects, which no tool reaches, made on first use; with its path,
    /// for a library that takes paths only. Blocks.
    #[cfg(feature = "git")]
    pub(crate) fn beside(&self, names: &[&str]) -> io::Result<(Dir, std::path::PathBuf)> {
        let mut dir = self.inner.root.try_clone()?;
        let mut path = self.inner.path.clone();
        for name in names {
            dir = super::baseline::enter(&dir, name)?;
            path.push(name);
        }
        // The path leads to what the handle holds, unless somebody moved the root away.
        let named = Dir::open_ambient_dir(&path, ambient_authority())?.dir_metadata()?;
        let held = dir.dir_metadata()?;
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            Ok((dir, path))
        } else {
            Err(io::Error::other("the workspace was moved while it is open"))
        }
    }

    /// Does `work` in a project's directory on a thread that may block. The directory is made on
    /// first use.
    ///
    /// `work` gets a token that fires when `cancel` does, when the time is over and when this
    /// future is dropped; it must look at it between any two pieces of work.
    ///
    /// # Errors
    /// What `work` returns; [`FileErrorKind::Timeout`] after [`FsLimits::call`], when what was
    /// begun may still happen; [`FileErrorKind::Cancelled`].
    pub async fn run<T, F>(
        &self,
        project: ProjectId,
        cancel: &CancellationToken,
        work: F,
    ) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(&ProjectDir, &CancellationToken) -> Result<T, FileError> + Send + 'static,
    {
        self.act(Acting { project, quota: FileQuota::default(), run: None }, cancel, work).await
    }

    /// Does `work` as [`Workspace::run`] does, within the project's quota, and keeps what the run
    /// changes, if a run calls.
    ///
    /// # Errors
    /// As [`Workspace::run`].
    pub async fn call<T, F>(&self, cx: &ToolCx, work: F) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(&ProjectDir, &CancellationToken) -> Result<T, FileError> + Send + 'static,
    {
        let acting = Acting { project: cx.project_id, quota: cx.settings.files, run: cx.run_id };
        self.act(acting, &cx.cancel, work).await
    }

    pub(super) async fn act<T, F>(
        &self,
        acting: Acting,
        cancel: &CancellationToken,
        work: F,
    ) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(&ProjectDir, &CancellationToken) -> Result<T, FileError> + Send + 'static,
    {
        let stop = cancel.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let inner = Arc::clone(&self.inner);
        let task = async {
            let permit = stop
                .run_until_cancelled(Arc::clone(&inner.permits).acquire_owned())
                .await
                .and_then(Result::ok)
                .ok_or_else(FileError::cancelled)?;
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                if stop.is_cancelled() {
                    return Err(FileError::cancelled());
                }
                work(&inner.project(acting)?, &stop)
            })
            .await
            .unwrap_or_else(|_panic| {
                let said = "the file operation failed because of a defect";
                Err(FileError::new(FileErrorKind::Internal, said).effect_possible())
            })
        };
        tokio::time::timeout(self.inner.limits.call, task).await.unwrap_or_else(|_elapsed| {
            let said = "the file operation took too long; try again with less at once";
            Err(FileError::new(FileErrorKind::Timeout, said).effect_possible())
        })
    }
}

impl Workspace {
    /// What a run changed in a project, in all of it or below `only`.
    ///
    /// # Errors
    /// As [`Workspace::run`].
    pub async fn diff(
        &self,
        project: ProjectId,
        run: RunId,
        only: Option<RelPath>,
        cancel: &CancellationToken,
    ) -> Result<RunDiff, FileError> {
        let inner = Arc::clone(&self.inner);
        self.run(project, cancel, move |dir, stop| {
            run_diff(&inner.root, dir, (project, run), only.as_ref(), stop)
        })
        .await
    }
}

/// A project's directory for a program that starts in it.
#[cfg(all(feature = "shell", target_os = "linux"))]
pub(crate) struct ProgramDir {
    #[expect(dead_code, reason = "open for as long as a process is started in it")]
    dir: Dir,
    /// How a process that this one just made finds the directory.
    pub(crate) handle: String,
    /// What the host calls it: to be kept out of what the program says, and for nothing else.
    pub(crate) hidden: String,
}

/// For programs that run in a project.
#[cfg(all(feature = "shell", target_os = "linux"))]
impl Workspace {
    /// The project's directory, if it is not full and has the directory `cwd`.
    #[expect(clippy::disallowed_methods, reason = "the handle's own name, not an agent's path")]
    pub(crate) async fn for_program(
        &self,
        cx: &ToolCx,
        cwd: Option<RelPath>,
    ) -> Result<ProgramDir, FileError> {
        self.call(cx, move |project, stop| {
            project.fits(Usage { bytes: 1, entries: 1 }, 0, stop)?;
            if let Some(path) = &cwd {
                project.descend(path, path.components(), Missing::Refuse)?;
            }
            let dir = project.dir().try_clone().map_err(|error| FileError::io(".", error))?;
            let handle = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir));
            let path = std::fs::read_link(&handle).map_err(|error| FileError::io(".", error))?;
            let hidden = path.to_str().unwrap_or_default().to_owned();
            Ok(ProgramDir { dir, handle, hidden })
        })
        .await
    }

    /// Takes note that a program may have changed what the project holds.
    pub(crate) fn changed_by_program(&self, project: ProjectId) {
        self.inner.counts.forget(project);
    }
}

impl Inner {
    fn project(&self, acting: Acting) -> Result<ProjectDir, FileError> {
        let Acting { project: id, quota, run } = acting;
        let name = id.to_string();
        let fail = |error| {
            let said = "the project's directory cannot be used; tell the operator";
            FileError::new(FileErrorKind::Internal, said).with_source(error)
        };
        match self.root.create_dir(&name) {
            Ok(()) => sync_dir(&self.root).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail(error)),
        }
        let dir = self.root.open_dir_nofollow(&name).map_err(fail)?;
        let quota = Quota::new(Arc::clone(&self.counts), id, &self.limits, quota);
        let project = ProjectDir::new(dir, self.limits, Arc::clone(&self.turn)).within(quota);
        match run {
            Some(run) => Ok(project.of_run(self.root.try_clone().map_err(fail)?, id, run)),
            None => Ok(project),
        }
    }
}
