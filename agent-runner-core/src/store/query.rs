//! What is asked of a store, and its answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    approval::ApprovalStatus,
    id::{ApprovalId, ArtifactId, ProjectId, RunId, StepKey, WorkerId},
    limits,
    run::RunStatus,
};

/// The direction of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third direction")]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// Which runs to list. Every condition that is set must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct RunQuery {
    /// One of these; all when empty.
    pub statuses: Vec<RunStatus>,
    /// Of this project.
    pub project_id: Option<ProjectId>,
    /// Of this agent.
    pub agent: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Started by this run.
    pub parent_id: Option<RunId>,
    /// With this text in goal or name, case-insensitively for ASCII.
    pub text: Option<String>,
    /// Accepted at or after.
    pub created_after: Option<Timestamp>,
    /// Beyond this id in the direction of the list.
    pub after: Option<RunId>,
    /// The direction, by id, which is the order of creation.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
}

impl Default for RunQuery {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            project_id: None,
            agent: None,
            tag: None,
            parent_id: None,
            text: None,
            created_after: None,
            after: None,
            order: Order::Descending,
            limit: 50,
        }
    }
}

impl RunQuery {
    /// Whether it has a condition; page, order and limit are none.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        let Self { after, order, limit, .. } = self;
        let every = Self { after: *after, order: *order, limit: *limit, ..Self::default() };
        *self != every
    }
}

/// Which artifacts to list, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store has to honour all of it")]
pub struct ArtifactQuery {
    /// Of this run.
    pub run_id: RunId,
    /// With this name.
    pub name: Option<String>,
    /// With a greater id.
    pub after: Option<ArtifactId>,
    /// At most so many.
    pub limit: usize,
}

/// Which approvals to list. Every condition that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalQuery {
    /// With this status.
    pub status: Option<ApprovalStatus>,
    /// Of this run.
    pub run_id: Option<RunId>,
    /// Of this project.
    pub project_id: Option<ProjectId>,
    /// With a greater id.
    pub after: Option<ApprovalId>,
    /// At most so many.
    pub limit: usize,
}

/// Which events to list.
#[derive(Debug, Clone, PartialEq)]
pub struct EventQuery {
    /// With a greater number (ascending) or a smaller one (descending, 0 means from the end).
    pub after: u64,
    /// One of these types; all when empty.
    pub kinds: Vec<String>,
    /// About this step.
    pub step: Option<StepKey>,
    /// The direction.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
}

impl EventQuery {
    /// All events after a number, oldest first, a page at a time.
    #[must_use]
    pub const fn after(seq: u64) -> Self {
        Self {
            after: seq,
            kinds: Vec::new(),
            step: None,
            order: Order::Ascending,
            limit: limits::EVENT_PAGE,
        }
    }
}

/// The part of a run that others than its owner change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The run.
    pub run: RunId,
    /// Its control number.
    pub control: u64,
    /// Number of its last event.
    pub last_seq: u64,
    /// Whether a pause is asked for.
    pub pause_requested: bool,
    /// Whether cancellation is asked for.
    pub cancel_requested: bool,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its id, new with every start.
    pub id: WorkerId,
    /// The machine it runs on.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Takes no new runs.
    pub draining: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// When it counts as lost, by the store's clock. Set by the store.
    pub expires_at: Timestamp,
    /// Runs it has. Set by the store.
    pub runs: u64,
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Taken from lost workers.
    pub revoked: Vec<RunId>,
    /// Were claimable and not listed, or listed and not claimable.
    pub mended: Vec<RunId>,
    /// Ownerless with cancellation asked for: to be ended by the caller.
    pub cancel: Vec<RunId>,
    /// Ownerless and past their deadline: to be ended by the caller.
    pub overdue: Vec<RunId>,
}

/// A hint that something was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// This run has new events or another control state.
    Run(RunId),
    /// This run ended, or was deleted. Told besides [`Change::Run`].
    Ended(RunId),
    /// Some run became claimable.
    Ready,
    /// Anything may have changed.
    Any,
}

/// A small document.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its name within the collection.
    pub key: String,
    /// Its content.
    pub value: Value,
    /// Grows by one with every write.
    pub version: u64,
    /// When it counts as absent.
    pub expires_at: Option<Timestamp>,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// What must hold for a record to be written or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store has to implement every case")]
pub enum RecordExpect {
    /// Nothing.
    Any,
    /// There is none.
    Absent,
    /// It has this version.
    Version(u64),
}

/// A record to write.
#[derive(Debug, Clone, PartialEq)]
pub struct PutRecord {
    /// The collection.
    pub collection: String,
    /// The name within it.
    pub key: String,
    /// The content.
    pub value: Value,
    /// What must hold.
    pub expect: RecordExpect,
    /// When it counts as absent.
    pub expires_at: Option<Timestamp>,
}
