use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    directive::{DirectiveMode, Resolution},
    engine::{Engine, EngineErrorKind, NewMessage, NewRun, WAIT_TOOL},
    id::{RunId, StepKey},
    run::{ParkReason, Run, RunPhase, RunStatus},
    step::{EffectPolicy, StepStatus},
    testing::{Fault, FaultyStore, Gate, LedgerTool, StoreCall, Turn},
    tool::{ToolError, ToolErrorKind},
};
use serde_json::json;

use super::fixture::*;

fn message(text: &str) -> NewMessage {
    NewMessage { text: text.into(), ..NewMessage::default() }
}

fn held(gate: &Gate) -> Turn {
    Turn::Held("partial".into(), gate.clone(), Box::new(Turn::text(" whole")))
}

on_every_store!(s10_canceling_a_queued_run_ends_it_without_execution);
async fn s10_canceling_a_queued_run_ends_it_without_execution() {
    let world = World::new([Turn::text("x")]);
    let engine = world.engine().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = engine.cancel(id, Some("changed my mind".into())).await.unwrap();
    assert_eq!(run.status, RunStatus::Canceled);
    assert_eq!(kinds(&engine, id).await, ["run.queued", "run.cancel_requested", "run.canceled"]);
    let _handle = engine.start();
    check_journal(&engine, id).await;
    assert!(world.model.requests().is_empty());
    assert_eq!(engine.cancel(id, None).await.unwrap().status, RunStatus::Canceled, "again is fine");
}

on_every_store!(s11_canceling_during_a_model_call_closes_the_stream_and_keeps_the_partial_text);
async fn s11_canceling_during_a_model_call_closes_the_stream_and_keeps_the_partial_text() {
    let gate = Gate::new();
    let world = World::new([held(&gate)]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let acknowledged = engine.cancel(id, None).await.unwrap();
    assert!(acknowledged.cancel_requested);
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Canceled);
    let took = run.finished_at.unwrap().duration_since(run.started_at.unwrap());
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
    assert_eq!(world.model.streams_dropped(), 1);
    let events = events(&engine, id).await;
    let canceled = events.iter().find(|e| e.kind == "step.canceled").unwrap();
    assert_eq!(canceled.payload["partial"], "partial");
}

on_every_store!(s12_canceling_a_paused_or_parked_run_ends_it_at_once);
async fn s12_canceling_a_paused_or_parked_run_ends_it_at_once() {
    let calls = Turn::tool(WAIT_TOOL, json!({"signal": "never"}));
    let world = World::new([calls]);
    let (engine, _handle) = world.start().await;
    let parked = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, parked, "run.parked").await;
    assert_eq!(engine.run(parked).await.unwrap().phase(), RunPhase::Parked);
    assert_eq!(engine.cancel(parked, None).await.unwrap().status, RunStatus::Canceled);
    check_journal(&engine, parked).await;
    let paused = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, paused, "run.parked").await;
    engine.pause(paused).await.unwrap();
    assert_eq!(engine.run(paused).await.unwrap().phase(), RunPhase::Paused);
    assert_eq!(engine.cancel(paused, None).await.unwrap().status, RunStatus::Canceled);
    check_journal(&engine, paused).await;
}

on_every_store!(s13_cancel_and_completion_give_one_outcome_and_an_accepted_cancel_wins);
async fn s13_cancel_and_completion_give_one_outcome_and_an_accepted_cancel_wins() {
    for _ in 0..40 {
        let world = World::new([Turn::text("done")]);
        let (engine, _handle) = world.start().await;
        let id = create(&engine, NewRun::new("x")).await;
        let cancel = engine.cancel(id, None).await;
        let run = ended(&engine, id).await;
        match cancel {
            Ok(_) => assert_eq!(run.status, RunStatus::Canceled, "accepted, so never COMPLETED"),
            Err(error) => {
                assert_eq!(error.kind(), EngineErrorKind::InvalidTransition);
                assert_eq!(run.status, RunStatus::Completed);
            }
        }
    }
}

on_every_store!(canceling_a_call_that_must_not_be_repeated_leaves_its_outcome_open);
async fn canceling_a_call_that_must_not_be_repeated_leaves_its_outcome_open() {
    let gate = Gate::new();
    let tool = LedgerTool::new("post", EffectPolicy::AtMostOnce).held_by(gate.clone());
    let world = World::new([Turn::tool("post", json!({}))]).with_tool(tool);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    engine.cancel(id, None).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Canceled);
    let steps = engine.steps(id).await.unwrap();
    assert_eq!(steps[1].status, StepStatus::Indeterminate);
}

