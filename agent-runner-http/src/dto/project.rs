//! Projects as clients see and send them.

use std::collections::BTreeMap;

use agent_runner_core::engine;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{budget::Budget, settings::Settings};

/// A named workspace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Project {
    /// Its id, also the name of its directory.
    #[schema(format = Uuid)]
    pub(crate) id: String,
    /// Unique, for people.
    name: String,
    /// What it is about.
    description: Option<String>,
    /// The owner's own data.
    metadata: BTreeMap<String, Value>,
    /// Most that all its runs may spend.
    budget: Option<Budget>,
    /// Most that all its runs may spend on one day (UTC).
    daily_budget: Option<Budget>,
    /// What its runs may do.
    settings: Settings,
    /// Grows by one with every change; the `ETag` is `"v<version>"`.
    pub(crate) version: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<engine::VersionedProject> for Project {
    fn from(versioned: engine::VersionedProject) -> Self {
        let project = versioned.project;
        Self {
            id: project.id.to_string(),
            name: project.name,
            description: project.description,
            metadata: project.metadata,
            budget: project.budget.map(Budget::from),
            daily_budget: project.daily_budget.map(Budget::from),
            settings: project.settings.into(),
            version: versioned.version,
            created_at: project.created_at,
        }
    }
}

/// A project to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProject {
    /// Its name: letters, digits, `_`, `-`, `.`; unique.
    name: String,
    /// What it is about.
    description: Option<String>,
    /// The owner's own data.
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
    /// Most that all its runs may spend.
    budget: Option<Budget>,
    /// Most that all its runs may spend on one day (UTC).
    daily_budget: Option<Budget>,
    /// What its runs may do.
    #[serde(default)]
    settings: Settings,
}

impl From<NewProject> for engine::NewProject {
    fn from(new: NewProject) -> Self {
        Self {
            name: new.name,
            description: new.description,
            metadata: new.metadata,
            budget: new.budget.map(Into::into),
            daily_budget: new.daily_budget.map(Into::into),
            settings: new.settings.into(),
        }
    }
}

/// Changes of a project; what is missing stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchProject {
    /// What it is about.
    description: Option<String>,
    /// The owner's own data, replaced as a whole.
    metadata: Option<BTreeMap<String, Value>>,
    /// Most that all its runs may spend; `{}` is no limit. Takes effect within 5 seconds.
    budget: Option<Budget>,
    /// Most that all its runs may spend on one day (UTC); `{}` is no limit.
    daily_budget: Option<Budget>,
    /// What its runs may do, replaced as a whole. Takes effect within 5 seconds.
    settings: Option<Settings>,
}

impl From<PatchProject> for engine::ProjectPatch {
    fn from(patch: PatchProject) -> Self {
        Self {
            description: patch.description,
            metadata: patch.metadata,
            budget: patch.budget.map(Into::into),
            daily_budget: patch.daily_budget.map(Into::into),
            settings: patch.settings.map(Into::into),
        }
    }
}
