//! The durable truth: the [`Store`] trait, what it is given and what it answers.
//!
//! Core computes a [`Batch`]: events and the row changes they imply. A store writes a batch in one
//! transaction behind one guard and never interprets an event, so two stores cannot disagree about
//! the rules.

mod batch;
mod error;
mod in_memory;
mod query;
mod spend;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::{
    batch::{
        Appended, ApprovalRow, ArtifactRow, Batch, Beginning, Blob, Expect, News, NewsEffect,
        Ready, RunPatch, SignalRow, Snapshot, Spawn, StepRow,
    },
    error::{StoreError, StoreErrorKind},
    in_memory::InMemoryStore,
    query::{
        ApprovalQuery, ArtifactQuery, Change, Control, EventQuery, Order, PutRecord, Record,
        RecordExpect, RunQuery, Sweep, Worker,
    },
    spend::{Booking, Reserve, Reserved, SpendLine, SpendQuery, Spent},
};
use crate::{
    approval::Approval,
    artifact::Artifact,
    budget::Spend,
    event::Event,
    id::{ApprovalId, ArtifactId, RunId, WorkerId},
    llm::BoxStream,
    run::Run,
    step::Step,
};

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it lives as long as the process.
    Process,
    /// The death of the process, not the loss of power.
    Crash,
    /// The loss of power.
    PowerLoss,
}

/// What became of a [`Store::create`].
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// The run as it is now.
    pub run: Run,
    /// The idempotency key was known: this is the earlier run and nothing was written.
    pub existing: bool,
}

/// Keeps runs and their journals, and hands runs to workers.
///
/// # Contract
/// 1. What a method acknowledged is there for every later reader, also after the process dies
///    (as far as [`Store::durability`] says). What it refused left no trace.
/// 2. The events of a run are numbered 1..n without gaps in the order of their commits; every
///    reader sees a prefix.
/// 3. Events are never changed, and deleted only by [`Store::delete`] with their whole run.
/// 4. A batch is written whole or not at all: events, run, steps, signals, blobs, snapshot,
///    readiness.
/// 5. A batch whose [`Expect`] does not hold is refused: `Fenced` for an owner that is none any
///    more (a run that ended has none), `ControlChanged` when the control number moved or the run
///    ended, `NotFound`.
/// 6. A run's status rank, `next_seq`, `epoch` and `control` never decrease; a terminal status
///    never changes; a step's status rank never decreases and a SUCCEEDED step never changes.
///    The store refuses such a batch as `Corrupt` even when core asks for it.
/// 7. `claim` returns a run to one worker only, raises its epoch and control by one, clears its
///    park; never a run that is paused, canceled, terminal, owned, or not yet due.
/// 8. A run is listed as ready exactly when it can be claimed, now or at its moment; `sweep` mends
///    what is not.
/// 9. `sweep` takes runs from workers whose time ran out, raises their epoch and control, counts a
///    recovery, and lists them again unless paused or canceled. A store that knows that a worker's
///    process is gone need not wait for its time.
/// 10. Two creations with the same idempotency key in the same project give one run.
/// 11. A signal id is accepted once per run: a batch with a known one is refused as `Duplicate`.
/// 12. Times that decide about leases are the store's own, not the caller's.
/// 13. `reserve` grants a wish only if bookings and reservations, this one included, stay within
///     every limit of it, whatever is reserved at the same time; only to the run's owner.
/// 14. A booking of a batch takes the place of the reservation of its name, in the same
///     transaction. A batch that ends a run books what is still reserved for it as it was reserved.
///     What was booked stays when its run is deleted.
/// 15. An approval leaves `pending` once: a batch that asks for one that is known, or decides one
///     that is not pending, is refused as `Corrupt`. A batch that ends a run withdraws what is
///     pending of it.
/// 16. An artifact's row never changes; a second one with its id is refused as `Corrupt`. Of those
///     with the same name in a run, the versions count from 1 in the order of their events, and a
///     removed one keeps its number.
/// 17. The runs that begin with a batch, and what it tells other runs, are written with it or not
///     at all. A spawned run whose id is known, that is not QUEUED or has an idempotency key, makes
///     the batch `Corrupt`. A store that locks rows takes the locks of the runs of a batch in the order of
///     their ids: ancestors come before their descendants.
/// 18. Of a run's snapshots the one written last is kept. One of events that the run has not is
///     refused as `Corrupt`.
/// 19. A run that is created is QUEUED, or has ended and comes with its end; nobody owns it. One that
///     has ended is never listed as ready, whatever is asked, and nothing that it spent is booked.
///
/// # Cancellation
/// A dropped future of a writing method may or may not have written; it is never half written.
#[async_trait]
pub trait Store: RecordStore {
    /// What an acknowledged write survives.
    fn durability(&self) -> Durability;

    /// Writes a new run with what it begins with. It is QUEUED, or one that has ended elsewhere and
    /// comes with its whole journal: nobody ever gets that one, and it is as immutable as any run
    /// that has ended.
    ///
    /// # Errors
    /// [`StoreErrorKind`] `Duplicate` when the id exists; `Corrupt` as for a batch.
    async fn create(&self, run: Run, first: Beginning) -> Result<Created, StoreError>;