on_every_store!(s8_a_pause_lets_the_step_finish_and_begins_no_other);
async fn s8_a_pause_lets_the_step_finish_and_begins_no_other() {
    let gate = Gate::new();
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent).held_by(gate.clone());
    let world =
        World::new([Turn::tool("ledger", json!({})), Turn::text("done")]).with_tool(tool.clone());
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let run = engine.pause(id).await.unwrap();
    assert_eq!((run.status, run.phase()), (RunStatus::Running, RunPhase::Pausing));
    gate.open();
    wait_for(&engine, id, "run.paused").await;
    let run = engine.run(id).await.unwrap();
    assert_eq!((run.status, run.phase()), (RunStatus::Running, RunPhase::Paused));
    assert_eq!(world.model.requests().len(), 1, "no next step");
    assert_eq!(engine.steps(id).await.unwrap()[1].status, StepStatus::Succeeded, "result kept");
    engine.resume(id).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    assert_eq!(tool.effects().len(), 1);
}

on_every_store!(a_queued_run_can_be_paused_and_resumed);
async fn a_queued_run_can_be_paused_and_resumed() {
    let world = World::new([Turn::text("x")]);
    let engine = world.engine().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = engine.pause(id).await.unwrap();
    assert_eq!((run.status, run.phase()), (RunStatus::Queued, RunPhase::Paused));
    let _handle = engine.start();
    let other = create(&engine, NewRun::new("x")).await;
    ended(&engine, other).await;
    assert_eq!(engine.run(id).await.unwrap().status, RunStatus::Queued, "not claimed");
    engine.resume(id).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
}

on_every_store!(a_run_with_a_start_keeps_it_through_a_pause);
async fn a_run_with_a_start_keeps_it_through_a_pause() {
    let world = World::new([Turn::text("x")]);
    let (engine, _handle) = world.start().await;
    let start_at = Some(engine.clock().now() + jiff::SignedDuration::from_hours(1));
    let later = create(&engine, NewRun { start_at, ..NewRun::new("x") }).await;
    engine.pause(later).await.unwrap();
    engine.resume(later).await.unwrap();
    let now = create(&engine, NewRun::new("x")).await;
    ended(&engine, now).await;
    assert_eq!(engine.run(later).await.unwrap().status, RunStatus::Queued);
    assert_eq!(world.model.requests().len(), 1);
}

