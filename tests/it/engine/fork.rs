//! Forks: runs that go on from some moment of another run.

use std::{collections::BTreeSet, sync::Arc};

use agent_runner_core::{
    blob::InMemoryBlobs,
    engine::{Engine, EngineErrorKind, NewFork, NewMessage, NewRun},
    event::EventBody,
    id::{RunId, StepKey},
    llm::ErrorKind,
    message::Part,
    run::{ForkedFrom, ParkReason, RunStatus},
    step::{EffectPolicy, StepStatus},
    testing::{LedgerTool, Turn},
    tool::{NewArtifact, Tool, ToolCx, ToolOutput, tool_fn},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::fixture::*;

fn at(event: u64) -> NewFork {
    NewFork { event: Some(event), ..NewFork::default() }
}

async fn fork(engine: &Engine, id: RunId, fork: NewFork) -> RunId {
    let created = engine.fork(id, fork).await.unwrap();
    assert!(!created.existing);
    created.run.id
}

/// The number of the first event of a kind.
async fn first(engine: &Engine, id: RunId, kind: &str) -> u64 {
    events(engine, id).await.into_iter().find(|event| event.kind == kind).unwrap().seq
}

/// Calls two tools one after the other, then answers.
fn two_calls() -> Vec<Turn> {
    let call = |n| Turn::tool("ledger", json!({"n": n}));
    vec![call(1), call(2), Turn::text("done")]
}

on_every_store!(a_fork_has_the_past_of_its_source_and_a_future_of_its_own);
async fn a_fork_has_the_past_of_its_source_and_a_future_of_its_own() {
    let ledger = LedgerTool::new("ledger", EffectPolicy::AtMostOnce);
    let world = World::new(two_calls()).with_tool(ledger.clone());
    let (engine, _handle) = world.start().await;
    let new = NewRun { tags: vec!["a".into()], ..NewRun::new("count") };
    let source = create(&engine, new).await;
    ended(&engine, source).await;
    let before = (engine.run(source).await.unwrap(), events(&engine, source).await);

    // Between the first call and the second.
    let event = first(&engine, source, "tool.completed").await + 1;
    let changed = NewFork {
        goal: Some("count again".into()),
        instructions: Some("be brief".into()),
        name: Some("second try".into()),
        ..at(event)
    };
    let id = fork(&engine, source, changed).await;
    let run = ended(&engine, id).await;
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!("done"))));
    assert_eq!(run.spec.forked_from, Some(ForkedFrom::new(source, event)));
    assert_eq!((run.spec.goal.as_str(), run.name.as_deref()), ("count again", Some("second try")));
    assert_eq!(run.tags, ["a"]);

    // The first call is there and was not made again; the second one was.
    let made: Vec<_> =
        ledger.effects().iter().map(|effect| effect.arguments["n"].clone()).collect();
    assert_eq!(made, [1, 2, 2]);
    let keys: BTreeSet<_> = ledger.effects().into_iter().map(|e| e.idempotency_key).collect();
    assert_eq!(keys.len(), 3, "the fork's calls are its own");
    let steps = engine.steps(id).await.unwrap();
    let all: Vec<_> = steps.iter().map(|step| (step.key.as_str(), step.status)).collect();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|(_, status)| *status == StepStatus::Succeeded), "{all:?}");
    // What the model is asked is the source's conversation with the new goal.
    let asked = world.model.requests();
    let next = &asked[3].messages;
    let texts: Vec<String> = next.iter().map(|m| serde_json::to_string(m).unwrap()).collect();
    assert!(texts.iter().any(|text| text.contains("count again")), "{texts:?}");
    assert!(texts.last().unwrap().contains("done"), "the first call's result: {texts:?}");
    assert_eq!(next.len(), asked[1].messages.len() + 1, "and its instructions");
    // It pays for its own calls only.
    let usage = engine.usage(id).await.unwrap();
    assert_eq!((usage.total.input, usage.steps.len()), (Some(20), 2));

    assert_eq!((engine.run(source).await.unwrap(), events(&engine, source).await), before);
}

