//! How a stranger's store stands bad weather: runs on it end well, with one effect, whichever of its
//! calls fails, is lost, comes late or stands still.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    engine::{Engine, EngineOptions, NewRun},
    run::{Run, RunStatus},
    store::{EventQuery, Store},
    testing::{Fault, FaultyStore, Gate, LedgerTool, ScriptedModel, StoreCall, Turn, Weather},
    tool::EffectPolicy,
};
use serde_json::json;

use super::store::good_store;
use crate::support::server::PATIENCE;

/// An agent that acts once, and its tool.
fn engine(store: Arc<dyn Store>, tool: &LedgerTool, lease_ttl: Duration) -> Engine {
    let options = EngineOptions {
        default_model: ModelName::new("test", "model"),
        poll_interval: Duration::from_millis(20),
        lease_ttl,
        ..EngineOptions::default()
    };
    Engine::builder(store)
        .provider(ScriptedModel::new([Turn::tool("act", json!({"n": 1})), Turn::text("done")]))
        .tool(tool.clone())
        .options(options)
        .build()
        .unwrap()
}

/// The run ended well, and its journal is whole.
async fn ends_well(engine: &Engine, run: &Run) {
    let run = engine.join(run.id, PATIENCE).await.unwrap();
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!("done"))));
    let events = engine.events(run.id, &EventQuery::after(0)).await.unwrap();
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=run.last_seq).collect::<Vec<_>>());
}

/// Makes the n-th of these calls fail, for every n until there is none, and looks at the effects.
async fn fails_one_by_one(calls: &[StoreCall], fault: Fault) {
    for n in 1.. {
        let store = good_store();
        let tool = LedgerTool::new("act", EffectPolicy::AtMostOnce);
        // The run is there before anything fails: what a caller is told of a lost `create` is
        // another question.
        let asking = engine(Arc::clone(&store), &tool, Duration::from_secs(10));
        let run = asking.create_run(NewRun::new("act once")).await.unwrap().run;
        // It has a past, so that its worker has something to read.
        asking.pause(run.id).await.unwrap();
        asking.resume(run.id).await.unwrap();
        let faulty = Arc::new(FaultyStore::new(store).counting(calls));
        faulty.fail_nth(n, fault);
        let working = engine(Arc::clone(&faulty) as Arc<dyn Store>, &tool, Duration::from_secs(10));
        let handle = working.start();
        ends_well(&asking, &run).await;
        assert_eq!(tool.effects().len(), 1, "{calls:?} {fault:?} {n}");
        handle.shutdown(PATIENCE).await;
        if faulty.calls() < n {
            assert!(n > 1, "the run made no call that could fail");
            return;
        }
    }
}

#[tokio::test]
async fn a_batch_that_is_not_written_is_written_again() {
    fails_one_by_one(&[StoreCall::Append], Fault::BeforeCommit).await;
}

#[tokio::test]
async fn a_batch_that_comes_twice_is_written_once() {
    // It is written, its writer does not learn it and sends it again: a duplicate.
    fails_one_by_one(&[StoreCall::Append], Fault::AfterCommit).await;
}

#[tokio::test]
async fn a_reading_call_that_fails_changes_nothing() {
    fails_one_by_one(
        &[StoreCall::Run, StoreCall::Events, StoreCall::Snapshot],
        Fault::BeforeCommit,
    )
    .await;
}

#[tokio::test]
async fn a_slow_store_makes_a_run_slow_and_nothing_else() {
    let tool = LedgerTool::new("act", EffectPolicy::AtMostOnce);
    let late = Duration::from_millis(5);
    let slow = FaultyStore::new(good_store())
        .counting(&[StoreCall::Append])
        .under(move |_| Weather { before: late, fault: None, after: late });
    let engine = engine(Arc::new(slow), &tool, Duration::from_secs(10));
    let handle = engine.start();
    let run = engine.create_run(NewRun::new("act once")).await.unwrap().run;
    ends_well(&engine, &run).await;
    assert_eq!(tool.effects().len(), 1);
    handle.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_process_that_dies_within_the_effect_leaves_it_to_the_next() {
    let (store, gate) = (good_store(), Gate::new());
    let tool = LedgerTool::new("act", EffectPolicy::Idempotent).held_by(gate.clone());
    let first = engine(Arc::clone(&store), &tool, Duration::from_millis(300));
    let handle = first.start();
    let run = first.create_run(NewRun::new("act once")).await.unwrap().run;
    gate.wait_for_arrival().await;
    // Dropping the handle stops its tasks where they are, as the death of a process does.
    drop(handle);
    tokio::task::yield_now().await;
    gate.open();
    let second = engine(store, &tool, Duration::from_secs(10));
    let handle = second.start();
    ends_well(&second, &run).await;
    let keys: Vec<String> = tool.effects().into_iter().map(|one| one.idempotency_key).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "the service that gets the key twice acts once");
    handle.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_call_that_stands_still_holds_up_its_run_until_it_goes_on() {
    let tool = LedgerTool::new("act", EffectPolicy::AtMostOnce);
    let faulty = Arc::new(FaultyStore::new(good_store()).counting(&[StoreCall::Append]));
    let held = faulty.pause_nth(1, Fault::AfterCommit);
    let engine = engine(Arc::clone(&faulty) as Arc<dyn Store>, &tool, Duration::from_secs(10));
    let handle = engine.start();
    let run = engine.create_run(NewRun::new("act once")).await.unwrap().run;
    held.reached().await;
    // It is written, but its writer does not know it yet, and so does not act.
    assert!(engine.run(run.id).await.unwrap().last_seq > 1);
    assert!(tool.effects().is_empty());
    held.release();
    ends_well(&engine, &run).await;
    assert_eq!(tool.effects().len(), 1);
    handle.shutdown(PATIENCE).await;
}
