//! Conversations that outgrow their model, answers that come as tool calls, and pauses.

use agent_runner_core::{
    agent::ModelName,
    engine::NewRun,
    event::EventBody,
    llm::{
        Capabilities, ErrorKind, LlmRequest, ModelCatalog, Price, ProviderError, StopReason,
        estimate_tokens,
    },
    message::{Message, Part, Role},
    run::{FailureReason, RunStatus},
    step::EffectPolicy,
    testing::LedgerTool,
};
use agent_runner_providers::layer::{Cassette, ReplayOptions, ReplayProvider};
use jiff::Timestamp;
use serde_json::json;

use super::{
    answering::{Answering, calls, says, tokens},
    fixture::*,
};

fn is_summary(request: &LlmRequest) -> bool {
    request.messages[0].plain_text().contains("shorten the record")
}

/// Tools called in the conversation.
fn called(request: &LlmRequest) -> usize {
    request.messages.iter().flat_map(Message::tool_calls).count()
}

fn too_long() -> ProviderError {
    ProviderError::new(ErrorKind::ContextLength, "answering", "prompt is too long")
        .with_http_status(400)
}

/// Calls `ledger` until it did so ten times, then answers with how much it remembers. Refuses a
/// prompt of more than `most` tokens. Says much each time.
fn wordy(most: u64) -> Answering {
    let done = std::sync::atomic::AtomicUsize::new(0);
    Answering::new(move |request, number| {
        if estimate_tokens(request) > most {
            return Err(too_long());
        }
        let usage = tokens(estimate_tokens(request), 10);
        if is_summary(request) {
            return Ok(says("the ledger was written", usage));
        }
        if done.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 10 {
            let id = format!("c{number}");
            let mut reply = calls(&[(&id, "ledger", json!({"n": number}))], usage);
            let said = "word ".repeat(400);
            reply.message.parts.insert(0, Part::Text { text: said, provider_state: None });
            return Ok(reply);
        }
        Ok(says(&format!("done with {} calls in mind", called(request)), usage))
    })
}

on_every_store!(a_conversation_is_made_shorter_before_it_outgrows_the_model);
async fn a_conversation_is_made_shorter_before_it_outgrows_the_model() {
    let window =
        Capabilities { tools: Some(true), context_window: Some(4_000), ..Capabilities::default() };
    let model = wordy(4_000).with_capabilities(window);
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let world = World::new([]).with_provider(model.clone()).with_tool(tool.clone());
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("write ten lines")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    assert_eq!(tool.effects().len(), 10, "nothing was done again after a summary");
    let kinds = kinds(&engine, id).await;
    let summaries = count(&kinds, "context.compacted");
    assert!(summaries >= 1 && summaries == count(&kinds, "context.full"), "{kinds:?}");
    assert_eq!(count(&kinds, "step.failed"), 0, "the model never had to refuse");
    let steps = engine.steps(id).await.unwrap();
    assert!(steps.iter().any(|step| step.key.as_str().ends_with(".compact")));
    let last = model.requests().pop().unwrap();
    assert!(last.messages.iter().any(|m| m.plain_text().contains("the ledger was written")));
    assert!(last.messages.iter().any(|m| m.plain_text() == "write ten lines"));
}

on_every_store!(a_prompt_that_was_refused_as_too_long_is_never_sent_again_as_it_was);
async fn a_prompt_that_was_refused_as_too_long_is_never_sent_again_as_it_was() {
    // Nobody says how large the window is.
    let model = wordy(3_000);
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let world = World::new([]).with_provider(model.clone()).with_tool(tool.clone());
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("write ten lines")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    assert_eq!(tool.effects().len(), 10);
    let requests = model.requests();
    for (n, request) in requests.iter().enumerate() {
        assert!(!requests[..n].contains(request), "request {n} was sent twice");
    }
    assert!(count(&kinds(&engine, id).await, "context.compacted") >= 1);
}

on_every_store!(a_goal_that_does_not_fit_fails_the_run_at_once);
async fn a_goal_that_does_not_fit_fails_the_run_at_once() {
    let model = wordy(100);
    let world = World::new([]).with_provider(model.clone());
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x".repeat(10_000))).await;
    let run = ended(&engine, id).await;
    let error = run.error.unwrap();
    assert_eq!(error.reason, FailureReason::Provider);
    assert!(error.message.contains("too long"), "{}", error.message);
    assert_eq!(model.requests().len(), 1);
}

