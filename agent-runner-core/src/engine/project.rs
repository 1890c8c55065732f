//! Projects: records of a collection, one of them the default.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{Engine, EngineError, EngineErrorKind, new_run::Wrong};
use crate::{
    budget::Budget,
    id::ProjectId,
    project::{DEFAULT_PROJECT, Project, ProjectSettings},
    run::RunStatus,
    store::{PutRecord, Record, RecordExpect, RunQuery, StoreErrorKind},
    time,
};

/// The collection of projects.
pub(super) const PROJECTS: &str = "project";
/// Maps a name to a project's id; what makes names unique.
const NAMES: &str = "project_name";
/// How long a name may stand without its project before it counts as left behind by a crash.
const NAME_GRACE: Duration = Duration::from_secs(5);
/// How often the default project is looked for while another process makes it.
const DEFAULT_TRIES: usize = 60;

/// A project to make.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewProject {
    /// Its name: letters, digits, `_`, `-`, `.`; unique.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// The owner's own data.
    pub metadata: BTreeMap<String, Value>,
    /// Most that all its runs may spend.
    pub budget: Option<Budget>,
    /// Most that all its runs may spend on one day (UTC).
    pub daily_budget: Option<Budget>,
    /// What its runs may do.
    pub settings: ProjectSettings,
}

/// Changes of a project; `None` keeps what is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProjectPatch {
    /// What it is about.
    pub description: Option<String>,
    /// The owner's own data.
    pub metadata: Option<BTreeMap<String, Value>>,
    /// Most that all its runs may spend; a budget without limits takes the limits away.
    pub budget: Option<Budget>,
    /// Most that all its runs may spend on one day (UTC).
    pub daily_budget: Option<Budget>,
    /// What its runs may do; whole.
    pub settings: Option<ProjectSettings>,
}

/// A project and the version of its record, for optimistic concurrency.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionedProject {
    /// The project.
    pub project: Project,
    /// Grows by one with every change.
    pub version: u64,
}

fn decode(record: Record) -> Result<VersionedProject, EngineError> {
    let project = serde_json::from_value(record.value).map_err(|error| {
        EngineError::new(
            EngineErrorKind::Internal,
            format!("the record of project {} cannot be read: {error}", record.key),
        )
    })?;
    Ok(VersionedProject { project, version: record.version })
}

impl Engine {
    /// Makes a project.
    ///
    /// # Errors
    /// `Validation` for a bad name, `Conflict` for a name that is taken.
    pub async fn create_project(&self, new: NewProject) -> Result<VersionedProject, EngineError> {
        let mut wrong = Wrong::default();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if new.name.is_empty() || new.name.len() > 100 || !new.name.chars().all(legal) {
            wrong.add("/name", "use 1 to 100 letters, digits, `_`, `-` or `.`");
        }
        check_settings(&new.settings, &mut wrong);
        wrong.into_result()?;
        let id = ProjectId::from_uuid(self.inner.ids.next());
        let name = new.name.clone();
        // The name is taken first: a crash in between leaves a name without a project, which
        // `claim_name` gives away again after a while.
        if !self.claim_name(&name, id).await? {
            return Err(EngineError::new(
                EngineErrorKind::Conflict,
                format!("there is a project called `{name}` already"),
            ));
        }
        let project = Project {
            id,
            name: new.name,
            description: new.description,
            metadata: new.metadata,
            budget: new.budget.filter(Budget::is_limited),
            daily_budget: new.daily_budget.filter(Budget::is_limited),
            settings: new.settings,
            created_at: self.inner.clock.now(),
        };
        self.put_project(&project, RecordExpect::Absent).await
    }

    async fn claim_name(&self, name: &str, id: ProjectId) -> Result<bool, EngineError> {
        let store = &self.inner.store;
        let mut expect = RecordExpect::Absent;
        if let Some(taken) = store.record(NAMES, name).await? {
            let holder = taken.value.as_str().unwrap_or_default();
            let abandoned = time::until(taken.updated_at, self.inner.clock.now()) > NAME_GRACE;
            if !abandoned || store.record(PROJECTS, holder).await?.is_some() {
                return Ok(false);
            }
            expect = RecordExpect::Version(taken.version);
        }
        let put = PutRecord {
            collection: NAMES.to_owned(),
            key: name.to_owned(),
            value: Value::String(id.to_string()),
            expect,
            expires_at: None,
        };
        match store.put_record(put).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == StoreErrorKind::Conflict => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn put_project(
        &self,
        project: &Project,
        expect: RecordExpect,
    ) -> Result<VersionedProject, EngineError> {
        let value = serde_json::to_value(project).map_err(|error| {
            EngineError::new(EngineErrorKind::Internal, format!("a project is not JSON: {error}"))
        })?;
        let put = PutRecord {
            collection: PROJECTS.to_owned(),
            key: project.id.to_string(),
            value,
            expect,
            expires_at: None,
        };
        decode(self.inner.store.put_record(put).await?)
    }

    /// One project.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, id: ProjectId) -> Result<VersionedProject, EngineError> {
        match self.inner.store.record(PROJECTS, &id.to_string()).await? {
            Some(record) => decode(record),
            None => Err(EngineError::new(
                EngineErrorKind::NotFound,
                format!("there is no project {id}"),
            )),
        }
    }

