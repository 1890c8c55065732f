//! I1 to I6 as the database itself defends them: any program that opens the file runs into them.

use agent_runner_core::{
    budget::{Account, Day, Spend},
    event::NewEvent,
    step::{EffectPolicy, StepKind, StepStatus},
    store::{Blob, SpendLine, StepRow, Store as _},
};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::support::{Disk, claimed, connect, ended, event, noting};

/// The error of a statement; nothing of it may stick.
async fn refusal(conn: &mut SqliteConnection, sql: &'static str) -> String {
    let mut tx = conn.begin().await.unwrap();
    let error = sqlx::raw_sql(sql).execute(&mut *tx).await.expect_err(sql);
    tx.rollback().await.unwrap();
    error.to_string()
}

/// What a statement changes.
async fn affected(conn: &mut SqliteConnection, sql: &'static str) -> u64 {
    let mut tx = conn.begin().await.unwrap();
    let done = sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    tx.rollback().await.unwrap();
    done.rows_affected()
}

async fn all_refused(conn: &mut SqliteConnection, cases: &[(&'static str, &str)]) {
    for (sql, words) in cases {
        let error = refusal(conn, sql).await;
        assert!(error.contains(words), "{sql}\nsays: {error}\nwanted: {words}");
    }
}

#[tokio::test]
async fn i1_i2_a_run_only_moves_forward() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    disk.store.append(noting(&run)).await.unwrap();
    let mut conn = connect(&disk.path()).await;
    assert_eq!(affected(&mut conn, "UPDATE run SET status = 'RUNNING'").await, 1);
    all_refused(
        &mut conn,
        &[
            (
                "UPDATE run SET status = 'RUNNING'; UPDATE run SET status = 'QUEUED'",
                "never goes back",
            ),
            ("UPDATE run SET status = 'PAUSED'", "CHECK"),
            ("UPDATE run SET next_seq = next_seq - 1", "never decrease"),
            ("UPDATE run SET epoch = epoch - 1", "never decrease"),
            ("UPDATE run SET control = control - 1", "never decrease"),
            (
                "UPDATE run SET cancel_requested = 1; UPDATE run SET cancel_requested = 0",
                "never taken back",
            ),
            ("UPDATE run SET status = 'COMPLETED'", "CHECK"),
            ("UPDATE run SET finished_at = 1", "CHECK"),
            ("UPDATE run SET id = randomblob(16)", "never changes"),
            ("UPDATE request SET spec = '{}'", "never changes"),
            ("DELETE FROM run", "only a run that ended"),
            ("INSERT OR REPLACE INTO run SELECT * FROM run", "made once"),
        ],
    )
    .await;
}

#[tokio::test]
async fn i2_i6_a_run_that_ended_stays_as_it_is() {
    let disk = Disk::open().await;
    ended(&disk.store).await;
    let mut conn = connect(&disk.path()).await;
    all_refused(
        &mut conn,
        &[
            ("UPDATE run SET status = 'FAILED'", "never goes back"),
            ("UPDATE run SET status = 'RUNNING', finished_at = NULL", "never goes back"),
            ("UPDATE run SET next_seq = next_seq + 1", "no more events"),
            ("UPDATE run SET owner = randomblob(16)", "CHECK"),
            ("DELETE FROM run", "with all that belongs to it"),
        ],
    )
    .await;
}

#[tokio::test]
async fn i3_a_step_only_moves_forward() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    for (key, status) in [("a", StepStatus::Succeeded), ("b", StepStatus::Failed)] {
        let mut batch = noting(&run);
        batch.steps = vec![StepRow {
            key: agent_runner_core::id::StepKey::new(key),
            kind: StepKind::Tool,
            name: "files.read".to_owned(),
            policy: EffectPolicy::Pure,
            status,
            attempts: 1,
            error: None,
            started: None,
            done: Some(0),
            started_at: None,
            finished_at: None,
        }];
        disk.store.append(batch).await.unwrap();
    }
    let mut conn = connect(&disk.path()).await;
    all_refused(
        &mut conn,
        &[
            ("UPDATE step SET attempts = 2 WHERE key = 'a'", "succeeded never changes"),
            ("UPDATE step SET status = 'STARTED' WHERE key = 'b'", "never goes back"),
            ("UPDATE step SET status = 'PENDING' WHERE key = 'b'", "never goes back"),
            ("INSERT OR REPLACE INTO step SELECT * FROM step WHERE key = 'a'", "never changes"),
            ("DELETE FROM step WHERE key = 'b'", "with its whole run"),
        ],
    )
    .await;
    assert_eq!(affected(&mut conn, "UPDATE step SET attempts = 2 WHERE key = 'b'").await, 1);
}