on_every_store!(a_model_that_runs_out_of_context_goes_on_with_a_shorter_conversation);
async fn a_model_that_runs_out_of_context_goes_on_with_a_shorter_conversation() {
    let model = Answering::new(|request, number| {
        let usage = tokens(estimate_tokens(request), 10);
        Ok(match number {
            1 => {
                let mut reply = calls(&[("a", "ledger", json!({"n": 1}))], usage);
                let said = "word ".repeat(2_000);
                reply.message.parts.insert(0, Part::Text { text: said, provider_state: None });
                reply
            }
            2 => {
                let mut cut = says("I was about to", usage);
                cut.stop = StopReason::ContextFull;
                cut
            }
            _ if is_summary(request) => says("line 1 is written", usage),
            _ => says("all done", usage),
        })
    });
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let world = World::new([]).with_provider(model.clone()).with_tool(tool);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("write")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!("all done")));
    let last = model.requests().pop().unwrap();
    let text = serde_json::to_string(&last.messages).unwrap();
    assert!(text.contains("line 1 is written") && !text.contains("I was about to"), "{text}");
}

on_every_store!(a_summary_that_does_not_fit_either_leaves_the_old_part_out);
async fn a_summary_that_does_not_fit_either_leaves_the_old_part_out() {
    let model = Answering::new(|request, number| {
        let usage = tokens(estimate_tokens(request), 10);
        match number {
            1 => {
                let mut reply = calls(&[("a", "ledger", json!({"n": 1}))], usage);
                let said = "word ".repeat(2_000);
                reply.message.parts.insert(0, Part::Text { text: said, provider_state: None });
                Ok(reply)
            }
            2 | 3 => Err(too_long()),
            _ => Ok(says("went on", usage)),
        }
    });
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let world = World::new([]).with_provider(model.clone()).with_tool(tool);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("write")).await;
    assert_eq!(ended(&engine, id).await.output, Some(json!("went on")));
    let last = model.requests().pop().unwrap();
    assert!(last.messages.iter().any(|m| m.plain_text().contains("was left out")));
}

