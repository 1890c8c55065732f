//! What code calls for besides its own functions: tools and models.

use std::time::Duration;

use agent_runner_core::{
    agent::ModelName,
    approval::ApprovalDecision,
    budget::Budget,
    code::{CallError, Ctx, Prompt},
    engine::{EngineBuilder, NewDecision, NewRun},
    llm::{ErrorKind, ProviderError, StopReason},
    message::Part,
    run::{FailureReason, ParkReason, RunStatus},
    step::{EffectPolicy, StepKind},
    testing::{Gate, LedgerTool, Turn},
};
use serde_json::{Value, json};

use super::{
    answering::{Answering, says, tokens},
    code::kill,
    fixture::*,
};

fn run(name: &str) -> NewRun {
    NewRun::workflow(name, Value::Null)
}

fn tools(builder: EngineBuilder) -> EngineBuilder {
    builder.workflow("tools", 1, |ctx: Ctx, (): ()| async move {
        let kept = ctx.tool("kept", "act", json!({"n": 1}));
        let other = ctx.tool("other", "act", json!({"n": 2}));
        let (kept, other) = futures::join!(kept, other);
        let denied = ctx.tool("denied", "never", json!({})).await.unwrap_err();
        let unknown = ctx.tool("unknown", "no_such", json!({})).await.unwrap_err();
        let wrong = ctx.tool("wrong", "act", "no object").await.unwrap_err();
        Ok::<_, CallError>(json!([
            kept?,
            other.unwrap_err().to_string(),
            [denied.kind(), unknown.kind(), wrong.kind()],
            [denied.code(), unknown.code(), wrong.code()],
        ]))
    })
}

on_every_store!(a_tool_of_the_code_obeys_policies_and_people);
async fn a_tool_of_the_code_obeys_policies_and_people() {
    let act = LedgerTool::new("act", EffectPolicy::AtMostOnce);
    let never = LedgerTool::new("never", EffectPolicy::Idempotent);
    let world = World::new([]).with_tool(act.clone()).with_tool(never.clone()).with_code(tools);
    let (engine, _handle) = world.start().await;
    let policy = json!({"approval": "always", "deny": ["never"]});
    let tool_policy = Some(serde_json::from_value(policy).unwrap());
    let id = create(&engine, NewRun { tool_policy, ..run("tools") }).await;
    let first = wait_for_nth(&engine, id, "approval.requested", 1).await;
    let second = wait_for_nth(&engine, id, "approval.requested", 2).await;
    wait_for(&engine, id, "run.parked").await;
    assert_eq!(engine.run(id).await.unwrap().park.unwrap().reason, ParkReason::Approval);
    let says = [
        (second, ApprovalDecision::Reject, Some("too much".to_owned())),
        (first, ApprovalDecision::Edit { arguments: json!({"n": 7}) }, None),
    ];
    for (asked, decision, comment) in says {
        let approval = serde_json::from_value(asked.payload["approval"].clone()).unwrap();
        let said = NewDecision { decision, comment, by: None, arguments_sha256: None };
        engine.resolve_approval(approval, said).await.unwrap();
    }
    let output = ended(&engine, id).await.output.unwrap();
    assert!(output[1].as_str().unwrap().contains("too much"), "{output}");
    assert_eq!(output[2], json!(["denied", "failed", "failed"]));
    assert_eq!(output[3], json!(["denied", "unknown_tool", "invalid_args"]));
    let made: Vec<Value> = act.effects().into_iter().map(|effect| effect.arguments).collect();
    assert_eq!(made, [json!({"n": 7})], "what the person chose");
    assert!(never.effects().is_empty());
}

/// Says a prompt's text backwards.
fn mirror() -> Answering {
    Answering::new(|request, _| {
        let last = request.messages.last().unwrap();
        let Part::Text { text, .. } = &last.parts[0] else { panic!("a text") };
        match text.as_str() {
            "refuse" => Err(ProviderError::new(ErrorKind::Auth, "answering", "who are you")),
            "cut" => {
                let mut cut = says("…", tokens(1, 1));
                cut.stop = StopReason::MaxTokens;
                Ok(cut)
            }
            text => Ok(says(&text.chars().rev().collect::<String>(), tokens(10, 5))),
        }
    })
}

on_every_store!(models_asked_by_code_are_answered_priced_and_told_apart);
async fn models_asked_by_code_are_answered_priced_and_told_apart() {
    let model = mirror();
    let world = World::new([]).with_provider(model.clone()).with_code(|builder| {
        builder.workflow("asks", 1, |ctx: Ctx, (): ()| async move {
            let prompt = Prompt::new("abc")
                .with_instructions("be brief")
                .with_max_output_tokens(9)
                .with_model(ModelName::new("answering", "small"));
            let (one, two) = futures::join!(ctx.llm("one", prompt), ctx.llm("two", "xyz"));
            let schema = json!({"type": "array", "items": {"type": "integer"}});
            let list: Vec<u64> = ctx.llm_as("list", "]2,1[", &schema).await?;
            let unfit = ctx.llm_as::<Value>("unfit", "}{", &schema).await.unwrap_err();
            let cut = ctx.llm("cut", "cut").await.unwrap_err();
            let refused = ctx.llm("refused", "refuse").await.unwrap_err();
            let nowhere = Prompt::new("x").with_model(ModelName::new("nowhere", "x"));
            let nowhere = ctx.llm("nowhere", nowhere).await.unwrap_err();
            let codes = [unfit, cut, refused, nowhere].map(|error| error.code().to_owned());
            Ok::<_, CallError>((one?, two?, list, codes))
        })
    });
    let (engine, _handle) = world.start().await;
    let id = create(&engine, run("asks")).await;
    let ended = ended(&engine, id).await;
    let codes = json!(["invalid_output", "invalid_output", "auth", "configuration"]);
    assert_eq!(ended.output, Some(json!(["cba", "zyx", [1, 2], codes])), "{:?}", ended.error);
    let first = &model.requests()[0];
    assert_eq!((first.model.as_str(), first.max_output_tokens), ("small", Some(9)));
    let usage = engine.usage(id).await.unwrap();
    let one = usage.steps.iter().find(|step| step.step.as_str() == "one").unwrap();
    assert_eq!(one.model, ModelName::new("answering", "small"));
    assert_eq!(usage.total.output, Some(21), "of five answers");
    let steps = engine.steps(id).await.unwrap();
    assert!(steps.iter().all(|step| step.kind == StepKind::Model));
}

