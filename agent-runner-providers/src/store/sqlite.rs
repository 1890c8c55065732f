//! The embedded store: one SQLite file, one writer with group commit, readers beside it.

mod approvals;
mod artifacts;
mod claim;
mod columns;
mod connect;
mod doctor;
mod error;
mod filesystem;
mod op;
mod options;
mod perform;
mod plan;
mod prepare;
mod presence;
mod read;
mod spend;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use agent_runner_core::{
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
    time::{Clock, later},
};
use async_trait::async_trait;
use futures::stream;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, oneshot,
    },
    task::JoinHandle,
};

pub use self::{
    doctor::{Finding, Severity},
    options::{SqliteOptions, Synchronous},
};
use self::{
    op::{Answer, Op},
    prepare::{PreparedBatch, PreparedRun, document, micros},
    presence::Presence,
    read::{Reader, limit},
    writer::{Counters, Job, Writer},
};

/// Hints a listener may fall behind before it gets one [`Change::Any`] for all it missed.
const CHANGES: usize = 1_024;

/// Runs and journals in one SQLite file.
///
/// Several processes may use the file at the same time. All writes of a process go through one
/// task that commits whatever waits in one transaction; acknowledgements come after the commit.
/// Rules that must never break are triggers and checks in the database as well.
///
/// Call [`SqliteStore::close`] before the program ends, so that the write-ahead log is folded into
/// the file. Without it nothing is lost, the next start does it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    durability: Durability,
    clock: Arc<dyn Clock>,
    reader: Reader,
    /// Gone once the store is closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    changes: broadcast::Sender<Change>,
    counters: Arc<Counters>,
    presence: Arc<Presence>,
}

/// Counters since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteStats {
    /// Transactions that wrote something and were committed.
    pub commits: u64,
    /// Writes that were acknowledged and changed something; above `commits` by what group commit saved.
    pub operations: u64,
}

