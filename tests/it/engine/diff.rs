//! How two runs differ.

use agent_runner_core::{
    engine::{Engine, EngineErrorKind, NewFork, NewRun, RunDiff},
    id::RunId,
    limits,
    run::RunStatus,
    step::EffectPolicy,
    testing::{LedgerTool, Turn},
    tool::ToolOutput,
};
use serde_json::json;

use super::fixture::*;

fn call(n: u32) -> Turn {
    Turn::tool("ledger", json!({"n": n}))
}

async fn forked(engine: &Engine, id: RunId, fork: NewFork) -> RunId {
    let id = engine.fork(id, fork).await.unwrap().run.id;
    ended(engine, id).await;
    id
}

/// Numbers and types of the events at which they part.
fn parting(diff: &RunDiff) -> Option<[Option<(u64, &str)>; 2]> {
    let at = diff.parting.as_ref()?;
    Some([&at.left, &at.right].map(|event| event.as_ref().map(|e| (e.seq, e.kind.as_str()))))
}

fn pointers(diff: &RunDiff) -> Vec<&str> {
    diff.spec.iter().map(|field| field.pointer.as_str()).collect()
}

on_every_store!(a_fork_parts_from_its_source_where_a_tool_answered_something_else);
async fn a_fork_parts_from_its_source_where_a_tool_answered_something_else() {
    // The tool says how often it was called: 1, 2, and 3 for the fork.
    let ledger = LedgerTool::new("ledger", EffectPolicy::AtMostOnce);
    let world = World::new([call(1), call(2), Turn::text("done")]).with_tool(ledger);
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("count")).await;
    ended(&engine, source).await;
    let told = events(&engine, source).await;
    let after_first = told.iter().find(|event| event.kind == "tool.completed").unwrap().seq + 1;
    let goal = Some("count on".to_owned());
    let event = Some(after_first);
    let fork = forked(&engine, source, NewFork { goal, event, ..NewFork::default() }).await;

    let diff = engine.diff(source, fork).await.unwrap();
    let second = |all: &[agent_runner_core::event::Event]| {
        all.iter().filter(|event| event.kind == "tool.completed").nth(1).unwrap().seq
    };
    let (left, right) = (second(&told), second(&events(&engine, fork).await));
    assert_eq!(
        parting(&diff),
        Some([Some((left, "tool.completed")), Some((right, "tool.completed"))])
    );
    assert_eq!(pointers(&diff), ["/forked_from", "/goal"]);
    assert_eq!(diff.spec[1].left, Some(json!("count")));
    assert_eq!(diff.spec[1].right, Some(json!("count on")));
    let steps: Vec<_> = diff
        .steps
        .iter()
        .map(|step| (step.left.as_ref().unwrap().key.as_str(), step.right.is_some()))
        .collect();
    assert_eq!(steps, [("turn.2.tool.1", true)], "what the fork took over is the same");
    assert_eq!(diff.left.output, Some(json!("done")));
    assert_eq!((diff.right.output, diff.left_out), (Some(json!("done")), 0));
}

on_every_store!(a_rerun_that_does_the_same_tells_the_same);
async fn a_rerun_that_does_the_same_tells_the_same() {
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent)
        .answering(|_, _| Ok(ToolOutput::new("noted")));
    let world = World::new([call(1), Turn::text("done")]).with_tool(tool);
    let (engine, _handle) = world.start().await;
    let source = create(&engine, NewRun::new("count")).await;
    ended(&engine, source).await;
    let again = forked(&engine, source, NewFork { event: Some(1), ..NewFork::default() }).await;
    let diff = engine.diff(source, again).await.unwrap();
    assert_eq!((&diff.parting, &diff.steps), (&None, &Vec::new()));
    assert_eq!(pointers(&diff), ["/forked_from"]);
    assert_ne!(diff.left.id, diff.right.id);
}

#[tokio::test]
async fn a_run_that_is_at_work_is_compared_as_far_as_it_is() {
    let world = World::new([call(1), Turn::text("x".repeat(3 * 1024).as_str())])
        .with_tool(LedgerTool::new("ledger", EffectPolicy::Idempotent));
    let (engine, handle) = world.start().await;
    let done = create(&engine, NewRun::new("count")).await;
    ended(&engine, done).await;
    handle.shutdown(PATIENCE).await;
    let engine = world.engine().await;
    let waiting = create(&engine, NewRun::new("count")).await;
    let diff = engine.diff(done, waiting).await.unwrap();
    let [left, right] = parting(&diff).unwrap();
    assert_eq!((left.unwrap().1, right), ("llm.completed", None));
    assert_eq!(diff.right.status, RunStatus::Queued);
    assert!(diff.steps.iter().all(|step| step.right.is_none()) && diff.steps.len() == 3);
    let shown = diff.left.output.unwrap();
    assert!(shown.as_str().unwrap().len() < limits::DIFF_VALUE_BYTES_MAX + 40);
    let ghost = RunId::from_uuid(uuid::Uuid::nil());
    for (left, right) in [(ghost, done), (done, ghost)] {
        let error = engine.diff(left, right).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::NotFound);
    }
}
