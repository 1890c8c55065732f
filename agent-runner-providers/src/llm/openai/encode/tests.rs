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

fn assistant(parts: Vec<Part>) -> Message {
    Message { role: Role::Assistant, parts }
}

fn tool_turn(id: &str) -> Message {
    Message { role: Role::Tool, parts: vec![result(id, "t", "ok")] }
}

#[test]
fn deepseek_gets_reasoning_back_with_every_call_even_where_there_is_none() {
    let messages = vec![
        assistant(vec![reasoning("openai", "m", "Hm"), call("a", "t", json!({}))]),
        tool_turn("a"),
        assistant(vec![reasoning("other", "n", "foreign"), call("b", "t", json!({}))]),
        tool_turn("b"),
        assistant(vec![call("c", "t", json!({}))]),
        tool_turn("c"),
        Message::text(Role::Assistant, "Done"),
    ];
    let body = encoded_for(&LlmRequest::new("m", messages), &Profile::deepseek());
    let sent: Vec<Option<&str>> = [0, 2, 4, 6]
        .map(|at| body["messages"][at].get("reasoning_content").map(|it| it.as_str().unwrap()))
        .to_vec();
    assert_eq!(sent, [Some("Hm"), Some(""), Some(""), None]);
}

#[test]
fn a_profile_says_when_reasoning_goes_back() {
    let with = assistant(vec![reasoning("openai", "m", "Hm"), call("a", "t", json!({}))]);
    let without = assistant(vec![reasoning("openai", "m", "Hm")]);
    for (echo, expected) in [
        (Echo::Never, [false, false]),
        (Echo::WithToolCalls, [true, false]),
        (Echo::Always, [true; 2]),
    ] {
        let mut profile = Profile::compatible();
        profile.echo = echo;
        let messages = vec![with.clone(), without.clone()];
        let body = encoded_for(&LlmRequest::new("m", messages), &profile);
        let sent = [0, 1].map(|at| body["messages"][at].get("reasoning_content").is_some());
        assert_eq!(sent, expected, "{echo:?}");
    }
}

#[test]
fn openrouter_gets_the_details_of_its_reasoning_back_verbatim() {
    let details = json!([
        {"type": "reasoning.text", "text": "Hm", "signature": "c2ln+/==", "index": 0, "format": "f"},
        {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 1},
    ]);
    let state = ProviderState {
        provider: "openai".into(),
        model: "m".into(),
        raw: json!({"field": "reasoning", "details": details}),
    };
    let said = Part::Reasoning { text: "Hm".into(), provider_state: Some(state) };
    let request = LlmRequest::new("m", vec![assistant(vec![said])]);
    let body = encoded_for(&request, &Profile::openrouter());
    let turn = json!({"role": "assistant", "content": "", "reasoning_details": details});
    assert_eq!(body["messages"][0], turn);
}

#[test]
fn mistral_gets_ids_of_nine_characters_and_a_word_between_tool_and_user() {
    let messages = vec![
        assistant(vec![call("call_abc", "t", json!({})), call("Kept00009", "t", json!({}))]),
        Message {
            role: Role::Tool,
            parts: vec![result("call_abc", "t", "ok"), result("Kept00009", "t", "ok")],
        },
        Message::text(Role::User, "And?"),
    ];
    let body = encoded_for(&LlmRequest::new("m", messages.clone()), &Profile::mistral());
    let turns = body["messages"].as_array().unwrap();
    let calls = &turns[0]["tool_calls"];
    let id = calls[0]["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(
        (&turns[1]["tool_call_id"], &calls[1]["id"]),
        (&calls[0]["id"], &json!("Kept00009"))
    );
    assert_eq!(turns[2]["tool_call_id"], "Kept00009");
    assert_eq!(turns[3], json!({"role": "assistant", "content": NOTED}));
    assert_eq!(turns[4], json!({"role": "user", "content": "And?"}));
    let others = encoded_for(&LlmRequest::new("m", messages), &Profile::compatible());
    assert_eq!(others["messages"].as_array().unwrap().len(), 4);
}

#[test]
fn an_id_that_a_conversation_has_twice_becomes_two() {
    let turn = || [assistant(vec![call("c", "t", json!({}))]), tool_turn("c")];
    let body = encoded(&LlmRequest::new("m", [turn(), turn()].concat()));
    let turns = &body["messages"];
    let ids = [0, 2].map(|at| turns[at]["tool_calls"][0]["id"].clone());
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids, [1, 3].map(|at| turns[at]["tool_call_id"].clone()));
}

#[test]
fn instructions_strictness_and_effort_are_the_profiles() {
    let mut request = LlmRequest::new("m", vec![Message::text(Role::System, "Be brief.")]);
    request.output_schema = Some(json!({"type": "string"}));
    request.reasoning = Some(agent_runner_core::llm::ReasoningEffort::High);
    let openai = encoded_for(&request, &Profile::openai());
    assert_eq!(openai["messages"][0]["role"], "developer");
    assert_eq!(openai["response_format"]["json_schema"]["strict"], true);
    assert_eq!(openai["reasoning_effort"], "high");
    let names = ToolNames::of(&request, super::super::NAMES);
    let local = body(&request, &names, &Profile::llama_cpp(), "openai").unwrap();
    assert_eq!(local.body["messages"][0]["role"], "system");
    assert_eq!(local.body["response_format"]["json_schema"].get("strict"), None);
    assert_eq!(local.body.get("reasoning_effort"), None);
    assert!(local.notices[0].contains("llama.cpp"), "{:?}", local.notices);
}

#[test]
fn a_requests_own_fields_win_over_the_profiles() {
    let mut profile = Profile::compatible();
    profile.extra.insert("top_k".into(), json!(20));
    profile.extra.insert("seed".into(), json!(1));
    let mut request = LlmRequest::new("m", Vec::new());
    request.extra.insert("seed".into(), json!(7));
    let body = encoded_for(&request, &profile);
    assert_eq!((&body["top_k"], &body["seed"]), (&json!(20), &json!(7)));
}

#[test]
fn a_call_without_arguments_goes_back_with_an_empty_object() {
    let body = encoded(&LlmRequest::new("m", vec![assistant(vec![call("c", "t", json!({}))])]));
    assert_eq!(body["messages"][0]["tool_calls"][0]["function"]["arguments"], "{}");
}

proptest! {
    #[test]
    fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one(
        turns in proptest::collection::vec((0..5_u8, "[a-c]{0,3}", "t|a.b|a_b|.{0,70}"), 1..12),
        at in any::<prop::sample::Index>(),
    ) {
        let messages: Vec<Message> = turns
            .into_iter()
            .map(|(kind, id, name)| match kind {
                0 => Message::text(Role::User, id),
                1 => Message::text(Role::Assistant, id),
                2 => assistant(vec![
                    reasoning("openai", "m", &id),
                    call(&id, &name, json!({"b": 1, "a": [name]})),
                    call(&id, "t", json!(null)),
                ]),
                3 => Message { role: Role::Tool, parts: vec![result(&id, &name, "x")] },
                _ => Message::text(Role::System, id),
            })
            .collect();
        let mut request = LlmRequest::new("m", messages);
        request.tools = vec![spec("a.b"), spec("t")];
        let mut shorter = request.clone();
        shorter.messages.truncate(at.index(request.messages.len()) + 1);
        for profile in Profile::all() {
            let (long, short) = (encoded_for(&request, &profile), encoded_for(&shorter, &profile));
            let (long, short) = (long["messages"].to_string(), short["messages"].to_string());
            prop_assert!(long.starts_with(short.strip_suffix(']').unwrap()), "{short}\n{long}");
        }
    }

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
