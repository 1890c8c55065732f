//! Which workers are certainly dead, without waiting for their time to run out.
//!
//! Each worker locks a file beside the database for as long as its store lives. The kernel lets go
//! of the lock when the process ends, however it ends, and only then: a process that is frozen
//! keeps it, and no other process can be taken for it, as with a number of a process that is used
//! again. So a worker whose file can be locked is dead.
//!
//! Locks of files reach as far as one kernel, so the name of a file says under which boot of which
//! kernel it was locked, and files of another one are left alone. Their workers lose their runs
//! when their time runs out, as do those that could not make or lock a file. Should a file system
//! lie about locks all the same, a worker loses its runs while it lives: the epoch refuses what it
//! writes from then on, as it does after any lease.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use agent_runner_core::id::WorkerId;

/// Tries to make a file that nobody removes meanwhile.
const TRIES: usize = 3;

/// The files of all workers of a database.
#[derive(Debug)]
pub(super) struct Presence {
    directory: PathBuf,
    /// This boot of this kernel; `None` where that cannot be found out: then nobody is taken for dead.
    boot: Option<String>,
    /// The files of workers of this store; `None` for one that could not be locked.
    held: Mutex<HashMap<WorkerId, Option<File>>>,
}

/// A worker whose process is gone. Nobody else finds it as long as this is held.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) worker: WorkerId,
    path: PathBuf,
    _lock: File,
}

impl Presence {
    #[expect(clippy::disallowed_methods, reason = "a fixed path")]
    pub(super) fn new(database: &Path) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self::with_boot(database, boot.map(|boot| boot.trim().to_owned()))
    }

    fn with_boot(database: &Path, boot: Option<String>) -> Self {
        let mut directory = database.as_os_str().to_owned();
        directory.push("-workers");
        Self { directory: directory.into(), boot, held: Mutex::default() }
    }

    /// Locks the file of a worker of this store, unless that was tried before.
    pub(super) fn enter(&self, worker: WorkerId) {
        let Some(boot) = &self.boot else { return };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(worker).or_insert_with(|| {
            let made = self.make(&self.directory.join(format!("{boot}.{worker}")));
            if let Err(error) = &made {
                tracing::warn!(
                    directory = %self.directory.display(), %error,
                    "cannot lock a file beside the database: should this process die, its runs go \
                     on only when their lease ends"
                );
            }
            made.ok()
        });
    }

    #[expect(clippy::disallowed_methods, reason = "the operator chose the directory")]
    fn make(&self, path: &Path) -> io::Result<File> {
        fs::create_dir_all(&self.directory)?;
        for _ in 0..TRIES {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            file.try_lock()?;
            // Whoever saw it before its lock took it for a dead worker's and removed it.
            if fs::exists(path)? {
                return Ok(file);
            }
        }
        Err(io::Error::other("the file is removed by others"))
    }

    /// Gives up the file of a worker of this store.
    #[expect(clippy::disallowed_methods, reason = "a file that `make` made")]
    pub(super) fn leave(&self, worker: WorkerId) {
        let file = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker);
        if let (Some(Some(_)), Some(boot)) = (file, &self.boot) {
            // Otherwise the next sweep finds it.
            let _ = fs::remove_file(self.directory.join(format!("{boot}.{worker}")));
        }
    }

    /// Lets go of all files, as the end of the process would.
    pub(super) fn close(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Workers of this machine whose processes are gone, at most `max`.
    #[expect(clippy::disallowed_methods, reason = "the operator chose the directory")]
    pub(super) fn dead(&self, max: usize) -> Vec<Dead> {
        let Some(boot) = &self.boot else { return Vec::new() };
        // No worker made a file so far, or none may be read: nobody is known to be dead.
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let examined = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let worker = name.strip_prefix(boot)?.strip_prefix('.')?.parse().ok()?;
            let lock = File::open(&path).ok()?;
            lock.try_lock().ok()?;
            Some(Dead { worker, path, _lock: lock })
        });
        examined.take(max).collect()
    }
}

impl Dead {
    /// Removes what tells of the worker, once the database knows that it is gone.
    #[expect(clippy::disallowed_methods, reason = "a file of `Presence`")]
    pub(super) fn forget(self) {
        // Otherwise the next sweep finds it again.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a directory of the test")]
mod tests {
    use agent_runner_core::id::{IdSource as _, SystemIds};

    use super::*;

    fn worker() -> WorkerId {
        WorkerId::from_uuid(SystemIds.next())
    }

    fn presence(dir: &tempfile::TempDir, boot: &str) -> Presence {
        Presence::with_boot(&dir.path().join("x.db"), Some(boot.to_owned()))
    }

    fn found(presence: &Presence) -> Vec<WorkerId> {
        presence.dead(10).iter().map(|dead| dead.worker).collect()
    }

    #[test]
    fn a_worker_is_dead_when_nobody_holds_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (presence(&dir, "boot"), presence(&dir, "boot"));
        let (alive, dead, left) = (worker(), worker(), worker());
        assert_eq!(found(&mine), [], "there is no directory yet");
        mine.enter(alive);
        other.enter(dead);
        other.enter(left);
        assert_eq!(found(&mine), [], "all live");
        other.leave(left);
        drop(other);
        assert_eq!(found(&mine), [dead], "the one that left is not looked for");
        let kept = mine.dead(10);
        assert_eq!(found(&mine), [], "one at a time deals with a dead worker");
        kept.into_iter().for_each(Dead::forget);
        assert_eq!(found(&mine), []);
        mine.close();
        assert_eq!(found(&mine), [alive], "a closed store has no workers");
    }

    #[test]
    fn files_of_another_kernel_and_of_strangers_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let here = presence(&dir, "boot-2");
        for boot in ["boot", "boot-1", "boot-22"] {
            presence(&dir, boot).enter(worker());
        }
        fs::write(here.directory.join("notes.txt"), "x").unwrap();
        assert_eq!(found(&here), []);
        assert_eq!(fs::read_dir(&here.directory).unwrap().count(), 4);
    }

    #[test]
    fn a_directory_that_cannot_be_made_costs_only_time() {
        let dir = tempfile::tempdir().unwrap();
        let here = presence(&dir, "boot");
        fs::write(&here.directory, "in the way").unwrap();
        let worker = worker();
        here.enter(worker);
        here.leave(worker);
        assert_eq!(found(&here), []);
    }

    #[test]
    fn where_the_kernel_is_not_known_nobody_is_taken_for_dead() {
        let dir = tempfile::tempdir().unwrap();
        let here = Presence::with_boot(&dir.path().join("x.db"), None);
        here.enter(worker());
        assert_eq!(found(&here), []);
        assert!(!here.directory.exists());
    }
}
