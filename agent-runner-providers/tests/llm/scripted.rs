//! [`ScriptedProvider`], with the clock paused where scripts wait.

mod conformance;

use std::time::Duration;

use agent_runner_core::{
    llm::{
        CallCx, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmProviderExt as _, LlmRequest,
        StopReason, ToolSpec, Usage,
    },
    message::{Message, Part, Role},
};
use agent_runner_providers::ScriptedProvider;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;

fn cx() -> CallCx {
    CallCx::new("1")
}

fn ask(model: &str, goal: &str, tools: &[&str]) -> LlmRequest {
    let mut request = LlmRequest::new(model, vec![Message::text(Role::User, goal)]);
    request.tools = tools
        .iter()
        .map(|name| ToolSpec {
            name: (*name).to_owned(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
        })
        .collect();
    request
}

/// Asks until the model calls no tool, answering every call with `result`.
async fn converse(
    provider: &ScriptedProvider,
    mut request: LlmRequest,
    result: &str,
) -> (Vec<String>, LlmFinished) {
    let mut called = Vec::new();
    for _ in 0..10 {
        let reply = provider.complete(&request, &cx()).await.unwrap();
        if reply.stop != StopReason::ToolCalls {
            return (called, reply);
        }
        request.messages.push(reply.message.clone());
        for call in reply.message.tool_calls() {
            called.push(format!("{} {}", call.name, call.arguments["path"].as_str().unwrap_or("")));
            request.messages.push(Message {
                role: Role::Tool,
                parts: vec![Part::ToolResult {
                    call_id: call.id.clone(),
                    name: call.name.clone(),
                    text: result.to_owned(),
                    is_error: false,
                }],
            });
        }
    }
    panic!("the script never ends: {called:?}");
}

#[tokio::test(start_paused = true)]
async fn the_demo_uses_the_tools_it_is_offered_and_admits_that_it_is_a_script() {
    let provider = ScriptedProvider::demo().unwrap();
    let all = ["files.read", "files.write", "http.get", "time.now"];
    for (tools, expected) in [
        (all.as_slice(), ["files.write plan.md", "files.read plan.md", "time.now "].as_slice()),
        (&["time.now"], &["time.now "]),
        (&["files.write"], &["files.write plan.md"]),
        (&["files.read"], &[]),
        (&[], &[]),
    ] {
        let started = Instant::now();
        let goal = "Make tea {{turn}}";
        let (called, reply) = converse(&provider, ask("demo", goal, tools), "It is noon.").await;
        assert_eq!(called, expected);
        let text = reply.message.plain_text();
        for part in
            ["comes from a script and not from a model", goal, "OLLAMA_HOST", "OPENAI_BASE_URL"]
        {
            assert!(text.contains(part), "no `{part}` in: {text}");
        }
        assert_eq!(text.contains("It is noon."), !expected.is_empty());
        assert!(reply.usage.total().is_some());
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        assert!(started.elapsed() > Duration::from_millis(500), "nobody could watch that");
    }
}

#[tokio::test(start_paused = true)]
async fn the_demo_works_in_the_constrained_form() {
    let provider = ScriptedProvider::demo().unwrap();
    let schema = json!({"anyOf": [
        {"type": "object", "properties": {"tool": {"const": "files.write"}, "with": {}}},
        {"type": "object", "properties": {"tool": {"const": "time.now"}, "with": {}}},
        {"type": "object", "properties": {"answer": {"type": "string"}}},
    ]});
    let mut request = ask("demo", "Make tea", &[]);
    request.output_schema = Some(schema);
    let mut said = Vec::new();
    for _ in 0..3 {
        let reply = provider.complete(&request, &cx()).await.unwrap();
        assert_eq!((reply.stop, reply.message.tool_calls().count()), (StopReason::EndTurn, 0));
        said.push(serde_json::from_str::<Value>(&reply.message.plain_text()).unwrap());
        request.messages.push(reply.message);
        request.messages.push(Message::text(Role::User, "The result: it is noon."));
    }
    assert_eq!(said[0]["tool"], "files.write");
    assert!(said[0]["with"]["text"].as_str().unwrap().contains("Goal: Make tea"));
    assert_eq!(said[1], json!({"tool": "time.now", "with": {}}));
    let answer = said[2]["answer"].as_str().unwrap();
    assert!(answer.contains("script") && answer.contains("it is noon"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_a_document_stays_one_in_the_constrained_form() {
    let mut request = ask("echo", r#"{"n": 1}"#, &[]);
    request.output_schema = Some(json!({"anyOf": [{"properties": {"answer": {}}}]}));
    let reply = ScriptedProvider::demo().unwrap().complete(&request, &cx()).await.unwrap();
    let said: Value = serde_json::from_str(&reply.message.plain_text()).unwrap();
    assert_eq!(said, json!({"answer": {"n": 1}}));
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_is_not_for_tool_calls_gets_the_text_as_it_is() {
    let mut request = ask("echo", r#"{"n": 1}"#, &[]);
    request.output_schema = Some(json!({"properties": {"n": {}}}));
    let reply = ScriptedProvider::demo().unwrap().complete(&request, &cx()).await.unwrap();
    assert_eq!(reply.message.plain_text(), r#"{"n": 1}"#);
}

#[tokio::test(start_paused = true)]
async fn echo_answers_at_once_and_slow_as_late_as_the_goal_says() {
    let provider = ScriptedProvider::demo().unwrap();
    for (model, goal, seconds) in [("echo", "ping", 0), ("slow", "for 7s", 7), ("slow", "hm", 30)] {
        let started = Instant::now();
        let reply = provider.complete(&ask(model, goal, &["time.now"]), &cx()).await.unwrap();
        assert!(reply.message.plain_text().contains(goal));
        assert_eq!(started.elapsed().as_secs(), seconds, "{model}: {goal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silence_ends_with_cancellation_or_the_timeout_of_the_call() {
    let provider = ScriptedProvider::demo().unwrap();
    let timeout = CallCx { timeout: Some(Duration::from_secs(2)), ..cx() };
    let error = provider.complete(&ask("slow", "for 9s", &[]), &timeout).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let cx = cx();
    let mut stream = provider.stream(&ask("slow", "for 9s", &[]), &cx).await.unwrap();
    let started = Instant::now();
    let (item, ()) = tokio::join!(stream.next(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cx.cancel.cancel();
    });
    assert_eq!(item.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(started.elapsed().as_secs(), 1);
    assert!(stream.next().await.is_none());
}

const LAB: &str = r#"
models:
  flaky:
    turns:
      - text: Fine now
        error: {kind: overloaded, http_status: 529, retry_after_ms: 250, message: "no room", attempts: 2}
  raw:
    turns:
      - text: "a\0b"
        tool_calls: [{name: t, arguments: '{"broken'}]
        stop: max_tokens
        usage: {input: 5, output: 2, cache_read: 1}
  loop:
    turns:
      - text: first
      - tool_calls: [{name: t, arguments: {n: "{{turn}}", last: ["{{last_result}}"]}}]
        repeat: true
      - text: never
  choosy:
    native_tools: false
    turns:
      - text: weather
        when: {goal_contains: rain}
      - text: again
        when: {last_contains: more}
      - text: other
"#;

#[tokio::test(start_paused = true)]
async fn a_failure_lasts_as_many_attempts_as_the_script_says() {
    let provider = ScriptedProvider::from_yaml(LAB).unwrap();
    let request = ask("flaky", "go", &[]);
    for attempt in 1..=2 {
        let cx = CallCx { attempt, ..cx() };
        let error = provider.complete(&request, &cx).await.unwrap_err();
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::Overloaded, Some(529)));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(250)));
        assert_eq!(error.context(), "no room");
    }
    let reply = provider.complete(&request, &CallCx { attempt: 3, ..cx() }).await.unwrap();
    assert_eq!(reply.message.plain_text(), "Fine now");
}

#[tokio::test(start_paused = true)]
async fn what_models_do_rarely_can_be_scripted() {
    let provider = ScriptedProvider::from_yaml(LAB).unwrap();
    let reply = provider.complete(&ask("raw", "go", &[]), &cx()).await.unwrap();
    assert_eq!(reply.message.plain_text(), "a\0b");
    assert_eq!(reply.message.tool_calls().next().unwrap().arguments, json!("{\"broken"));
    assert_eq!(reply.stop, StopReason::MaxTokens);
    let usage = Usage { input: Some(5), output: Some(2), cache_read: Some(1), ..Usage::default() };
    assert_eq!(reply.usage, usage);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_repeats_is_never_left() {
    let provider = ScriptedProvider::from_yaml(LAB).unwrap();
    let mut request = ask("loop", "go", &["t"]);
    let first = provider.complete(&request, &cx()).await.unwrap();
    assert_eq!(first.message.plain_text(), "first");
    request.messages.push(first.message);
    let mut ids = Vec::new();
    for turn in 2..5 {
        let reply = provider.complete(&request, &cx()).await.unwrap();
        let call = reply.message.tool_calls().next().unwrap();
        assert_eq!(call.arguments, json!({"n": turn.to_string(), "last": ["go"]}));
        assert!(!ids.contains(&call.id), "{ids:?} has {} already", call.id);
        ids.push(call.id.clone());
        request.messages.push(reply.message);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_request_gets_the_same_reply_and_conditions_choose_it() {
    let provider = ScriptedProvider::from_yaml(LAB).unwrap();
    let text = async |messages: Vec<Message>| {
        let request = LlmRequest::new("choosy", messages);
        let twice = [
            provider.complete(&request, &cx()).await.unwrap(),
            provider.complete(&request, &cx()).await.unwrap(),
        ];
        assert_eq!(twice[0], twice[1]);
        twice[0].message.plain_text()
    };
    let user = |text: &str| Message::text(Role::User, text);
    assert_eq!(text(vec![user("will it rain")]).await, "weather");
    assert_eq!(text(vec![user("what")]).await, "other");
    let second = vec![user("rain?"), Message::text(Role::Assistant, "x"), user("tell me more")];
    assert_eq!(text(second).await, "again");
}

#[tokio::test(start_paused = true)]
async fn what_a_script_does_not_have_is_a_clear_error() {
    let provider = ScriptedProvider::from_yaml(LAB).unwrap();
    let error = provider.complete(&ask("demo", "go", &[]), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(error.context().contains("choosy, flaky, loop, raw"), "{error}");
    let error = provider.complete(&ask("choosy", "go", &["t"]), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFeature);
    let mut request = ask("raw", "go", &[]);
    request.messages.push(Message::text(Role::Assistant, "x"));
    let error = provider.complete(&request, &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.context().contains("no further turn"), "{error}");
}

#[tokio::test]
async fn scripts_can_be_added_but_not_replaced() {
    let provider = ScriptedProvider::demo().unwrap().with_yaml(LAB).unwrap().with_id("lab");
    let names: Vec<String> =
        provider.models(&cx()).await.unwrap().into_iter().map(|model| model.id).collect();
    assert_eq!(names, ["choosy", "demo", "echo", "flaky", "loop", "raw", "slow"]);
    assert_eq!(provider.id(), "lab");
    assert!(provider.capabilities("demo").has_tools());
    assert_eq!(provider.capabilities("choosy").tools, Some(false));
    let error = provider.with_yaml("models: {echo: {turns: [{text: x}]}}").unwrap_err();
    assert!(error.context().contains("models.echo"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_reply_comes_in_words_and_a_broken_one_ends_after_some() {
    let yaml = "models: {m: {chunk_delay_ms: 10, turns: [{text: a b c, error: {kind: network, after_chunks: 2}}]}}";
    let provider = ScriptedProvider::from_yaml(yaml).unwrap();
    let mut stream = provider.stream(&ask("m", "go", &[]), &cx()).await.unwrap();
    let started = Instant::now();
    let mut texts = Vec::new();
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(LlmEvent::TextDelta { text }) => texts.push(text),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((texts.concat().as_str(), texts.len()), ("a b ", 2));
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(started.elapsed(), Duration::from_millis(30));
}
