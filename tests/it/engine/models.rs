use std::time::Duration;

use agent_runner_core::{
    agent::ToolMode,
    engine::NewRun,
    llm::{Capabilities, ErrorKind, StopReason},
    run::{FailureReason, RunStatus},
    step::EffectPolicy,
    testing::{Gate, LedgerTool, ScriptedModel, Turn},
};
use serde_json::json;

use super::fixture::*;

on_every_store!(s35_a_passing_error_of_a_provider_is_tried_again_and_every_try_is_an_event);
async fn s35_a_passing_error_of_a_provider_is_tried_again_and_every_try_is_an_event() {
    let world = World::new([Turn::Fails(2, ErrorKind::Overloaded, Box::new(Turn::text("now")))]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    let kinds = kinds(&engine, id).await;
    assert_eq!(count(&kinds, "step.retrying"), 2);
    assert_eq!(count(&kinds, "llm.attempt_restarted"), 2);
    assert_eq!(engine.steps(id).await.unwrap()[0].attempts, 3);
    assert_eq!(world.model.requests().len(), 3);
}

on_every_store!(s35_an_error_that_no_retry_cures_fails_the_run_and_says_why);
async fn s35_an_error_that_no_retry_cures_fails_the_run_and_says_why() {
    for kind in [ErrorKind::Auth, ErrorKind::ModelNotFound, ErrorKind::InvalidRequest] {
        let world = World::new([Turn::Fails(99, kind, Box::new(Turn::text("never")))]);
        let (engine, _handle) = world.start().await;
        let id = create(&engine, NewRun::new("x")).await;
        let run = ended(&engine, id).await;
        let error = run.error.unwrap();
        assert_eq!(error.reason, FailureReason::Provider);
        assert!(error.message.contains("scripted failure"), "{}", error.message);
        assert_eq!(world.model.requests().len(), 1);
    }
}

on_every_store!(heartbeats_keep_coming_while_a_model_is_silent);
async fn heartbeats_keep_coming_while_a_model_is_silent() {
    let gate = Gate::new();
    let mut world =
        World::new([Turn::Held("word".into(), gate.clone(), Box::new(Turn::text(" more")))]);
    world.options.heartbeat_interval = Duration::from_millis(30);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let mut beats = Vec::new();
    for _ in 0..3 {
        beats = events(&engine, id).await;
        beats.retain(|event| event.kind == "llm.heartbeat");
        if beats.len() >= 3 {
            break;
        }
        tokio::time::timeout(PATIENCE, async {
            while count(&kinds(&engine, id).await, "llm.heartbeat") < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
    gate.open();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let last = &beats.last().unwrap().payload;
    assert_eq!(last["phase"], "writing");
    assert_eq!(last["tokens"], 1);
    assert_eq!(last["stalled"], true, "nothing came since the beat before");
    assert!(last["elapsed_ms"].as_u64().unwrap() >= 60, "{last}");
}

on_every_store!(an_answer_that_does_not_fit_the_schema_is_mended_or_fails_in_the_end);
async fn an_answer_that_does_not_fit_the_schema_is_mended_or_fails_in_the_end() {
    let schema =
        json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    let new = NewRun { output_schema: Some(schema), ..NewRun::new("x") };
    let world = World::new([
        Turn::text("not json"),
        Turn::text(r#"{"n": "one"}"#),
        Turn::text("```json\n{\"n\": 1}\n```"),
    ]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, new.clone()).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!({"n": 1})));
    let told = serde_json::to_string(&world.model.requests()[2].messages).unwrap();
    assert!(told.contains("not JSON") && told.contains("/n:"), "{told}");

    let world = World::new([Turn::text("never json")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, new).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.error.unwrap().reason, FailureReason::InvalidOutput);
    assert_eq!(world.model.requests().len(), 4, "one try and three corrections");
}

on_every_store!(a_refusal_fails_the_run_and_a_reply_that_is_cut_off_is_asked_again);
async fn a_refusal_fails_the_run_and_a_reply_that_is_cut_off_is_asked_again() {
    let world = World::new([Turn::Stops("no".into(), StopReason::Refusal)]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.error.unwrap().reason, FailureReason::Refused);

    let cut = Turn::Stops("too lo".into(), StopReason::MaxTokens);
    let world = World::new([cut, Turn::text("short")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.output, Some(json!("short")));
}

on_every_store!(a_model_without_tools_calls_them_through_a_constrained_reply);
async fn a_model_without_tools_calls_them_through_a_constrained_reply() {
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    for mode in [ToolMode::Auto, ToolMode::Constrained] {
        let mut world = World::new([]).with_tool(tool.clone());
        let capabilities = Capabilities {
            tools: Some(mode == ToolMode::Constrained),
            json_schema: Some(true),
            ..Capabilities::default()
        };
        world.model = ScriptedModel::new([
            Turn::text(r#"{"tool": "ledger", "with": {"n": 3}}"#),
            Turn::text(r#"{"tool": "ledger", "with": {"n": "x"}}"#),
            Turn::text("no json at all"),
            Turn::text(r#"{"answer": "written"}"#),
        ])
        .with_capabilities(capabilities);
        let (engine, _handle) = world.start().await;
        let new = NewRun {
            tool_mode: mode,
            tools: Some(vec!["ledger".into()]),
            ..NewRun::new("write it")
        };
        let id = create(&engine, new).await;
        let run = ended(&engine, id).await;
        assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
        assert_eq!(run.output, Some(json!("written")));
        let requests = world.model.requests();
        let schema = requests[0].output_schema.as_ref().unwrap();
        assert_eq!(schema["anyOf"][0]["properties"]["tool"]["const"], "ledger");
        assert_eq!(schema["anyOf"][1]["required"][0], "answer");
        assert!(requests[0].tools.is_empty());
        let told = serde_json::to_string(&requests[1].messages).unwrap();
        assert!(!told.contains("tool_result"), "tool results are words of the user: {told}");
        let prefix = serde_json::to_string(&requests[0].messages).unwrap();
        let prefix = prefix.trim_end_matches(']');
        for request in &requests {
            let whole = serde_json::to_string(&request.messages).unwrap();
            assert!(whole.starts_with(prefix), "the prompt's beginning never changes");
        }
    }
    assert_eq!(tool.effects().len(), 2, "only the calls that fit, one in each mode");
}

on_every_store!(usage_is_added_up_over_all_calls);
async fn usage_is_added_up_over_all_calls() {
    let world = World::new([Turn::tool("ledger", json!({})), Turn::text("done")])
        .with_tool(LedgerTool::new("ledger", EffectPolicy::Pure));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = ended(&engine, id).await;
    assert_eq!((run.usage.input, run.usage.output), (Some(20), Some(10)));
    let usage = engine.usage(id).await.unwrap();
    assert_eq!(usage.steps.len(), 2);
    assert_eq!(usage.total, run.usage);
}

on_every_store!(a_reply_that_breaks_off_is_void_and_asked_for_again_in_the_open);
async fn a_reply_that_breaks_off_is_void_and_asked_for_again_in_the_open() {
    let broken = Turn::Breaks("half a sen".into(), ErrorKind::StreamTruncated);
    let world = World::new([broken]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    // Not for ever: it breaks off each time.
    let run = ended(&engine, id).await;
    assert_eq!(run.error.unwrap().reason, FailureReason::Provider);
    let kinds = kinds(&engine, id).await;
    let tries = world.model.requests().len();
    assert_eq!(count(&kinds, "llm.attempt_restarted"), tries - 1);
    assert_eq!(count(&kinds, "llm.charged"), tries, "each may have been billed");
    assert_eq!(run.spend.requests as usize, tries);
}

on_every_store!(a_reply_that_is_not_what_the_protocol_says_is_asked_for_once_more);
async fn a_reply_that_is_not_what_the_protocol_says_is_asked_for_once_more() {
    let world = World::new([Turn::Breaks("x".into(), ErrorKind::MalformedResponse)]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.error.unwrap().reason, FailureReason::Provider);
    assert_eq!(world.model.requests().len(), 2);
}
