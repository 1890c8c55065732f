use agent_runner_core::{
    engine::{EngineErrorKind, NewRun},
    run::{FailureReason, RunStatus},
    step::{EffectPolicy, StepStatus},
    testing::{Gate, LedgerTool, Turn},
    tool::{ToolError, ToolErrorKind},
};
use serde_json::json;

use super::fixture::*;

on_every_store!(a_model_that_answers_completes_its_run);
async fn a_model_that_answers_completes_its_run() {
    let world = World::new([Turn::text("forty-two")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("say the answer")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(run.output, Some(json!("forty-two")));
    assert_eq!(
        kinds(&engine, id).await,
        [
            "run.queued",
            "run.claimed",
            "step.started",
            "llm.started",
            "llm.completed",
            "step.succeeded",
            "run.completed"
        ]
    );
}

on_every_store!(tools_run_in_parallel_and_are_answered_in_the_order_of_the_calls);
async fn tools_run_in_parallel_and_are_answered_in_the_order_of_the_calls() {
    let gate = Gate::new();
    let slow = LedgerTool::new("slow", EffectPolicy::Pure).held_by(gate.clone());
    let fast = LedgerTool::new("fast", EffectPolicy::Pure);
    let calls = vec![("slow".to_owned(), json!({"n": 1})), ("fast".to_owned(), json!({"n": 2}))];
    let world =
        World::new([Turn::Tools(calls), Turn::text("done")]).with_tool(slow).with_tool(fast);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let first = wait_for(&engine, id, "tool.completed").await;
    assert_eq!(first.payload["tool"], "fast", "the fast one does not wait for the slow one");
    gate.open();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let last = world.model.requests().pop().unwrap();
    let results = &last.messages.last().unwrap().parts;
    let names: Vec<_> =
        results.iter().map(|part| serde_json::to_value(part).unwrap()["name"].clone()).collect();
    assert_eq!(names, ["slow", "fast"]);
}

on_every_store!(unknown_tools_wrong_arguments_and_tool_errors_are_answered_to_the_model);
async fn unknown_tools_wrong_arguments_and_tool_errors_are_answered_to_the_model() {
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent).answering(|_, _| {
        Err(ToolError::new(ToolErrorKind::NotFound, "there is no such thing; try another"))
    });
    let calls = vec![
        ("no.such".to_owned(), json!({})),
        ("ledger".to_owned(), json!({"n": "one"})),
        ("ledger".to_owned(), json!("not an object {")),
        ("ledger".to_owned(), json!({"n": 1})),
    ];
    let world = World::new([Turn::Tools(calls), Turn::text("I see")]).with_tool(tool.clone());
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    assert_eq!(tool.effects().len(), 1, "only the call that fits was made");
    let kinds = kinds(&engine, id).await;
    assert_eq!(count(&kinds, "tool.failed"), 4);
    let told = serde_json::to_string(&world.model.requests().pop().unwrap().messages).unwrap();
    for text in ["There is no tool `no.such`", "do not fit", "there is no such thing"] {
        assert!(told.contains(text), "{text}: {told}");
    }
}

on_every_store!(a_model_that_loops_fails_with_max_steps);
async fn a_model_that_loops_fails_with_max_steps() {
    let world = World::new([Turn::tool("ledger", json!({"n": 1}))])
        .with_tool(LedgerTool::new("ledger", EffectPolicy::Pure));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun { max_steps: Some(7), ..NewRun::new("x") }).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.unwrap().reason, FailureReason::MaxSteps);
    assert_eq!(world.model.requests().len(), 7);
}

