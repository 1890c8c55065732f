//! The one task that writes.
//!
//! SQLite has one writer at a time and pays an fsync per commit, so everything that waits is
//! written in one transaction (group commit) and answered after its commit. No timer collects the
//! group: while one commits, the next one gathers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_runner_core::{
    id::RunId,
    store::{Change, Created, StoreError, StoreErrorKind},
    time::Clock,
};
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqliteConnection};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};

use super::{
    claim::Claim,
    connect,
    error::{Fate, fate, store_error},
    op::{Answer, Op},
    perform::{Halt, perform},
    plan::{self, Creation, Plan},
    prepare::micros,
};
use crate::store::rows::{self, Fields};

/// Writes that may wait. Beyond it callers wait for room, which is the back-pressure.
pub(super) const QUEUE: usize = 1_024;
/// Most bytes of payload in one transaction, so that a group of large outputs does not hold the
/// lock for long.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Most turns that other tasks get before a group is written.
const TURNS: usize = 16;
/// How often another process's commits are looked for, when something just happened …
const PACE_MIN: Duration = Duration::from_millis(5);
/// … and when nothing happens.
const PACE_MAX: Duration = Duration::from_millis(100);
/// Quiet time before housekeeping.
const REST_AFTER: Duration = Duration::from_secs(1);

/// Takes the lock and reads what decides about a group, with a claim before it where there is one.
const BEGIN: &str = concat!("BEGIN IMMEDIATE;", include_str!("statements/guards.sql"));
const BEGIN_AND_CLAIM: &str = concat!(
    "BEGIN IMMEDIATE;",
    include_str!("statements/claim.sql"),
    include_str!("statements/guards.sql")
);
/// What writes a group's rows, a statement for each table, with the parameter of the same place.
const WRITE: [&str; 8] = [
    include_str!("statements/write/runs.sql"),
    include_str!("statements/write/requests.sql"),
    include_str!("statements/write/changes.sql"),
    include_str!("statements/write/events.sql"),
    include_str!("statements/write/steps.sql"),
    include_str!("statements/write/signals.sql"),
    include_str!("statements/write/listings.sql"),
    include_str!("statements/write/spend.sql"),
];

/// A write and whom to answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) op: Op,
    pub(super) reply: oneshot::Sender<Outcome>,
}

type Outcome = Result<Answer, StoreError>;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) operations: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Writer {
    conn: SqliteConnection,
    path: Arc<str>,
    clock: Arc<dyn Clock>,
    changes: broadcast::Sender<Change>,
    counters: Arc<Counters>,
    /// Changes when another connection commits (<https://www.sqlite.org/pragma.html#pragma_data_version>).
    data_version: Option<i64>,
    pace: Duration,
    /// When the last commit was, until housekeeping was done for it.
    unrested: Option<Instant>,
    /// Why nothing is written any more.
    poisoned: Option<String>,
}

