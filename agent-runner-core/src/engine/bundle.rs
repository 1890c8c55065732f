//! A run on its way to another database: its journal, whole, as lines of JSON.
//!
//! The first line says what it is and what the run was called, one line follows for each event and
//! each artifact, and the last has the hashes of all before it. The hashes show damage; they do not
//! show who made the bundle.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::journal::hex;
use crate::{
    artifact::Artifact,
    budget::Spend,
    event::{Event, NewEvent},
    id::{ArtifactId, RunId, StepKey},
    llm::Usage,
    run::{ImportedFrom, Run, RunSpec, RunStatus},
};

/// What a bundle calls itself.
pub(super) const FORMAT: &str = "agent-runner.run";
/// The version of its lines. A reader refuses others.
pub(super) const VERSION: u32 = 1;

/// A line of a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first.
    Run(Box<Head>),
    /// An event, with its whole payload.
    Event(BundledEvent),
    /// What is known of an artifact; its bytes do not travel.
    Artifact(BundledArtifact),
    /// The last.
    End(End),
}

/// What the bundle is, and the run's row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) format: String,
    pub(super) version: u32,
    /// The version of agent-runner that made it.
    pub(super) program: String,
    pub(super) id: RunId,
    pub(super) status: RunStatus,
    pub(super) name: Option<String>,
    /// What was asked for, as the first event has it.
    pub(super) spec: RunSpec,
    pub(super) priority: i32,
    pub(super) tags: Vec<String>,
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) usage: Usage,
    pub(super) spend: Spend,
    pub(super) created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) deadline_at: Option<Timestamp>,
    /// Where the run had been imported from before.
    pub(super) imported_from: Option<ImportedFrom>,
}

/// What every version of the first line has.
#[derive(Debug, Deserialize)]
pub(super) struct Label {
    pub(super) format: String,
    pub(super) version: u32,
    #[serde(default)]
    pub(super) program: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundledEvent {
    pub(super) id: u64,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<StepKey>,
    pub(super) at: Timestamp,
    pub(super) payload: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundledArtifact {
    pub(super) id: ArtifactId,
    step: Option<StepKey>,
    pub(super) name: String,
    version: u64,
    kind: String,
    media_type: String,
    pub(super) size: u64,
    pub(super) sha256: String,
    created_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// How many there are.
    pub(super) events: u64,
    /// SHA-256 of the lines of the events, the ends of the lines included, lower-case hex.
    pub(super) journal_sha256: String,
    /// SHA-256 of all bytes before this line, lower-case hex.
    pub(super) sha256: String,
}

impl Head {
    pub(super) fn of(run: &Run) -> Self {
        let mut spec = run.spec.clone();
        let imported_from = spec.imported_from.take().map(|from| *from);
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            id: run.id,
            status: run.status,
            name: run.name.clone(),
            spec,
            priority: run.priority,
            tags: run.tags.clone(),
            metadata: run.metadata.clone(),
            usage: run.usage,
            spend: run.spend,
            created_at: micros(run.created_at),
            started_at: run.started_at.map(micros),
            finished_at: run.finished_at.map(micros),
            deadline_at: run.deadline_at.map(micros),
            imported_from,
        }
    }
}

impl From<Event> for BundledEvent {
    fn from(event: Event) -> Self {
        let Event { seq: id, kind, step, at, payload, .. } = event;
        Self { id, kind, step, at: micros(at), payload }
    }
}

impl BundledEvent {
    pub(super) fn into_new(self) -> NewEvent {
        let Self { kind, step, at, payload, .. } = self;
        NewEvent { kind, step, payload: payload.into(), blob: None, at }
    }
}

impl From<Artifact> for BundledArtifact {
    fn from(artifact: Artifact) -> Self {
        let Artifact { id, step, name, version, kind, media_type, .. } = artifact;
        let Artifact { size, sha256, created_at, .. } = artifact;
        Self {
            id,
            step,
            name,
            version,
            kind,
            media_type,
            size,
            sha256,
            created_at: micros(created_at),
        }
    }
}

/// A moment as databases keep it, so that a journal is the same in each.
pub(super) fn micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// The two hashes of a bundle while it is written or read.
#[derive(Debug, Clone, Default)]
pub(super) struct Hashes {
    all: Sha256,
    journal: Sha256,
    events: u64,
}

impl Hashes {
    /// Takes the bytes of a line in, its end included.
    pub(super) fn take(&mut self, line: &[u8]) {
        self.all.update(line);
    }

    /// Takes in what this program writes as the line of an event, its end included.
    pub(super) fn take_event(&mut self, line: &[u8]) {
        self.journal.update(line);
        self.events += 1;
    }

    /// How many events were taken in.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// The last line for all that was taken in.
    pub(super) fn end(self) -> End {
        End {
            events: self.events,
            journal_sha256: hex(&self.journal.finalize()),
            sha256: hex(&self.all.finalize()),
        }
    }
}
