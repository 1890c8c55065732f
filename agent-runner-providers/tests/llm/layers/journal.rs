//! A run's journal replayed offline takes the same decisions.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    agent::{ModelName, ToolMode},
    engine::{Engine, NewRun},
    event::{Event, EventBody},
    llm::{Capabilities, ErrorKind, LlmProvider},
    run::RunStatus,
    step::EffectPolicy,
    store::{EventQuery, InMemoryStore},
    testing::{LedgerTool, ScriptedModel, Turn},
    tool::ToolOutput,
};
use agent_runner_providers::layer::{
    Cassette, CassetteError, ReplayMode, ReplayOptions, ReplayProvider,
};
use secrecy::SecretString;
use serde_json::{Value, json};

/// Runs an agent to its end; its journal.
async fn run(provider: Arc<dyn LlmProvider>, mode: ToolMode) -> Vec<Event> {
    run_with(LedgerTool::new("note", EffectPolicy::Pure), provider, mode).await
}

/// The same with another tool.
async fn run_with(tool: LedgerTool, provider: Arc<dyn LlmProvider>, mode: ToolMode) -> Vec<Event> {
    let engine = Engine::builder(Arc::new(InMemoryStore::new()))
        .shared_provider(provider)
        .tool(tool)
        .default_model(ModelName::new("test", "model"))
        .build()
        .unwrap();
    let handle = engine.start();
    let new = NewRun {
        instructions: Some("Be brief.".into()),
        tools: Some(vec!["note".into()]),
        tool_mode: mode,
        ..NewRun::new("Note something.")
    };
    let id = engine.create_run(new).await.unwrap().run.id;
    let ended = engine.join(id, Duration::from_secs(30)).await.unwrap();
    assert!(matches!(ended.status, RunStatus::Completed | RunStatus::Failed), "{ended:?}");
    let events = engine.events(id, &EventQuery::after(0)).await.unwrap();
    handle.shutdown(Duration::from_secs(1)).await;
    events
}

/// What was decided: every event but the circumstances of its time and place.
fn decisions(events: &[Event]) -> Vec<Value> {
    events
        .iter()
        .filter_map(|event| EventBody::from_event(event).unwrap())
        .filter(|body| {
            !matches!(body, EventBody::RunClaimed { .. } | EventBody::LlmHeartbeat { .. })
        })
        .map(|body| {
            let mut value = serde_json::to_value(body).unwrap();
            if let Some(payload) = value["payload"].as_object_mut() {
                payload.remove("elapsed_ms");
                payload.remove("delay_ms");
                payload.remove("retry_at");
                if let Some(spend) = payload.get_mut("spend").and_then(Value::as_object_mut) {
                    spend.remove("busy_ms");
                }
            }
            value
        })
        .collect()
}

