//! Stores in directories of their own, runs and batches.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_runner_core::{
    agent::{AgentSpec, ModelName},
    event::NewEvent,
    id::{IdSource as _, ProjectId, RunId, SystemIds, WorkerId},
    llm::Usage,
    run::{Run, RunSpec, RunStatus},
    store::{Batch, Beginning, Expect, Ready, Store as _, Worker},
    time::{Clock, SystemClock},
};
use agent_runner_providers::{SqliteOptions, SqliteStore};
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

/// A store in a directory that goes with it.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) dir: TempDir,
    pub(super) store: SqliteStore,
    pub(super) clock: Arc<dyn Clock>,
}

impl Disk {
    pub(super) async fn open() -> Self {
        Self::with_clock(Arc::new(SystemClock)).await
    }

    pub(super) async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("x.db")).clock(clock.clone());
        let store = SqliteStore::open(options).await.unwrap();
        Self { dir, store, clock }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("x.db")
    }

    /// Another store on the same file, as another process has it.
    pub(super) async fn neighbour(&self) -> SqliteStore {
        SqliteStore::open(self.options()).await.unwrap()
    }

    pub(super) fn options(&self) -> SqliteOptions {
        SqliteOptions::new(self.path()).clock(self.clock.clone())
    }
}

/// A connection past the store, as any other program may open one.
pub(super) async fn connect(path: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions as _;
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(10))
        .connect()
        .await
        .unwrap()
}

pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

pub(super) fn worker_id() -> WorkerId {
    WorkerId::from_uuid(SystemIds.next())
}

pub(super) fn new_run() -> Run {
    let id = RunId::from_uuid(SystemIds.next());
    Run {
        id,
        project_id: ProjectId::from_uuid(uuid::Uuid::nil()),
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
        spend: agent_runner_core::budget::Spend::default(),
        parent_id: None,
        root_id: id,
        priority: 0,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        idempotency_key: None,
        request_hash: None,
        deadline_at: None,
        created_at: now(),
        started_at: None,
        finished_at: None,
        last_seq: 0,
        owner: None,
        epoch: 0,
        control: 0,
        recoveries: 0,
    }
}

pub(super) fn event(kind: &str) -> NewEvent {
    let payload = json!({ "text": "something happened" });
    NewEvent { kind: kind.to_owned(), step: None, payload: payload.into(), blob: None, at: now() }
}

/// A run that can be claimed, with one event.
pub(super) async fn queued(store: &SqliteStore) -> Run {
    let created =
        store.create(new_run(), Beginning::new(vec![event("run.queued")], Ready::At(now()))).await;
    created.unwrap().run
}

/// A run that a new worker has, with one event.
pub(super) async fn claimed(store: &SqliteStore) -> Run {
    let run = queued(store).await;
    let worker = worker_id();
    beat(store, worker, Duration::from_secs(3_600)).await;
    let mut claimed = store.claim(worker, 1).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].id, run.id, "nothing else was claimable");
    claimed.remove(0)
}

/// A run that ended, with two events.
pub(super) async fn ended(store: &SqliteStore) -> Run {
    let run = claimed(store).await;
    let mut batch = by_owner(&run);
    batch.events = vec![event("run.completed")];
    batch.patch.status = Some(RunStatus::Completed);
    batch.patch.finished_at = Some(now());
    store.append(batch).await.unwrap();
    store.run(run.id).await.unwrap()
}

pub(super) async fn beat(store: &SqliteStore, id: WorkerId, ttl: Duration) {
    let worker = Worker {
        id,
        host: "here".to_owned(),
        pid: 1,
        draining: false,
        started_at: now(),
        expires_at: now(),
        runs: 0,
    };
    store.beat(&worker, ttl).await.unwrap();
}

pub(super) fn by_owner(run: &Run) -> Batch {
    let worker = run.owner.unwrap();
    Batch::new(run.id, Expect::Owner { worker, epoch: run.epoch, control: None })
}

/// A batch of the run's owner with one event.
pub(super) fn noting(run: &Run) -> Batch {
    Batch { events: vec![event("test.noted")], ..by_owner(run) }
}