on_every_store!(s31_every_moment_of_a_run_can_be_forked_or_says_why_not);
async fn s31_every_moment_of_a_run_can_be_forked_or_says_why_not() {
    let ledger = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let both = vec![("ledger".to_owned(), json!({"n": 1})), ("ledger".to_owned(), json!({"n": 2}))];
    let turns = [
        Turn::Tools(both),
        Turn::Fails(1, ErrorKind::Overloaded, Box::new(Turn::tool("ledger", json!({"n": 3})))),
        Turn::tool("no_such_tool", json!({})),
        Turn::tool("run.wait", json!({"signal": "go"})),
        Turn::text("done"),
    ];
    let world = World::new(turns).with_tool(ledger);
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("x")).await;
    let message = NewMessage { text: "hurry".into(), ..NewMessage::default() };
    engine.send_message(source, message).await.unwrap();
    wait_for(&engine, source, "run.parked").await;
    engine.signal(source, "go", json!(7), None).await.unwrap();
    let last = ended(&engine, source).await.last_seq;
    let open = last - 3;
    for event in 1..=last {
        let forked = engine.fork(source, at(event)).await;
        if event > open {
            let error = forked.unwrap_err();
            assert_eq!(error.kind(), EngineErrorKind::Validation);
            assert!(error.fields()[0].detail.contains(&format!("is {open}")), "{event}: {error:?}");
            continue;
        }
        let id = forked.unwrap().run.id;
        // Forks from before the signal need one of their own.
        let waits = events(&engine, id).await.iter().all(|event| event.kind != "signal.received");
        if waits {
            engine.signal(id, "go", json!(8), None).await.unwrap();
        }
        let run = ended(&engine, id).await;
        assert_eq!(run.output, Some(json!("done")), "after event {event}: {:?}", run.error);
        let told = engine.transcript(id).await.unwrap();
        let results = told.iter().flat_map(|message| &message.parts);
        let results = results.filter(|part| matches!(part, Part::ToolResult { .. })).count();
        assert_eq!(results, 5, "after event {event}: each call is answered once");
    }
}

on_every_store!(a_run_that_failed_goes_on_in_a_fork_with_another_model);
async fn a_run_that_failed_goes_on_in_a_fork_with_another_model() {
    let ledger = LedgerTool::new("ledger", EffectPolicy::AtMostOnce);
    let refuses = Turn::Fails(1, ErrorKind::Auth, Box::new(Turn::text("done")));
    let turns = [Turn::tool("ledger", json!({"n": 1})), refuses];
    let world = World::new(turns).with_tool(ledger.clone());
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, source).await.status, RunStatus::Failed);
    let new = NewFork { model: Some("test/other".into()), ..NewFork::default() };
    let run = ended(&engine, fork(&engine, source, new).await).await;
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!("done"))));
    assert_eq!(run.spec.agent.model.to_string(), "test/other");
    assert_eq!(ledger.effects().len(), 1);
}

on_every_store!(s32_a_run_that_waits_is_forked_and_both_go_on);
async fn s32_a_run_that_waits_is_forked_and_both_go_on() {
    let turns = [Turn::tool("run.wait", json!({"signal": "go"})), Turn::text("done")];
    let world = World::new(turns);
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, source, "run.parked").await;
    let id = fork(&engine, source, NewFork::default()).await;
    let parked = wait_for(&engine, id, "run.parked").await;
    assert_eq!(parked.payload["reason"], json!(ParkReason::Signal));
    engine.signal(source, "go", json!(1), Some("s1".into())).await.unwrap();
    assert_eq!(ended(&engine, source).await.status, RunStatus::Completed);
    assert_eq!(engine.run(id).await.unwrap().status, RunStatus::Running, "it waits for its own");

    // A fork of what came after has the signal already.
    let event = first(&engine, source, "signal.received").await;
    let later = fork(&engine, source, at(event)).await;
    assert_eq!(ended(&engine, later).await.status, RunStatus::Completed);
    assert_eq!(count(&kinds(&engine, later).await, "signal.received"), 1);
}

on_every_store!(a_run_is_started_anew_with_what_it_was_asked_for);
async fn a_run_is_started_anew_with_what_it_was_asked_for() {
    let ledger = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let world = World::new(two_calls()).with_tool(ledger.clone());
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun { max_steps: Some(7), ..NewRun::new("count") }).await;
    ended(&engine, source).await;
    let id = fork(&engine, source, at(1)).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.spec.forked_from, Some(ForkedFrom::new(source, 1)));
    assert_eq!(run.spec.agent.max_steps, 7);
    assert_eq!(ledger.effects().len(), 4);
    assert_eq!(kinds(&engine, id).await[..3], ["run.queued", "run.forked", "run.claimed"]);
}

