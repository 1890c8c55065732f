use agent_runner_core::message::{ProviderState, ToolCall};
use proptest::prelude::*;

use super::*;

fn spec(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: "Does it.".to_owned(),
        input_schema: json!({"type": "object"}),
    }
}

fn encoded(request: &LlmRequest) -> Value {
    encoded_for(request, &Profile::compatible())
}

fn encoded_for(request: &LlmRequest, profile: &Profile) -> Value {
    let names = ToolNames::of(request, super::super::NAMES);
    body(request, &names, profile, "openai").unwrap().body
}

fn reasoning(provider: &str, model: &str, text: &str) -> Part {
    let raw = json!({"field": "reasoning_content"});
    let state = ProviderState { provider: provider.into(), model: model.into(), raw };
    Part::Reasoning { text: text.into(), provider_state: Some(state) }
}

fn call(id: &str, name: &str, arguments: Value) -> Part {
    let call = ToolCall { id: id.into(), name: name.into(), arguments, provider_state: None };
    Part::ToolCall(call)
}

fn result(id: &str, name: &str, text: &str) -> Part {
    let (call_id, name, text) = (id.into(), name.into(), text.into());
    Part::ToolResult { call_id, name, text, is_error: false }
}

#[test]
fn a_conversation_with_tools_is_encoded_whole() {
    let mut request = LlmRequest::new(
        "m",
        vec![
            Message::text(Role::System, "Be brief."),
            Message::text(Role::User, "Write a.md"),
            Message {
                role: Role::Assistant,
                parts: vec![
                    reasoning("openai", "m", "I think"),
                    reasoning("other", "m", "foreign"),
                    call("c1", "files.write", json!({"path": "a.md"})),
                    call("c2", "files.write", json!("{\"path")),
                ],
            },
            Message {
                role: Role::Tool,
                parts: vec![result("c1", "files.write", "ok"), result("c2", "files.write", "bad")],
            },
            Message::text(Role::Assistant, "Done"),
            Message::text(Role::User, "Thanks"),
        ],
    );
    request.tools = vec![spec("files.write")];
    request.temperature = Some(0.2);
    request.max_output_tokens = Some(64);
    assert_eq!(
        encoded(&request),
        json!({
            "model": "m",
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.2,
            "max_tokens": 64,
            "tools": [{"type": "function", "function": {
                "name": "files_write", "description": "Does it.", "parameters": {"type": "object"},
            }}],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Write a.md"},
                {"role": "assistant", "content": null, "reasoning_content": "I think", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {
                        "name": "files_write", "arguments": "{\"path\":\"a.md\"}"}},
                    {"id": "c2", "type": "function", "function": {
                        "name": "files_write",
                        "arguments": "{\"invalid_arguments\":\"{\\\"path\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "ok"},
                {"role": "tool", "tool_call_id": "c2", "content": "bad"},
                {"role": "assistant", "content": "Done"},
                {"role": "user", "content": "Thanks"},
            ],
        })
    );
}

#[test]
fn reasoning_goes_back_only_with_tool_calls_and_only_to_its_model() {
    for (model, parts, expected) in [
        ("m", vec![reasoning("openai", "m", ""), call("c", "t", json!({}))], json!("")),
        ("m", vec![reasoning("openai", "m", "x")], Value::Null),
        ("n", vec![reasoning("openai", "m", "x"), call("c", "t", json!({}))], Value::Null),
    ] {
        let message = Message { role: Role::Assistant, parts };
        let body = encoded(&LlmRequest::new(model, vec![message]));
        assert_eq!(body["messages"][0]["reasoning_content"], expected, "{body}");
    }
}

#[test]
fn a_schema_is_strict_only_if_openai_would_take_it_as_strict() {
    let strict = json!({"type": "object", "additionalProperties": false, "required": ["a"],
        "properties": {"a": {"type": "string"}}});
    let optional = json!({"type": "object", "additionalProperties": false, "required": [],
        "properties": {"a": {"type": "string"}}});
    let open = json!({"anyOf": [strict, {"type": "object"}]});
    for (schema, expected) in [(strict, true), (optional, false), (open, false)] {
        let mut request = LlmRequest::new("m", Vec::new());
        request.output_schema = Some(schema.clone());
        assert_eq!(
            encoded(&request)["response_format"],
            json!({"type": "json_schema", "json_schema": {
                "name": "reply", "schema": schema, "strict": expected,
            }})
        );
    }
}

#[test]
fn extra_adds_and_removes_fields_but_does_not_contradict_the_request() {
    let mut request = LlmRequest::new("m", Vec::new());
    request.extra.insert("seed".into(), json!(7));
    request.extra.insert("stream_options".into(), Value::Null);
    let body = encoded(&request);
    assert_eq!((&body["seed"], body.get("stream_options")), (&json!(7), None));
    request.extra.insert("messages".into(), json!([]));
    let fault = super::body(
        &request,
        &ToolNames::of(&request, super::super::NAMES),
        &Profile::compatible(),
        "openai",
    )
    .unwrap_err();
    assert_eq!(fault.kind, agent_runner_core::llm::ErrorKind::InvalidRequest);
}

#[test]
fn the_output_limit_and_the_wish_for_usage_are_the_profiles() {
    let mut request = LlmRequest::new("m", Vec::new());
    request.max_output_tokens = Some(5);
    assert_eq!(encoded_for(&request, &Profile::openai())["max_completion_tokens"], 5);
    let mistral = encoded_for(&request, &Profile::mistral());
    assert_eq!((&mistral["max_tokens"], mistral.get("stream_options")), (&json!(5), None));
}

proptest! {
    #[test]
    fn every_call_keeps_its_id_and_gets_arguments_that_are_an_object(
        text in ".{0,20}", id in "[a-z0-9]{1,12}", name in ".{0,80}",
    ) {
        let arguments = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let message = Message { role: Role::Assistant, parts: vec![call(&id, &name, arguments)] };
        let body = encoded(&LlmRequest::new("m", vec![message]));
        let call = &body["messages"][0]["tool_calls"][0];
        prop_assert_eq!(call["id"].as_str(), Some(id.as_str()));
        let sent: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        prop_assert!(sent.is_object());
        let name = call["function"]["name"].as_str().unwrap();
        prop_assert!((1..=64).contains(&name.len()));
    }
}
