//! Commands for many runs at once.

use std::{collections::BTreeSet, sync::Arc};

use agent_runner_core::{
    engine::{Engine, EngineErrorKind, ManyRuns, NewFork, NewRun},
    id::RunId,
    limits,
    run::RunStatus,
    store::RunQuery,
    testing::{Fault, FaultyStore, StoreCall, Turn},
};

use super::fixture::*;

fn tagged(tag: &str) -> ManyRuns {
    let query = RunQuery { tag: Some(tag.to_owned()), ..RunQuery::default() };
    ManyRuns { query, ..ManyRuns::default() }
}

fn of(tag: &str, goal: &str) -> NewRun {
    NewRun { tags: vec![tag.to_owned()], ..NewRun::new(goal) }
}

async fn all(engine: &Engine, tag: &str) -> Vec<RunId> {
    let query = RunQuery { tag: Some(tag.to_owned()), limit: 500, ..RunQuery::default() };
    engine.runs(&query).await.unwrap().into_iter().map(|run| run.id).collect()
}

on_every_store!(a_batch_accepts_each_run_by_itself_and_once_with_a_key);
async fn a_batch_accepts_each_run_by_itself_and_once_with_a_key() {
    let world = World::new([]);
    let engine = world.engine().await;
    let wanted = || {
        let with_hash = |n: u32| NewRun { request_hash: Some(n.to_string()), ..of("b", "g") };
        let mut wanted: Vec<NewRun> = (0..40).map(with_hash).collect();
        wanted[7].model = Some("nowhere/x".to_owned());
        wanted
    };
    let first = engine.create_runs(wanted(), Some("k")).await.unwrap();
    assert_eq!(first.len(), 40);
    for (n, one) in first.iter().enumerate() {
        match one {
            Ok(created) => assert!(!created.existing && n != 7),
            Err(error) => assert_eq!((n, error.fields()[0].pointer.as_str()), (7, "/model")),
        }
    }
    let again = engine.create_runs(wanted(), Some("k")).await.unwrap();
    for (one, other) in first.iter().zip(&again) {
        let (Ok(one), Ok(other)) = (one, other) else { continue };
        assert_eq!((one.run.id, other.existing), (other.run.id, true));
    }
    assert_eq!(all(&engine, "b").await.len(), 39);
    let mut other = wanted();
    other[0].request_hash = Some("another".to_owned());
    let other = engine.create_runs(other, Some("k")).await.unwrap();
    let kind = other[0].as_ref().unwrap_err().kind();
    assert_eq!(kind, EngineErrorKind::IdempotencyMismatch);

    let many = vec![NewRun::new("g"); limits::BATCH_MAX + 1];
    let refused = engine.create_runs(many, None).await.unwrap_err();
    assert_eq!(refused.kind(), EngineErrorKind::Validation);
    assert_eq!(engine.runs(&RunQuery::default()).await.unwrap().len(), 39);
}

on_every_store!(canceling_many_goes_through_all_that_fit_and_have_not_ended);
async fn canceling_many_goes_through_all_that_fit_and_have_not_ended() {
    let world = World::new([]);
    let engine = world.engine().await;
    let mut fit = BTreeSet::new();
    for n in 0..25 {
        fit.insert(create(&engine, of("old", &n.to_string())).await);
    }
    let kept = create(&engine, of("new", "stays")).await;
    let ended = *fit.first().unwrap();
    engine.cancel(ended, Some("before".to_owned())).await.unwrap();

    let dry = ManyRuns { dry_run: true, ..tagged("old") };
    let would = engine.cancel_many(dry, None).await.unwrap();
    assert_eq!((would.matched.len(), would.accepted.len()), (24, 0));
    assert_eq!(engine.run(kept).await.unwrap().status, RunStatus::Queued);

    let (mut seen, mut pages, mut many) = (Vec::new(), 0, tagged("old"));
    many.query.limit = 10;
    loop {
        let done = engine.cancel_many(many.clone(), Some("enough".to_owned())).await.unwrap();
        assert!(done.failed.is_empty() && done.matched.len() <= 10);
        assert!(done.accepted.iter().all(|(id, run)| *id == run.id));
        assert!(done.accepted.iter().all(|(_, run)| run.status == RunStatus::Canceled));
        seen.extend(done.matched);
        pages += 1;
        many.query.after = done.next;
        if done.next.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (24, 3));
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first");
    for id in fit {
        let reason = engine.run(id).await.unwrap().cancel_reason;
        assert_eq!(reason.as_deref(), Some(if id == ended { "before" } else { "enough" }));
        check_journal(&engine, id).await;
    }
    assert_eq!(engine.run(kept).await.unwrap().status, RunStatus::Queued);
}

