use agent_runner_core::message::{ProviderState, ToolCall};

use super::*;

#[test]
fn a_conversation_with_tools_is_encoded_whole() {
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
    request.extra.insert("keep_alive".into(), json!("10m"));
    request.extra.insert("shift".into(), Value::Null);
    request.extra.insert("options".into(), json!({"seed": 1, "num_ctx": 99}));
    assert_eq!(
        body(&request, Some(4096), "ollama").unwrap(),
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
    assert_eq!(body(&request, None, "ollama").unwrap_err().kind, ErrorKind::InvalidRequest);
}
