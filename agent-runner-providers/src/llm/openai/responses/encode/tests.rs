use agent_runner_core::{
    llm::{ErrorKind, ReasoningEffort},
    message::ToolCall,
};
use proptest::prelude::*;

use super::*;
use crate::llm::openai::NAMES;

fn encoded(request: &LlmRequest, profile: &Profile) -> Encoded {
    body(request, &ToolNames::of(request, NAMES), profile, "openai").unwrap()
}

fn items(messages: Vec<Message>) -> Value {
    encoded(&LlmRequest::new("m", messages), &Profile::openai()).body["input"].take()
}

fn state(provider: &str, model: &str, raw: Value) -> Option<ProviderState> {
    Some(ProviderState { provider: provider.into(), model: model.into(), raw })
}

fn reasoning(provider: &str, model: &str, item: &Value) -> Part {
    let provider_state = state(provider, model, json!({"item": item}));
    Part::Reasoning { text: "Hm".into(), provider_state }
}

fn call(id: &str, arguments: Value) -> Part {
    let (id, name) = (id.into(), "files.write".into());
    Part::ToolCall(ToolCall { id, name, arguments, provider_state: None })
}

fn assistant(parts: Vec<Part>) -> Message {
    Message { role: Role::Assistant, parts }
}

fn tool(id: &str) -> Message {
    let (call_id, name, text) = (id.into(), "files.write".into(), "ok".into());
    Message {
        role: Role::Tool,
        parts: vec![Part::ToolResult { call_id, name, text, is_error: false }],
    }
}

fn thought(id: &str) -> Value {
    json!({"type": "reasoning", "id": id, "summary": [], "encrypted_content": "gAAA+/="})
}

fn conversation() -> Vec<Message> {
    let phase = state("openai", "m", json!({"phase": "commentary"}));
    vec![
        Message::text(Role::System, "Be brief."),
        Message::text(Role::User, "Write a.md"),
        assistant(vec![
            reasoning("openai", "m", &thought("rs_1")),
            Part::Text { text: "Let me.".into(), provider_state: phase },
            reasoning("openai", "m", &thought("rs_2")),
            call("c1", json!({"path": "a.md"})),
            call("c2", json!("{\"path")),
        ]),
        tool("c1"),
        tool("c2"),
        Message::text(Role::Assistant, "Done"),
        Message::text(Role::User, "Thanks"),
    ]
}

#[test]
fn a_conversation_is_items_with_its_reasoning_verbatim_and_nothing_is_stored() {
    let mut request = LlmRequest::new("m", conversation());
    request.tools.push(ToolSpec {
        name: "files.write".into(),
        description: "Writes.".into(),
        input_schema: json!({"type": "object"}),
    });
    request.output_schema = Some(json!({"type": "string"}));
    request.max_output_tokens = Some(64);
    request.reasoning = Some(ReasoningEffort::Low);
    request.temperature = Some(0.2);
    assert_eq!(
        encoded(&request, &Profile::openai()).body,
        json!({
            "model": "m",
            "stream": true,
            "store": false,
            "include": ["reasoning.encrypted_content"],
            "max_output_tokens": 64,
            "temperature": 0.2,
            "reasoning": {"effort": "low"},
            "text": {"format": {
                "type": "json_schema", "name": "reply", "strict": true, "schema": {"type": "string"},
            }},
            "tools": [{
                "type": "function", "name": "files_write", "description": "Writes.",
                "parameters": {"type": "object"}, "strict": false,
            }],
            "input": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "Write a.md"},
                thought("rs_1"),
                {"role": "assistant", "content": "Let me.", "phase": "commentary"},
                thought("rs_2"),
                {"type": "function_call", "call_id": "c1", "name": "files_write",
                    "arguments": "{\"path\":\"a.md\"}"},
                {"type": "function_call", "call_id": "c2", "name": "files_write",
                    "arguments": "{\"invalid_arguments\":\"{\\\"path\"}"},
                {"type": "function_call_output", "call_id": "c1", "output": "ok"},
                {"type": "function_call_output", "call_id": "c2", "output": "ok"},
                {"role": "assistant", "content": "Done"},
                {"role": "user", "content": "Thanks"},
            ],
        })
    );
}

#[test]
fn reasoning_of_others_without_content_or_without_what_it_led_to_stays_here() {
    let bare = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let parts = [
        reasoning("other", "m", &thought("rs_1")),
        reasoning("openai", "n", &thought("rs_1")),
        reasoning("openai", "m", &bare),
    ];
    for part in parts {
        let sent = items(vec![assistant(vec![part, call("c", json!({}))])]);
        assert_eq!(sent.as_array().unwrap().len(), 1, "{sent}");
    }
    let open = json!({"type": "reasoning", "id": "rs_1", "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm"}]});
    let sent = items(vec![assistant(vec![reasoning("openai", "m", &open), call("c", json!({}))])]);
    assert_eq!(sent[0], open);
    assert_eq!(items(vec![assistant(vec![reasoning("openai", "m", &thought("rs_1"))])]), json!([]));
}

#[test]
fn extra_adds_and_removes_fields_but_does_not_contradict_the_request() {
    let mut request = LlmRequest::new("m", Vec::new());
    request.extra.insert("include".into(), Value::Null);
    request.extra.insert("truncation".into(), json!("disabled"));
    let body = encoded(&request, &Profile::openai()).body;
    assert_eq!((body.get("include"), &body["truncation"]), (None, &json!("disabled")));
    request.extra.insert("input".into(), json!([]));
    let names = ToolNames::of(&request, NAMES);
    let fault = super::body(&request, &names, &Profile::openai(), "openai").unwrap_err();
    assert_eq!(fault.kind, ErrorKind::InvalidRequest);
}

#[test]
fn an_effort_that_the_server_does_not_know_is_left_out_with_a_notice() {
    let mut request = LlmRequest::new("m", Vec::new());
    request.reasoning = Some(ReasoningEffort::High);
    let sent = encoded(&request, &Profile::compatible());
    assert_eq!((sent.body.get("reasoning"), sent.notices.len()), (None, 1));
}

proptest! {
    #[test]
    fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one(
        turns in proptest::collection::vec((0..6_u8, "[a-c]{0,3}"), 1..12),
        at in any::<prop::sample::Index>(),
    ) {
        let messages: Vec<Message> = turns
            .into_iter()
            .map(|(kind, id)| match kind {
                0 => Message::text(Role::User, id),
                1 => Message::text(Role::Assistant, id),
                2 => assistant(vec![
                    reasoning("openai", "m", &thought(&id)),
                    call(&id, json!({"b": 1, "a": [id]})),
                    call(&id, json!(null)),
                ]),
                3 => assistant(vec![reasoning("openai", "m", &thought(&id))]),
                4 => tool(&id),
                _ => Message::text(Role::System, id),
            })
            .chain(conversation())
            .collect();
        let shorter = messages[..at.index(messages.len()) + 1].to_vec();
        let (long, short) = (items(messages).to_string(), items(shorter).to_string());
        prop_assert!(long.starts_with(short.strip_suffix(']').unwrap()), "{short}\n{long}");
    }
}
