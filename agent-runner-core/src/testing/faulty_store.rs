//! A store that fails, or stands still, exactly where a test wants it to.

mod call;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use self::call::StoreCall;
use crate::{
    approval::Approval,
    artifact::Artifact,
    budget::Spend,
    event::Event,
    id::{ApprovalId, ArtifactId, RunId, WorkerId},
    llm::BoxStream,
    run::Run,
    step::Step,
    store::{
        Appended, ApprovalQuery, ArtifactQuery, Batch, Beginning, Change, Control, Created,
        Durability, EventQuery, PutRecord, Record, RecordExpect, RecordStore, Reserve, Reserved,
        RunQuery, Snapshot, SpendLine, SpendQuery, Spent, Store, StoreError, StoreErrorKind, Sweep,
        Worker,
    },
};

/// Where in a writing call something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a commit has nothing but a before and an after")]
pub enum Fault {
    /// Nothing is written.
    BeforeCommit,
    /// Everything is written, but the caller does not learn it.
    AfterCommit,
}

/// What happens to one writing call of a store in bad weather.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a test says all of it")]
pub struct Weather {
    /// Time until it is written.
    pub before: Duration,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// Time from then until the caller learns of it.
    pub after: Duration,
}

/// Sees each batch.
type Witness = dyn Fn(&Batch) + Send + Sync;

/// Makes another batch of each.
type Changes = dyn Fn(Batch) -> Batch + Send + Sync;

/// Says how long each append is under way.
type Line = dyn Fn() -> Duration + Send + Sync;

/// Makes the weather of each counted call.
type Sky = dyn Fn(StoreCall) -> Weather + Send + Sync;

/// A [`Store`] around another that counts calls and disturbs those it was told to.
///
/// A disturbed call answers `Unavailable`, as a database does whose connection broke. Unless
/// [`FaultyStore::counting`] says otherwise, only calls that write are counted.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    counted: Vec<StoreCall>,
    plan: Mutex<Plan>,
    sky: Option<Box<Sky>>,
    witness: Option<Box<Witness>>,
    changes: Option<Box<Changes>>,
    line: Option<Box<Line>>,
    holds_time: bool,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, counted, plan, .. } = self;
        f.debug_struct("FaultyStore")
            .field("inner", inner)
            .field("counted", counted)
            .field("plan", plan)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    disturbances: BTreeMap<u64, Disturbance>,
}

#[derive(Debug, Default)]
struct Disturbance {
    fault: Option<Fault>,
    pause: Option<(Fault, Gate)>,
}

#[derive(Debug, Clone)]
struct Gate {
    reached: CancellationToken,
    open: CancellationToken,
}

impl Gate {
    async fn pass(&self) {
        self.reached.cancel();
        self.open.cancelled().await;
    }
}

/// Holds one writing call. The call goes on when this is released or dropped.
#[derive(Debug)]
#[must_use = "the call goes on when this is dropped"]
pub struct PausedCall {
    gate: Gate,
}

impl PausedCall {
    /// Waits until the call has come to the place where it is held.
    pub async fn reached(&self) {
        self.gate.reached.cancelled().await;
    }

    /// Lets the call go on.
    pub fn release(self) {}
}

impl Drop for PausedCall {
    fn drop(&mut self) {
        self.gate.open.cancel();
    }
}