    /// Projects by id, those after `after`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn projects(
        &self,
        after: Option<ProjectId>,
        limit: usize,
    ) -> Result<Vec<VersionedProject>, EngineError> {
        let after = after.map(|id| id.to_string());
        let records = self.inner.store.records(PROJECTS, after.as_deref(), limit).await?;
        records.into_iter().map(decode).collect()
    }

    /// Changes a project, if it still has `version`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it changed since.
    pub async fn update_project(
        &self,
        id: ProjectId,
        patch: ProjectPatch,
        version: Option<u64>,
    ) -> Result<VersionedProject, EngineError> {
        let mut wrong = Wrong::default();
        if let Some(settings) = &patch.settings {
            check_settings(settings, &mut wrong);
        }
        wrong.into_result()?;
        let VersionedProject { mut project, version: current } = self.project(id).await?;
        if let Some(description) = patch.description {
            project.description = Some(description);
        }
        if let Some(metadata) = patch.metadata {
            project.metadata = metadata;
        }
        if let Some(budget) = patch.budget {
            project.budget = Some(budget).filter(Budget::is_limited);
        }
        if let Some(budget) = patch.daily_budget {
            project.daily_budget = Some(budget).filter(Budget::is_limited);
        }
        if let Some(settings) = patch.settings {
            project.settings = settings;
        }
        let put = self.put_project(&project, RecordExpect::Version(version.unwrap_or(current)));
        let put = put.await;
        self.inner.projects.forget(id);
        put
    }

    /// Deletes a project that has no unfinished run. Its directory is left alone.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it changed since, has unfinished runs, or is the default one.
    pub async fn delete_project(
        &self,
        id: ProjectId,
        version: Option<u64>,
    ) -> Result<(), EngineError> {
        let found = self.project(id).await?;
        let conflict = |what: &str| Err(EngineError::new(EngineErrorKind::Conflict, what));
        if found.project.name == DEFAULT_PROJECT {
            return conflict("the default project cannot be deleted");
        }
        let unfinished = RunQuery {
            statuses: vec![RunStatus::Queued, RunStatus::Running],
            project_id: Some(id),
            limit: 1,
            ..RunQuery::default()
        };
        if !self.inner.store.runs(&unfinished).await?.is_empty() {
            return conflict("the project has unfinished runs; cancel them first");
        }
        let expect = RecordExpect::Version(version.unwrap_or(found.version));
        if !self.inner.store.delete_record(PROJECTS, &id.to_string(), expect).await? {
            return conflict("the project changed in the meantime; read it again");
        }
        let _ =
            self.inner.store.delete_record(NAMES, &found.project.name, RecordExpect::Any).await?;
        Ok(())
    }

    /// The project of runs that name none; made on first use.
    ///
    /// # Errors
    /// What the store says.
    pub async fn default_project(&self) -> Result<Project, EngineError> {
        if let Some(project) = self.inner.default_project_now().await? {
            return Ok(project);
        }
        for _ in 0..DEFAULT_TRIES {
            if let Some(name) = self.inner.store.record(NAMES, DEFAULT_PROJECT).await?
                && let Some(Ok(id)) = name.value.as_str().map(str::parse)
                && let Ok(found) = self.project(id).await
            {
                self.inner.projects.set_default(id);
                return Ok(found.project);
            }
            let new = NewProject { name: DEFAULT_PROJECT.to_owned(), ..NewProject::default() };
            match self.create_project(new).await {
                Ok(made) => return Ok(made.project),
                // Another process was faster.
                Err(error) if error.kind() == EngineErrorKind::Conflict => {
                    self.inner.clock.sleep(NAME_GRACE / 50).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(EngineError::new(EngineErrorKind::Busy, "the default project is being made; try again"))
    }
}

fn check_settings(settings: &ProjectSettings, wrong: &mut Wrong) {
    for (place, what) in settings.problems() {
        wrong.add(&format!("/settings{place}"), what);
    }
}
