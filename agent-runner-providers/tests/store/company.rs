//! Other callers, other handles, other programs on the same file.

use std::time::Duration;

use agent_runner_core::{
    id::WorkerId,
    store::{Batch, Beginning, Change, EventQuery, Expect, Ready, Store as _, StoreErrorKind},
};
use agent_runner_providers::{Severity, SqliteOptions, SqliteStore, Synchronous};
use futures::{StreamExt as _, future::join_all};
use sqlx::Row as _;

use super::support::{
    Disk, beat, claimed, connect, event, new_run, noting, now, queued, worker_id,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn by_anybody(run: &agent_runner_core::run::Run) -> Batch {
    let events = vec![event("test.noted")];
    Batch { events, ..Batch::new(run.id, Expect::Control(run.control)) }
}

#[tokio::test]
async fn what_waits_together_is_committed_together() {
    let disk = Disk::open().await;
    let mut runs = Vec::new();
    for _ in 0..32 {
        runs.push(queued(&disk.store).await);
    }
    let before = disk.store.stats();
    join_all(runs.iter().map(|run| async {
        for _ in 0..20 {
            disk.store.append(by_anybody(run)).await.unwrap();
        }
    }))
    .await;
    let after = disk.store.stats();
    let (operations, commits) =
        (after.operations - before.operations, after.commits - before.commits);
    assert_eq!(operations, 640);
    assert!(commits * 8 <= operations, "{commits} commits for {operations} appends");
}

#[tokio::test]
async fn a_refused_write_does_not_hurt_the_others_of_its_group() {
    let disk = Disk::open().await;
    let runs = [queued(&disk.store).await, queued(&disk.store).await, queued(&disk.store).await];
    // A rule that only the database knows, so that the refusal comes from there.
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql(
        "CREATE TRIGGER no_bad BEFORE INSERT ON event WHEN NEW.kind = 'bad' BEGIN
            SELECT RAISE(ABORT, 'bad events are refused');
        END",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let bad = Batch { events: vec![event("fine"), event("bad")], ..by_anybody(&runs[1]) };
    let stale = Batch::new(runs[0].id, Expect::Control(99));
    let outcomes = join_all([
        disk.store.append(by_anybody(&runs[0])),
        disk.store.append(bad),
        disk.store.append(stale),
        disk.store.append(by_anybody(&runs[2])),
        disk.store.append(by_anybody(&runs[0])),
    ])
    .await;
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map(|done| done.last_seq)).collect();
    assert_eq!(kinds[0].as_ref().unwrap(), &2);
    assert_eq!(kinds[1].as_ref().unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert_eq!(kinds[2].as_ref().unwrap_err().kind(), StoreErrorKind::ControlChanged);
    assert_eq!(kinds[3].as_ref().unwrap(), &2);
    assert_eq!(kinds[4].as_ref().unwrap(), &3);
    assert_eq!(disk.store.run(runs[1].id).await.unwrap(), runs[1], "no trace");
    assert_eq!(disk.store.events(runs[1].id, &EventQuery::after(0)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn batches_of_one_group_see_each_other_in_order() {
    let disk = Disk::open().await;
    let run = queued(&disk.store).await;
    let commanding = || {
        let mut batch = by_anybody(&run);
        batch.patch.bump_control = true;
        disk.store.append(batch)
    };
    // Together, so that they are decided in one transaction: the compare-and-set lets one through.
    let outcomes = join_all([commanding(), commanding(), commanding()]).await;
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(won, 1);
    let new = new_run();
    let later = Batch { events: vec![event("b")], ..Batch::new(new.id, Expect::Control(0)) };
    let (created, appended) = tokio::join!(
        disk.store.create(new.clone(), Beginning::new(vec![event("a")], Ready::At(now()))),
        disk.store.append(later)
    );
    assert!(!created.unwrap().existing);
    assert_eq!(appended.unwrap().last_seq, 2, "the run of the same group is known");
    let claimed = disk.store.claim(worker_id(), 10).await.unwrap();
    assert!(claimed.iter().any(|run| run.id == new.id && run.last_seq == 2));
}

#[tokio::test]
async fn a_neighbours_commit_is_a_hint_and_ones_own_is_a_precise_one() {
    let disk = Disk::open().await;
    let neighbour = disk.neighbour().await;
    let run = queued(&disk.store).await;
    let mut mine = disk.store.changes();
    let mut theirs = neighbour.changes();
    disk.store.append(by_anybody(&run)).await.unwrap();
    let hint = tokio::time::timeout(PATIENCE, mine.next()).await.unwrap();
    assert_eq!(hint, Some(Change::Run(run.id)));
    let hint = tokio::time::timeout(PATIENCE, theirs.next()).await.unwrap();
    assert_eq!(hint, Some(Change::Any));
    assert_eq!(neighbour.run(run.id).await.unwrap().last_seq, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_race_for_claims_and_appends_without_a_double_or_a_gap() {
    let disk = Disk::open().await;
    let neighbour = disk.neighbour().await;
    let shared = queued(&disk.store).await;
    let mut taken = disk.store.claim(worker_id(), 1).await.unwrap();
    let shared = taken.pop().filter(|run| run.id == shared.id).unwrap();
    for _ in 0..40 {
        queued(&disk.store).await;
    }
    let tasks = (0..8_usize).map(|n| {
        let store = if n % 2 == 0 { disk.store.clone() } else { neighbour.clone() };
        let shared = shared.clone();
        tokio::spawn(async move {
            let worker: WorkerId = worker_id();
            let mut mine = Vec::new();
            loop {
                store.append(noting(&shared)).await.unwrap();
                let runs = store.claim(worker, 1).await.unwrap();
                let Some(run) = runs.into_iter().next() else { return mine };
                store.append(noting(&run)).await.unwrap();
                mine.push(run.id);
            }
        })
    });
    let mut given = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        given.extend(task.await.unwrap());
    }
    assert_eq!(given.len(), 40, "every run was given");
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 40, "and to one only");
    // One before the race, and one for each round of each task: 40 that got a run, 8 that did not.
    assert_eq!(neighbour.run(shared.id).await.unwrap().last_seq, 1 + 48);
    let findings = neighbour.doctor().await.unwrap();
    assert!(findings.iter().all(|found| found.severity == Severity::Fine), "{findings:?}");
}

#[tokio::test]
async fn s1_the_runs_of_a_process_that_is_gone_are_taken_at_once_and_those_of_a_living_one_are_not()
{
    let disk = Disk::open().await;
    let (gone, neighbour) = (disk.neighbour().await, disk.neighbour().await);
    // Their leases last for an hour.
    let lost = claimed(&gone).await;
    let kept = claimed(&neighbour).await;
    assert_eq!(disk.store.sweep(10).await.unwrap().revoked, [], "both live");
    let workers = disk.store.workers().await.unwrap();
    assert_eq!(workers.len(), 2);
    gone.close().await.unwrap();
    assert_eq!(disk.store.sweep(10).await.unwrap().revoked, [lost.id]);
    let run = disk.store.run(lost.id).await.unwrap();
    assert_eq!((run.owner, run.recoveries, run.epoch), (None, 1, lost.epoch + 1));
    assert_eq!(disk.store.workers().await.unwrap().len(), 1);
    neighbour.append(noting(&kept)).await.unwrap();
    let stale = disk.store.append(noting(&lost)).await.unwrap_err();
    assert_eq!(stale.kind(), StoreErrorKind::Fenced);
    let taken = disk.store.claim(worker_id(), 10).await.unwrap();
    assert_eq!(taken.iter().map(|run| run.id).collect::<Vec<_>>(), [lost.id]);
}

#[tokio::test]
async fn i12_sweeps_examine_all_runs_bit_by_bit() {
    let disk = Disk::open().await;
    let runs = join_all((0..2_500).map(|_| queued(&disk.store))).await;
    assert_eq!(disk.store.sweep(10_000).await.unwrap().mended, []);
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql("DELETE FROM ready").execute(&mut conn).await.unwrap();
    let mut mended = Vec::new();
    // Three pieces, of which the first two are more than a sweep may mend.
    let mut sizes = Vec::new();
    for _ in 0..6 {
        let found = disk.store.sweep(600).await.unwrap().mended;
        sizes.push(found.len());
        mended.extend(found);
    }
    mended.sort_unstable();
    let mut all: Vec<_> = runs.iter().map(|run| run.id).collect();
    all.sort_unstable();
    assert_eq!(mended, all, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 600), "{sizes:?}");
}

#[tokio::test]
async fn i9_a_worker_that_is_wrongly_taken_for_dead_writes_nothing_more_and_can_go_on_claiming() {
    let disk = Disk::open().await;
    let neighbour = disk.neighbour().await;
    let run = claimed(&neighbour).await;
    let worker = run.owner.unwrap();
    // As on a file system whose locks mean nothing.
    let locks = disk.dir.path().join("x.db-workers");
    let file = std::fs::read_dir(&locks).unwrap().next().unwrap().unwrap().path();
    let name = file.clone();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&name, "").unwrap();
    assert_eq!(disk.store.sweep(10).await.unwrap().revoked, [run.id]);
    assert!(!name.exists(), "what is dealt with is removed");
    let stale = neighbour.append(noting(&run)).await.unwrap_err();
    assert_eq!(stale.kind(), StoreErrorKind::Fenced);
    beat(&neighbour, worker, Duration::from_secs(3_600)).await;
    let again = neighbour.claim(worker, 10).await.unwrap();
    assert_eq!((again.len(), again[0].id), (1, run.id));
    assert_eq!(disk.store.sweep(10).await.unwrap().revoked, [], "its lease is as good as before");
    neighbour.append(noting(&again[0])).await.unwrap();
}

#[tokio::test]
async fn a_write_waits_for_another_programs_lock() {
    let disk = Disk::open().await;
    let run = queued(&disk.store).await;
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut conn).await.unwrap();
    let store = disk.store.clone();
    let batch = by_anybody(&run);
    let waiting = tokio::spawn(async move { store.append(batch).await });
    // Reads go on meanwhile.
    assert_eq!(disk.store.run(run.id).await.unwrap().last_seq, 1);
    assert!(!waiting.is_finished());
    sqlx::raw_sql("COMMIT").execute(&mut conn).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().last_seq, 2);
}

#[tokio::test]
async fn a_lock_that_is_never_released_is_reported_and_the_store_goes_on_after_it() {
    let disk = Disk::open().await;
    let run = queued(&disk.store).await;
    let options = disk.options().busy_timeout(Duration::from_millis(50));
    let hasty = SqliteStore::open(options).await.unwrap();
    let mut conn = connect(&disk.path()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut conn).await.unwrap();
    let outcomes = join_all([hasty.append(by_anybody(&run)), hasty.append(by_anybody(&run))]).await;
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Busy);
        assert!(error.to_string().contains("x.db"), "{error}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut conn).await.unwrap();
    assert_eq!(hasty.append(by_anybody(&run)).await.unwrap().last_seq, 2, "no trace of the others");
}

#[tokio::test]
async fn closing_writes_what_waits_and_folds_the_log_into_the_file() {
    let disk = Disk::open().await;
    let run = claimed(&disk.store).await;
    let waiting = join_all((0..50).map(|_| disk.store.append(noting(&run))));
    let (outcomes, closed) = tokio::join!(waiting, disk.store.close());
    closed.unwrap();
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(written > 0, "what was handed in before is written");
    let log = disk.path().with_extension("db-wal");
    assert!(std::fs::metadata(log).map_or(0, |found| found.len()) == 0);

    let error = disk.store.append(noting(&run)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("closed"), "{error}");
    assert_eq!(disk.store.run(run.id).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    disk.store.close().await.unwrap();

    let again = disk.neighbour().await;
    let last = again.run(run.id).await.unwrap().last_seq;
    assert_eq!(last, 1 + u64::try_from(written).unwrap());
}

#[tokio::test]
async fn a_store_that_is_dropped_writes_what_was_handed_in() {
    let disk = Disk::open().await;
    let run = queued(&disk.store).await;
    let store = SqliteStore::open(disk.options().synchronous(Synchronous::Normal)).await.unwrap();
    assert_eq!(store.durability(), agent_runner_core::store::Durability::Crash);
    store.append(by_anybody(&run)).await.unwrap();
    drop(store);
    assert_eq!(disk.store.run(run.id).await.unwrap().last_seq, 2);
}

#[tokio::test]
async fn records_that_expired_are_swept_away_at_rest() {
    use agent_runner_core::store::{PutRecord, RecordExpect, RecordStore as _};
    let disk = Disk::open().await;
    disk.store
        .put_record(PutRecord {
            collection: "c".to_owned(),
            key: "k".to_owned(),
            value: serde_json::json!(1),
            expect: RecordExpect::Absent,
            expires_at: Some(now()),
        })
        .await
        .unwrap();
    let mut conn = connect(&disk.path()).await;
    let count = async |conn: &mut sqlx::SqliteConnection| -> i64 {
        sqlx::query("SELECT count(*) FROM record").fetch_one(conn).await.unwrap().get(0)
    };
    assert_eq!(count(&mut conn).await, 1);
    let gone = tokio::time::timeout(PATIENCE, async {
        while count(&mut conn).await != 0 {
            tokio::task::yield_now().await;
        }
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn every_connection_of_the_store_is_set_up_for_durability() {
    let disk = Disk::open().await;
    queued(&disk.store).await;
    let mut conn = connect(&disk.path()).await;
    for (pragma, want) in [("journal_mode", "wal"), ("auto_vacuum", "2"), ("user_version", "5")] {
        let sql =
            sqlx::AssertSqlSafe(format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}"));
        let value: String = sqlx::query(sql).fetch_one(&mut conn).await.unwrap().get(0);
        assert_eq!(value, want, "{pragma}");
    }
    assert_eq!(disk.store.durability(), agent_runner_core::store::Durability::PowerLoss);
    let url = format!("sqlite://{}", disk.path().display());
    let same = SqliteStore::open(SqliteOptions::new(url)).await.unwrap();
    assert_eq!(same.path(), disk.path());
}
