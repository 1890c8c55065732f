//! Files that are no good: each is an error that says what to do, and nothing is changed.

use std::{fs, path::Path, time::Duration};

use agent_runner_core::{
    event::NewEvent,
    store::{
        Batch, EventQuery, Expect, Order, RunQuery, SpendQuery, Spent, Store as _, StoreError,
        StoreErrorKind,
    },
};
use agent_runner_providers::{Severity, SqliteOptions, SqliteStore};

use sqlx::ConnectOptions as _;

use super::support::{Disk, connect, ended, event, queued};

async fn refusal(path: &Path) -> StoreError {
    let options = SqliteOptions::new(path).busy_timeout(Duration::from_millis(50));
    let error = SqliteStore::open(options).await.expect_err("the file is no good");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    error
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("text.db", b"Dear diary, this is no database. ".repeat(300)),
        ("zeros.db", vec![0_u8; 8_192]),
        ("header.db", [b"SQLite format 3\0".to_vec(), vec![0xff; 5_000]].concat()),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let error = refusal(&path).await;
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{name}: {error}");
        assert!(error.to_string().contains("restore a backup"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name} was changed");
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("photos.db");
    fs::write(&path, b"").unwrap();
    let mut conn = connect(&path).await;
    sqlx::raw_sql("CREATE TABLE photo (id INTEGER)").execute(&mut conn).await.unwrap();
    sqlx::Connection::close(conn).await.unwrap();
    let before = fs::read(&path).unwrap();
    let error = refusal(&path).await;
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_truncated_file_is_reported_and_never_read_wrongly() {
    let disk = Disk::open().await;
    for _ in 0..20 {
        ended(&disk.store).await;
    }
    disk.store.close().await.unwrap();
    let bytes = fs::read(disk.path()).unwrap();
    let whole = SqliteStore::open(disk.options()).await.unwrap();
    let runs = whole.runs(&RunQuery::default()).await.unwrap();
    whole.close().await.unwrap();
    assert_eq!(runs.len(), 20);
    let mut reported = 0;
    for kept in [100, 4_096, bytes.len() / 2, bytes.len() - 4_096] {
        fs::write(disk.path(), &bytes[..kept]).unwrap();
        let store = match SqliteStore::open(disk.options()).await {
            Ok(store) => store,
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{kept}: {error}");
                reported += 1;
                continue;
            }
        };
        match store.runs(&RunQuery::default()).await {
            Ok(read) => assert_eq!(read, runs, "{kept}"),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{kept}: {error}"),
        }
        let findings = store.doctor().await.unwrap();
        assert!(findings.iter().any(|found| found.severity == Severity::Broken), "{kept}");
        reported += 1;
    }
    assert_eq!(reported, 4);
}

#[tokio::test]
async fn a_newer_database_is_refused_by_both_versions() {
    let disk = Disk::open().await;
    disk.store.close().await.unwrap();
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql("PRAGMA user_version = 7").execute(&mut conn).await.unwrap();
    let error = refusal(&disk.path()).await;
    assert_eq!(error.kind(), StoreErrorKind::NewerVersion);
    let text = error.to_string();
    assert!(text.contains("schema 7") && text.contains("up to 5"), "{text}");
}

#[tokio::test]
async fn a_database_is_migrated_only_when_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let options = || SqliteOptions::new(dir.path().join("deep/er/x.db"));
    let error = SqliteStore::open(options().migrate(false)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("agent-runner migrate"), "{error}");
    assert_eq!(SqliteStore::migrate_only(options()).await.unwrap(), 5);
    assert_eq!(SqliteStore::migrate_only(options()).await.unwrap(), 5, "twice does no harm");
    SqliteStore::open(options().migrate(false)).await.unwrap().check().await.unwrap();
}

/// The schema before there was any spending.
const SCHEMA_1: &str = include_str!("../../src/store/migrations/0001_runs.sql");

#[tokio::test]
async fn a_database_of_schema_1_keeps_its_runs_and_gets_what_is_new() {
    let disk = Disk::open().await;
    let run = queued(&disk.store).await;
    disk.store.close().await.unwrap();
    let mut now = connect(&disk.path()).await;
    let old = disk.path().with_extension("old");
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&old)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(SCHEMA_1).execute(&mut conn).await.unwrap();
    let attach = format!("ATTACH '{}' AS new", disk.path().display());
    sqlx::query(sqlx::AssertSqlSafe(attach)).execute(&mut conn).await.unwrap();
    let columns = "id, status, priority, pause_requested, cancel_requested, usage, recoveries, \
                   epoch, control, next_seq";
    let copy = format!(
        "INSERT INTO run ({columns}) SELECT {columns} FROM new.run; \
         INSERT INTO request SELECT * FROM new.request; \
         INSERT INTO ready SELECT * FROM new.ready; \
         INSERT INTO event SELECT * FROM new.event; DETACH new"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&mut conn).await.unwrap();
    sqlx::Connection::close(conn).await.unwrap();
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut now).await.unwrap();

    let error =
        SqliteStore::open(SqliteOptions::new(&old).migrate(false)).await.expect_err("it is old");
    assert!(error.to_string().contains("has schema 1"), "{error}");
    let store = SqliteStore::open(SqliteOptions::new(&old)).await.unwrap();
    assert_eq!(store.run(run.id).await.unwrap(), run);
    let query = EventQuery::after(0);
    assert_eq!(store.events(run.id, &query).await.unwrap().len() as u64, run.last_seq);
    let findings = store.doctor().await.unwrap();
    assert!(findings.iter().all(|found| found.severity == Severity::Fine), "{findings:?}");
    assert_eq!(store.spent(&SpendQuery::default()).await.unwrap(), Spent::default());
}