on_every_store!(starting_many_anew_starts_each_once);
async fn starting_many_anew_starts_each_once() {
    let world = World::new((0..20).map(|n| Turn::text(&n.to_string())));
    let (engine, handle) = world.start().await;
    for n in 0..5 {
        let id = create(&engine, of("nightly", &n.to_string())).await;
        ended(&engine, id).await;
    }
    handle.shutdown(PATIENCE).await;
    let sources = all(&engine, "nightly").await;
    let engine = world.engine().await;
    let changes = NewFork { name: Some("again".to_owned()), ..NewFork::default() };
    let (mut started, mut many) = (Vec::new(), tagged("nightly"));
    many.query.limit = 2;
    loop {
        // The new runs have the same tag: they must not be started anew themselves.
        let done = engine.rerun_many(many.clone(), changes.clone(), Some("k")).await.unwrap();
        assert!(done.failed.is_empty());
        let again = engine.rerun_many(many.clone(), changes.clone(), Some("k")).await.unwrap();
        let ids = |done: &agent_runner_core::engine::ManyDone| {
            done.accepted.iter().map(|(from, run)| (*from, run.id)).collect::<Vec<_>>()
        };
        assert_eq!(ids(&done), ids(&again), "one key starts nothing twice");
        started.extend(ids(&done));
        many.query.after = done.next;
        if done.next.is_none() {
            break;
        }
    }
    assert_eq!(started.iter().map(|(from, _)| *from).collect::<Vec<_>>(), sources);
    for (from, id) in started {
        let run = engine.run(id).await.unwrap();
        let source = engine.run(from).await.unwrap();
        assert_eq!(run.spec.forked_from.unwrap().run, from);
        assert_eq!((run.name.as_deref(), &run.spec.goal), (Some("again"), &source.spec.goal));
    }
    assert_eq!(all(&engine, "nightly").await.len(), 10);
}

#[tokio::test]
async fn a_command_for_many_names_them_or_says_all() {
    let world = World::new([]);
    let engine = world.engine().await;
    let id = create(&engine, of("a", "g")).await;
    let every = ManyRuns { all: true, ..ManyRuns::default() };
    let mut ended_only = tagged("a");
    ended_only.query.statuses = vec![RunStatus::Failed];
    let mut none = tagged("a");
    none.query.limit = 0;
    let mut too_many = tagged("a");
    too_many.query.limit = limits::PAGE_MAX + 1;
    for (many, pointer) in [
        (ManyRuns::default(), "/filter"),
        (ManyRuns { all: true, ..tagged("a") }, "/filter"),
        (ended_only, "/filter/status"),
        (none, "/limit"),
        (too_many, "/limit"),
    ] {
        let refused = engine.cancel_many(many, None).await.unwrap_err();
        assert_eq!(refused.fields()[0].pointer, pointer);
    }
    let refused = engine.rerun_many(ManyRuns::default(), NewFork::default(), None).await;
    assert_eq!(refused.unwrap_err().fields()[0].pointer, "/filter");
    assert_eq!(engine.run(id).await.unwrap().status, RunStatus::Queued);
    let done = engine.cancel_many(every, None).await.unwrap();
    assert_eq!(done.matched, [id]);
    assert_eq!(engine.run(id).await.unwrap().status, RunStatus::Canceled);
}

#[tokio::test]
async fn what_a_run_cannot_do_stands_beside_it_and_what_the_store_cannot_ends_the_request() {
    let mut world = World::new([]);
    let engine = world.engine().await;
    let id = create(&engine, of("a", "g")).await;
    let changes = NewFork { model: Some("nowhere/x".to_owned()), ..NewFork::default() };
    let done = engine.rerun_many(tagged("a"), changes, None).await.unwrap();
    assert_eq!((done.accepted.len(), done.failed.len()), (0, 1));
    assert_eq!((done.failed[0].0, done.failed[0].1.kind()), (id, EngineErrorKind::Validation));

    let faulty = FaultyStore::new(world.store().await).counting(&[StoreCall::Append]);
    faulty.fail_nth(1, Fault::BeforeCommit);
    world.replace_store(Arc::new(faulty));
    let engine = world.engine().await;
    let error = engine.cancel_many(tagged("a"), None).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::StoreUnavailable);
    assert_eq!(engine.cancel_many(tagged("a"), None).await.unwrap().accepted.len(), 1);
}
