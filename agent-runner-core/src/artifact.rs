//! An artifact: a named output of a run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ArtifactId, RunId, StepKey};

/// What is known of a named output. Its bytes live elsewhere, under `uri`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// The run that made it.
    pub run_id: RunId,
    /// The step that made it.
    pub step: Option<StepKey>,
    /// Its name within the run, such as `report.md`.
    pub name: String,
    /// What it is for people: `document`, `log`, `patch`, …
    pub kind: String,
    /// Its media type (RFC 6838).
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Where the bytes are, as the blob store names it.
    pub uri: String,
    /// When it was made.
    pub created_at: Timestamp,
}
