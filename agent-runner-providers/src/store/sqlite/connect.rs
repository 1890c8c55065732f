//! Opens the file: is it ours, is it sound, is its schema the one this version knows?

use std::{path::Path, time::Duration};

use agent_runner_core::store::{StoreError, StoreErrorKind};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::{
    error::{is_busy, store_error},
    filesystem,
    options::{SqliteOptions, Synchronous},
};

/// Written into the file's header ("agru"), so that no other program's database is touched.
const APPLICATION_ID: i64 = 0x6167_7275;
/// Steps from one schema to the next; the number of a step is its position, from 1.
const MIGRATIONS: [&str; 5] = [
    include_str!("../migrations/0001_runs.sql"),
    include_str!("../migrations/0002_spend.sql"),
    include_str!("../migrations/0003_approvals.sql"),
    include_str!("../migrations/0004_artifacts.sql"),
    include_str!("../migrations/0005_snapshots.sql"),
];
/// Connections that read. More than there are cores to a small server do not make reads faster.
const READERS: u32 = 4;
/// Pause between two tries of what SQLite does not wait for by itself, such as switching to WAL
/// while another process does the same.
const RETRY: Duration = Duration::from_millis(20);

/// The newest schema this version knows.
#[expect(clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub(super) const NEWEST: i64 = MIGRATIONS.len() as i64;

fn connect_options(path: &Path, busy_timeout: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(busy_timeout)
        .disable_statement_logging()
}

/// The connection that writes, to a database with the newest schema.
#[expect(clippy::disallowed_methods, reason = "the operator chose the directory")]
pub(super) async fn writer(
    options: &SqliteOptions,
    path: &Path,
) -> Result<SqliteConnection, StoreError> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|error| {
            StoreError::new(
                StoreErrorKind::Unavailable,
                format!(
                    "cannot make the directory {} of the database: make it, or choose a place \
                     that this user can write",
                    directory.display()
                ),
            )
            .with_source(error)
        })?;
    }
    filesystem::warn_if_network(path);
    let deadline = tokio::time::Instant::now() + options.busy_timeout;
    let shown = path.display().to_string();
    loop {
        match prepared(options, path).await {
            Ok(conn) => return Ok(conn),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Sql(error))
                if is_busy(&error) && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(RETRY).await;
            }
            Err(Refusal::Sql(error)) => return Err(store_error(error, "open", &shown)),
        }
    }
}

enum Refusal {
    Final(StoreError),
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

async fn prepared(options: &SqliteOptions, path: &Path) -> Result<SqliteConnection, Refusal> {
    let mut conn =
        connect_options(path, options.busy_timeout).create_if_missing(true).connect().await?;
    let version = version(&mut conn, path).await?;
    if version < NEWEST && !options.migrate {
        return Err(Refusal::Final(StoreError::new(
            StoreErrorKind::Unavailable,
            format!(
                "the database {} has schema {version} and this version needs {NEWEST}: \
                 make a copy of it, then run `agent-runner migrate`",
                path.display()
            ),
        )));
    }
    if version == 0 {
        // Only takes effect before the first table, and before WAL.
        run(&mut conn, "PRAGMA auto_vacuum = INCREMENTAL").await?;
    }
    let mode: String =
        sqlx::query("PRAGMA journal_mode = WAL").fetch_one(&mut conn).await?.try_get(0)?;
    if mode != "wal" {
        return Err(Refusal::Final(StoreError::new(
            StoreErrorKind::Unavailable,
            format!(
                "the file system of {} cannot hold a write-ahead log (journal mode is {mode}): \
                 keep the database on a local disk",
                path.display()
            ),
        )));
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON",
        Synchronous::Normal => "PRAGMA synchronous = NORMAL",
    };
    run(&mut conn, synchronous).await?;
    // A log that grew beyond 64 MiB is cut back to it when it starts anew.
    run(&mut conn, "PRAGMA journal_size_limit = 67108864").await?;
    if version < NEWEST {
        migrate(&mut conn, path).await?;
    }
    Ok(conn)
}

async fn run(conn: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(conn).await.map(drop)
}

/// The schema of the file, 0 for an empty one.
async fn version(conn: &mut SqliteConnection, path: &Path) -> Result<i64, Refusal> {
    let header = "SELECT application_id, user_version,
            (SELECT count(*) FROM sqlite_schema) AS entries
        FROM pragma_application_id, pragma_user_version";
    let row = sqlx::query(header).fetch_one(conn).await?;
    let (application, version, entries): (i64, i64, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if application != APPLICATION_ID && (application != 0 || version != 0 || entries != 0) {
        return Err(Refusal::Final(StoreError::new(
            StoreErrorKind::Corrupt,
            format!(
                "{} is a database of another program, nothing was changed in it: \
                 name another file",
                path.display()
            ),
        )));
    }
    if version > NEWEST {
        return Err(Refusal::Final(StoreError::new(
            StoreErrorKind::NewerVersion,
            format!(
                "the database {} has schema {version} and this version knows up to {NEWEST}: \
                 start the newer version of this program, or restore a backup from before",
                path.display()
            ),
        )));
    }
    Ok(version)
}

/// Brings the schema up to date in one transaction. Another process may do the same at the same
/// moment, so the version is read again under the lock.
async fn migrate(conn: &mut SqliteConnection, path: &Path) -> Result<(), Refusal> {
    run(conn, "BEGIN IMMEDIATE").await?;
    let done = apply(conn, path).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = run(conn, end).await;
    done?;
    ended?;
    tracing::info!(path = %path.display(), schema = NEWEST, "the database is up to date");
    Ok(())
}

async fn apply(conn: &mut SqliteConnection, path: &Path) -> Result<(), Refusal> {
    let version = version(conn, path).await?;
    for sql in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        run(conn, sql).await?;
    }
    Ok(())
}

/// The connections that read. Each is opened when it is first needed.
pub(super) fn readers(options: &SqliteOptions, path: &Path) -> SqlitePool {
    let connect = connect_options(path, options.busy_timeout).pragma("query_only", "ON");
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(options.busy_timeout.max(Duration::from_secs(1)))
        .test_before_acquire(false)
        .connect_lazy_with(connect)
}

/// Closes the last connection of a process: the WAL goes into the file.
pub(super) async fn close(mut conn: SqliteConnection) -> Result<(), sqlx::Error> {
    // A neighbour that reads is not waited for; whoever closes last empties the WAL.
    let cut = run(&mut conn, "PRAGMA busy_timeout = 100; PRAGMA wal_checkpoint(TRUNCATE)").await;
    conn.close().await?;
    match cut {
        Err(error) if is_busy(&error) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_says_which_schema_it_makes() {
        for (index, sql) in MIGRATIONS.iter().enumerate() {
            let line = format!("PRAGMA user_version = {};", index + 1);
            assert!(sql.trim_end().ends_with(&line), "{line}");
        }
    }
}