    /// Writes a batch.
    ///
    /// # Errors
    /// See contract 5, 6 and 11.
    async fn append(&self, batch: Batch) -> Result<Appended, StoreError>;

    /// Reserves spending for a call that is about to be made.
    ///
    /// # Errors
    /// `Fenced` for anybody but the owner; `NotFound`.
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError>;

    /// Books spending of a call that no run made.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn book(&self, amount: Spend, lines: Vec<SpendLine>) -> Result<(), StoreError>;

    /// What was spent and is reserved.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn spent(&self, query: &SpendQuery) -> Result<Spent, StoreError>;

    /// Gives at most `max` ready runs to `worker`, most urgent first (priority, then moment, then
    /// id). The runs are as they are after the claim.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn claim(&self, worker: WorkerId, max: usize) -> Result<Vec<Run>, StoreError>;

    /// Says that `worker` lives for another `ttl`. The first call registers it.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn beat(&self, worker: &Worker, ttl: Duration) -> Result<(), StoreError>;

    /// Removes `worker`; runs it still has are taken from it by the next sweep.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn leave(&self, worker: WorkerId) -> Result<(), StoreError>;

    /// Takes runs from lost workers and lists what should be listed, at most `max` of each.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn sweep(&self, max: usize) -> Result<Sweep, StoreError>;

    /// Control state of all runs of `worker`.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn owned(&self, worker: WorkerId) -> Result<Vec<Control>, StoreError>;

    /// One run.
    ///
    /// # Errors
    /// `NotFound`.
    async fn run(&self, id: RunId) -> Result<Run, StoreError>;

    /// Runs that fit, by id.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, StoreError>;

    /// Events of a run, by `seq`. Empty for a run that does not exist.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn events(&self, run: RunId, query: &EventQuery) -> Result<Vec<Event>, StoreError>;

    /// All steps of a run, in the order they were first written.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn steps(&self, run: RunId) -> Result<Vec<Step>, StoreError>;

    /// The last snapshot of a run; `None` for a run that has none or does not exist.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn snapshot(&self, run: RunId) -> Result<Option<Snapshot>, StoreError>;

    /// The bytes of a payload that was too large to stand in its event.
    ///
    /// # Errors
    /// `NotFound`.
    async fn blob(&self, sha256: &str) -> Result<Vec<u8>, StoreError>;

    /// Artifacts that fit, by id. Ids are made in order, so this is the order of their making.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError>;

    /// One artifact.
    ///
    /// # Errors
    /// `NotFound`, also for one that was removed.
    async fn artifact(&self, id: ArtifactId) -> Result<Artifact, StoreError>;

    /// Removes an artifact from its run; whether it was there.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn remove_artifact(&self, id: ArtifactId, at: Timestamp) -> Result<bool, StoreError>;

    /// Those of the hashes that are the bytes of some artifact.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn used_blobs(&self, sha256: &[String]) -> Result<Vec<String>, StoreError>;

    /// Approvals that fit, by id, which is the order in which they were asked for.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError>;

    /// One approval.
    ///
    /// # Errors
    /// `NotFound`.
    async fn approval(&self, id: ApprovalId) -> Result<Approval, StoreError>;

    /// Deletes a terminal run and all that belongs to it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a run that is not terminal.
    async fn delete(&self, run: RunId) -> Result<(), StoreError>;

    /// The workers that are known.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn workers(&self) -> Result<Vec<Worker>, StoreError>;

    /// Whether the store can be read and written now.
    ///
    /// # Errors
    /// What is wrong and what to do.
    async fn check(&self) -> Result<(), StoreError>;

    /// Hints about commits, of this process and others. A hint may be missing or too many:
    /// whoever listens looks into the store, and looks from time to time without a hint.
    fn changes(&self) -> BoxStream<'static, Change>;
}

/// Keeps small documents by collection and key, each with a version: projects, idempotency
/// records, later agents, schedules and the like.
///
/// # Contract
/// 1. `version` is 1 for a new record and grows by one with every write.
/// 2. A write whose expectation does not hold is refused as `Conflict` and changes nothing.
/// 3. An expired record is as good as absent.
#[async_trait]
pub trait RecordStore: fmt::Debug + Send + Sync + 'static {
    /// Reads a record.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn record(&self, collection: &str, key: &str) -> Result<Option<Record>, StoreError>;

    /// Writes a record.
    ///
    /// # Errors
    /// `Conflict` when `expect` does not hold.
    async fn put_record(&self, put: PutRecord) -> Result<Record, StoreError>;

    /// Deletes a record; whether there was one that fits `expect`.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn delete_record(
        &self,
        collection: &str,
        key: &str,
        expect: RecordExpect,
    ) -> Result<bool, StoreError>;

    /// Records of a collection with keys after `after`, by key.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError>;
}