async fn replayed(cassette: Cassette, mode: ToolMode) -> Vec<Event> {
    let provider = ReplayProvider::new("test", ReplayOptions::new(cassette));
    run(Arc::new(provider), mode).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_tools_and_a_failed_attempt_takes_the_same_decisions_again() {
    let flaky =
        Turn::Fails(1, ErrorKind::Overloaded, Box::new(Turn::tool("note", json!({"n": 1}))));
    let model =
        ScriptedModel::new([flaky, Turn::tool("note", json!({"n": "wrong"})), Turn::text("Done.")]);
    let original = run(Arc::new(model), ToolMode::Auto).await;
    let cassette = Cassette::from_journal(&original).unwrap();
    assert_eq!(cassette.interactions.len(), 4);
    assert_eq!(cassette.interactions[0].error.as_ref().unwrap().kind, ErrorKind::Overloaded);
    let cassette = Cassette::from_json_lines(&cassette.to_json_lines()).unwrap();
    let again = replayed(cassette, ToolMode::Auto).await;
    assert_eq!(decisions(&again), decisions(&original));
    let kinds = decisions(&again).iter().map(|it| it["type"].to_string()).collect::<String>();
    assert!(kinds.contains("step.retrying") && kinds.contains("tool.failed"), "{kinds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_in_the_constrained_form_does_too() {
    let constrained = |value: Value| Turn::text(&value.to_string());
    let model = ScriptedModel::new([
        constrained(json!({"tool": "note", "with": {"n": 1}})),
        constrained(json!({"answer": "Done."})),
    ])
    .with_capabilities(Capabilities { json_schema: Some(true), ..Capabilities::default() });
    let original = run(Arc::new(model), ToolMode::Constrained).await;
    assert!(original.iter().any(|event| event.kind == "tool.completed"));
    let cassette = Cassette::from_journal(&original).unwrap();
    let again = replayed(cassette, ToolMode::Constrained).await;
    assert_eq!(decisions(&again), decisions(&original));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_answers_otherwise_is_noticed_unless_only_the_order_counts() {
    let model = ScriptedModel::new([Turn::tool("note", json!({"n": 1})), Turn::text("Done.")]);
    let original = run(Arc::new(model), ToolMode::Auto).await;
    let cassette = Cassette::from_journal(&original).unwrap();
    let other = || {
        let tool = LedgerTool::new("note", EffectPolicy::Pure);
        tool.answering(|_, _| Ok(ToolOutput::new(json!("something else"))))
    };
    let strict = Arc::new(ReplayProvider::new("test", ReplayOptions::new(cassette.clone())));
    let again = run_with(other(), strict, ToolMode::Auto).await;
    let last = again.last().unwrap();
    assert_eq!(last.kind, "run.failed");
    let text = last.payload.to_string();
    assert!(text.contains("number 2 of 2") && text.contains("differs in `messages[2]`"), "{text}");

    let options = ReplayOptions { mode: ReplayMode::InOrder, ..ReplayOptions::new(cassette) };
    let in_order = Arc::new(ReplayProvider::new("test", options));
    let again = run_with(other(), in_order, ToolMode::Auto).await;
    assert_eq!(again.last().unwrap().kind, "run.completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_a_journal_does_not_reach_the_cassette() {
    let model = ScriptedModel::new([Turn::text("Your key is sk-canary."), Turn::text("Done.")]);
    let original = run(Arc::new(model), ToolMode::Auto).await;
    let cassette = Cassette::from_journal(&original).unwrap();
    assert!(cassette.to_json_lines().contains("sk-canary"));
    let secrets = [SecretString::from("sk-canary"), SecretString::from("Note")];
    let clean = cassette.without(&secrets);
    let file = clean.to_json_lines();
    assert!(!file.contains("sk-canary") && !file.contains("Note something"), "{file}");
    let options = ReplayOptions { secrets: secrets.to_vec(), ..ReplayOptions::new(clean) };
    let again = run(Arc::new(ReplayProvider::new("test", options)), ToolMode::Auto).await;
    let last = again.last().unwrap();
    assert_eq!(last.payload["output"], json!("Your key is [redacted]."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_with_holes_is_refused() {
    let model = ScriptedModel::new([Turn::text("Done.")]);
    let mut events = run(Arc::new(model), ToolMode::Auto).await;
    assert_eq!(Cassette::from_journal(&[]).unwrap(), Cassette::default());
    let place = events.iter().position(|event| event.kind == "step.started").unwrap();
    let mut holes = events.clone();
    holes.remove(place);
    assert!(matches!(Cassette::from_journal(&holes), Err(CassetteError::Journal(_))));
    let seq = events[place].seq;
    events[place].blob = Some("0".repeat(64));
    assert!(matches!(Cassette::from_journal(&events), Err(CassetteError::Stub(it)) if it == seq));
    events[place].blob = None;
    events[place].payload = json!({"step": 1});
    assert!(matches!(Cassette::from_journal(&events), Err(CassetteError::Event(_))));
}
