//! What every case starts from: a fresh store, a clock that stands still, runs and batches.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use super::StoreHarness;
use crate::{
    agent::{AgentSpec, ModelName},
    budget::Spend,
    event::{Event, NewEvent},
    id::{IdSource, ProjectId, RunId, StepKey, WorkerId},
    llm::Usage,
    run::{Park, ParkReason, Run, RunSpec, RunStatus},
    step::{EffectPolicy, Step, StepKind, StepStatus},
    store::{
        Appended, Batch, Beginning, Blob, EventQuery, Expect, Order, Ready, RunQuery, SignalRow,
        Snapshot, StepRow, Store, StoreErrorKind, Worker,
    },
    testing::{ManualClock, SequentialIds},
    time::{Clock, later},
};

/// Time to live of every lease in the suite.
pub(in crate::testing) const TTL: Duration = Duration::from_secs(15);

/// More than any case ever has.
pub(in crate::testing) const ALL: usize = 10_000;

#[derive(Debug)]
pub(in crate::testing) struct Fixture<H> {
    pub(super) harness: H,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: ManualClock,
    ids: SequentialIds,
    pub(super) project: ProjectId,
}

/// All that the reading methods show, to compare before and after.
#[derive(Debug, PartialEq)]
pub(in crate::testing) struct Image {
    runs: Vec<Portrait>,
    workers: Vec<Worker>,
}

/// A run and what belongs to it.
#[derive(Debug, PartialEq)]
struct Portrait {
    run: Run,
    events: Vec<Event>,
    steps: Vec<Step>,
    snapshot: Option<Snapshot>,
}

