//! What cannot be provoked from outside: a full disk, a disk that fails, the plans of statements.

use std::collections::HashSet;

use agent_runner_core::{
    agent::{AgentSpec, ModelName},
    engine::{Engine, EngineErrorKind, EngineOptions, NewRun},
    event::NewEvent,
    id::{IdSource as _, SystemIds},
    llm::Usage,
    run::{RunSpec, RunStatus},
    step::EffectPolicy,
    store::{Expect, Ready},
    testing::{LedgerTool, ScriptedModel, Turn},
    time::SystemClock,
};
use serde_json::json;
use sqlx::Row as _;
use tempfile::TempDir;

use super::*;

fn run() -> Run {
    let id = RunId::from_uuid(SystemIds.next());
    Run {
        id,
        project_id: agent_runner_core::id::ProjectId::from_uuid(SystemIds.next()),
        name: None,
        spec: RunSpec::new("fill the disk", AgentSpec::new(ModelName::new("scripted", "demo"))),
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
        created_at: SystemClock.now(),
        started_at: None,
        finished_at: None,
        last_seq: 0,
        owner: None,
        epoch: 0,
        control: 0,
        recoveries: 0,
    }
}

fn event(bytes: usize) -> NewEvent {
    NewEvent {
        kind: "test.noted".to_owned(),
        step: None,
        payload: json!("x".repeat(bytes)).into(),
        blob: None,
        at: SystemClock.now(),
    }
}

fn noting(run: &Run, bytes: usize) -> Batch {
    let mut batch = Batch::new(run.id, Expect::Control(run.control));
    batch.events.push(event(bytes));
    batch
}

async fn connection(dir: &TempDir) -> (SqliteConnection, SqliteOptions, PathBuf) {
    let options = SqliteOptions::new(dir.path().join("x.db"));
    let path = options.path().unwrap();
    (connect::writer(&options, &path).await.unwrap(), options, path)
}

#[tokio::test]
async fn s25_a_full_disk_refuses_what_does_not_fit_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mut conn, options, path) = connection(&dir).await;
    sqlx::query("PRAGMA max_page_count = 120").execute(&mut conn).await.unwrap();
    let store = SqliteStore::start(conn, options, path).await;
    let run = store
        .create(run(), Beginning::new(vec![event(1)], Ready::At(SystemClock.now())))
        .await
        .unwrap()
        .run;

    // Together, so that they are written as one group.
    let large = store.append(noting(&run, 600_000));
    let small = store.append(noting(&run, 10));
    let (large, small) = tokio::join!(large, small);
    let error = large.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(error.to_string().contains("free disk space"), "{error}");
    assert_eq!(small.unwrap().last_seq, 2, "what fits is written");

    let findings = store.doctor().await.unwrap();
    assert!(findings.iter().all(|found| found.severity == Severity::Fine), "{findings:?}");
    store.append(noting(&run, 10)).await.unwrap();
    store.check().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn i9_claims_of_one_group_share_no_run_and_its_guards_know_them() {
    let dir = tempfile::tempdir().unwrap();
    let (conn, options, path) = connection(&dir).await;
    let store = SqliteStore::start(conn, options, path).await;
    let mut all = Vec::new();
    for priority in [0, 0, 1, 1, 2] {
        let new = Run { priority, ..run() };
        let ready = Ready::At(SystemClock.now());
        all.push(store.create(new, Beginning::new(vec![event(1)], ready)).await.unwrap().run);
    }
    let worker = || WorkerId::from_uuid(SystemIds.next());
    let before = store.stats().commits;
    let (first, second, late) = tokio::join!(
        store.claim(worker(), 3),
        store.claim(worker(), 9),
        store.append(noting(&all[0], 1)),
    );
    assert_eq!(store.stats().commits, before + 1, "they are one group");
    let ids = |runs: Vec<Run>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
    let all: Vec<RunId> = all.into_iter().map(|run| run.id).collect();
    assert_eq!((ids(first.unwrap()), ids(second.unwrap())), (all[..3].to_vec(), all[3..].to_vec()));
    // A claim moves the control number, and comes before what the group decides.
    assert_eq!(late.unwrap_err().kind(), StoreErrorKind::ControlChanged);
    store.close().await.unwrap();
}

