//! Reads. They use connections of their own and never wait for the writer.

use std::sync::{Arc, Mutex, PoisonError};

use agent_runner_core::{
    approval::{Approval, ApprovalStatus},
    artifact::Artifact,
    event::Event,
    id::{ApprovalId, ArtifactId, RunId, WorkerId},
    run::Run,
    step::Step,
    store::{
        ApprovalQuery, ArtifactQuery, Control, EventQuery, Order, Record, RunQuery, Snapshot,
        SpendQuery, Spent, StoreError, StoreErrorKind, Worker,
    },
};
use jiff::Timestamp;
use sqlx::{
    Sqlite, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{error::store_error, plan::no_run, prepare::micros, spend};
use crate::store::rows;

/// A statement of two files.
macro_rules! listing {
    ($from:literal, $which:literal) => {
        concat!(
            include_str!(concat!("statements/", $from, ".sql")),
            include_str!(concat!("statements/", $which, ".sql"))
        )
    };
}

/// The children of a run, oldest first: found by an index of their own.
pub(super) const CHILDREN: &str = listing!("runs_children", "runs_ascending");

/// The connections that read, and what to say when they cannot.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) pool: SqlitePool,
    pub(super) path: Arc<str>,
    /// The last run whose place in the queue was examined; `None` when all were.
    examined: Mutex<Option<RunId>>,
}

/// Runs whose place in the queue one sweep examines.
const SLICE: i64 = 1_000;

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// What is known of a sweep before anything is written.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) lost: Vec<RunId>,
    pub(super) misplaced: Vec<RunId>,
    pub(super) expired_workers: bool,
}

impl Reader {
    pub(super) const fn new(pool: SqlitePool, path: Arc<str>) -> Self {
        Self { pool, path, examined: Mutex::new(None) }
    }

