//! A store that lives as long as the process.
//!
//! It is the reference that other stores are compared with, so every rule of the contract stands
//! here once and plainly: one mutex, plain maps, everything checked before anything is changed.

mod append;
mod approval;
mod artifact;
mod listing;
mod queue;
mod record;
mod spend;
mod state;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream;
use jiff::Timestamp;
use tokio::sync::broadcast::{self, error::RecvError};

use self::{append::Written, state::State};
use super::{
    Appended, ApprovalQuery, ArtifactQuery, Batch, Beginning, Change, Control, Created, Durability,
    EventQuery, PutRecord, Ready, Record, RecordExpect, RecordStore, Reserve, Reserved, RunQuery,
    Snapshot, SpendLine, SpendQuery, Spent, Store, StoreError, StoreErrorKind, Sweep, Worker,
};
use crate::{
    approval::Approval,
    artifact::Artifact,
    budget::Spend,
    event::{Event, NewEvent},
    id::{ApprovalId, ArtifactId, RunId, WorkerId},
    limits,
    llm::BoxStream,
    run::Run,
    step::Step,
    time::{Clock, SystemClock},
};

/// Hints a listener may fall behind before it gets one [`Change::Any`] for all it missed. A hint
/// costs some bytes, and a listener that is this far behind looks at everything anyway.
const CHANGES: usize = 1_024;

/// A [`Store`] in memory: for tests, for trying things out, and as the reference that other stores
/// are compared with.
pub struct InMemoryStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
}

impl InMemoryStore {
    /// An empty store that reads the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store whose leases, claims and records follow `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::new(State::default()),
            changes: broadcast::Sender::new(CHANGES),
        }
    }

    /// Every change of the state is checked before it begins, so a panic elsewhere cannot have
    /// left half of one behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody listening is not an error.
    fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let _ = self.changes.send(change);
        }
    }

    fn tell_of(&self, run: &Run, ready: Ready) {
        self.tell([Change::Run(run.id)]);
        if run.status.is_terminal() {
            self.tell([Change::Ended(run.id)]);
        } else if matches!(ready, Ready::At(_)) {
            self.tell([Change::Ready]);
        }
    }
}

/// Refuses documents that could not be read again.
fn check_depth<'a>(events: impl IntoIterator<Item = &'a NewEvent>) -> Result<(), StoreError> {
    if events.into_iter().all(|event| !event.payload.is_too_deep()) {
        return Ok(());
    }
    let most = limits::DOCUMENT_DEPTH_MAX;
    Err(StoreError::new(
        StoreErrorKind::Corrupt,
        format!("a document is nested deeper than {most} levels: make it flatter"),
    ))
}

impl Default for InMemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for InMemoryStore {
    fn durability(&self) -> Durability {
        Durability::Process
    }

    async fn create(&self, run: Run, first: Beginning) -> Result<Created, StoreError> {
        check_depth(&first.events)?;
        let ready = first.ready;
        let created = self.state().create(run, first)?;
        if !created.existing {
            self.tell_of(&created.run, ready);
        }
        Ok(created)
    }

    async fn append(&self, batch: Batch) -> Result<Appended, StoreError> {
        check_depth(&batch.events)?;
        check_depth(batch.news.iter().map(|news| &news.event))?;
        check_depth(batch.spawns.iter().flat_map(|spawn| &spawn.events))?;
        let Written { appended, changes } = self.state().append(batch)?;
        self.tell(changes);
        Ok(appended)
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.state().reserve(reserve)
    }

    async fn book(&self, amount: Spend, lines: Vec<SpendLine>) -> Result<(), StoreError> {
        self.state().spending.book(amount, lines);
        Ok(())
    }

    async fn spent(&self, query: &SpendQuery) -> Result<Spent, StoreError> {
        Ok(self.state().spending.spent(query, None))
    }

    async fn claim(&self, worker: WorkerId, max: usize) -> Result<Vec<Run>, StoreError> {
        let claimed = self.state().claim(worker, max, self.clock.now());
        self.tell(claimed.iter().map(|run| Change::Run(run.id)));
        Ok(claimed)
    }

    async fn beat(&self, worker: &Worker, ttl: Duration) -> Result<(), StoreError> {
        self.state().beat(worker.clone(), ttl, self.clock.now());
        Ok(())
    }

    async fn leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.state().leave(worker);
        Ok(())
    }

    async fn sweep(&self, max: usize) -> Result<Sweep, StoreError> {
        let sweep = self.state().sweep(max, self.clock.now());
        let touched = sweep.revoked.iter().chain(&sweep.mended);
        self.tell(touched.flat_map(|run| [Change::Run(*run), Change::Ready]));
        Ok(sweep)
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<Control>, StoreError> {
        Ok(self.state().owned(worker))
    }

    async fn run(&self, id: RunId) -> Result<Run, StoreError> {
        Ok(self.state().entry(id)?.run.clone())
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
        Ok(self.state().runs(query))
    }

    async fn events(&self, run: RunId, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        Ok(self.state().events(run, query))
    }

    async fn steps(&self, run: RunId) -> Result<Vec<Step>, StoreError> {
        Ok(self.state().steps(run))
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.state().snapshot(run))
    }

    async fn blob(&self, sha256: &str) -> Result<Vec<u8>, StoreError> {
        self.state().blob(sha256)
    }

    async fn artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError> {
        Ok(self.state().artifacts(query))
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Artifact, StoreError> {
        self.state().artifact(id)
    }

    async fn remove_artifact(&self, id: ArtifactId, at: Timestamp) -> Result<bool, StoreError> {
        Ok(self.state().remove_artifact(id, at))
    }

    async fn used_blobs(&self, sha256: &[String]) -> Result<Vec<String>, StoreError> {
        Ok(self.state().used_blobs(sha256))
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
        Ok(self.state().approvals(query))
    }

    async fn approval(&self, id: ApprovalId) -> Result<Approval, StoreError> {
        self.state().approval(id)
    }

    async fn delete(&self, run: RunId) -> Result<(), StoreError> {
        self.state().delete(run)?;
        self.tell([Change::Run(run), Change::Ended(run)]);
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        Ok(self.state().workers())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        Box::pin(stream::unfold(self.changes.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(change) => Some((change, receiver)),
                Err(RecvError::Lagged(_)) => Some((Change::Any, receiver)),
                Err(RecvError::Closed) => None,
            }
        }))
    }
}

#[async_trait]
impl RecordStore for InMemoryStore {
    async fn record(&self, collection: &str, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.state().records.get(collection, key, self.clock.now()).cloned())
    }

    async fn put_record(&self, put: PutRecord) -> Result<Record, StoreError> {
        self.state().records.put(put, self.clock.now())
    }

    async fn delete_record(
        &self,
        collection: &str,
        key: &str,
        expect: RecordExpect,
    ) -> Result<bool, StoreError> {
        Ok(self.state().records.delete(collection, key, expect, self.clock.now()))
    }

    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(self.state().records.list(collection, after, limit, self.clock.now()))
    }
}