/// An engine whose agents call a tool three times.
fn engine(store: SqliteStore, tool: LedgerTool) -> Engine {
    let calls = (0..3).map(|n| Turn::tool("post", json!({ "n": n })));
    let model = ScriptedModel::new(calls.chain([Turn::text("done")]));
    let options = EngineOptions {
        default_model: ModelName::new("test", "model"),
        ..EngineOptions::default()
    };
    let builder = Engine::builder(Arc::new(store)).provider(model).tool(tool).options(options);
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_a_full_disk_loses_no_run_that_was_accepted_and_repeats_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (mut conn, options, path) = connection(&dir).await;
    let options = options.synchronous(Synchronous::Normal);
    sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut conn).await.unwrap();
    sqlx::query("PRAGMA max_page_count = 300").execute(&mut conn).await.unwrap();
    let store = SqliteStore::start(conn, options.clone(), path).await;
    let tool = LedgerTool::new("post", EffectPolicy::AtMostOnce);
    let full = engine(store, tool.clone());
    let handle = full.start();
    let mut accepted = Vec::new();
    let refused = loop {
        match full.create_run(NewRun::new("fill the disk ".repeat(1_000))).await {
            Ok(created) => accepted.push(created.run.id),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1_000, "the disk is never full");
    };
    assert_eq!(refused.kind(), EngineErrorKind::StoreFull);
    assert!(accepted.len() > 10, "{} runs were accepted", accepted.len());
    drop((handle, full));

    // There is room again, and the program starts anew.
    let roomy = engine(SqliteStore::open(options).await.unwrap(), tool.clone());
    let _handle = roomy.start();
    for id in accepted {
        let run = roomy.join(id, Duration::from_secs(60)).await.unwrap();
        assert_eq!(run.status, RunStatus::Completed);
    }
    let effects = tool.effects();
    let keys: HashSet<_> = effects.iter().map(|effect| &effect.idempotency_key).collect();
    assert_eq!(keys.len(), effects.len(), "no effect happened twice");
}

#[tokio::test]
async fn s25_a_disk_that_failed_once_is_never_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (conn, options, path) = connection(&dir).await;
    let (changes, counters) = (broadcast::Sender::new(1), Arc::new(Counters::default()));
    let shown = path.display().to_string().into();
    let mut writer = Writer::new(conn, shown, options.clock, changes, counters);
    let fsync = error::tests::coded(1034);
    assert_eq!(writer.judge(&fsync), error::Fate::Poisoned);

    let outcomes =
        writer.write(&[Op::Probe, Op::Leave(WorkerId::from_uuid(SystemIds.next()))]).await;
    assert_eq!(outcomes.len(), 2, "every caller is answered");
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("restart this program"), "{error}");
    }
}

#[tokio::test]
async fn the_writer_waits_for_the_disk_and_checks_references() {
    let dir = tempfile::tempdir().unwrap();
    let (mut conn, options, path) = connection(&dir).await;
    let mut setting = async |sql: &'static str| -> i64 {
        sqlx::query(sql).fetch_one(&mut conn).await.unwrap().get(0)
    };
    assert_eq!(setting("PRAGMA synchronous").await, 2, "FULL");
    assert_eq!(setting("PRAGMA foreign_keys").await, 1);
    let pool = connect::readers(&options, &path);
    let error = sqlx::query("DELETE FROM meta").execute(&pool).await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    let options = options.synchronous(Synchronous::Normal);
    let mut conn = connect::writer(&options, &path).await.unwrap();
    let row = sqlx::query("PRAGMA synchronous").fetch_one(&mut conn).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 1, "NORMAL");
}

