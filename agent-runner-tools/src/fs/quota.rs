//! How much a project's directory holds, and whether more fits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use agent_runner_core::{id::ProjectId, project::FileQuota};
use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use super::{
    error::{FileError, FileErrorKind},
    workspace::FsLimits,
};

/// How long a count is believed: what other processes and programs write is seen after it.
const FRESH: Duration = Duration::from_secs(60);
/// Projects whose counts are remembered; bounds the memory.
const REMEMBERED_MAX: usize = 1_024;

/// What a directory holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    /// Files and directories.
    pub(crate) entries: u64,
}

/// Counts of projects, taken by looking and kept up by what is written here.
#[derive(Debug, Default)]
pub(super) struct Counts {
    known: Mutex<HashMap<ProjectId, (Instant, Usage)>>,
}

/// What a project may hold.
#[derive(Debug, Clone)]
pub(super) struct Quota {
    pub(super) counts: Arc<Counts>,
    pub(super) project: ProjectId,
    pub(super) bytes_max: u64,
    pub(super) entries_max: u64,
}

impl Quota {
    pub(super) fn new(
        counts: Arc<Counts>,
        project: ProjectId,
        limits: &FsLimits,
        own: FileQuota,
    ) -> Self {
        let bytes_max = own.bytes_max.unwrap_or(u64::MAX).min(limits.project_bytes_max);
        let entries_max = own.files_max.unwrap_or(u64::MAX).min(limits.project_files_max);
        Self { counts, project, bytes_max, entries_max }
    }

    /// Whether `bytes` and `entries` more fit, of which `freed` bytes take the place of others.
    pub(super) fn check(
        &self,
        root: &Dir,
        limits: &FsLimits,
        stop: &CancellationToken,
        more: Usage,
        freed: u64,
    ) -> Result<(), FileError> {
        let now = self.counts.get(self.project);
        let now = match now {
            Some(usage) => usage,
            None => {
                let usage = count(root, limits, stop)?;
                self.counts.put(self.project, usage);
                usage
            }
        };
        let bytes = now.bytes.saturating_add(more.bytes).saturating_sub(freed);
        if more.bytes > freed && bytes > self.bytes_max {
            let (most, now) = (self.bytes_max, now.bytes);
            return Err(FileError::new(
                FileErrorKind::NoSpace,
                format!(
                    "the project may hold {most} bytes and holds {now}: delete what is not needed"
                ),
            ));
        }
        if more.entries > 0 && now.entries.saturating_add(more.entries) > self.entries_max {
            let (most, now) = (self.entries_max, now.entries);
            return Err(FileError::new(
                FileErrorKind::NoSpace,
                format!(
                    "the project may hold {most} files and directories and holds {now}: delete what is not needed"
                ),
            ));
        }
        Ok(())
    }

    /// Takes note of what was written.
    pub(super) fn add(&self, more: Usage, freed: u64) {
        self.counts.change(self.project, |usage| {
            usage.bytes = usage.bytes.saturating_add(more.bytes).saturating_sub(freed);
            usage.entries = usage.entries.saturating_add(more.entries);
        });
    }

    /// Takes note of what was removed.
    pub(super) fn remove(&self, less: Usage) {
        self.counts.change(self.project, |usage| {
            usage.bytes = usage.bytes.saturating_sub(less.bytes);
            usage.entries = usage.entries.saturating_sub(less.entries);
        });
    }
}

impl Counts {
    fn get(&self, project: ProjectId) -> Option<Usage> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&project).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, usage)| *usage)
    }

    fn put(&self, project: ProjectId, usage: Usage) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(project, (Instant::now(), usage));
    }

    /// The next who asks looks again.
    #[cfg(all(feature = "shell", target_os = "linux"))]
    pub(super) fn forget(&self, project: ProjectId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&project);
    }

    fn change(&self, project: ProjectId, change: impl FnOnce(&mut Usage)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, usage)) = known.get_mut(&project) {
            change(usage);
        }
    }
}

/// What a directory holds, Git's own files included; links are not followed. Stops counting at the
/// limits of a walk: what is beyond them does not fit anyway.
pub(super) fn count(
    dir: &Dir,
    limits: &FsLimits,
    stop: &CancellationToken,
) -> Result<Usage, FileError> {
    let mut usage = Usage::default();
    let mut open = vec![(dir.try_clone().map_err(|error| FileError::io(".", error))?, 0_usize)];
    while let Some((dir, depth)) = open.pop() {
        for entry in dir.entries().map_err(|error| FileError::io(".", error))? {
            if stop.is_cancelled() {
                return Err(FileError::cancelled());
            }
            let Ok(entry) = entry else { continue };
            usage.entries = usage.entries.saturating_add(1);
            if usage.entries >= u64::try_from(limits.walk_entries_max).unwrap_or(u64::MAX) {
                return Ok(usage);
            }
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                usage.bytes = usage.bytes.saturating_add(metadata.len());
            } else if metadata.is_dir()
                && depth < limits.depth_max.saturating_mul(2)
                && let Ok(below) = dir.open_dir_nofollow(entry.file_name())
            {
                open.push((below, depth + 1));
            }
        }
    }
    Ok(usage)
}