on_every_store!(s9_a_storm_of_pauses_and_resumes_ends_in_the_last_requested_state);
async fn s9_a_storm_of_pauses_and_resumes_ends_in_the_last_requested_state() {
    let gate = Gate::new();
    let world = World::new([held(&gate)]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let storm = (0..8).map(|n| {
        let engine = engine.clone();
        async move {
            for i in 0..125 {
                let pause = (i * 7 + n) % 3 != 0;
                let result = if pause { engine.pause(id).await } else { engine.resume(id).await };
                if let Err(error) = result {
                    assert_eq!(error.kind(), EngineErrorKind::Busy, "{error}");
                }
            }
        }
    });
    futures::future::join_all(storm).await;
    engine.pause(id).await.unwrap();
    gate.open();
    wait_for(&engine, id, "llm.completed").await;
    tokio::time::timeout(PATIENCE, async {
        while engine.run(id).await.unwrap().phase() != RunPhase::Paused {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    check_journal(&engine, id).await;
    engine.resume(id).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
}

on_every_store!(a_message_during_a_model_call_is_read_by_the_next_one_and_before_the_run_ends);
async fn a_message_during_a_model_call_is_read_by_the_next_one_and_before_the_run_ends() {
    let gate = Gate::new();
    let world = World::new([held(&gate), Turn::text("with the message")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let (event, new) = engine.send_message(id, message("also do this")).await.unwrap();
    assert!(new);
    assert_eq!(event.kind, "directive.received");
    gate.open();
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!("with the message")));
    let last = serde_json::to_string(&world.model.requests()[1].messages).unwrap();
    assert!(last.contains("also do this"));
    let transcript = serde_json::to_string(&engine.transcript(id).await.unwrap()).unwrap();
    assert!(transcript.contains("also do this"));
}

on_every_store!(an_interrupting_message_stops_the_model_call);
async fn an_interrupting_message_stops_the_model_call() {
    let gate = Gate::new();
    let world = World::new([held(&gate)]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let interrupt =
        NewMessage { mode: DirectiveMode::Interrupt, ..message("stop and do that instead") };
    engine.send_message(id, interrupt).await.unwrap();
    gate.wait_for_arrival().await;
    gate.open();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    assert_eq!(world.model.streams_dropped(), 1);
    assert_eq!(count(&kinds(&engine, id).await, "step.canceled"), 1);
    let second = serde_json::to_string(&world.model.requests()[1].messages).unwrap();
    assert!(second.contains("stop and do that instead"));
}

on_every_store!(i14_the_same_message_or_signal_twice_counts_once);
async fn i14_the_same_message_or_signal_twice_counts_once() {
    let world = World::new([Turn::text("x")]);
    let engine = world.engine().await;
    let id = create(&engine, NewRun::new("x")).await;
    let twice = NewMessage { id: Some("m1".into()), ..message("hello") };
    let (first, new) = engine.send_message(id, twice.clone()).await.unwrap();
    let (second, again) = engine.send_message(id, twice).await.unwrap();
    assert!(new && !again);
    assert_eq!(first, second);
    for expected in [true, false] {
        let (_, new) = engine.signal(id, "go", json!(1), Some("s1".into())).await.unwrap();
        assert_eq!(new, expected);
    }
    assert_eq!(count(&kinds(&engine, id).await, "directive.received"), 1);
    assert_eq!(count(&kinds(&engine, id).await, "signal.received"), 1);
}

on_every_store!(s39_a_signal_wakes_a_waiting_run_and_one_sent_before_the_wait_is_kept);
async fn s39_a_signal_wakes_a_waiting_run_and_one_sent_before_the_wait_is_kept() {
    let wait = Turn::tool(WAIT_TOOL, json!({"signal": "go"}));
    let world = World::new([wait, Turn::text("went")]);
    let engine = world.engine().await;
    let early = create(&engine, NewRun::new("x")).await;
    engine.signal(early, "go", json!({"n": 1}), None).await.unwrap();
    let _handle = engine.start();
    assert_eq!(ended(&engine, early).await.status, RunStatus::Completed);
    let late = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, late, "run.parked").await;
    let run = engine.run(late).await.unwrap();
    assert_eq!(run.park.unwrap().reason, ParkReason::Signal);
    assert!(run.owner.is_none(), "it holds no worker");
    engine.signal(late, "other", json!(0), None).await.unwrap();
    engine.signal(late, "go", json!({"n": 2}), None).await.unwrap();
    assert_eq!(ended(&engine, late).await.status, RunStatus::Completed);
    let told = serde_json::to_string(&world.model.requests().pop().unwrap().messages).unwrap();
    assert!(told.contains(r#"\"n\":2"#), "{told}");
}

on_every_store!(s33_a_timer_wakes_a_run_that_waits_for_a_moment);
async fn s33_a_timer_wakes_a_run_that_waits_for_a_moment() {
    let world = World::new([Turn::tool(WAIT_TOOL, json!({"seconds": 1})), Turn::text("woke")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, id, "run.parked").await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    let took = run.finished_at.unwrap().duration_since(run.started_at.unwrap());
    assert!(took.as_secs_f64() >= 1.0, "{took:?}");
    assert_eq!(count(&kinds(&engine, id).await, "timer.fired"), 1);
}

on_every_store!(s2_an_unknown_outcome_is_asked_about_and_each_answer_is_followed);
async fn s2_an_unknown_outcome_is_asked_about_and_each_answer_is_followed() {
    let answers = [
        (Resolution::Retry, 2, "\\\"done\\\":2"),
        (Resolution::Succeeded { output: json!("it was sent") }, 1, "it was sent"),
        (Resolution::Failed { message: Some("it was not".into()) }, 1, "it was not"),
    ];
    for (resolution, effects, told) in answers {
        let tool = LedgerTool::new("post", EffectPolicy::Ask).answering(|_, cx| {
            if cx.attempt == 1 {
                let broken = ToolError::new(ToolErrorKind::Network, "the connection broke");
                return Err(broken.may_have_run());
            }
            Ok(agent_runner_core::tool::ToolOutput::new(json!({"done": 2})))
        });
        let world =
            World::new([Turn::tool("post", json!({})), Turn::text("ok")]).with_tool(tool.clone());
        let (engine, _handle) = world.start().await;
        let id = create(&engine, NewRun::new("x")).await;
        wait_for(&engine, id, "run.parked").await;
        let run = engine.run(id).await.unwrap();
        assert_eq!(run.park.unwrap().reason, ParkReason::Ask);
        let step = StepKey::new("turn.1.tool.1");
        let model = StepKey::new("turn.1.model");
        let error = engine.resolve(id, &model, resolution.clone()).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::InvalidTransition, "nobody asked about it");
        engine.resolve(id, &step, resolution.clone()).await.unwrap();
        assert_eq!(ended(&engine, id).await.status, RunStatus::Completed, "{resolution:?}");
        assert_eq!(tool.effects().len(), effects, "{resolution:?}");
        let keys: std::collections::BTreeSet<_> =
            tool.effects().into_iter().map(|e| e.idempotency_key).collect();
        assert_eq!(keys.len(), 1, "one key for all tries of a step");
        let last = world.model.requests().pop().unwrap();
        let text = serde_json::to_string(&last.messages).unwrap();
        assert!(text.contains(told), "{resolution:?}: {text}");
    }
}

on_every_store!(nothing_can_be_asked_of_a_run_that_ended);
async fn nothing_can_be_asked_of_a_run_that_ended() {
    let world = World::new([Turn::text("x")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    ended(&engine, id).await;
    let before = kinds(&engine, id).await;
    let errors = [
        engine.pause(id).await.unwrap_err(),
        engine.resume(id).await.unwrap_err(),
        engine.cancel(id, None).await.unwrap_err(),
        engine.send_message(id, message("hello")).await.unwrap_err(),
        engine.signal(id, "go", json!(1), None).await.unwrap_err(),
        engine.resolve(id, &StepKey::new("turn.1.model"), Resolution::Retry).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), EngineErrorKind::InvalidTransition, "{error}");
    }
    assert_eq!(kinds(&engine, id).await, before, "nothing was written");
    engine.delete_run(id).await.unwrap();
    assert_eq!(engine.run(id).await.unwrap_err().kind(), EngineErrorKind::NotFound);
}

on_every_store!(s45_a_drained_worker_finishes_its_step_and_hands_the_run_over);
async fn s45_a_drained_worker_finishes_its_step_and_hands_the_run_over() {
    let gate = Gate::new();
    let tool = LedgerTool::new("post", EffectPolicy::AtMostOnce).held_by(gate.clone());
    let world =
        World::new([Turn::tool("post", json!({})), Turn::text("done")]).with_tool(tool.clone());
    let (engine, handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let down = tokio::spawn(handle.shutdown(Duration::from_secs(10)));
    gate.open();
    down.await.unwrap();
    let run = engine.run(id).await.unwrap();
    assert!(run.owner.is_none() && run.status == RunStatus::Running);
    assert!(engine.workers().await.unwrap().is_empty(), "it signed off");
    let (second, _handle) = world.start().await;
    let run = ended(&second, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(tool.effects().len(), 1, "no completed step runs again");
    assert_eq!(count(&kinds(&engine, id).await, "step.indeterminate"), 0);
}

/// A worker whose first write is held: what it decides meanwhile, it decides without what comes in.
/// `tell` happens then; the run as it ends.
async fn told_while_deciding(
    turns: [Turn; 2],
    tell: impl AsyncFnOnce(&Engine, RunId),
) -> (World, Run) {
    let mut world = World::new(turns);
    let observer = world.engine().await;
    let faulty = Arc::new(FaultyStore::new(world.store().await).counting(&[StoreCall::Append]));
    let first = faulty.pause_nth(1, Fault::BeforeCommit);
    world.replace_store(faulty);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    first.reached().await;
    while world.model.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    // Long enough for the reply to be taken in and the end of it to be decided.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    tell(&observer, id).await;
    first.release();
    let run = ended(&engine, id).await;
    (world, run)
}

on_every_store!(s39_a_signal_that_comes_while_a_run_decides_to_wait_is_not_lost);
async fn s39_a_signal_that_comes_while_a_run_decides_to_wait_is_not_lost() {
    let turns = [Turn::tool(WAIT_TOOL, json!({"signal": "go"})), Turn::text("done")];
    let (_, run) = told_while_deciding(turns, async |engine: &Engine, id| {
        engine.signal(id, "go", json!(7), None).await.unwrap();
    })
    .await;
    assert_eq!(run.status, RunStatus::Completed);
}

on_every_store!(s39_a_message_that_comes_while_a_run_decides_to_end_is_read);
async fn s39_a_message_that_comes_while_a_run_decides_to_end_is_read() {
    let turns = [Turn::text("one"), Turn::text("two")];
    let (world, run) = told_while_deciding(turns, async |engine: &Engine, id| {
        engine.send_message(id, message("and that")).await.unwrap();
    })
    .await;
    assert_eq!((run.output, world.model.requests().len()), (Some(json!("two")), 2));
}
