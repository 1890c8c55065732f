//! What a store writes in one transaction.

use jiff::Timestamp;
use serde_json::Value;

use super::Booking;
use crate::{
    approval::ApprovalStatus,
    budget::Spend,
    event::NewEvent,
    id::{ApprovalId, ArtifactId, RunId, StepKey, WorkerId},
    llm::Usage,
    run::{Park, ParkReason, Run, RunError, RunStatus},
    step::{EffectPolicy, StepError, StepKind, StepStatus},
};

/// Changes of one run, written whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// What must hold for the batch to be written.
    pub expect: Expect,
    /// Events, in order. The store numbers them.
    pub events: Vec<NewEvent>,
    /// Changes of the run's row.
    pub patch: RunPatch,
    /// Steps, whole rows, at most one per key.
    pub steps: Vec<StepRow>,
    /// Signals to keep.
    pub signals: Vec<SignalRow>,
    /// Payloads too large for their events.
    pub blobs: Vec<Blob>,
    /// New artifacts.
    pub artifacts: Vec<ArtifactRow>,
    /// Approvals that are asked for or decided.
    pub approvals: Vec<ApprovalRow>,
    /// What calls took.
    pub bookings: Vec<Booking>,
    /// Runs that begin with it.
    pub spawns: Vec<Spawn>,
    /// What other runs learn with it.
    pub news: Vec<News>,
    /// Takes the place of the run's snapshot.
    pub snapshot: Option<Snapshot>,
    /// Whether the run is listed for claiming afterwards.
    pub ready: Ready,
}

impl Batch {
    /// A batch that changes nothing yet.
    #[must_use]
    pub fn new(run: RunId, expect: Expect) -> Self {
        Self {
            run,
            expect,
            events: Vec::new(),
            patch: RunPatch::default(),
            steps: Vec::new(),
            signals: Vec::new(),
            blobs: Vec::new(),
            artifacts: Vec::new(),
            approvals: Vec::new(),
            bookings: Vec::new(),
            spawns: Vec::new(),
            news: Vec::new(),
            snapshot: None,
            ready: Ready::Keep,
        }
    }
}

/// A run that begins with a batch of another one.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a store has to write all of it")]
pub struct Spawn {
    /// The run: QUEUED, with an id that is new, without idempotency key.
    pub run: Run,
    /// Events, in order. The store numbers them from 1.
    pub events: Vec<NewEvent>,
    /// Payloads too large for their events.
    pub blobs: Vec<Blob>,
    /// Whether the run is listed for claiming.
    pub ready: Ready,
}

impl Spawn {
    /// The run and what it begins with.
    #[must_use]
    pub fn into_parts(self) -> (Run, Beginning) {
        let Self { run, events, blobs, ready } = self;
        (run, Beginning { blobs, ..Beginning::new(events, ready) })
    }
}

/// An event for another run than the one whose batch it is in. It gets that run's next number and
/// epoch, and raises its control number by one. A run that is not there or has ended learns nothing,
/// and so does one that is to be canceled a second time: neither is an error.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a store has to write all of it")]
pub struct News {
    /// The other run.
    pub run: RunId,
    /// What it learns.
    pub event: NewEvent,
    /// Payloads too large for the event; they belong to the other run.
    pub blobs: Vec<Blob>,
    /// What follows for it.
    pub effect: NewsEffect,
}

/// What follows from [`News`] besides the event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store has to implement every case")]
pub enum NewsEffect {
    /// A run that nobody has and that is parked for one of these reasons is unparked and claimable
    /// from `at` on, unless a pause or cancellation is asked for.
    Wake {
        /// The reasons.
        parked: &'static [ParkReason],
        /// The moment.
        at: Timestamp,
    },
    /// Cancellation is asked for: the flag is set, and the run is not listed for claiming any more.
    Cancel {
        /// The reason that goes with it.
        reason: Option<String>,
    },
}

/// What a new run has from the start: its first events and what goes with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Beginning {
    /// Events, in order. The store numbers them from 1.
    pub events: Vec<NewEvent>,
    /// Steps that are over already, at most one row per key.
    pub steps: Vec<StepRow>,
    /// Signals that were received already.
    pub signals: Vec<SignalRow>,
    /// Payloads too large for their events.
    pub blobs: Vec<Blob>,
    /// Artifacts that it has already.
    pub artifacts: Vec<ArtifactRow>,
    /// Whether the run is listed for claiming.
    pub ready: Ready,
}

impl Beginning {
    /// Events and nothing else.
    #[must_use]
    pub const fn new(events: Vec<NewEvent>, ready: Ready) -> Self {
        Self {
            events,
            steps: Vec::new(),
            signals: Vec::new(),
            blobs: Vec::new(),
            artifacts: Vec::new(),
            ready,
        }
    }