impl<H: StoreHarness> Fixture<H> {
    pub(super) async fn open() -> Self {
        // Microseconds, because that is what databases keep.
        let clock = ManualClock::new(Timestamp::from_microsecond(1_767_323_045_678_901).unwrap());
        let harness = H::open(Arc::new(clock.clone())).await;
        let ids = SequentialIds::new();
        let project = ProjectId::from_uuid(ids.next());
        Self { store: harness.store(), harness, clock, ids, project }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn run_id(&self) -> RunId {
        RunId::from_uuid(self.ids.next())
    }

    pub(super) fn other_project(&self) -> ProjectId {
        ProjectId::from_uuid(self.ids.next())
    }

    pub(super) fn worker_id(&self) -> WorkerId {
        WorkerId::from_uuid(self.ids.next())
    }

    /// A run that nobody has heard of.
    pub(super) fn new_run(&self) -> Run {
        let id = self.run_id();
        new_run(id, self.project, self.now())
    }

    pub(super) fn event(&self, n: u64) -> NewEvent {
        event(n, self.now())
    }

    /// Creates a run that is claimable at once.
    pub(super) async fn create(&self, run: Run) -> Run {
        let events = vec![self.event(0)];
        let created =
            self.store.create(run, Beginning::new(events, Ready::At(self.now()))).await.unwrap();
        assert!(!created.existing);
        created.run
    }

    pub(super) async fn queued(&self) -> Run {
        self.create(self.new_run()).await
    }

    /// A worker that lives for [`TTL`] from now.
    pub(super) async fn worker(&self) -> WorkerId {
        let id = self.worker_id();
        self.beat(id).await;
        id
    }

    pub(super) async fn beat(&self, id: WorkerId) {
        let worker = worker(id, self.now());
        self.store.beat(&worker, TTL).await.unwrap();
    }

    pub(super) async fn claim(&self, worker: WorkerId) -> Vec<RunId> {
        let claimed = self.store.claim(worker, ALL).await.unwrap();
        claimed.into_iter().map(|run| run.id).collect()
    }

    /// A run that a new worker has just claimed; nothing else may be claimable before it.
    pub(super) async fn claimed(&self) -> Run {
        let run = self.queued().await;
        let worker = self.worker().await;
        self.claimed_by(worker, run.id).await
    }

    pub(super) async fn claimed_by(&self, worker: WorkerId, run: RunId) -> Run {
        let claimed = self.store.claim(worker, ALL).await.unwrap();
        let ids: Vec<_> = claimed.iter().map(|run| run.id).collect();
        assert_eq!(ids, [run], "exactly this run was claimable");
        claimed.into_iter().next().unwrap()
    }

    /// A claimed run whose owner has begun.
    pub(super) async fn running(&self) -> Run {
        let run = self.claimed().await;
        let mut batch = by_owner(&run);
        batch.patch.status = Some(RunStatus::Running);
        batch.patch.started_at = Some(self.now());
        batch.events = vec![self.event(1)];
        self.append(batch).await;
        self.read(run.id).await
    }

    /// A run that ended with `status`.
    pub(super) async fn ended(&self, status: RunStatus) -> Run {
        let run = self.running().await;
        self.append(self.ending(by_owner(&run), status)).await;
        self.read(run.id).await
    }

    /// Turns a batch into one that ends its run, as core writes it.
    pub(super) fn ending(&self, mut batch: Batch, status: RunStatus) -> Batch {
        batch.events.push(self.event(99));
        batch.patch.status = Some(status);
        batch.patch.finished_at = Some(self.now());
        batch.patch.release = true;
        batch.patch.bump_control = true;
        batch.ready = Ready::Never;
        batch
    }

    pub(super) async fn append(&self, batch: Batch) -> Appended {
        self.store.append(batch).await.unwrap()
    }

    /// The kind of the refusal of a batch, which must leave no trace.
    pub(super) async fn refused(&self, batch: Batch) -> StoreErrorKind {
        let before = self.image().await;
        let error = self.store.append(batch).await.expect_err("the batch breaks the contract");
        assert!(!error.to_string().is_empty(), "an error says what was wrong");
        assert_eq!(self.image().await, before, "a refused batch leaves no trace");
        error.kind()
    }

    pub(super) async fn read(&self, run: RunId) -> Run {
        self.store.run(run).await.unwrap()
    }

    pub(super) async fn events(&self, run: RunId) -> Vec<Event> {
        let query = EventQuery { limit: ALL, ..EventQuery::after(0) };
        self.store.events(run, &query).await.unwrap()
    }

    pub(super) async fn steps(&self, run: RunId) -> Vec<Step> {
        self.store.steps(run).await.unwrap()
    }

    pub(super) async fn image(&self) -> Image {
        image(&*self.store).await
    }
}

pub(in crate::testing) async fn image(store: &dyn Store) -> Image {
    let query = RunQuery { limit: ALL, order: Order::Ascending, ..RunQuery::default() };
    let all = EventQuery { limit: ALL, ..EventQuery::after(0) };
    let mut runs = Vec::new();
    for run in store.runs(&query).await.unwrap() {
        let events = store.events(run.id, &all).await.unwrap();
        let steps = store.steps(run.id).await.unwrap();
        let snapshot = store.snapshot(run.id).await.unwrap();
        runs.push(Portrait { run, events, steps, snapshot });
    }
    Image { runs, workers: store.workers().await.unwrap() }
}

pub(in crate::testing) fn new_run(id: RunId, project: ProjectId, now: Timestamp) -> Run {
    Run {
        id,
        project_id: project,
        name: None,
        spec: RunSpec::new("count to three", AgentSpec::new(ModelName::new("scripted", "demo"))),
        status: RunStatus::Queued,
        park: None,
        pause_requested: false,
        cancel_requested: false,
        cancel_reason: None,
        output: None,
        error: None,
        usage: Usage::default(),
        spend: Spend::default(),
        parent_id: None,
        root_id: id,
        priority: 0,
        tags: Vec::new(),
        metadata: std::collections::BTreeMap::new(),
        idempotency_key: None,
        request_hash: None,
        deadline_at: None,
        created_at: now,
        started_at: None,
        finished_at: None,
        last_seq: 0,
        owner: None,
        epoch: 0,
        control: 0,
        recoveries: 0,
    }
}

pub(in crate::testing) fn worker(id: WorkerId, now: Timestamp) -> Worker {
    Worker {
        id,
        host: "host.example".to_owned(),
        pid: 4_242,
        draining: false,
        started_at: now,
        // A store has to ignore these two.
        expires_at: Timestamp::MIN,
        runs: 77,
    }
}

pub(in crate::testing) fn event(n: u64, at: Timestamp) -> NewEvent {
    NewEvent {
        kind: "test.noted".to_owned(),
        step: None,
        payload: json!({ "n": n }).into(),
        blob: None,
        at,
    }
}

/// A step that is STARTED, with no event named.
pub(in crate::testing) fn step(key: &str, status: StepStatus) -> StepRow {
    StepRow {
        key: StepKey::new(key),
        kind: StepKind::Tool,
        name: "files.read".to_owned(),
        policy: EffectPolicy::Pure,
        status,
        attempts: 1,
        error: None,
        started: None,
        done: None,
        started_at: None,
        finished_at: None,
    }
}

/// A signal whose event is the first of its batch.
pub(in crate::testing) fn signal(id: &str) -> SignalRow {
    SignalRow { id: id.to_owned(), name: "go".to_owned(), event: 0 }
}

pub(in crate::testing) fn blob(bytes: &[u8]) -> Blob {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(bytes);
    let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Blob { sha256, bytes: bytes.to_vec() }
}

/// A snapshot of the events up to `seq`.
pub(in crate::testing) fn snapshot(seq: u64, state: &[u8]) -> Snapshot {
    Snapshot { seq, version: 3, state: state.to_vec() }
}

/// An empty batch of the run's owner.
pub(in crate::testing) fn by_owner(run: &Run) -> Batch {
    let worker = run.owner.expect("the run has an owner");
    Batch::new(run.id, Expect::Owner { worker, epoch: run.epoch, control: None })
}

/// An empty batch of somebody who saw the run as it is here.
pub(in crate::testing) fn by_control(run: &Run) -> Batch {
    Batch::new(run.id, Expect::Control(run.control))
}

/// A batch of the owner that parks the run and lets it go, as core writes it.
pub(in crate::testing) fn parking(
    run: &Run,
    reason: ParkReason,
    wake_at: Option<Timestamp>,
) -> Batch {
    let mut batch = by_owner(run);
    batch.patch.park = Some(Some(Park { reason, wake_at, waiting_on: json!({ "signal": "go" }) }));
    batch.patch.release = true;
    batch.patch.bump_control = true;
    batch.ready = wake_at.map_or(Ready::Never, Ready::At);
    batch
}

/// A batch that asks for a pause, as core writes it for a run without owner.
pub(in crate::testing) fn pausing(run: &Run) -> Batch {
    let mut batch = by_control(run);
    batch.patch.pause_requested = Some(true);
    batch.patch.bump_control = true;
    batch.ready = Ready::Never;
    batch
}

/// A batch that asks for cancellation, as core writes it for a run without owner.
pub(in crate::testing) fn canceling(run: &Run) -> Batch {
    let mut batch = by_control(run);
    batch.patch.cancel_requested = true;
    batch.patch.cancel_reason = Some("not needed".to_owned());
    batch.patch.bump_control = true;
    batch.ready = Ready::Never;
    batch
}

/// A little later than `from`.
pub(in crate::testing) fn seconds(from: Timestamp, seconds: u64) -> Timestamp {
    later(from, Duration::from_secs(seconds))
}