impl Writer {
    pub(super) fn new(
        conn: SqliteConnection,
        path: Arc<str>,
        clock: Arc<dyn Clock>,
        changes: broadcast::Sender<Change>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            conn,
            path,
            clock,
            changes,
            counters,
            data_version: None,
            pace: PACE_MIN,
            unrested: None,
            poisoned: None,
        }
    }

    /// Serves `jobs` until all senders are gone, then closes the database.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> Result<(), StoreError> {
        loop {
            match tokio::time::timeout(self.pace, jobs.recv()).await {
                Ok(Some(job)) => {
                    let group = gather(job, &mut jobs).await;
                    self.serve(group).await;
                    self.pace = PACE_MIN;
                }
                Ok(None) => break,
                Err(_) => self.idle().await,
            }
        }
        if self.poisoned.is_some() {
            // Folding in the log would sync again what failed to sync; the next start reads what
            // really is on the disk.
            return Err(self.poison_error());
        }
        let path = self.path;
        connect::close(self.conn).await.map_err(|error| store_error(error, "close", &path))
    }

    async fn serve(&mut self, group: Vec<Job>) {
        let (ops, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|job| (job.op, job.reply)).unzip();
        let outcomes = self.write(&ops).await;
        for (op, outcome) in ops.iter().zip(&outcomes) {
            if let Ok(answer) = outcome {
                self.tell(op.hints(answer));
            }
        }
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // Nobody waits any more: the caller was dropped, which the contract allows.
            let _ = reply.send(outcome);
        }
    }

    fn tell(&self, hints: Vec<Change>) {
        for hint in hints {
            // Nobody listens: not an error.
            let _ = self.changes.send(hint);
        }
    }

    /// Writes a group in one transaction. When the database refuses it, each write gets a
    /// transaction of its own, so that only the one at fault is refused.
    pub(super) async fn write(&mut self, ops: &[Op]) -> Vec<Outcome> {
        if self.poisoned.is_none() {
            match self.attempt(ops).await {
                Ok(outcomes) => return outcomes,
                Err(error) => match self.judge(&error) {
                    Fate::Refused if ops.len() > 1 => return self.one_by_one(ops).await,
                    Fate::Refused | Fate::Busy => {
                        let error = store_error(error, "write to", &self.path);
                        return refuse_all(ops.len(), error);
                    }
                    Fate::Poisoned => {}
                },
            }
        }
        refuse_all(ops.len(), self.poison_error())
    }

    async fn one_by_one(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(ops.len());
        for op in ops {
            let outcome = if self.poisoned.is_some() {
                Err(self.poison_error())
            } else {
                match self.attempt(std::slice::from_ref(op)).await {
                    Ok(answers) => answers.into_iter().next().unwrap_or(Ok(Answer::Nothing)),
                    Err(error) if self.judge(&error) == Fate::Poisoned => Err(self.poison_error()),
                    Err(error) => Err(store_error(error, "write to", &self.path)),
                }
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    /// What a failed write means; remembers when it means the end.
    pub(super) fn judge(&mut self, error: &sqlx::Error) -> Fate {
        let fate = fate(error);
        if fate == Fate::Poisoned {
            tracing::error!(path = %self.path, %error, "a write failed in the disk: no more writes");
            self.poisoned = Some(error.to_string());
        }
        fate
    }

    fn poison_error(&self) -> StoreError {
        let cause = self.poisoned.as_deref().unwrap_or("unknown");
        StoreError::new(
            StoreErrorKind::Unavailable,
            format!(
                "the disk failed a write to the database {} ({cause}), so nothing is written any \
                 more: check the disk, then restart this program; what was acknowledged is kept",
                self.path
            ),
        )
    }

    async fn attempt(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, sqlx::Error> {
        match self.transact(ops).await {
            Ok(outcomes) => {
                let changed = |outcome: &&Outcome| outcome.as_ref().is_ok_and(Answer::changed);
                let written = outcomes.iter().filter(changed).count();
                if written > 0 {
                    self.counters.commits.fetch_add(1, Ordering::Relaxed);
                    let written = u64::try_from(written).unwrap_or(u64::MAX);
                    self.counters.operations.fetch_add(written, Ordering::Relaxed);
                    self.unrested = Some(Instant::now());
                }
                Ok(outcomes)
            }
            Err(error) => {
                // SQLite may have rolled back by itself; then this one fails, and rightly.
                if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.conn).await {
                    tracing::trace!(%error, "nothing to roll back");
                }
                Err(error)
            }
        }
    }

    /// One transaction: guards, decisions, rows, commit.
    async fn transact(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut plan = Plan::default();
        let now = self.clock.now();
        let mut claim = self.begin(ops, &mut plan, now).await?;
        let drafts: Vec<Draft> =
            ops.iter().map(|op| Draft::of(op, &mut plan, &mut claim)).collect();
        let rows = plan.rows()?;
        let (approvals, artifacts) = (plan.approvals()?, plan.artifacts()?);
        let rows_only = approvals.is_none()
            && artifacts.is_none()
            && plan.blobs().is_empty()
            && plan.snapshots().is_empty()
            && drafts.iter().all(|draft| matches!(draft, Draft::Done(_)));
        if let Some(rows) = rows {
            let settled = plan.settled()?;
            let filled = WRITE.iter().zip(&rows).filter(|(_, rows)| *rows != "[]");
            let mut sql: String = filled.map(|(statement, _)| *statement).collect();
            if settled.is_some() {
                sql.push_str(include_str!("statements/settle.sql"));
            }
            if rows_only {
                sql.push_str("COMMIT;");
            }
            // Put together from the texts above and nothing else.
            let sql = AssertSqlSafe(sql);
            self.insert(sql, rows.into_iter().chain(settled.into_iter().flatten())).await?;
        }
        if let Some(approvals) = approvals {
            // Before anything that ends a run could withdraw them, and after their run exists.
            self.insert(include_str!("statements/approvals_put.sql"), approvals.into_iter())
                .await?;
        }
        if let Some(artifacts) = artifacts {
            let sql = include_str!("statements/artifacts_put.sql");
            self.insert(sql, std::iter::once(artifacts)).await?;
        }
        self.put_bytes(&plan).await?;
        let committed = rows_only && !plan.is_empty();
        let mut outcomes = Vec::with_capacity(ops.len());
        for (op, draft) in ops.iter().zip(drafts) {
            outcomes.push(match draft {
                Draft::Done(outcome) => outcome,
                Draft::Existing(run) => Ok(self.existing(run).await?),
                Draft::Claiming(claim) => {
                    Ok(Answer::Claimed(claim.finish(&mut self.conn, now).await?))
                }
                Draft::Open => match perform(&mut self.conn, op, now).await {
                    Ok(answer) => Ok(answer),
                    Err(Halt::Refused(error)) => Err(error),
                    Err(Halt::Failed(error)) => return Err(error),
                },
            });
        }
        if !committed {
            sqlx::query("COMMIT").execute(&mut self.conn).await?;
        }
        Ok(outcomes)
    }

    /// Takes the lock, begins the first claim, and reads what decides about the group.
    async fn begin<'a>(
        &mut self,
        ops: &'a [Op],
        plan: &mut Plan<'a>,
        now: Timestamp,
    ) -> Result<Option<Claim>, sqlx::Error> {
        let mut claim = ops.iter().find_map(|op| match op {
            Op::Claim { worker, max } => Some(Claim::new(*worker, *max)),
            _ => None,
        });
        let mut query = sqlx::query(if claim.is_some() { BEGIN_AND_CLAIM } else { BEGIN });
        for wanted in plan::wanted(ops)? {
            query = query.bind(wanted);
        }
        if let Some(claim) = &claim {
            query = claim.bind(query, now);
        }
        let rows = query.fetch_all(&mut self.conn).await?;
        let Some((guards, rows)) = rows.split_last() else { return Err(sqlx::Error::RowNotFound) };
        if let Some(claim) = &mut claim {
            claim.take(rows)?;
        }
        self.compare(Fields(guards).get("data_version")?);
        plan.learn(guards)?;
        Ok(claim)
    }

    async fn insert(
        &mut self,
        sql: impl SqlSafeStr,
        rows: impl Iterator<Item = String>,
    ) -> Result<(), sqlx::Error> {
        let mut query = sqlx::query(sql);
        for rows in rows {
            query = query.bind(rows);
        }
        query.execute(&mut self.conn).await.map(drop)
    }

    /// Writes what does not go through JSON.
    async fn put_bytes(&mut self, plan: &Plan<'_>) -> Result<(), sqlx::Error> {
        for (run, blob) in plan.blobs() {
            sqlx::query(include_str!("statements/blob_put.sql"))
                .bind(run.as_uuid().into_bytes().to_vec())
                .bind(&blob.sha256)
                .bind(&blob.bytes)
                .execute(&mut self.conn)
                .await?;
        }
        for (run, snapshot) in plan.snapshots() {
            sqlx::query(include_str!("../statements/snapshot_put.sql"))
                .bind(run.as_uuid().into_bytes().to_vec())
                .bind(i64::try_from(snapshot.seq).unwrap_or(i64::MAX))
                .bind(snapshot.version)
                .bind(&snapshot.state)
                .execute(&mut self.conn)
                .await?;
        }
        Ok(())
    }

    async fn existing(&mut self, run: RunId) -> Result<Answer, sqlx::Error> {
        let row = sqlx::query(include_str!("../statements/run.sql"))
            .bind(run.as_uuid().into_bytes().to_vec())
            .fetch_one(&mut self.conn)
            .await?;
        Ok(Answer::Created(Box::new(Created { run: rows::run(&row)?, existing: true })))
    }

    /// Tells listeners when somebody else committed; whether that is so.
    fn compare(&mut self, data_version: i64) -> bool {
        let before = self.data_version.replace(data_version);
        let moved = before.is_some_and(|before| before != data_version);
        if moved {
            self.tell(vec![Change::Any]);
        }
        moved
    }

    /// Looks for commits of others, and rests when it is time.
    pub(super) async fn idle(&mut self) {
        let polled = sqlx::query("PRAGMA data_version").fetch_one(&mut self.conn).await;
        let moved = match polled.and_then(|row| Fields(&row).get("data_version")) {
            Ok(data_version) => self.compare(data_version),
            Err(error) => {
                tracing::debug!(path = %self.path, %error, "cannot look for other processes");
                false
            }
        };
        self.pace = if moved { PACE_MIN } else { (self.pace * 2).min(PACE_MAX) };
        if self.unrested.is_some_and(|since| since.elapsed() >= REST_AFTER) {
            self.rest().await;
        }
    }

    /// Housekeeping after a while without writes.
    async fn rest(&mut self) {
        self.unrested = None;
        if self.poisoned.is_some() {
            return;
        }
        let done = sqlx::query(include_str!("statements/rest.sql"))
            .bind(micros(self.clock.now()))
            .execute(&mut self.conn)
            .await;
        if let Err(error) = done
            && self.judge(&error) != Fate::Poisoned
        {
            tracing::debug!(path = %self.path, %error, "housekeeping has to wait");
        }
    }
}

/// What is known of a write before its group's rows are written.
enum Draft {
    Done(Outcome),
    /// A creation whose key is known; answered with that run.
    Existing(RunId),
    /// A claim that may get more.
    Claiming(Claim),
    /// Not written in bulk.
    Open,
}

impl Draft {
    /// `claim` is the first one of the group, which was begun.
    fn of<'a>(op: &'a Op, plan: &mut Plan<'a>, claim: &mut Option<Claim>) -> Self {
        match op {
            Op::Claim { .. } => match claim.take() {
                Some(claim) if claim.is_done() => Self::Done(Ok(Answer::Claimed(claim.runs))),
                Some(claim) => Self::Claiming(claim),
                None => Self::Open,
            },
            Op::Append(batch) => Self::Done(plan.append(batch).map(Answer::Appended)),
            Op::Create(new) => match plan.create(new) {
                Ok(Creation::New(run)) => Self::Done(Ok(Answer::Created(Box::new(Created {
                    run: *run,
                    existing: false,
                })))),
                Ok(Creation::Existing(run)) => Self::Existing(run),
                Err(error) => Self::Done(Err(error)),
            },
            Op::Book { amount, lines } => {
                plan.book(*amount, lines);
                Self::Done(Ok(Answer::Done))
            }
            _ => Self::Open,
        }
    }
}

/// Everything that waits, up to the bounds of a group. Tasks that can run now get their turn first, as
/// long as they bring more: a group costs much the same whatever its size.
async fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.op.bytes();
    let mut group = vec![first];
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
        let before = group.len();
        while bytes < GROUP_BYTES && group.len() < QUEUE {
            let Ok(job) = jobs.try_recv() else { break };
            bytes = bytes.saturating_add(job.op.bytes());
            group.push(job);
        }
        if group.len() == before {
            break;
        }
    }
    group
}

/// The same error for each write of a group.
fn refuse_all(count: usize, error: StoreError) -> Vec<Outcome> {
    let (kind, text) = (error.kind(), error.to_string());
    let mut outcomes = vec![Err(error)];
    outcomes.resize_with(count, || Err(StoreError::new(kind, text.clone())));
    outcomes
}
