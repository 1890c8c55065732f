//! Large payloads and long journals.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    engine::{Engine, NewRun},
    event::{EventBody, LlmPhase},
    id::{RunId, StepKey},
    limits,
    run::RunStatus,
    step::EffectPolicy,
    store::{Batch, Expect, Store},
    testing::{FaultyStore, Gate, LedgerTool, StoreCall, Turn},
    tool::ToolOutput,
};
use serde_json::{Value, json};

use super::fixture::*;

/// Largest row of an event whose payload is kept apart, in bytes.
const ROW: usize = 8 * 1024;

/// Many words, so that no two parts are alike.
fn words(bytes: usize) -> String {
    let words = (0..).map(|n: u64| format!("{:x} ", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let mut text = String::new();
    for word in words {
        if text.len() + word.len() > bytes {
            return text;
        }
        text.push_str(&word);
    }
    text
}

on_every_store!(s43_an_output_of_megabytes_is_kept_apart_and_its_event_stays_small);
async fn s43_an_output_of_megabytes_is_kept_apart_and_its_event_stays_small() {
    let (output, goal) = (words(2_500_000), words(limits::TEXT_BYTES_MAX));
    let (answer, gate) = (words(600_000), Gate::new());
    let said = output.clone();
    let dump = LedgerTool::new("dump", EffectPolicy::AtMostOnce)
        .answering(move |_, _| Ok(ToolOutput::new(json!({"text": said, "pages": 7}))));
    let held = Turn::Held(String::new(), gate.clone(), Box::new(Turn::text(&answer)));
    let mut world = World::new([Turn::tool("dump", json!({})), held]).with_tool(dump.clone());
    world.options.lease_ttl = Duration::from_millis(300);
    let (engine, handle) = world.start().await;
    let id = create(&engine, NewRun::new(goal.clone())).await;
    gate.wait_for_arrival().await;
    wait_for_nth(&engine, id, "llm.started", 2).await;
    // Another worker goes on with it.
    drop(handle);
    tokio::task::yield_now().await;
    gate.open();
    world.options.lease_ttl = Duration::from_secs(5);
    let (engine, _handle) = world.start().await;
    let run = ended(&engine, id).await;
    assert_eq!((run.status, dump.effects().len()), (RunStatus::Completed, 1));
    assert_eq!(run.output, Some(json!(answer)));

    let mut apart = 0;
    for event in events(&engine, id).await {
        let row = event.payload.to_string().len();
        if event.blob.is_some() {
            apart += 1;
            assert!(row < ROW, "event {} {} has a row of {row} bytes", event.seq, event.kind);
        }
        assert!(row <= limits::EVENT_INLINE_BYTES_MAX, "{} {}: {row}", event.seq, event.kind);
    }
    let completed = wait_for(&engine, id, "tool.completed").await;
    assert!(apart >= 3 && completed.blob.is_some(), "goal, output and answer are: {apart}");
    assert_eq!(completed.payload["output"], Value::Null, "it is not in the row");
    assert_eq!(completed.payload["tool"], "dump", "what is small is");
    let whole = engine.event(id, completed.seq).await.unwrap();
    assert_eq!(whole.payload["output"], json!({"text": output, "pages": 7}));
    let step = engine.step(id, &StepKey::new("turn.1.tool.1")).await.unwrap();
    assert_eq!(step.output, Some(whole.payload["output"].clone()));

    let asked = world.model.requests();
    let shown = |n: usize| serde_json::to_string(&asked[n].messages).unwrap();
    assert_eq!(shown(1), shown(2), "the other worker showed the model the same");
    let bytes = shown(1).len() - goal.len();
    assert!((60_000..80_000).contains(&bytes), "{bytes} bytes of the output are shown");
}

/// A run whose model call was under way when its worker died, after so many heartbeats.
async fn with_heartbeats(world: &World, count: usize) -> RunId {
    let (engine, handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let started = wait_for(&engine, id, "llm.started").await;
    drop(handle);
    tokio::task::yield_now().await;
    let (run, store) = (engine.run(id).await.unwrap(), world.store().await);
    let beats = (0..count).map(|n| {
        let body = EventBody::LlmHeartbeat {
            step: StepKey::new("turn.1.model"),
            elapsed_ms: n as u64,
            phase: LlmPhase::Waiting,
            tokens: 0,
            stalled: true,
        };
        body.to_new(started.at)
    });
    for beats in beats.collect::<Vec<_>>().chunks(limits::EVENT_PAGE) {
        let mut batch = Batch::new(id, Expect::Control(run.control));
        batch.events = beats.to_vec();
        store.append(batch).await.unwrap();
    }
    id
}

on_every_store!(s43_a_long_journal_is_read_once_and_then_from_its_snapshot);
async fn s43_a_long_journal_is_read_once_and_then_from_its_snapshot() {
    let gate = Gate::new();
    let held = Turn::Held("half".into(), gate.clone(), Box::new(Turn::text(" whole")));
    let mut world = World::new([held]);
    world.options.lease_ttl = Duration::from_millis(300);
    let pages = 12;
    let id = with_heartbeats(&world, pages * limits::EVENT_PAGE).await;
    let whole = world.store().await;
    for (life, most) in [(1, pages as u64 + 3), (2, 3)] {
        let counted = FaultyStore::new(Arc::clone(&whole)).counting(&[StoreCall::Events]);
        let counted = Arc::new(counted);
        world.replace_store(Arc::clone(&counted) as Arc<dyn Store>);
        let observer = Engine::builder(Arc::clone(&whole)).build().unwrap();
        let (_, handle) = world.start().await;
        wait_for_nth(&observer, id, "llm.attempt_restarted", life).await;
        let read = counted.calls();
        assert!(read <= most, "worker {life} read {read} pages");
        assert!(life > 1 || read > pages as u64, "the first reads them all");
        drop(handle);
        tokio::task::yield_now().await;
    }
    gate.open();
    world.replace_store(whole);
    let (engine, _handle) = world.start().await;
    let run = over(&engine, id).await;
    assert_eq!((run.output, run.status), (Some(json!("half whole")), RunStatus::Completed));
    assert!(run.last_seq > (pages * limits::EVENT_PAGE) as u64);
}