    /// The first batch of `run`: one that has ended ends with it.
    #[must_use]
    pub fn into_batch(self, run: &Run) -> Batch {
        let Self { events, steps, signals, blobs, artifacts, ready } = self;
        let mut batch = Batch::new(run.id, Expect::Control(run.control));
        if run.status.is_terminal() {
            batch.patch.status = Some(run.status);
            batch.patch.finished_at = run.finished_at;
        }
        Batch { events, steps, signals, blobs, artifacts, ready, ..batch }
    }
}

/// The guard of a batch. A run that is terminal never passes any guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store has to implement every guard")]
pub enum Expect {
    /// The caller owns the run. `control`, when given, must be the run's control number as well.
    Owner {
        /// The worker.
        worker: WorkerId,
        /// Its fence.
        epoch: u64,
        /// The control number it knows.
        control: Option<u64>,
    },
    /// The run's control number is this one. For callers that own nothing.
    Control(u64),
}

/// Changes of a run's row; `None` keeps what is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunPatch {
    /// The new status. Never of a lower rank.
    pub status: Option<RunStatus>,
    /// `Some(Some(_))` parks, `Some(None)` unparks.
    pub park: Option<Option<Park>>,
    /// Sets or clears the pause flag.
    pub pause_requested: Option<bool>,
    /// Sets the cancel flag. There is no way to clear it.
    pub cancel_requested: bool,
    /// The reason that goes with it.
    pub cancel_reason: Option<String>,
    /// The output.
    pub output: Option<Value>,
    /// The error.
    pub error: Option<RunError>,
    /// The new total of tokens.
    pub usage: Option<Usage>,
    /// The new total of what model calls took.
    pub spend: Option<Spend>,
    /// First claimed.
    pub started_at: Option<Timestamp>,
    /// Ended. Set exactly when `status` is terminal.
    pub finished_at: Option<Timestamp>,
    /// The new count of lost workers in a row.
    pub recoveries: Option<u32>,
    /// Takes the owner away.
    pub release: bool,
    /// Raises the control number by one.
    pub bump_control: bool,
}

/// A step's row. `started` and `done` are positions in this batch's `events`, from 0; the store
/// turns them into numbers. Positions and times that are `None` keep what is there.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// Its name.
    pub key: StepKey,
    /// What it does.
    pub kind: StepKind,
    /// The model or tool.
    pub name: String,
    /// What happens when its outcome is unknown.
    pub policy: EffectPolicy,
    /// Where it stands. Never of a lower rank than before.
    pub status: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<StepError>,
    /// The event that began its last attempt.
    pub started: Option<usize>,
    /// The event that ended it.
    pub done: Option<usize>,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A signal's row; its content is in the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalRow {
    /// The caller's id, unique within the run over signals and messages.
    pub id: String,
    /// Which signal; empty for a message.
    pub name: String,
    /// Its event: a position in this batch's `events`, from 0.
    pub event: usize,
}

/// A new artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// Its id.
    pub id: ArtifactId,
    /// The step that made it.
    pub step: Option<StepKey>,
    /// Its name within the run; the store counts versions.
    pub name: String,
    /// What it is for people.
    pub kind: String,
    /// Its media type.
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Where the bytes are.
    pub uri: String,
    /// Its event: a position in this batch's `events`, from 0.
    pub event: usize,
    /// When it was made.
    pub at: Timestamp,
}

/// An approval that is asked for or decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// Its id.
    pub id: ApprovalId,
    /// The step that waits.
    pub step: StepKey,
    /// Where it stands now.
    pub status: ApprovalStatus,
    /// The event that asks or answers: a position in this batch's `events`, from 0.
    pub event: usize,
    /// When that was.
    pub at: Timestamp,
    /// When it is too late; of one that is asked for.
    pub expires_at: Option<Timestamp>,
}

/// A payload by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of `bytes`, lower-case hex.
    pub sha256: String,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// What the first events of a run lead to, so that a reader need not fold them again. The journal
/// stays the truth: a run without a snapshot lacks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store has to keep every field")]
pub struct Snapshot {
    /// The last event that is in it.
    pub seq: u64,
    /// The version of the fold that made it.
    pub version: u32,
    /// The state, as core wrote it. Its large texts are payloads ([`Batch::blobs`]) of the run.
    pub state: Vec<u8>,
}

/// Whether a run is listed for claiming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store has to implement every case")]
pub enum Ready {
    /// As it was.
    Keep,
    /// Claimable from that moment on.
    At(Timestamp),
    /// Not claimable.
    Never,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Number of the batch's first event; the number the next event would get if it had none.
    pub first_seq: u64,
    /// Number of the run's last event afterwards.
    pub last_seq: u64,
    /// The run's control number afterwards.
    pub control: u64,
    /// Whether a pause is asked for.
    pub pause_requested: bool,
    /// Whether cancellation is asked for.
    pub cancel_requested: bool,
}
