//! Health of the service.

use serde::Serialize;
use utoipa::ToSchema;

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Check {
    /// What: `store`, `worker` or `accepting`.
    pub(crate) name: &'static str,
    /// Whether it is well.
    pub(crate) ok: bool,
}

/// Whether the service is well. Says nothing about why not: the log does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` or `unavailable`.
    pub(crate) status: &'static str,
    /// What was looked at.
    pub(crate) checks: Vec<Check>,
}

impl Health {
    /// The health that follows from `checks`.
    pub(crate) fn of(checks: Vec<Check>) -> Self {
        let ok = checks.iter().all(|check| check.ok);
        Self { status: if ok { "ok" } else { "unavailable" }, checks }
    }
}

/// What is running here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    /// `agent-runner`.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// Always `ok`.
    pub(crate) status: &'static str,
}