#[tokio::test]
async fn i4_i5_a_journal_only_grows_and_without_gaps() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    disk.store.append(noting(&run)).await.unwrap();
    let mut conn = connect(&disk.path()).await;
    const INSERT: &str = "INSERT INTO event (run_id, seq, epoch, kind, payload, at)
        SELECT run_id, seq + 1, epoch, kind, payload, at FROM event WHERE seq = 2";
    all_refused(
        &mut conn,
        &[
            ("UPDATE event SET payload = 'null'", "an event never changes"),
            ("UPDATE event SET kind = kind", "an event never changes"),
            ("DELETE FROM event", "only with its whole run"),
            ("DELETE FROM event WHERE seq = 2", "only with its whole run"),
            ("INSERT OR REPLACE INTO event SELECT * FROM event WHERE seq = 1", "without gaps"),
            (
                "UPDATE run SET next_seq = 4;
                 INSERT OR REPLACE INTO event SELECT gid, run_id, 3, epoch, kind, step, payload,
                    blob, at FROM event WHERE seq = 1",
                "never changes",
            ),
            (INSERT, "next_seq of a run counts its events"),
            (
                "UPDATE run SET next_seq = 9;
                 INSERT INTO event (run_id, seq, epoch, kind, payload, at)
                 SELECT run_id, 4, epoch, kind, payload, at FROM event WHERE seq = 2",
                "without gaps",
            ),
        ],
    )
    .await;
    // What the guards refuse is the gap, not every insertion.
    let mut tx = conn.begin().await.unwrap();
    sqlx::raw_sql("UPDATE run SET next_seq = 4").execute(&mut *tx).await.unwrap();
    assert_eq!(sqlx::raw_sql(INSERT).execute(&mut *tx).await.unwrap().rows_affected(), 1);
}

#[tokio::test]
async fn a_deletion_leaves_nothing_behind_and_closes_the_door() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    let blob = Blob { sha256: "00".repeat(32), bytes: vec![1, 2, 3] };
    let mut batch = noting(&run);
    batch.events[0] = NewEvent { blob: Some(blob.sha256.clone()), ..event("test.noted") };
    batch.blobs = vec![blob];
    batch.patch.status = Some(agent_runner_core::run::RunStatus::Failed);
    batch.patch.finished_at = Some(super::support::now());
    disk.store.append(batch).await.unwrap();
    let kept = ended(&disk.store).await;
    disk.store.delete(run.id).await.unwrap();

    let mut conn = connect(&disk.path()).await;
    for (table, want) in
        [("run", 1), ("request", 1), ("event", 2), ("step", 0), ("blob", 0), ("blob_use", 0)]
    {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query(sql).fetch_one(&mut conn).await.unwrap().get(0);
        assert_eq!(count, want, "{table}");
    }
    assert!(refusal(&mut conn, "DELETE FROM event").await.contains("only with its whole run"));
    assert_eq!(disk.store.run(kept.id).await.unwrap(), kept);
}

#[tokio::test]
async fn what_was_spent_never_becomes_less() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    let line = SpendLine { account: Account::Project(run.project_id), day: Day(1) };
    let amount = Spend { requests: 1, tokens: 5, ..Spend::default() };
    disk.store.book(amount, vec![line]).await.unwrap();
    let mut conn = connect(&disk.path()).await;
    assert_eq!(affected(&mut conn, "UPDATE spend SET tokens = tokens + 1").await, 1);
    all_refused(
        &mut conn,
        &[
            ("UPDATE spend SET tokens = tokens - 1", "never becomes less"),
            ("UPDATE spend SET requests = 0", "never becomes less"),
            ("UPDATE spend SET micro_usd = -1", "never becomes less"),
            ("DELETE FROM spend", "is kept"),
            ("INSERT INTO spend VALUES ('a', 1, -1, 0, 0, 0, 0)", "CHECK"),
        ],
    )
    .await;
}
