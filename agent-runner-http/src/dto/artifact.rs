//! Artifacts as clients see them.

use agent_runner_core::artifact;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A named output of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Artifact {
    /// Its id.
    #[schema(format = Uuid)]
    pub(crate) id: String,
    /// The run that made it.
    #[schema(format = Uuid)]
    run_id: String,
    /// The step that made it; `null` for one that a person added.
    step_id: Option<String>,
    /// Its name within the run, such as `report.md`.
    name: String,
    /// 1 for the first of that name in the run, and so on.
    version: u64,
    /// What it is for people: `document`, `log`, `patch`, `output`, …
    kind: String,
    /// Its media type.
    media_type: String,
    /// Size in bytes.
    size: u64,
    /// SHA-256 of its bytes, lower-case hex.
    sha256: String,
    /// Where the bytes are.
    uri: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<artifact::Artifact> for Artifact {
    fn from(core: artifact::Artifact) -> Self {
        Self {
            id: core.id.to_string(),
            run_id: core.run_id.to_string(),
            step_id: core.step.map(|step| step.to_string()),
            name: core.name,
            version: core.version,
            kind: core.kind,
            media_type: core.media_type,
            size: core.size,
            sha256: core.sha256,
            uri: core.uri,
            created_at: core.created_at,
        }
    }
}