impl SqliteStore {
    /// Opens the database, makes it when it is missing and brings it up to date.
    ///
    /// # Errors
    /// `Corrupt` for a file that is damaged or another program's; `NewerVersion`; `Busy` when
    /// another program holds its lock for longer than the busy timeout; `Unavailable` when the
    /// file or its directory cannot be made or written; `Full`.
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let path = options.path()?;
        let conn = connect::writer(&options, &path).await?;
        Ok(Self::start(conn, options, path).await)
    }

    async fn start(conn: SqliteConnection, options: SqliteOptions, path: PathBuf) -> Self {
        let shown: Arc<str> = path.display().to_string().into();
        let (jobs, queue) = mpsc::channel(writer::QUEUE);
        let changes = broadcast::Sender::new(CHANGES);
        let counters = Arc::new(Counters::default());
        let mut writer = Writer::new(
            conn,
            Arc::clone(&shown),
            Arc::clone(&options.clock),
            changes.clone(),
            Arc::clone(&counters),
        );
        // What others commit from now on is told, also before the writer is first idle.
        writer.idle().await;
        Self {
            inner: Arc::new(Inner {
                reader: Reader::new(connect::readers(&options, &path), shown),
                presence: Arc::new(Presence::new(&path)),
                path,
                durability: match options.synchronous {
                    Synchronous::Full => Durability::PowerLoss,
                    Synchronous::Normal => Durability::Crash,
                },
                clock: options.clock,
                jobs: Mutex::new(Some(jobs)),
                writer: Mutex::new(Some(tokio::spawn(writer.run(queue)))),
                changes,
                counters,
            }),
        }
    }

    /// Brings the database up to date, makes it when it is missing, and closes it; the number of
    /// its schema.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`].
    pub async fn migrate_only(options: SqliteOptions) -> Result<i64, StoreError> {
        let path = options.path()?;
        let conn = connect::writer(&options.migrate(true), &path).await?;
        let closed = connect::close(conn).await;
        closed.map_err(|error| error::store_error(error, "close", &path.display().to_string()))?;
        Ok(connect::NEWEST)
    }

    /// Writes what was handed in before, folds the write-ahead log into the file and closes it.
    /// Every later call fails. Closing twice does nothing.
    ///
    /// # Errors
    /// `Unavailable` or `Full` when the log could not be folded in. What was acknowledged is
    /// kept and is there at the next start.
    pub async fn close(&self) -> Result<(), StoreError> {
        drop(lock(&self.inner.jobs).take());
        self.inner.reader.pool.close().await;
        let writer = lock(&self.inner.writer).take();
        let closed = match writer {
            None => Ok(()),
            Some(task) => task.await.unwrap_or_else(|error| {
                Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    format!("the writer of the database {} broke", self.inner.path.display()),
                )
                .with_source(error))
            }),
        };
        // What was handed in is written by now, so whoever takes a worker's runs finds it.
        self.inner.presence.close();
        closed
    }

    /// Where the database is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Counters since the store was opened.
    #[must_use]
    pub fn stats(&self) -> SqliteStats {
        SqliteStats {
            commits: self.inner.counters.commits.load(Ordering::Relaxed),
            operations: self.inner.counters.operations.load(Ordering::Relaxed),
        }
    }

    /// Examines the whole database: its pages, and whether the rules of the contract hold for
    /// every run. Reads everything once, so it takes a while on a large file.
    ///
    /// # Errors
    /// Those of reading; what is found wrong with the data is a [`Finding`], not an error.
    pub async fn doctor(&self) -> Result<Vec<Finding>, StoreError> {
        doctor::examine(&self.inner.reader).await
    }

    /// Signs off the workers whose processes are gone: the sweep after it takes their runs.
    async fn bury(&self, max: usize) -> Result<(), StoreError> {
        let presence = Arc::clone(&self.inner.presence);
        let dead = tokio::task::spawn_blocking(move || presence.dead(max)).await;
        for dead in dead.unwrap_or_default() {
            tracing::info!(worker.id = %dead.worker, "the process of this worker is gone");
            self.write(Op::Leave(dead.worker)).await?;
            dead.forget();
        }
        Ok(())
    }

    async fn write(&self, op: Op) -> Result<Answer, StoreError> {
        let closed = || {
            StoreError::new(
                StoreErrorKind::Unavailable,
                format!("the store of the database {} is closed", self.inner.path.display()),
            )
        };
        let jobs = lock(&self.inner.jobs).clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        jobs.send(Job { op, reply }).await.map_err(|_| closed())?;
        drop(jobs);
        answer.await.map_err(|_| closed())?
    }
}