on_every_store!(s43_a_two_megabyte_output_is_kept_whole_and_shown_in_part);
async fn s43_a_two_megabyte_output_is_kept_whole_and_shown_in_part() {
    let big = "x".repeat(2 * 1024 * 1024);
    let text = big.clone();
    let tool = LedgerTool::new("big", EffectPolicy::Pure)
        .answering(move |_, _| Ok(agent_runner_core::tool::ToolOutput::new(text.clone())));
    let world = World::new([Turn::tool("big", json!({})), Turn::text("seen")]).with_tool(tool);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let event = wait_for(&engine, id, "tool.completed").await;
    assert!(event.payload.to_string().len() < 8 * 1024, "the event row stays small");
    let key = agent_runner_core::id::StepKey::new("turn.1.tool.1");
    let detail = engine.step(id, &key).await.unwrap();
    assert_eq!(detail.output, Some(json!(big)), "nothing is lost");
    let shown = serde_json::to_string(&world.model.requests().pop().unwrap().messages).unwrap();
    assert!(shown.len() < 80 * 1024 && shown.contains("65536 of 2097152 bytes are shown"));
}

on_every_store!(nul_in_model_text_is_replaced);
async fn nul_in_model_text_is_replaced() {
    let world = World::new([Turn::text("a\0b")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("say\0it")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!("a\u{FFFD}b")));
    assert_eq!(run.spec.goal, "say\u{FFFD}it");
}

on_every_store!(a_request_that_makes_no_sense_names_every_wrong_field_and_writes_nothing);
async fn a_request_that_makes_no_sense_names_every_wrong_field_and_writes_nothing() {
    let world = World::new([Turn::text("x")]);
    let engine = world.engine().await;
    let new = NewRun {
        model: Some("nowhere/x".into()),
        tools: Some(vec!["teleport".into()]),
        max_steps: Some(0),
        output_schema: Some(json!({"type": 7})),
        ..NewRun::new(" ")
    };
    let error = engine.create_run(new).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Validation);
    let mut pointers: Vec<_> = error.fields().iter().map(|f| f.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/goal", "/model", "/options/max_steps", "/output_schema", "/tools"]);
    assert!(engine.runs(&agent_runner_core::store::RunQuery::default()).await.unwrap().is_empty());
}

on_every_store!(i13_the_same_idempotency_key_is_the_same_run_and_another_request_is_refused);
async fn i13_the_same_idempotency_key_is_the_same_run_and_another_request_is_refused() {
    let world = World::new([Turn::text("x")]);
    let engine = world.engine().await;
    let new = |hash: &str| NewRun {
        idempotency_key: Some("k".into()),
        request_hash: Some(hash.into()),
        ..NewRun::new("x")
    };
    let first = engine.create_run(new("a")).await.unwrap();
    let again = engine.create_run(new("a")).await.unwrap();
    assert!(!first.existing && again.existing);
    assert_eq!(first.run.id, again.run.id);
    assert_eq!(count(&kinds(&engine, first.run.id).await, "run.queued"), 1);
    let other = engine.create_run(new("b")).await.unwrap_err();
    assert_eq!(other.kind(), EngineErrorKind::IdempotencyMismatch);
}

on_every_store!(a_run_whose_time_is_up_fails_whether_it_is_queued_or_running);
async fn a_run_whose_time_is_up_fails_whether_it_is_queued_or_running() {
    let gate = Gate::new();
    let world = World::new([Turn::Held("wait".into(), gate, Box::new(Turn::text("late")))]);
    let timeout = Some(std::time::Duration::from_millis(150));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun { timeout, ..NewRun::new("x") }).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.error.unwrap().reason, FailureReason::Deadline);
    let steps = engine.steps(id).await.unwrap();
    assert_eq!(steps[0].status, StepStatus::Canceled);
    let future = engine.clock().now() + jiff::SignedDuration::from_hours(1);
    let start_at = Some(future);
    let id = create(&engine, NewRun { timeout, start_at, ..NewRun::new("x") }).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.error.unwrap().reason, FailureReason::Deadline);
    assert!(run.started_at.is_none());
}

on_every_store!(a_tool_or_model_that_panics_does_not_take_the_worker_along);
async fn a_tool_or_model_that_panics_does_not_take_the_worker_along() {
    let tool = LedgerTool::new("bad", EffectPolicy::Idempotent)
        .answering(|_, _| std::panic::resume_unwind(Box::new("scripted panic")));
    let world = World::new([Turn::tool("bad", json!({})), Turn::Panics]).with_tool(tool);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.unwrap().reason, FailureReason::Provider);
    assert_eq!(count(&kinds(&engine, id).await, "tool.failed"), 1);
}