impl FaultyStore {
    /// A store that passes everything on to `inner` and counts every call that writes.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            counted: StoreCall::WRITES.to_vec(),
            plan: Mutex::default(),
            sky: None,
            witness: None,
            changes: None,
            line: None,
            holds_time: false,
        }
    }

    /// Shows every batch to `witness` before it is passed on.
    #[must_use]
    pub fn witnessed(mut self, witness: impl Fn(&Batch) + Send + Sync + 'static) -> Self {
        self.witness = Some(Box::new(witness));
        self
    }

    /// Passes on another batch than it was given: a defect that a test of tests wants to see found.
    #[must_use]
    pub fn changed(mut self, changes: impl Fn(Batch) -> Batch + Send + Sync + 'static) -> Self {
        self.changes = Some(Box::new(changes));
        self
    }

    /// What is appended is under way for as long as `line` says, on tokio's timer, and arrives although
    /// its caller may be gone by then, as what a process had sent arrives after its death.
    #[must_use]
    pub fn on_a_line(mut self, line: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.line = Some(Box::new(line));
        self
    }

    /// Asks `sky` what happens to each counted call, besides what it is told of single ones. It waits on
    /// tokio's timer, so a paused one makes days of bad weather pass in no time.
    #[must_use]
    pub fn under(mut self, sky: impl Fn(StoreCall) -> Weather + Send + Sync + 'static) -> Self {
        self.sky = Some(Box::new(sky));
        self
    }

    /// Keeps tokio's paused clock from jumping while a call of the inner store is under way. A store that
    /// works outside of the runtime, as a database does, needs this: to the runtime it looks idle.
    /// The runtime must be of one thread, as one with a paused clock is.
    #[must_use]
    pub const fn holding_time(mut self) -> Self {
        self.holds_time = true;
        self
    }

    /// Counts, and disturbs, only these methods. A test whose heartbeats come at any time leaves
    /// them out, so that the numbers mean the same on every run.
    #[must_use]
    pub fn counting(mut self, calls: &[StoreCall]) -> Self {
        self.counted = calls.to_vec();
        self
    }

    /// Makes the `n`-th counted call fail; the first is 1.
    pub fn fail_nth(&self, n: u64, fault: Fault) {
        self.plan().disturbances.entry(n).or_default().fault = Some(fault);
    }

    /// Holds the `n`-th counted call at that place; the first is 1. A call may be held and fail.
    pub fn pause_nth(&self, n: u64, place: Fault) -> PausedCall {
        let gate = Gate { reached: CancellationToken::new(), open: CancellationToken::new() };
        self.plan().disturbances.entry(n).or_default().pause = Some((place, gate.clone()));
        PausedCall { gate }
    }

    /// Counted calls so far, the disturbed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(
        &self,
        call: StoreCall,
        made: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (n, Disturbance { fault, pause }) = self.arrival(call);
        let sky = self.sky.as_ref().filter(|_| self.counted.contains(&call));
        let weather = sky.map_or_else(Weather::default, |sky| sky(call));
        let fault = fault.or(weather.fault);
        wait(weather.before).await;
        let broken = |fault: Fault| {
            let message = format!("{call:?}, call {n}, was made to fail: {fault:?}");
            StoreError::new(StoreErrorKind::Unavailable, message)
        };
        if let Some((Fault::BeforeCommit, gate)) = &pause {
            gate.pass().await;
        }
        if fault == Some(Fault::BeforeCommit) {
            return Err(broken(Fault::BeforeCommit));
        }
        let held = self.holds_time.then(HeldTime::new);
        let answer = made.await;
        drop(held);
        wait(weather.after).await;
        if let Some((Fault::AfterCommit, gate)) = &pause {
            gate.pass().await;
        }
        // A refusal stays what it is: nothing was written that the caller could not know of.
        match (answer, fault) {
            (Ok(_), Some(fault)) => Err(broken(fault)),
            (answer, _) => answer,
        }
    }

    /// The number of a call and what is to happen to it.
    fn arrival(&self, call: StoreCall) -> (u64, Disturbance) {
        let mut plan = self.plan();
        if !self.counted.contains(&call) {
            return (plan.calls, Disturbance::default());
        }
        plan.calls += 1;
        let n = plan.calls;
        (n, plan.disturbances.remove(&n).unwrap_or_default())
    }
}

/// A thread that waits: as long as there is one, a paused clock stands still
/// (<https://docs.rs/tokio/latest/tokio/time/fn.pause.html>). It ends when this is dropped.
struct HeldTime {
    _end: std::sync::mpsc::Sender<()>,
}