#[tokio::test]
async fn a_database_may_be_made_by_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let opened = futures::future::join_all(
        (0..8).map(|_| SqliteStore::open(SqliteOptions::new(dir.path().join("x.db")))),
    )
    .await;
    for store in opened {
        queued(&store.unwrap()).await;
    }
}

#[tokio::test]
async fn a_file_that_another_program_keeps_locked_is_busy() {
    let disk = Disk::open().await;
    disk.store.close().await.unwrap();
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .execute(&mut conn)
        .await
        .unwrap();
    let error = refusal(&disk.path()).await;
    assert_eq!(error.kind(), StoreErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("another program"), "{error}");
    sqlx::Connection::close(conn).await.unwrap();
    disk.neighbour().await.check().await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = refusal_at(&dir.path().join("file/x.db")).await;
    assert!(error.contains("file"), "{error}");
    let error = refusal_at(dir.path()).await;
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
}

async fn refusal_at(path: &Path) -> String {
    let error = SqliteStore::open(SqliteOptions::new(path)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    error.to_string()
}

/// S26. A power cut leaves any prefix of the log, and garbage after it.
#[tokio::test]
async fn s26_a_torn_log_leaves_a_prefix_of_the_journal() {
    let disk = Disk::open().await;
    let run = queued(&disk.store).await;
    disk.store.close().await.unwrap();
    let store = disk.neighbour().await;
    for n in 0..30 {
        let mut batch = Batch::new(run.id, Expect::Control(run.control));
        let payload = serde_json::json!({ "n": n, "text": "x".repeat(300) });
        batch.events =
            vec![NewEvent { payload: payload.into(), ..event("test.noted") }, event("test.noted")];
        store.append(batch).await.unwrap();
    }
    let events = store.events(run.id, &EventQuery::after(0)).await.unwrap();
    assert_eq!(events.len(), 61);
    let database = fs::read(disk.path()).unwrap();
    let log = fs::read(disk.path().with_extension("db-wal")).unwrap();
    assert!(log.len() > 100_000, "everything is still in the log: {}", log.len());

    let mut lengths = std::collections::BTreeSet::new();
    for cut in 0..24_usize {
        // Odd places all over the log, the last ones within its last frames.
        let kept =
            if cut < 16 { log.len() * cut / 16 + cut * 7 } else { log.len() - (cut - 15) * 997 };
        let mut torn = log[..kept].to_vec();
        if cut % 2 == 1 {
            torn.extend(std::iter::repeat_n(0xa5_u8, 5_000));
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.db"), &database).unwrap();
        fs::write(dir.path().join("x.db-wal"), torn).unwrap();
        let copy = SqliteStore::open(SqliteOptions::new(dir.path().join("x.db"))).await.unwrap();
        let kept = copy.events(run.id, &EventQuery::after(0)).await.unwrap();
        assert_eq!(kept, events[..kept.len()], "cut {cut}");
        assert_eq!(kept.len() % 2, 1, "a batch is there whole or not at all");
        let last = copy.run(run.id).await.unwrap().last_seq;
        assert_eq!(last, u64::try_from(kept.len()).unwrap());
        let findings = copy.doctor().await.unwrap();
        assert!(findings.iter().all(|found| found.severity == Severity::Fine), "{findings:?}");
        lengths.insert(kept.len());
        let newest = EventQuery { order: Order::Descending, limit: 1, ..EventQuery::after(0) };
        assert_eq!(copy.events(run.id, &newest).await.unwrap()[0].seq, last);
    }
    assert!(lengths.len() > 8, "the cuts hit different places: {lengths:?}");
}

#[tokio::test]
async fn the_doctor_names_what_is_broken() {
    let disk = Disk::open().await;
    let run = ended(&disk.store).await;
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql(
        "DROP TRIGGER event_is_kept; DROP TRIGGER event_never_changes;
         UPDATE event SET blob = 'missing' WHERE seq = 1;
         DELETE FROM event WHERE seq = 2;
         INSERT INTO ready SELECT id, 0, 0 FROM run",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let findings = disk.store.doctor().await.unwrap();
    let id = run.id.as_uuid().simple().to_string();
    for (check, severity) in [
        ("journals", Severity::Broken),
        ("ends", Severity::Broken),
        ("payloads", Severity::Broken),
        ("queue", Severity::Notice),
    ] {
        let found = findings.iter().find(|found| found.check == check).unwrap();
        assert_eq!(found.severity, severity, "{found:?}");
        assert!(found.detail.contains(&id), "{found:?}");
    }
    let sound = ["pages", "references", "schema", "sizes"];
    for found in findings.iter().filter(|found| sound.contains(&found.check)) {
        assert_eq!(found.severity, Severity::Fine, "{found:?}");
    }
    disk.store.sweep(10).await.unwrap();
    let findings = disk.store.doctor().await.unwrap();
    let queue = findings.iter().find(|found| found.check == "queue").unwrap();
    assert_eq!(queue.severity, Severity::Fine, "the sweep mends what is listed wrongly");
}
