//! A project: a named workspace with one directory under the server's workspace root.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{budget::Budget, id::ProjectId};

/// A named workspace. Tools of a run never see a path outside its directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its id, also the name of its directory.
    pub id: ProjectId,
    /// Unique, for people.
    pub name: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The owner's own data.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
    /// Most that all its runs may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Most that all its runs may spend on one day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_budget: Option<Budget>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Name of the project that runs use when they name none.
pub const DEFAULT_PROJECT: &str = "default";