/// Statements of a file, without those that have no plan.
fn statements(sql: &'static str) -> impl Iterator<Item = String> {
    let lines = sql.lines().filter(|line| !line.starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let bare = |part: &str| part.trim().trim_end_matches(';').to_owned();
    let statements: Vec<String> = text.split(";\n").map(bare).collect();
    statements.into_iter().filter(|statement| {
        !["BEGIN", "COMMIT", "PRAGMA"].iter().any(|word| statement.starts_with(word))
            && !statement.is_empty()
    })
}

const TABLES: [&str; 10] = [
    "run",
    "request",
    "ready",
    "event",
    "step",
    "signal",
    "blob",
    "record",
    "spend",
    "reservation",
];

const ANY_RESERVATION: &str = "EXISTS (SELECT 1 FROM reservation)";

#[tokio::test]
async fn no_statement_of_the_hot_path_scans_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let (mut conn, ..) = connection(&dir).await;
    let mut seen = 0;
    for sql in [
        include_str!("statements/guards.sql"),
        include_str!("statements/write/runs.sql"),
        include_str!("statements/write/requests.sql"),
        include_str!("statements/write/changes.sql"),
        include_str!("statements/write/events.sql"),
        include_str!("statements/write/steps.sql"),
        include_str!("statements/write/signals.sql"),
        include_str!("statements/write/listings.sql"),
        include_str!("statements/write/spend.sql"),
        include_str!("statements/settle.sql"),
        include_str!("statements/reserve.sql"),
        include_str!("statements/unreserve.sql"),
        spend::SPENT_ACCOUNT,
        spend::SPENT_ACCOUNT_DAY,
        spend::SPENT_PROJECTS,
        spend::SPENT_PROJECTS_DAY,
        read::CHILDREN,
        include_str!("statements/blob_put.sql"),
        include_str!("statements/claim.sql"),
        include_str!("statements/revoke.sql"),
        include_str!("statements/mend.sql"),
        include_str!("statements/delete_run.sql"),
        include_str!("statements/events_ascending.sql"),
        include_str!("statements/events_descending.sql"),
        include_str!("../statements/run.sql"),
        include_str!("../statements/steps.sql"),
        include_str!("../statements/blob.sql"),
        include_str!("../statements/owned.sql"),
        include_str!("../statements/record.sql"),
        include_str!("../statements/records.sql"),
        include_str!("statements/sweep_slice.sql"),
        include_str!("statements/sweep_misplaced.sql"),
        include_str!("statements/sweep_lost.sql"),
        include_str!("statements/sweep_overdue.sql"),
        include_str!("statements/sweep_canceled.sql"),
    ] {
        for statement in statements(sql) {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let rows = sqlx::query(explain).fetch_all(&mut conn).await.unwrap();
            for row in rows {
                let detail: String = row.get("detail");
                seen += 1;
                for table in TABLES {
                    let scan = format!("SCAN {table}");
                    let whole = detail == scan || detail.starts_with(&format!("{scan} USING"));
                    // Indexes that hold only rows of interest.
                    let partial = detail.contains("run_owner") || detail.contains("run_canceling");
                    // Stops at the first row.
                    let any = table == "reservation" && statement.contains(ANY_RESERVATION);
                    assert!(!whole || partial || any, "{detail}\n{statement}");
                }
            }
        }
    }
    assert!(seen > 30, "plans were read");
}

#[tokio::test]
async fn a_question_about_a_day_reads_the_rows_of_that_day() {
    let dir = tempfile::tempdir().unwrap();
    let (mut conn, ..) = connection(&dir).await;
    for (sql, spend, reservation) in [
        (
            spend::SPENT_ACCOUNT_DAY,
            "spend USING PRIMARY KEY (account=? AND day=?)",
            "reservation USING INDEX reservation_account (account=? AND day=?)",
        ),
        // What is reserved is only what is under way; it needs no index by day.
        (
            spend::SPENT_PROJECTS_DAY,
            "spend USING INDEX spend_day (day=? AND account>? AND account<?)",
            "reservation USING INDEX reservation_account (account>? AND account<?)",
        ),
    ] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::query(explain).fetch_all(&mut conn).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        for wanted in [spend, reservation] {
            assert!(plan.contains(&format!("SEARCH {wanted}")), "{wanted}\n{plan:?}\n{sql}");
        }
    }
}
