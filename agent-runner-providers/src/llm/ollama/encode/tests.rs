use agent_runner_core::{llm::ErrorKind, message::ToolCall};

use super::*;

fn conversation() -> LlmRequest {
    let state = |provider: &str| {
        let raw = json!({"field": "thinking"});
        Some(ProviderState { provider: provider.into(), model: "m".into(), raw })
    };
    let mut request = LlmRequest::new(
        "m",
        vec![
            Message::text(Role::System, "Be brief."),
            Message::text(Role::User, "What time is it?"),
            Message {
                role: Role::Assistant,
                parts: vec![
                    Part::Reasoning { text: "I think".into(), provider_state: state("ollama") },
                    Part::Reasoning { text: "foreign".into(), provider_state: state("openai") },
                    Part::ToolCall(ToolCall {
                        id: "c1".into(),
                        name: "time.now".into(),
                        arguments: json!("{never"),
                        provider_state: None,
                    }),
                ],
            },
            Message {
                role: Role::Tool,
                parts: vec![Part::ToolResult {
                    call_id: "c1".into(),
                    name: "time.now".into(),
                    text: "noon".into(),
                    is_error: false,
                }],
            },
        ],
    );
    request.tools.push(ToolSpec {
        name: "time.now".into(),
        description: "Tells the time.".into(),
        input_schema: json!({"type": "object"}),
    });
    request.output_schema = Some(json!({"type": "string"}));
    request.temperature = Some(0.7);
    request.max_output_tokens = Some(64);
    request
}

#[test]
fn a_conversation_with_tools_is_encoded_whole() {
    let mut request = conversation();
    request.extra.insert("keep_alive".into(), json!("10m"));
    request.extra.insert("shift".into(), Value::Null);
    request.extra.insert("options".into(), json!({"seed": 1, "num_ctx": 99}));
    let known = Capabilities { context_window: Some(4096), ..Capabilities::default() };
    assert_eq!(
        body(&request, known, "ollama").unwrap().body,
        json!({
            "model": "m",
            "stream": true,
            "truncate": false,
            "keep_alive": "10m",
            "format": {"type": "string"},
            "options": {"num_ctx": 99, "num_predict": 64, "temperature": 0.7, "seed": 1},
            "tools": [{"type": "function", "function": {
                "name": "time.now", "description": "Tells the time.",
                "parameters": {"type": "object"},
            }}],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What time is it?"},
                {"role": "assistant", "content": "", "thinking": "I think", "tool_calls": [
                    {"id": "c1", "function": {
                        "name": "time.now", "arguments": {"invalid_arguments": "{never"}}},
                ]},
                {"role": "tool", "content": "noon", "tool_name": "time.now", "tool_call_id": "c1"},
            ],
        })
    );
    request.extra.insert("stream".into(), json!(false));
    let fault = body(&request, known, "ollama").unwrap_err();
    assert_eq!(fault.kind, ErrorKind::InvalidRequest);
}

fn capable(reasoning: Option<bool>) -> Capabilities {
    Capabilities { reasoning, ..Capabilities::default() }
}

#[test]
fn the_reasoning_effort_is_a_switch_or_a_level_where_the_model_can_think() {
    let mut request = LlmRequest::new("m", Vec::new());
    let table = [
        (ReasoningEffort::Off, json!(false)),
        (ReasoningEffort::Low, json!("low")),
        (ReasoningEffort::Medium, json!(true)),
        (ReasoningEffort::High, json!("high")),
        (ReasoningEffort::Max, json!("max")),
    ];
    for (effort, expected) in table {
        request.reasoning = Some(effort);
        let encoded = body(&request, capable(Some(true)), "ollama").unwrap();
        assert_eq!((&encoded.body["think"], encoded.notices.len()), (&expected, 0));
        for unable in [None, Some(false)] {
            let encoded = body(&request, capable(unable), "ollama").unwrap();
            let off = effort == ReasoningEffort::Off;
            assert_eq!(encoded.body.get("think").is_some(), off, "{effort:?}");
            assert_eq!(encoded.notices.len(), usize::from(!off), "{effort:?}");
        }
    }
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let whole = conversation();
    let mut before = String::new();
    for length in 1..=whole.messages.len() {
        let mut request = whole.clone();
        request.messages.truncate(length);
        let body = body(&request, Capabilities::default(), "ollama").unwrap().body;
        let text = body["messages"].to_string();
        let text = text.strip_suffix(']').unwrap();
        assert!(text.starts_with(&before), "{before}\n{text}");
        before = text.to_owned();
    }
}

#[test]
fn an_id_that_a_conversation_has_twice_becomes_two() {
    let turn = || {
        let call = ToolCall {
            id: "c".into(),
            name: "t".into(),
            arguments: json!({}),
            provider_state: None,
        };
        let result = Part::ToolResult {
            call_id: "c".into(),
            name: "t".into(),
            text: String::new(),
            is_error: false,
        };
        [
            Message { role: Role::Assistant, parts: vec![Part::ToolCall(call)] },
            Message { role: Role::Tool, parts: vec![result] },
        ]
    };
    let messages = [turn(), turn()].concat();
    let request = LlmRequest::new("m", messages);
    let body = body(&request, Capabilities::default(), "ollama").unwrap().body;
    let at = |path: &str| body.pointer(path).unwrap().clone();
    let ids = [at("/messages/0/tool_calls/0/id"), at("/messages/2/tool_calls/0/id")];
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids, [at("/messages/1/tool_call_id"), at("/messages/3/tool_call_id")]);
}