on_every_store!(s2_models_that_code_asks_at_once_are_asked_again_and_charged_each);
async fn s2_models_that_code_asks_at_once_are_asked_again_and_charged_each() {
    let gate = Gate::new();
    let held = Turn::Held("half".into(), gate.clone(), Box::new(Turn::text(" whole")));
    let mut world = World::new([held]).with_code(|builder| {
        builder.workflow("two", 1, |ctx: Ctx, (): ()| async move {
            let (one, two) = futures::join!(ctx.llm("one", "1"), ctx.llm("two", "2"));
            Ok::<_, CallError>(one? + &two?)
        })
    });
    world.options.lease_ttl = Duration::from_millis(300);
    let (engine, handle) = world.start().await;
    let id = create(&engine, run("two")).await;
    gate.wait_for_arrival().await;
    gate.wait_for_arrival().await;
    wait_for_nth(&engine, id, "llm.started", 2).await;
    kill(handle).await;
    gate.open();
    world.options.lease_ttl = Duration::from_secs(5);
    let (engine, _handle) = world.start().await;
    assert_eq!(ended(&engine, id).await.output, Some(json!("half wholehalf whole")));
    let kinds = kinds(&engine, id).await;
    assert_eq!((count(&kinds, "llm.charged"), count(&kinds, "llm.completed")), (2, 2));
    assert_eq!(count(&kinds, "code.called"), 2);
}

on_every_store!(a_budget_ends_or_parks_a_run_of_code);
async fn a_budget_ends_or_parks_a_run_of_code() {
    use agent_runner_core::budget::OnExceeded;
    for on_exceeded in [OnExceeded::Fail, OnExceeded::Park] {
        let world = World::new([]).with_provider(mirror()).with_code(|builder| {
            builder.workflow("greedy", 1, |ctx: Ctx, (): ()| async move {
                let asked = (0..3).map(|n| ctx.llm("ask", format!("{n}")));
                futures::future::try_join_all(asked).await
            })
        });
        let (engine, _handle) = world.start().await;
        let budget = Some(Budget { requests: Some(2), on_exceeded, ..Budget::default() });
        let id = create(&engine, NewRun { budget, ..run("greedy") }).await;
        match on_exceeded {
            OnExceeded::Fail => {
                let error = ended(&engine, id).await.error.unwrap();
                assert_eq!(error.reason, FailureReason::Budget);
                // What was under way is stopped and taken for what it may have cost.
                let run = engine.run(id).await.unwrap();
                assert_eq!(run.spend.requests, 2);
            }
            OnExceeded::Park => {
                wait_for(&engine, id, "run.parked").await;
                engine.change_budget(id, None).await.unwrap();
                let run = ended(&engine, id).await;
                assert_eq!(run.output, Some(json!(["0", "1", "2"])));
                assert_eq!((run.spend.requests, run.usage.output), (3, Some(15)));
            }
        }
    }
}

on_every_store!(s31_a_fork_of_code_keeps_what_models_said_and_asks_the_rest_again);
async fn s31_a_fork_of_code_keeps_what_models_said_and_asks_the_rest_again() {
    let model = mirror();
    let world = World::new([]).with_provider(model.clone()).with_code(|builder| {
        builder.workflow("chain", 1, |ctx: Ctx, (): ()| async move {
            let one = ctx.llm("one", "ab").await?;
            let failed = ctx.llm("failed", "refuse").await.unwrap_err();
            let two = ctx.llm("two", format!("{one}c")).await?;
            Ok::<_, CallError>((two, failed.code().to_owned()))
        })
    });
    let (engine, _handle) = world.start().await;
    let source = create(&engine, run("chain")).await;
    assert_eq!(ended(&engine, source).await.output, Some(json!(["cab", "auth"])));
    let all = events(&engine, source).await;
    let open = all.iter().find(|event| event.kind == "code.finished").unwrap().seq - 1;
    for event in 1..=open {
        let asked = model.requests().len();
        let fork = agent_runner_core::engine::NewFork { event: Some(event), ..Default::default() };
        let id = engine.fork(source, fork).await.unwrap().run.id;
        let run = ended(&engine, id).await;
        assert_eq!(run.status, RunStatus::Completed, "after event {event}: {:?}", run.error);
        assert_eq!(run.output, Some(json!(["cab", "auth"])));
        let over = all[..event as usize]
            .iter()
            .filter(|event| matches!(event.kind.as_str(), "step.succeeded" | "step.failed"))
            .count();
        assert_eq!(model.requests().len() - asked, 3 - over, "after event {event}");
    }
}