on_every_store!(what_cannot_be_forked_says_why);
async fn what_cannot_be_forked_says_why() {
    let world = World::new(two_calls()).with_tool(LedgerTool::new("ledger", EffectPolicy::Pure));
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("count")).await;
    let last = ended(&engine, source).await.last_seq;
    for (new, pointer) in [
        (at(0), "/event"),
        (at(last + 1), "/event"),
        (at(last), "/event"),
        (NewFork { max_steps: Some(2), ..NewFork::default() }, "/options/max_steps"),
        (NewFork { model: Some("nowhere/x".into()), ..NewFork::default() }, "/model"),
        (NewFork { tools: Some(vec!["nothing".into()]), ..NewFork::default() }, "/tools"),
        (NewFork { goal: Some(" ".into()), ..NewFork::default() }, "/goal"),
    ] {
        let error = engine.fork(source, new.clone()).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Validation, "{new:?}");
        assert_eq!(error.fields()[0].pointer, pointer, "{new:?}");
    }
    let missing = engine.fork("01930000-0000-7000-8000-000000000000".parse().unwrap(), at(1)).await;
    assert_eq!(missing.unwrap_err().kind(), EngineErrorKind::NotFound);

    let keyed = |goal: &str| NewFork {
        goal: Some(goal.into()),
        idempotency_key: Some("k".into()),
        request_hash: Some(goal.into()),
        ..NewFork::default()
    };
    let one = engine.fork(source, keyed("a")).await.unwrap();
    let same = engine.fork(source, keyed("a")).await.unwrap();
    assert_eq!((one.existing, same.existing, one.run.id), (false, true, same.run.id));
    let other = engine.fork(source, keyed("b")).await.unwrap_err();
    assert_eq!(other.kind(), EngineErrorKind::IdempotencyMismatch);
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

/// Keeps a file and answers with more than stands in an event.
fn lavish() -> impl Tool {
    tool_fn(
        "lavish",
        "Answers at length.",
        EffectPolicy::Idempotent,
        |_: Nothing, cx: ToolCx| async move {
            let new = NewArtifact {
                name: "a.txt".into(),
                kind: "document".into(),
                media_type: "text/plain".into(),
            };
            let kept = cx.host.keep(new, stream::iter([Ok("abc".into())]).boxed()).await?;
            Ok(ToolOutput::new(json!("long ".repeat(4_000))).with_artifact(kept))
        },
    )
}

on_every_store!(s31_a_fork_keeps_what_its_source_had_when_the_source_is_gone);
async fn s31_a_fork_keeps_what_its_source_had_when_the_source_is_gone() {
    let blobs = Arc::new(InMemoryBlobs::new());
    let turns = [Turn::tool("lavish", json!({})), Turn::text("done")];
    let mut world = World::new(turns).with_tool(lavish());
    world.blobs = Some(blobs);
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("x")).await;
    ended(&engine, source).await;
    let id = fork(&engine, source, NewFork::default()).await;
    ended(&engine, id).await;
    engine.delete_run(source).await.unwrap();

    check_journal(&engine, id).await;
    let told = serde_json::to_string(&engine.transcript(id).await.unwrap()).unwrap();
    assert!(told.contains("long long"));
    let detail = engine.step(id, &StepKey::new("turn.1.tool.1")).await.unwrap();
    assert_eq!(detail.output.as_ref().and_then(Value::as_str).map(str::len), Some(20_000));
    let artifacts = engine.artifacts(id, None, None, 10).await.unwrap();
    assert_eq!(artifacts.len(), 1);
    assert_eq!(
        (artifacts[0].name.as_str(), artifacts[0].size, artifacts[0].run_id),
        ("a.txt", 3, id)
    );
}

on_every_store!(a_fork_of_a_fork_names_the_fork);
async fn a_fork_of_a_fork_names_the_fork() {
    let world = World::new(two_calls()).with_tool(LedgerTool::new("ledger", EffectPolicy::Pure));
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("count")).await;
    ended(&engine, source).await;
    let second = fork(&engine, source, NewFork::default()).await;
    ended(&engine, second).await;
    let third = fork(&engine, second, NewFork::default()).await;
    let run = ended(&engine, third).await;
    assert_eq!(run.spec.forked_from.map(|from| from.run), Some(second));
    let all = events(&engine, third).await;
    let forked: Vec<_> = all
        .iter()
        .filter_map(|event| match EventBody::from_event(event).unwrap().unwrap() {
            EventBody::RunForked { source, inherited, .. } => Some((event.seq, source, inherited)),
            _ => None,
        })
        .collect();
    assert_eq!(forked.len(), 1, "what was taken over says so once");
    assert_eq!((forked[0].0, forked[0].1), (forked[0].2 + 2, second));
}

on_every_store!(a_run_that_was_canceled_goes_on_in_a_fork);
async fn a_run_that_was_canceled_goes_on_in_a_fork() {
    let turns = [Turn::tool("run.wait", json!({"signal": "go"})), Turn::text("done")];
    let world = World::new(turns);
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, source, "run.parked").await;
    engine.cancel(source, None).await.unwrap();
    assert_eq!(ended(&engine, source).await.status, RunStatus::Canceled);
    let id = fork(&engine, source, NewFork::default()).await;
    wait_for(&engine, id, "run.parked").await;
    engine.signal(id, "go", json!(1), None).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
}