on_every_store!(a_structured_answer_beside_tools_comes_as_a_tool_call_and_is_mended);
async fn a_structured_answer_beside_tools_comes_as_a_tool_call_and_is_mended() {
    let model = Answering::new(|request, number| {
        let names: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["ledger", "final_answer"]);
        let usage = tokens(10, 5);
        Ok(match number {
            1 => calls(
                &[("a", "ledger", json!({"n": 1})), ("b", "final_answer", json!({"n": 1}))],
                usage,
            ),
            2 => calls(&[("c", "final_answer", json!({"n": "one"}))], usage),
            3 => says("The answer is 1.", usage),
            _ => calls(&[("d", "final_answer", json!({"n": 1}))], usage),
        })
    });
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let world = World::new([]).with_provider(model.clone()).with_tool(tool.clone());
    let (engine, _handle) = world.start().await;
    let schema =
        json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    let new = NewRun {
        output_schema: Some(schema),
        tools: Some(vec!["ledger".into()]),
        ..NewRun::new("count")
    };
    let id = create(&engine, new).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!({"n": 1})), "{:?}", run.error);
    assert_eq!(tool.effects().len(), 1, "the other call was run");
    // Each call has its result before the model speaks again.
    for request in model.requests() {
        let mut open: Vec<String> = Vec::new();
        for message in &request.messages {
            for part in &message.parts {
                match part {
                    Part::ToolCall(call) => open.push(call.id.clone()),
                    Part::ToolResult { call_id, .. } => open.retain(|id| id != call_id),
                    _ => assert!(
                        open.is_empty() || message.role == Role::Assistant,
                        "{open:?} before {message:?}"
                    ),
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

on_every_store!(a_pause_is_answered_with_the_reply_as_it_is);
async fn a_pause_is_answered_with_the_reply_as_it_is() {
    let model = Answering::new(|request, number| {
        let mut reply = says(&format!("part {number}"), tokens(10, 5));
        if number < 3 {
            reply.stop = StopReason::Pause;
        }
        assert_eq!(request.messages.len(), number);
        Ok(reply)
    });
    let world = World::new([]).with_provider(model);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("search")).await;
    assert_eq!(ended(&engine, id).await.output, Some(json!("part 3")));
}

on_every_store!(what_a_service_says_beside_its_reply_is_in_the_journal);
async fn what_a_service_says_beside_its_reply_is_in_the_journal() {
    let model = Answering::new(|_, _| {
        let mut reply = says("hello", tokens(10, 5));
        reply.request_id = Some("req_7".to_owned());
        reply.notices = vec!["the model takes no temperature".to_owned()];
        reply.answered_by = Some("other/model-2".parse().unwrap());
        Ok(reply)
    });
    let world = World::new([]).with_provider(model);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("hi")).await;
    ended(&engine, id).await;
    let event = wait_for(&engine, id, "llm.completed").await;
    assert_eq!(event.payload["request_id"], "req_7");
    assert_eq!(event.payload["notices"][0], "the model takes no temperature");
    assert_eq!(event.payload["answered_by"], "other/model-2");
    let Some(EventBody::LlmCompleted { cost, .. }) = EventBody::from_event(&event).unwrap() else {
        panic!("{event:?}");
    };
    assert_eq!(cost, None, "an unknown price is no price of zero");
    let usage = engine.usage(id).await.unwrap();
    assert_eq!(usage.steps[0].model.to_string(), "other/model-2");
}

on_every_store!(a_refusal_says_what_the_service_said);
async fn a_refusal_says_what_the_service_said() {
    let model = Answering::new(|_, _| {
        let mut reply = says("I cannot", tokens(10, 5));
        reply.stop = StopReason::Refusal;
        reply.stop_detail = Some("bio: not this".to_owned());
        Ok(reply)
    });
    let world = World::new([]).with_provider(model);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("hi")).await;
    let error = ended(&engine, id).await.error.unwrap();
    assert_eq!(error.reason, FailureReason::Refused);
    assert!(error.message.contains("bio: not this"), "{}", error.message);
}

on_every_store!(the_beginning_of_a_prompt_never_changes_from_turn_to_turn);
async fn the_beginning_of_a_prompt_never_changes_from_turn_to_turn() {
    let model = Answering::new(|_, number| {
        let usage = tokens(10, 5);
        Ok(match number {
            1..4 => calls(&[(&format!("c{number}"), "ledger", json!({"n": number}))], usage),
            4 => says("", usage),
            _ => says("done", usage),
        })
    });
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let world = World::new([]).with_provider(model.clone()).with_tool(tool);
    let (engine, _handle) = world.start().await;
    let new = NewRun { instructions: Some("be exact".into()), ..NewRun::new("write") };
    let id = create(&engine, new).await;
    ended(&engine, id).await;
    let requests = model.requests();
    assert_eq!(requests.len(), 5);
    let bytes = |request: &LlmRequest| {
        let messages: Vec<String> =
            request.messages.iter().map(|m| serde_json::to_string(m).unwrap()).collect();
        (serde_json::to_string(&request.tools).unwrap(), messages)
    };
    for pair in requests.windows(2) {
        let ((tools, before), (same_tools, after)) = (bytes(&pair[0]), bytes(&pair[1]));
        assert_eq!(tools, same_tools);
        assert!(after.len() > before.len());
        assert_eq!(before, after[..before.len()]);
    }
}

/// A catalog that knows how much a model reads.
#[derive(Debug)]
struct Window(u64);

impl ModelCatalog for Window {
    fn capabilities(&self, _: &ModelName) -> Capabilities {
        Capabilities { context_window: Some(self.0), ..Capabilities::default() }
    }

    fn price(&self, _: &ModelName, _: Timestamp) -> Option<Price> {
        None
    }
}

on_every_store!(the_journal_of_a_run_alone_makes_the_same_decisions_again);
async fn the_journal_of_a_run_alone_makes_the_same_decisions_again() {
    let tool = || LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let window =
        Capabilities { tools: Some(true), context_window: Some(4_000), ..Capabilities::default() };
    let world =
        World::new([]).with_provider(wordy(4_000).with_capabilities(window)).with_tool(tool());
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("write ten lines")).await;
    let first = ended(&engine, id).await;
    let journal = events(&engine, id).await;
    assert!(journal.iter().any(|event| event.kind == "context.compacted"));

    let cassette = Cassette::from_journal(&journal).unwrap();
    let replay = ReplayProvider::new("answering", ReplayOptions::new(cassette));
    // How much the model reads is what its provider said; here the catalog says it.
    let world = World::new([]).with_provider(replay).with_tool(tool()).with_catalog(Window(4_000));
    let (engine, _handle) = world.start().await;
    let again = create(&engine, NewRun::new("write ten lines")).await;
    let second = ended(&engine, again).await;
    assert_eq!((second.status, &second.output), (first.status, &first.output), "{second:?}");
    assert_eq!(second.usage, first.usage);
}
