//! Writes that are not written in bulk: claims, leases, sweeps, records, deletions.

use agent_runner_core::{
    id::RunId,
    run::RunStatus,
    store::{RecordExpect, StoreError, StoreErrorKind},
};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{
    claim::Claim,
    op::{Answer, Op},
    plan::no_run,
    prepare::{list_of, micros},
    spend,
};
use crate::store::rows::{self, Fields};

/// Why a write was not done.
#[derive(Debug)]
pub(super) enum Halt {
    /// Its own guard refused it before it changed anything.
    Refused(StoreError),
    /// The database failed; the transaction has to be rolled back.
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Halt {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

/// Does `op` inside the open transaction of `conn`.
pub(super) async fn perform(
    conn: &mut SqliteConnection,
    op: &Op,
    now: Timestamp,
) -> Result<Answer, Halt> {
    match op {
        Op::Claim { worker, max } => {
            Ok(Answer::Claimed(Claim::new(*worker, *max).finish(conn, now).await?))
        }
        Op::Beat { worker, host, pid, draining, started_at, expires_at } => {
            sqlx::query(include_str!("../statements/beat.sql"))
                .bind(worker.as_uuid().into_bytes().to_vec())
                .bind(host)
                .bind(*pid)
                .bind(*draining)
                .bind(*started_at)
                .bind(*expires_at)
                .execute(conn)
                .await?;
            Ok(Answer::Done)
        }
        Op::Leave(worker) => {
            sqlx::query(include_str!("../statements/leave.sql"))
                .bind(worker.as_uuid().into_bytes().to_vec())
                .execute(conn)
                .await?;
            Ok(Answer::Done)
        }
        Op::Sweep { lost, misplaced } => sweep(conn, lost, misplaced, now).await,
        Op::Delete(run) => delete(conn, *run).await,
        Op::PutRecord { collection, key, value, expect, expires_at } => {
            let version = version(conn, collection, key, now).await?;
            if !holds(*expect, version) {
                return Err(Halt::Refused(moved(collection, key, version)));
            }
            let version = version.unwrap_or(0).saturating_add(1);
            put(conn, (collection, key, value), version, *expires_at, now).await
        }
        Op::DeleteRecord { collection, key, expect } => {
            let version = version(conn, collection, key, now).await?;
            let fits = version.is_some() && holds(*expect, version);
            if fits {
                sqlx::query(include_str!("../statements/delete_record.sql"))
                    .bind(collection)
                    .bind(key)
                    .execute(conn)
                    .await?;
            }
            Ok(Answer::Removed(fits))
        }
        Op::RemoveArtifact { id, at } => {
            let removed = sqlx::query(include_str!("../statements/remove_artifact.sql"))
                .bind(id.as_uuid().into_bytes().to_vec())
                .bind(*at)
                .execute(conn)
                .await?;
            Ok(Answer::Removed(removed.rows_affected() > 0))
        }
        Op::Reserve(wish) => spend::reserve(conn, wish).await,
        Op::Probe | Op::Append(_) | Op::Create(_) | Op::Book { .. } => Ok(Answer::Nothing),
    }
}

async fn sweep(
    conn: &mut SqliteConnection,
    lost: &[RunId],
    misplaced: &[RunId],
    now: Timestamp,
) -> Result<Answer, Halt> {
    let rows = sqlx::query(include_str!("statements/revoke.sql"))
        .bind(list_of(lost)?)
        .bind(micros(now))
        .fetch_all(&mut *conn)
        .await?;
    let revoked = sorted(&rows)?;
    let rows = sqlx::query(include_str!("statements/mend.sql"))
        .bind(list_of(misplaced)?)
        .bind(micros(now))
        .fetch_all(conn)
        .await?;
    Ok(Answer::Swept { revoked, mended: sorted(&rows)? })
}

fn sorted(rows: &[sqlx::sqlite::SqliteRow]) -> Result<Vec<RunId>, sqlx::Error> {
    let mut ids: Vec<RunId> = rows.iter().map(rows::run_id).collect::<Result<_, _>>()?;
    ids.sort_unstable();
    Ok(ids)
}

async fn delete(conn: &mut SqliteConnection, run: RunId) -> Result<Answer, Halt> {
    let id = run.as_uuid().into_bytes().to_vec();
    let row = sqlx::query(include_str!("../statements/status.sql"))
        .bind(id.clone())
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else { return Err(Halt::Refused(no_run(run))) };
    let status = Fields(&row).word("status", RunStatus::parse)?;
    if !status.is_terminal() {
        return Err(Halt::Refused(StoreError::new(
            StoreErrorKind::Conflict,
            format!("run {run} is {status}: cancel it, or wait until it ends, then delete it"),
        )));
    }
    sqlx::query(include_str!("statements/delete_run.sql")).bind(id).execute(conn).await?;
    Ok(Answer::Done)
}

/// The version of a record, if there is one.
async fn version(
    conn: &mut SqliteConnection,
    collection: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<u64>, sqlx::Error> {
    let row = sqlx::query(include_str!("../statements/record.sql"))
        .bind(collection)
        .bind(key)
        .bind(micros(now))
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(|row| Fields(row).count("version")).transpose()
}

fn holds(expect: RecordExpect, version: Option<u64>) -> bool {
    match expect {
        RecordExpect::Any => true,
        RecordExpect::Absent => version.is_none(),
        RecordExpect::Version(wanted) => version == Some(wanted),
    }
}

fn moved(collection: &str, key: &str, version: Option<u64>) -> StoreError {
    let found = version.map_or_else(|| "is absent".into(), |found| format!("has version {found}"));
    StoreError::new(
        StoreErrorKind::Conflict,
        format!("record `{key}` of `{collection}` {found}: read it again"),
    )
}

async fn put(
    conn: &mut SqliteConnection,
    (collection, key, value): (&str, &str, &str),
    version: u64,
    expires_at: Option<i64>,
    now: Timestamp,
) -> Result<Answer, Halt> {
    let row = sqlx::query(include_str!("../statements/put_record.sql"))
        .bind(collection)
        .bind(key)
        .bind(value)
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .bind(expires_at)
        .bind(micros(now))
        .fetch_one(conn)
        .await?;
    Ok(Answer::Record(rows::record(&row)?))
}
