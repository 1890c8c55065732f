//! What was read of projects lately: their budgets and settings are asked for at every call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{Inner, project::PROJECTS};
use crate::{
    id::ProjectId,
    project::Project,
    store::{StoreError, StoreErrorKind},
    time,
};

/// How long a project is believed without looking: a change that another process made takes effect
/// within it.
const FRESH: Duration = Duration::from_secs(5);
/// Projects that are remembered; bounds the memory.
const REMEMBERED_MAX: usize = 1_024;

/// A project as it was lately.
#[derive(Debug, Clone)]
pub(super) struct Known {
    read_at: Timestamp,
    /// `None` when there was none.
    pub(super) project: Option<Arc<Project>>,
}

/// Projects as they were lately.
#[derive(Debug, Default)]
pub(super) struct KnownProjects {
    known: Mutex<HashMap<ProjectId, Known>>,
    default: OnceLock<ProjectId>,
}

impl KnownProjects {
    fn get(&self, id: ProjectId, now: Timestamp) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).filter(|known| time::until(known.read_at, now) <= FRESH).cloned()
    }

    fn put(&self, id: ProjectId, read_at: Timestamp, project: Option<Arc<Project>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(id, Known { read_at, project });
    }

    /// Remembers which one is the default: it is never deleted, so that stays true.
    pub(super) fn set_default(&self, id: ProjectId) {
        self.default.get_or_init(|| id);
    }

    /// Forgets a project that this process changed.
    pub(super) fn forget(&self, id: ProjectId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

impl Inner {
    /// A project, if it is known without asking the store.
    pub(super) fn project_now(&self, id: ProjectId) -> Option<Known> {
        self.projects.get(id, self.clock.now())
    }

    /// The default project, if it is known.
    pub(super) async fn default_project_now(&self) -> Result<Option<Project>, StoreError> {
        let Some(id) = self.projects.default.get() else { return Ok(None) };
        Ok(self.project(*id).await?.map(|project| (*project).clone()))
    }

    /// A project as it was at most [`FRESH`] ago; `None` when there is none.
    pub(super) async fn project(&self, id: ProjectId) -> Result<Option<Arc<Project>>, StoreError> {
        let now = self.clock.now();
        if let Some(known) = self.projects.get(id, now) {
            return Ok(known.project);
        }
        let project = match self.store.record(PROJECTS, &id.to_string()).await? {
            None => None,
            Some(record) => {
                let project: Project = serde_json::from_value(record.value).map_err(|error| {
                    let what = format!("the record of project {id} cannot be read");
                    StoreError::new(StoreErrorKind::Corrupt, what).with_source(error)
                })?;
                Some(Arc::new(project))
            }
        };
        self.projects.put(id, now, project.clone());
        Ok(project)
    }
}