    async fn all<T>(
        &self,
        statement: Statement<'_>,
        read: fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = statement.fetch_all(&self.pool).await.map_err(|error| self.error(error))?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| self.error(error))
    }

    async fn maybe<T>(
        &self,
        statement: Statement<'_>,
        read: fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, StoreError> {
        let row = statement.fetch_optional(&self.pool).await.map_err(|error| self.error(error))?;
        row.as_ref().map(read).transpose().map_err(|error| self.error(error))
    }

    fn error(&self, error: sqlx::Error) -> StoreError {
        store_error(error, "read from", &self.path)
    }

    pub(super) async fn run(&self, id: RunId) -> Result<Run, StoreError> {
        let statement = sqlx::query(include_str!("../statements/run.sql")).bind(run_bytes(id));
        self.maybe(statement, rows::run).await?.ok_or_else(|| no_run(id))
    }

    pub(super) async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
        let statuses: Vec<&str> = query.statuses.iter().map(|status| status.as_str()).collect();
        // The children of a run are few among many runs, and have an index of their own.
        let sql = match (query.parent_id, query.order) {
            (None, Order::Ascending) => listing!("runs_all", "runs_ascending"),
            (None, Order::Descending) => listing!("runs_all", "runs_descending"),
            (Some(_), Order::Ascending) => CHILDREN,
            (Some(_), Order::Descending) => listing!("runs_children", "runs_descending"),
        };
        let statement = sqlx::query(sql)
            .bind(query.after.map(run_bytes))
            .bind(list(&statuses))
            .bind(query.project_id.map(|id| id.as_uuid().into_bytes().to_vec()))
            .bind(query.agent.as_deref())
            .bind(query.tag.as_deref())
            .bind(query.parent_id.map(run_bytes))
            .bind(query.text.as_deref().map(str::to_ascii_lowercase))
            .bind(query.created_after.map(micros))
            .bind(limit(query.limit));
        self.all(statement, rows::run).await
    }

    pub(super) async fn events(
        &self,
        run: RunId,
        query: &EventQuery,
    ) -> Result<Vec<Event>, StoreError> {
        let after = i64::try_from(query.after).unwrap_or(i64::MAX);
        let (sql, after) = match query.order {
            Order::Ascending => (include_str!("statements/events_ascending.sql"), after),
            Order::Descending if after == 0 => {
                (include_str!("statements/events_descending.sql"), i64::MAX)
            }
            Order::Descending => (include_str!("statements/events_descending.sql"), after),
        };
        let kinds: Vec<&str> = query.kinds.iter().map(String::as_str).collect();
        let statement = sqlx::query(sql)
            .bind(run_bytes(run))
            .bind(after)
            .bind(list(&kinds))
            .bind(query.step.as_ref().map(|step| step.as_str()))
            .bind(limit(query.limit));
        self.all(statement, rows::event).await
    }

    pub(super) async fn steps(&self, run: RunId) -> Result<Vec<Step>, StoreError> {
        let statement = sqlx::query(include_str!("../statements/steps.sql")).bind(run_bytes(run));
        self.all(statement, rows::step).await
    }

    pub(super) async fn artifacts(
        &self,
        query: &ArtifactQuery,
    ) -> Result<Vec<Artifact>, StoreError> {
        let statement = sqlx::query(include_str!("../statements/artifacts.sql"))
            .bind(run_bytes(query.run_id))
            .bind(query.name.as_deref())
            .bind(query.after.map(|id| id.as_uuid().into_bytes().to_vec()))
            .bind(limit(query.limit));
        self.all(statement, rows::artifact).await
    }

    pub(super) async fn artifact(&self, id: ArtifactId) -> Result<Artifact, StoreError> {
        let statement = sqlx::query(include_str!("../statements/artifact.sql"))
            .bind(id.as_uuid().into_bytes().to_vec());
        self.maybe(statement, rows::artifact).await?.ok_or_else(|| {
            StoreError::new(StoreErrorKind::NotFound, format!("there is no artifact {id}"))
        })
    }

    pub(super) async fn used_blobs(&self, sha256: &[String]) -> Result<Vec<String>, StoreError> {
        let hashes = serde_json::Value::from(sha256).to_string();
        let statement = sqlx::query(include_str!("statements/used_blobs.sql")).bind(hashes);
        self.all(statement, |row| rows::Fields(row).get("sha256")).await
    }

    pub(super) async fn approvals(
        &self,
        query: &ApprovalQuery,
    ) -> Result<Vec<Approval>, StoreError> {
        let statement = sqlx::query(include_str!("../statements/approvals.sql"))
            .bind(query.status.map(ApprovalStatus::as_str))
            .bind(query.run_id.map(run_bytes))
            .bind(query.project_id.map(|id| id.as_uuid().into_bytes().to_vec()))
            .bind(query.after.map(|id| id.as_uuid().into_bytes().to_vec()))
            .bind(limit(query.limit));
        self.all(statement, rows::approval).await
    }

    pub(super) async fn approval(&self, id: ApprovalId) -> Result<Approval, StoreError> {
        let statement = sqlx::query(include_str!("../statements/approval.sql"))
            .bind(id.as_uuid().into_bytes().to_vec());
        self.maybe(statement, rows::approval).await?.ok_or_else(|| {
            StoreError::new(StoreErrorKind::NotFound, format!("there is no approval {id}"))
        })
    }

    pub(super) async fn snapshot(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        let statement =
            sqlx::query(include_str!("../statements/snapshot.sql")).bind(run_bytes(run));
        self.maybe(statement, rows::snapshot).await
    }

    pub(super) async fn blob(&self, sha256: &str) -> Result<Vec<u8>, StoreError> {
        let statement = sqlx::query(include_str!("../statements/blob.sql")).bind(sha256);
        self.maybe(statement, |row| rows::Fields(row).get("bytes")).await?.ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::NotFound,
                format!("there is no payload with SHA-256 {sha256}"),
            )
        })
    }

    pub(super) async fn spent(&self, query: &SpendQuery) -> Result<Spent, StoreError> {
        let found = self.maybe(spend::spent_statement(query, None), spend::spent).await?;
        Ok(found.unwrap_or_default())
    }

    pub(super) async fn owned(&self, worker: WorkerId) -> Result<Vec<Control>, StoreError> {
        let statement = sqlx::query(include_str!("../statements/owned.sql"))
            .bind(worker.as_uuid().into_bytes().to_vec());
        self.all(statement, rows::control).await
    }

    pub(super) async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        self.all(sqlx::query(include_str!("../statements/workers.sql")), rows::worker).await
    }

    pub(super) async fn record(
        &self,
        collection: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Record>, StoreError> {
        let statement = sqlx::query(include_str!("../statements/record.sql"))
            .bind(collection)
            .bind(key)
            .bind(micros(now));
        self.maybe(statement, rows::record).await
    }

    pub(super) async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let statement = sqlx::query(include_str!("../statements/records.sql"))
            .bind(collection)
            .bind(after)
            .bind(micros(now))
            .bind(limit(most));
        self.all(statement, rows::record).await
    }

    /// Looks for what a sweep would write, without the writer: usually there is nothing.
    pub(super) async fn candidates(
        &self,
        max: usize,
        now: Timestamp,
    ) -> Result<Candidates, StoreError> {
        let lost = sqlx::query(include_str!("statements/sweep_lost.sql"))
            .bind(micros(now))
            .bind(limit(max));
        let expired =
            sqlx::query(include_str!("../statements/sweep_expired.sql")).bind(micros(now));
        Ok(Candidates {
            lost: self.all(lost, rows::run_id).await?,
            misplaced: self.misplaced(max).await?,
            expired_workers: self
                .maybe(expired, |row| rows::Fields(row).uuid("id"))
                .await?
                .is_some(),
        })
    }

    /// Unfinished runs that are wrongly listed or wrongly not, among the next [`SLICE`] of them: what
    /// a sweep reads does not grow with the runs that wait.
    async fn misplaced(&self, max: usize) -> Result<Vec<RunId>, StoreError> {
        let after = *self.examined.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = sqlx::query(include_str!("statements/sweep_slice.sql"))
            .bind(after.map(run_bytes))
            .bind(SLICE);
        let upto = self.maybe(bound, rows::run_id).await?;
        let statement = sqlx::query(include_str!("statements/sweep_misplaced.sql"))
            .bind(after.map(run_bytes))
            .bind(upto.map(run_bytes))
            .bind(limit(max));
        let misplaced = self.all(statement, rows::run_id).await?;
        // There may be more of them in this slice.
        if misplaced.len() < max {
            *self.examined.lock().unwrap_or_else(PoisonError::into_inner) = upto;
        }
        Ok(misplaced)
    }

    pub(super) async fn canceled(&self, max: usize) -> Result<Vec<RunId>, StoreError> {
        let statement = sqlx::query(include_str!("statements/sweep_canceled.sql")).bind(limit(max));
        self.all(statement, rows::run_id).await
    }

    pub(super) async fn overdue(
        &self,
        max: usize,
        now: Timestamp,
    ) -> Result<Vec<RunId>, StoreError> {
        let statement = sqlx::query(include_str!("statements/sweep_overdue.sql"))
            .bind(micros(now))
            .bind(limit(max));
        self.all(statement, rows::run_id).await
    }

    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let statement = sqlx::query("SELECT one FROM meta");
        self.maybe(statement, |row| rows::Fields(row).get::<i64>("one")).await.map(drop)
    }
}

fn run_bytes(id: RunId) -> Vec<u8> {
    id.as_uuid().into_bytes().to_vec()
}

/// Texts for `json_each`; nothing when any will do.
fn list(texts: &[&str]) -> Option<String> {
    (!texts.is_empty()).then(|| serde_json::Value::from(texts).to_string())
}

pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
