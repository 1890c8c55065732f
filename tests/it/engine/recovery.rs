//! What becomes of a run whose worker is lost. Dropping an [`EngineHandle`] stops its tasks
//! between any two awaits, as the death of the process would.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    engine::{EngineHandle, NewRun},
    event::NewEvent,
    id::StepKey,
    run::{ParkReason, RunStatus},
    step::{EffectPolicy, StepKind, StepStatus},
    store::{Batch, Expect, StepRow, Store},
    testing::{Fault, FaultyStore, Gate, LedgerTool, StoreCall, Turn},
    tool::{Reconciled, ToolOutput},
};
use serde_json::json;

use super::fixture::*;

fn world(tool: &LedgerTool) -> World {
    let mut world = World::new([Turn::tool("post", json!({"n": 1})), Turn::text("done")])
        .with_tool(tool.clone());
    world.options.lease_ttl = Duration::from_millis(300);
    world
}

/// Runs until the tool has had its effect, then kills the worker before the outcome is recorded.
async fn killed_in_the_effect(world: &mut World, gate: &Gate) -> agent_runner_core::id::RunId {
    let (engine, handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    kill(handle).await;
    // Only the first worker is to be given up soon.
    world.options.lease_ttl = Duration::from_secs(5);
    id
}

async fn kill(handle: EngineHandle) {
    drop(handle);
    tokio::task::yield_now().await;
}

on_every_store!(s2_an_idempotent_effect_is_repeated_with_the_same_key);
async fn s2_an_idempotent_effect_is_repeated_with_the_same_key() {
    let gate = Gate::new();
    let tool = LedgerTool::new("post", EffectPolicy::Idempotent).held_by(gate.clone());
    let mut world = world(&tool);
    let id = killed_in_the_effect(&mut world, &gate).await;
    gate.open();
    let (engine, _handle) = world.start().await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let effects = tool.effects();
    assert_eq!(effects.iter().map(|e| e.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(effects[0].idempotency_key, effects[1].idempotency_key);
    assert_eq!(world.model.requests().len(), 2, "the model's first reply was not asked for again");
}

on_every_store!(s2_an_effect_at_most_once_is_not_repeated_and_the_model_is_told);
async fn s2_an_effect_at_most_once_is_not_repeated_and_the_model_is_told() {
    let gate = Gate::new();
    let tool = LedgerTool::new("post", EffectPolicy::AtMostOnce).held_by(gate.clone());
    let mut world = world(&tool);
    let id = killed_in_the_effect(&mut world, &gate).await;
    let (engine, _handle) = world.start().await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    assert_eq!(tool.effects().len(), 1);
    let step = engine.step(id, &StepKey::new("turn.1.tool.1")).await.unwrap();
    assert_eq!(step.step.status, StepStatus::Indeterminate);
    let told = serde_json::to_string(&world.model.requests().pop().unwrap().messages).unwrap();
    assert!(told.contains("is not known"), "{told}");
}

on_every_store!(s2_an_effect_to_ask_about_parks_the_run);
async fn s2_an_effect_to_ask_about_parks_the_run() {
    let gate = Gate::new();
    let tool = LedgerTool::new("post", EffectPolicy::Ask).held_by(gate.clone());
    let mut world = world(&tool);
    let id = killed_in_the_effect(&mut world, &gate).await;
    let (engine, _handle) = world.start().await;
    wait_for(&engine, id, "run.parked").await;
    let run = engine.run(id).await.unwrap();
    assert_eq!(run.park.unwrap().reason, ParkReason::Ask);
    assert_eq!(tool.effects().len(), 1);
    check_journal(&engine, id).await;
}

on_every_store!(s2_a_probe_decides_about_an_effect_to_reconcile);
async fn s2_a_probe_decides_about_an_effect_to_reconcile() {
    let done = Reconciled::Done(ToolOutput::new(json!("it went through")));
    for (probe, effects, parked) in
        [(done, 1, false), (Reconciled::NotDone, 2, false), (Reconciled::Unknown, 1, true)]
    {
        let gate = Gate::new();
        let tool = LedgerTool::new("post", EffectPolicy::Reconcile)
            .held_by(gate.clone())
            .probed_as(probe.clone());
        let mut world = world(&tool);
        let id = killed_in_the_effect(&mut world, &gate).await;
        gate.open();
        let (engine, _handle) = world.start().await;
        if parked {
            wait_for(&engine, id, "run.parked").await;
            assert_eq!(engine.run(id).await.unwrap().park.unwrap().reason, ParkReason::Ask);
        } else {
            assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
        }
        assert_eq!(tool.effects().len(), effects, "{probe:?}");
    }
}

on_every_store!(a_model_call_in_flight_is_made_again_and_watchers_are_told);
async fn a_model_call_in_flight_is_made_again_and_watchers_are_told() {
    let gate = Gate::new();
    let held = Turn::Held("half".into(), gate.clone(), Box::new(Turn::text(" whole")));
    let mut world = World::new([held]);
    world.options.lease_ttl = Duration::from_millis(300);
    let (engine, handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    wait_for(&engine, id, "llm.started").await;
    kill(handle).await;
    gate.open();
    world.options.lease_ttl = Duration::from_secs(5);
    let (engine, _handle) = world.start().await;
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!("half whole")));
    assert_eq!(run.recoveries, 0, "progress forgives");
    assert_eq!(count(&kinds(&engine, id).await, "llm.attempt_restarted"), 1);
    let claims: Vec<_> =
        events(&engine, id).await.into_iter().filter(|e| e.kind == "run.claimed").collect();
    assert_eq!(claims[1].payload["recovered"], true);
}

on_every_store!(s14_a_run_whose_owner_died_is_canceled_by_the_sweeper);
async fn s14_a_run_whose_owner_died_is_canceled_by_the_sweeper() {
    let gate = Gate::new();
    let tool = LedgerTool::new("post", EffectPolicy::Idempotent).held_by(gate.clone());
    let mut world = world(&tool);
    let id = killed_in_the_effect(&mut world, &gate).await;
    let engine = world.engine().await;
    let run = engine.cancel(id, Some("enough".into())).await.unwrap();
    assert!(run.cancel_requested && run.status == RunStatus::Running, "its owner may still live");
    let _handle = engine.start();
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Canceled);
    assert_eq!(tool.effects().len(), 1);
}

on_every_store!(s38_a_run_that_loses_every_worker_is_parked_as_poison_and_can_be_resumed);
async fn s38_a_run_that_loses_every_worker_is_parked_as_poison_and_can_be_resumed() {
    let tool = LedgerTool::new("post", EffectPolicy::Idempotent);
    let world = world(&tool);
    let engine = world.engine().await;
    let id = create(&engine, NewRun::new("x")).await;
    // A worker that claims and dies, again and again.
    for _ in 0..=agent_runner_core::limits::RECOVERIES_MAX {
        let worker = agent_runner_core::id::WorkerId::from_uuid(engine.ids().next());
        let claimed = world.store().await.claim(worker, 1).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!(
            world.store().await.sweep(10).await.unwrap().revoked,
            [id],
            "an unknown worker is lost"
        );
    }
    let _handle = engine.start();
    wait_for(&engine, id, "run.parked").await;
    let run = engine.run(id).await.unwrap();
    assert_eq!(run.park.unwrap().reason, ParkReason::Poison);
    assert!(world.model.requests().is_empty());
    engine.resume(id).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
}

on_every_store!(s38_a_run_whose_journal_cannot_be_read_is_parked_says_why_and_can_be_canceled);
async fn s38_a_run_whose_journal_cannot_be_read_is_parked_says_why_and_can_be_canceled() {
    let world = World::new([]);
    let engine = world.engine().await;
    let store = world.store().await;
    let id = create(&engine, NewRun::new("x")).await;
    // A model call is open, and what the journal says about it is not what it should be.
    let (run, key) = (engine.run(id).await.unwrap(), StepKey::new("turn.1.model"));
    let mut batch = Batch::new(id, Expect::Control(run.control));
    batch.events.push(NewEvent {
        kind: "llm.started".to_owned(),
        step: Some(key.clone()),
        payload: json!({"step": 7}).into(),
        blob: None,
        at: run.created_at,
    });
    batch.steps.push(StepRow {
        key,
        kind: StepKind::Model,
        name: "test/model".to_owned(),
        policy: EffectPolicy::Idempotent,
        status: StepStatus::Started,
        attempts: 1,
        error: None,
        started: Some(0),
        done: None,
        started_at: Some(run.created_at),
        finished_at: None,
    });
    store.append(batch).await.unwrap();
    for _ in 0..agent_runner_core::limits::RECOVERIES_MAX {
        let worker = agent_runner_core::id::WorkerId::from_uuid(engine.ids().next());
        assert_eq!(store.claim(worker, 1).await.unwrap().len(), 1);
        assert_eq!(store.sweep(10).await.unwrap().revoked, [id]);
    }
    let _handle = engine.start();
    wait_for(&engine, id, "run.parked").await;
    let run = engine.run(id).await.unwrap();
    let park = run.park.unwrap();
    assert_eq!((park.reason, run.owner), (ParkReason::Poison, None));
    let said = park.waiting_on["message"].as_str().unwrap();
    assert!(said.contains("event 2") && said.contains("resume"), "{said}");
    assert_eq!(engine.cancel(id, None).await.unwrap().status, RunStatus::Canceled);
}

on_every_store!(s24_a_write_whose_answer_was_lost_is_not_written_twice);
async fn s24_a_write_whose_answer_was_lost_is_not_written_twice() {
    // The n-th append fails, before or after its commit, for every n until none is left.
    for fault in [Fault::BeforeCommit, Fault::AfterCommit] {
        for n in 1.. {
            let tool = LedgerTool::new("post", EffectPolicy::AtMostOnce);
            let mut world = world(&tool);
            world.options.lease_ttl = Duration::from_secs(10);
            let id = create(&world.engine().await, NewRun::new("x")).await;
            let faulty = FaultyStore::new(world.store().await).counting(&[StoreCall::Append]);
            let faulty = Arc::new(faulty);
            faulty.fail_nth(n, fault);
            world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
            let (engine, _handle) = world.start().await;
            let run = ended(&engine, id).await;
            assert_eq!(run.status, RunStatus::Completed, "{fault:?} {n}");
            assert_eq!(tool.effects().len(), 1, "{fault:?} {n}");
            let kinds = kinds(&engine, id).await;
            assert_eq!(count(&kinds, "run.claimed"), 1, "{fault:?} {n}");
            assert_eq!(count(&kinds, "llm.completed"), 2, "{fault:?} {n}");
            if faulty.calls() < n {
                assert!(n > 2, "a run has more than one append");
                break;
            }
        }
    }
}

on_every_store!(s24_a_claim_whose_answer_was_lost_strands_no_run);
async fn s24_a_claim_whose_answer_was_lost_strands_no_run() {
    let tool = LedgerTool::new("post", EffectPolicy::Idempotent);
    let mut world = world(&tool);
    let id = create(&world.engine().await, NewRun::new("x")).await;
    let faulty = Arc::new(FaultyStore::new(world.store().await).counting(&[StoreCall::Claim]));
    faulty.fail_nth(1, Fault::AfterCommit);
    world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
    let (engine, _handle) = world.start().await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    assert!(faulty.calls() > 1);
}

on_every_store!(a_worker_that_doubts_its_lease_for_a_moment_strands_no_run);
async fn a_worker_that_doubts_its_lease_for_a_moment_strands_no_run() {
    let gate = Gate::new();
    let held = Turn::Held("half".into(), gate.clone(), Box::new(Turn::text(" whole")));
    let mut world = World::new([held]);
    world.options.lease_ttl = Duration::from_millis(400);
    let faulty = Arc::new(FaultyStore::new(world.store().await).counting(&[StoreCall::Beat]));
    world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    // The next heartbeat gets through, but later than the worker may trust its lease.
    let beat = faulty.pause_nth(faulty.calls() + 1, Fault::AfterCommit);
    beat.reached().await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    beat.release();
    gate.open();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
}