impl HeldTime {
    fn new() -> Self {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || ended.recv()));
        Self { _end: end }
    }
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for FaultyStore {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn create(&self, run: Run, first: Beginning) -> Result<Created, StoreError> {
        self.call(StoreCall::Create, self.inner.create(run, first)).await
    }

    async fn append(&self, batch: Batch) -> Result<Appended, StoreError> {
        if let Some(witness) = &self.witness {
            witness(&batch);
        }
        let batch = self.changes.iter().fold(batch, |batch, changes| changes(batch));
        let Some(line) = &self.line else {
            return self.call(StoreCall::Append, self.inner.append(batch)).await;
        };
        let inner = Arc::clone(&self.inner);
        let sent = async move {
            let under_way = line();
            let arrival = tokio::spawn(async move {
                wait(under_way).await;
                inner.append(batch).await
            });
            arrival.await.unwrap_or_else(|lost| {
                Err(StoreError::new(StoreErrorKind::Unavailable, lost.to_string()))
            })
        };
        self.call(StoreCall::Append, sent).await
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.call(StoreCall::Reserve, self.inner.reserve(reserve)).await
    }

    async fn book(&self, amount: Spend, lines: Vec<SpendLine>) -> Result<(), StoreError> {
        self.call(StoreCall::Book, self.inner.book(amount, lines)).await
    }

    async fn spent(&self, query: &SpendQuery) -> Result<Spent, StoreError> {
        self.call(StoreCall::Spent, self.inner.spent(query)).await
    }

    async fn claim(&self, worker: WorkerId, max: usize) -> Result<Vec<Run>, StoreError> {
        self.call(StoreCall::Claim, self.inner.claim(worker, max)).await
    }

    async fn beat(&self, worker: &Worker, ttl: Duration) -> Result<(), StoreError> {
        self.call(StoreCall::Beat, self.inner.beat(worker, ttl)).await
    }

    async fn leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.call(StoreCall::Leave, self.inner.leave(worker)).await
    }

    async fn sweep(&self, max: usize) -> Result<Sweep, StoreError> {
        self.call(StoreCall::Sweep, self.inner.sweep(max)).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<Control>, StoreError> {
        self.call(StoreCall::Owned, self.inner.owned(worker)).await
    }

    async fn run(&self, id: RunId) -> Result<Run, StoreError> {
        self.call(StoreCall::Run, self.inner.run(id)).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
        self.call(StoreCall::Runs, self.inner.runs(query)).await
    }

    async fn events(&self, run: RunId, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.call(StoreCall::Events, self.inner.events(run, query)).await
    }

    async fn steps(&self, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.call(StoreCall::Steps, self.inner.steps(run)).await
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        self.call(StoreCall::Snapshot, self.inner.snapshot(run)).await
    }

    async fn blob(&self, sha256: &str) -> Result<Vec<u8>, StoreError> {
        self.call(StoreCall::Blob, self.inner.blob(sha256)).await
    }

    async fn artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError> {
        self.call(StoreCall::Artifacts, self.inner.artifacts(query)).await
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Artifact, StoreError> {
        self.call(StoreCall::Artifact, self.inner.artifact(id)).await
    }

    async fn remove_artifact(&self, id: ArtifactId, at: Timestamp) -> Result<bool, StoreError> {
        self.call(StoreCall::RemoveArtifact, self.inner.remove_artifact(id, at)).await
    }

    async fn used_blobs(&self, sha256: &[String]) -> Result<Vec<String>, StoreError> {
        self.call(StoreCall::UsedBlobs, self.inner.used_blobs(sha256)).await
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
        self.call(StoreCall::Approvals, self.inner.approvals(query)).await
    }

    async fn approval(&self, id: ApprovalId) -> Result<Approval, StoreError> {
        self.call(StoreCall::Approval, self.inner.approval(id)).await
    }

    async fn delete(&self, run: RunId) -> Result<(), StoreError> {
        self.call(StoreCall::Delete, self.inner.delete(run)).await
    }

    async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        self.call(StoreCall::Workers, self.inner.workers()).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.call(StoreCall::Check, self.inner.check()).await
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        self.inner.changes()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RecordStore for FaultyStore {
    async fn record(&self, collection: &str, key: &str) -> Result<Option<Record>, StoreError> {
        self.call(StoreCall::Record, self.inner.record(collection, key)).await
    }

    async fn put_record(&self, put: PutRecord) -> Result<Record, StoreError> {
        self.call(StoreCall::PutRecord, self.inner.put_record(put)).await
    }

    async fn delete_record(
        &self,
        collection: &str,
        key: &str,
        expect: RecordExpect,
    ) -> Result<bool, StoreError> {
        let deletion = self.inner.delete_record(collection, key, expect);
        self.call(StoreCall::DeleteRecord, deletion).await
    }

    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.call(StoreCall::Records, self.inner.records(collection, after, limit)).await
    }
}