/// No lock of this module is held while something can panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writer answers each write with its own kind of answer.
fn mixed_up() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "the writer mixed up its answers: report this defect")
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn durability(&self) -> Durability {
        self.inner.durability
    }

    async fn create(&self, run: Run, first: Beginning) -> Result<Created, StoreError> {
        let prepared = PreparedRun::new(run, first)?;
        match self.write(Op::Create(Box::new(prepared))).await? {
            Answer::Created(created) => Ok(*created),
            _ => Err(mixed_up()),
        }
    }

    async fn append(&self, batch: Batch) -> Result<Appended, StoreError> {
        let prepared = PreparedBatch::new(batch)?;
        match self.write(Op::Append(Box::new(prepared))).await? {
            Answer::Appended(appended) => Ok(appended),
            _ => Err(mixed_up()),
        }
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        match self.write(Op::Reserve(Box::new(reserve))).await? {
            Answer::Reserved(reserved) => Ok(reserved),
            _ => Err(mixed_up()),
        }
    }

    async fn book(&self, amount: Spend, lines: Vec<SpendLine>) -> Result<(), StoreError> {
        self.write(Op::Book { amount, lines }).await.map(drop)
    }

    async fn spent(&self, query: &SpendQuery) -> Result<Spent, StoreError> {
        self.inner.reader.spent(query).await
    }

    async fn claim(&self, worker: WorkerId, max: usize) -> Result<Vec<Run>, StoreError> {
        match self.write(Op::Claim { worker, max: limit(max) }).await? {
            Answer::Claimed(runs) => Ok(runs),
            _ => Err(mixed_up()),
        }
    }

    async fn beat(&self, worker: &Worker, ttl: Duration) -> Result<(), StoreError> {
        // Before anybody else can know of the worker.
        self.inner.presence.enter(worker.id);
        let op = Op::Beat {
            worker: worker.id,
            host: worker.host.clone(),
            pid: worker.pid,
            draining: worker.draining,
            started_at: micros(worker.started_at),
            expires_at: micros(later(self.inner.clock.now(), ttl)),
        };
        self.write(op).await.map(drop)
    }

    async fn leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.write(Op::Leave(worker)).await?;
        self.inner.presence.leave(worker);
        Ok(())
    }

    async fn sweep(&self, max: usize) -> Result<Sweep, StoreError> {
        self.bury(max).await?;
        let now = self.inner.clock.now();
        let reader = &self.inner.reader;
        let found = reader.candidates(max, now).await?;
        let mut sweep = Sweep::default();
        if found.expired_workers || !found.lost.is_empty() || !found.misplaced.is_empty() {
            let op = Op::Sweep { lost: found.lost, misplaced: found.misplaced };
            let Answer::Swept { revoked, mended } = self.write(op).await? else {
                return Err(mixed_up());
            };
            (sweep.revoked, sweep.mended) = (revoked, mended);
        }
        sweep.cancel = reader.canceled(max).await?;
        sweep.overdue = reader.overdue(max, now).await?;
        Ok(sweep)
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<Control>, StoreError> {
        self.inner.reader.owned(worker).await
    }

    async fn run(&self, id: RunId) -> Result<Run, StoreError> {
        self.inner.reader.run(id).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
        self.inner.reader.runs(query).await
    }

    async fn events(&self, run: RunId, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.inner.reader.events(run, query).await
    }

    async fn steps(&self, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.inner.reader.steps(run).await
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.reader.snapshot(run).await
    }

    async fn blob(&self, sha256: &str) -> Result<Vec<u8>, StoreError> {
        self.inner.reader.blob(sha256).await
    }

    async fn artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError> {
        self.inner.reader.artifacts(query).await
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Artifact, StoreError> {
        self.inner.reader.artifact(id).await
    }

    async fn remove_artifact(&self, id: ArtifactId, at: Timestamp) -> Result<bool, StoreError> {
        let removal = self.write(Op::RemoveArtifact { id, at: micros(at) }).await?;
        Ok(matches!(removal, Answer::Removed(true)))
    }

    async fn used_blobs(&self, sha256: &[String]) -> Result<Vec<String>, StoreError> {
        self.inner.reader.used_blobs(sha256).await
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
        self.inner.reader.approvals(query).await
    }

    async fn approval(&self, id: ApprovalId) -> Result<Approval, StoreError> {
        self.inner.reader.approval(id).await
    }

    async fn delete(&self, run: RunId) -> Result<(), StoreError> {
        self.write(Op::Delete(run)).await.map(drop)
    }

    async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        self.inner.reader.workers().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.reader.check().await?;
        self.write(Op::Probe).await.map(drop)
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        Box::pin(stream::unfold(self.inner.changes.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(change) => Some((change, receiver)),
                Err(RecvError::Lagged(_)) => Some((Change::Any, receiver)),
                Err(RecvError::Closed) => None,
            }
        }))
    }
}

#[async_trait]
impl RecordStore for SqliteStore {
    async fn record(&self, collection: &str, key: &str) -> Result<Option<Record>, StoreError> {
        self.inner.reader.record(collection, key, self.inner.clock.now()).await
    }

    async fn put_record(&self, put: PutRecord) -> Result<Record, StoreError> {
        let op = Op::PutRecord {
            value: document(&put.value)?,
            collection: put.collection,
            key: put.key,
            expect: put.expect,
            expires_at: put.expires_at.map(micros),
        };
        match self.write(op).await? {
            Answer::Record(record) => Ok(record),
            _ => Err(mixed_up()),
        }
    }

    async fn delete_record(
        &self,
        collection: &str,
        key: &str,
        expect: RecordExpect,
    ) -> Result<bool, StoreError> {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        match self.write(Op::DeleteRecord { collection, key, expect }).await? {
            Answer::Removed(removed) => Ok(removed),
            _ => Err(mixed_up()),
        }
    }

    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.reader.records(collection, after, limit, self.inner.clock.now()).await
    }
}
