use agent_runner_core::{
    llm::ReasoningEffort,
    message::{Message, Part, ProviderState, Role, ToolCall},
};

use super::{super::models::generation_of, *};

mod cache;

const MODEL: &str = "claude-sonnet-4-5";

fn encoded_with(request: &LlmRequest, cache: CacheLifetime) -> Encoded {
    let names = ToolNames::of(request, super::super::NAMES);
    let generation = generation_of(&request.model);
    let max_output = generation.max_output;
    let setting = Setting { provider: "anthropic", names: &names, cache, generation, max_output };
    body(request, &setting).unwrap()
}

fn encoded(request: &LlmRequest) -> Value {
    encoded_with(request, CacheLifetime::Off).body
}

fn spec(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: "Does it.".to_owned(),
        input_schema: json!({"type": "object"}),
    }
}

fn text(text: &str) -> Part {
    Part::Text { text: text.to_owned(), provider_state: None }
}

fn raw(provider: &str, model: &str, raw: Value) -> Part {
    let state = ProviderState { provider: provider.to_owned(), model: model.to_owned(), raw };
    Part::Reasoning { text: "shown".to_owned(), provider_state: Some(state) }
}

fn thought(signature: &str) -> Part {
    raw("anthropic", MODEL, json!({"type": "thinking", "thinking": "", "signature": signature}))
}

fn call(id: &str, name: &str, arguments: Value) -> Part {
    let call = ToolCall { id: id.into(), name: name.into(), arguments, provider_state: None };
    Part::ToolCall(call)
}

fn result(id: &str, text: &str, is_error: bool) -> Part {
    let (call_id, name, text) = (id.into(), "t".into(), text.into());
    Part::ToolResult { call_id, name, text, is_error }
}

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts }
}

fn asking(effort: Option<ReasoningEffort>, model: &str) -> LlmRequest {
    let mut request = LlmRequest::new(model, vec![Message::text(Role::User, "Hi")]);
    request.reasoning = effort;
    request
}

#[test]
fn a_conversation_with_tools_is_encoded_whole() {
    let mut request = LlmRequest::new(
        MODEL,
        vec![
            Message::text(Role::System, "Be brief."),
            Message::text(Role::User, "Write a.md"),
            said(
                Role::Assistant,
                vec![
                    thought("EqQ="),
                    text("I write."),
                    call("c1", "files.write", json!({"path": "a.md"})),
                    call("c2", "files.write", json!("{\"path")),
                ],
            ),
            said(Role::Tool, vec![result("c1", "ok", false)]),
            said(Role::User, vec![text("Hurry!")]),
            said(Role::Tool, vec![result("c2", "bad", true)]),
            Message::text(Role::Assistant, "Done"),
            Message::text(Role::User, "Thanks"),
        ],
    );
    request.tools = vec![spec("files.write")];
    request.max_output_tokens = Some(64);
    assert_eq!(
        encoded(&request),
        json!({
            "model": MODEL,
            "max_tokens": 64,
            "stream": true,
            "system": [{"type": "text", "text": "Be brief."}],
            "tools": [{
                "name": "files_write", "description": "Does it.", "input_schema": {"type": "object"},
            }],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Write a.md"}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "", "signature": "EqQ="},
                    {"type": "text", "text": "I write."},
                    {"type": "tool_use", "id": "c1", "name": "files_write",
                        "input": {"path": "a.md"}},
                    {"type": "tool_use", "id": "c2", "name": "files_write",
                        "input": {"invalid_arguments": "{\"path"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "ok"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "bad", "is_error": true},
                    {"type": "text", "text": "Hurry!"},
                ]},
                {"role": "assistant", "content": [{"type": "text", "text": "Done"}]},
                {"role": "user", "content": [{"type": "text", "text": "Thanks"}]},
            ],
        })
    );
}

#[test]
fn blank_texts_are_dropped_and_turns_that_lose_everything_with_them() {
    let request = LlmRequest::new(
        MODEL,
        vec![
            said(Role::User, vec![text(" \n"), text("Hi")]),
            said(Role::Assistant, vec![text("")]),
            said(Role::User, vec![text("Well?")]),
            said(Role::Assistant, vec![text("\t"), call("c1", "t", json!({}))]),
            said(Role::User, vec![text(""), result("c1", "\n", false)]),
        ],
    );
    assert_eq!(
        encoded(&request)["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "text", "text": "Hi"},
                {"type": "text", "text": "Well?"},
            ]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "t", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1"}]},
        ])
    );
}

#[test]
fn every_call_has_its_result_and_every_result_its_call() {
    let request = LlmRequest::new(
        MODEL,
        vec![
            said(Role::Tool, vec![result("gone", "4 files", false), result("blank", "", false)]),
            said(Role::Assistant, vec![call("a", "t", json!({})), call("b", "t", json!("{\"p"))]),
            said(Role::User, vec![text("It was cut off."), result("b", "ok", false)]),
            said(Role::Assistant, vec![call("c", "t", json!({}))]),
        ],
    );
    let body = encoded(&request);
    assert_eq!(body["messages"][0]["content"], json!([{"type": "text", "text": "4 files"}]));
    assert_eq!(
        body["messages"][2]["content"],
        json!([
            {"type": "tool_result", "tool_use_id": "b", "content": "ok"},
            {"type": "tool_result", "tool_use_id": "a",
                "content": "The call was not carried out.", "is_error": true},
            {"type": "text", "text": "It was cut off."},
        ])
    );
    assert_eq!(body["messages"].as_array().unwrap().len(), 4);
}

#[test]
fn blocks_go_back_as_they_came_and_in_order_to_their_own_model_only() {
    let search = json!({"type": "server_tool_use", "id": "s", "name": "web", "input": {"q": 1}});
    let redacted = json!({"type": "redacted_thinking", "data": "Emw="});
    let state = |raw: &Value| ProviderState {
        provider: "anthropic".to_owned(),
        model: MODEL.to_owned(),
        raw: raw.clone(),
    };
    let parts = vec![
        raw("anthropic", MODEL, redacted.clone()),
        text("I look."),
        Part::Text { text: String::new(), provider_state: Some(state(&search)) },
        thought("a"),
    ];
    let messages = vec![Message::text(Role::User, "Hi"), said(Role::Assistant, parts)];
    let blocks = |model: &str| {
        encoded(&LlmRequest::new(model, messages.clone()))["messages"][1]["content"].clone()
    };
    let signed = json!({"type": "thinking", "thinking": "", "signature": "a"});
    let said = json!({"type": "text", "text": "I look."});
    assert_eq!(blocks(MODEL), json!([redacted, said, search, signed]));
    assert_eq!(blocks("claude-opus-5-5"), json!([said]));
    let foreign = vec![raw("gemini", MODEL, json!({"signature": "x"})), text("I look.")];
    let request = LlmRequest::new(MODEL, vec![Message { role: Role::Assistant, parts: foreign }]);
    assert_eq!(encoded(&request)["messages"][0]["content"], json!([said]));
}

#[test]
fn instructions_that_come_later_stand_where_they_came() {
    let request = LlmRequest::new(
        MODEL,
        vec![
            Message::text(Role::System, "First."),
            Message::text(Role::System, " "),
            Message::text(Role::User, "Hi"),
            Message::text(Role::Assistant, "Yes?"),
            Message::text(Role::System, "Second."),
        ],
    );
    let body = encoded(&request);
    assert_eq!(body["system"], json!([{"type": "text", "text": "First."}]));
    assert_eq!(
        body["messages"][2],
        json!({"role": "user", "content": [{"type": "text", "text": "Second."}]})
    );
}

#[test]
fn ids_of_other_services_become_ids_that_the_api_takes() {
    let ids = ["call:1", "call_1", "call.1", "", "ü"];
    let parts = |part: fn(&str) -> Part| ids.iter().map(|id| part(id)).collect();
    let request = LlmRequest::new(
        MODEL,
        vec![
            said(Role::Assistant, parts(|id| call(id, "t", json!({})))),
            said(Role::Tool, parts(|id| result(id, "ok", false))),
        ],
    );
    let body = encoded(&request);
    let of = |turn: usize, field: &str| -> Vec<String> {
        let blocks = body["messages"][turn]["content"].as_array().unwrap();
        blocks.iter().map(|block| block[field].as_str().unwrap().to_owned()).collect()
    };
    let calls = of(0, "id");
    assert_eq!(calls, of(1, "tool_use_id"));
    assert_eq!(calls, ["id_call_3a1", "call_1", "id_call_2e1", "id_", "id__c3_bc"]);
}

#[test]
fn a_temperature_is_left_out_and_the_reply_will_say_so() {
    let mut request = asking(None, MODEL);
    request.temperature = Some(0.7);
    let encoded = encoded_with(&request, CacheLifetime::Off);
    assert_eq!(encoded.body.get("temperature"), None);
    assert_eq!(encoded.notices.len(), 1);
    assert!(encoded.notices[0].contains("temperature of 0.7"), "{:?}", encoded.notices);
}

#[test]
fn an_output_limit_is_always_sent() {
    for (asked, known, sent) in
        [(Some(7), Some(9), 7), (None, Some(9), 9), (None, None, MAX_TOKENS)]
    {
        let mut request = asking(None, "somebody-elses");
        request.max_output_tokens = asked;
        let names = ToolNames::of(&request, super::super::NAMES);
        let setting = Setting {
            provider: "anthropic",
            names: &names,
            cache: CacheLifetime::Off,
            generation: generation_of(&request.model),
            max_output: known,
        };
        assert_eq!(body(&request, &setting).unwrap().body["max_tokens"], sent);
    }
}

#[test]
fn a_schema_stands_beside_tools_and_forces_none() {
    let mut request = asking(Some(ReasoningEffort::Low), "claude-opus-5-5");
    request.tools = vec![spec("t")];
    request.output_schema =
        Some(json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}));
    let body = encoded(&request);
    assert_eq!(
        body["output_config"],
        json!({"effort": "low", "format": {"type": "json_schema", "schema": {
            "type": "object", "additionalProperties": false,
            "properties": {"n": {"type": "integer", "description": "minimum: 1"}},
        }}})
    );
    assert_eq!((body.get("tool_choice"), body["tools"].as_array().unwrap().len()), (None, 1));
}

#[test]
fn a_tool_always_has_an_object_for_its_schema() {
    let mut request = asking(None, MODEL);
    request.tools = [json!({}), json!(null), json!({"type": "object", "properties": {}})]
        .map(|input_schema| ToolSpec { input_schema, description: " ".into(), ..spec("t") })
        .to_vec();
    assert_eq!(
        encoded(&request)["tools"],
        json!([
            {"name": "t", "input_schema": {"type": "object"}},
            {"name": "t", "input_schema": {"type": "object"}},
            {"name": "t", "input_schema": {"type": "object", "properties": {}}},
        ])
    );
}

#[test]
fn every_generation_gets_the_thinking_that_it_takes() {
    let adaptive = json!({"type": "adaptive"});
    let shown = json!({"type": "adaptive", "display": "summarized"});
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let none = || Value::Null;
    let (off, low, medium, max) = (
        Some(ReasoningEffort::Off),
        Some(ReasoningEffort::Low),
        Some(ReasoningEffort::Medium),
        Some(ReasoningEffort::Max),
    );
    let table = [
        ("claude-opus-5-5", None, shown.clone(), none()),
        ("claude-opus-5-5", off, none(), json!("low")),
        ("claude-opus-5-5", max, shown.clone(), json!("max")),
        ("claude-fable-5-1", medium, shown.clone(), json!("medium")),
        ("claude-haiku-5-5", off, none(), json!("low")),
        ("claude-sonnet-5-5", None, shown.clone(), none()),
        ("claude-sonnet-5-5", off, json!({"type": "between_tools"}), json!("low")),
        ("claude-opus-5", off, json!({"type": "disabled"}), json!("low")),
        ("claude-opus-4-8", None, none(), none()),
        ("claude-opus-4-8", off, none(), json!("low")),
        ("claude-opus-4-6", medium, adaptive, json!("medium")),
        ("claude-opus-4-5", max, budget(32_000), json!("high")),
        (MODEL, None, none(), none()),
        (MODEL, off, none(), none()),
        (MODEL, low, budget(2_048), none()),
        (MODEL, max, budget(32_000), none()),
        ("claude-3-5-haiku-20241022", max, none(), none()),
        ("claude-opus-9", None, none(), none()),
        ("claude-opus-9", off, none(), json!("low")),
        ("claude-opus-9", max, shown, json!("max")),
    ];
    for (model, effort, thinking, level) in table {
        let body = encoded(&asking(effort, model));
        let sent = (&body["thinking"], &body["output_config"]["effort"]);
        assert_eq!(sent, (&thinking, &level), "{model} {effort:?}");
    }
}

#[test]
fn a_budget_leaves_room_for_the_answer_or_is_not_asked_for() {
    for (limit, budget, notices) in
        [(1_024, None, 1), (1_025, Some(1_024), 0), (6_000, Some(3_000), 0)]
    {
        let mut request = asking(Some(ReasoningEffort::High), MODEL);
        request.max_output_tokens = Some(limit);
        let encoded = encoded_with(&request, CacheLifetime::Off);
        assert_eq!(encoded.body["thinking"]["budget_tokens"].as_u64(), budget, "{limit}");
        assert_eq!(encoded.notices.len(), notices, "{limit}: {:?}", encoded.notices);
    }
}

#[test]
fn no_budget_is_asked_for_in_the_middle_of_another_models_tool_calls() {
    let conversation = |first: Part| {
        let mut request = asking(Some(ReasoningEffort::High), MODEL);
        request.messages.extend([
            said(Role::Assistant, vec![first, call("c", "t", json!({}))]),
            said(Role::Tool, vec![result("c", "ok", false)]),
        ]);
        request
    };
    let foreign = encoded_with(&conversation(raw("gemini", "g", json!({}))), CacheLifetime::Off);
    assert_eq!(foreign.body.get("thinking"), None);
    assert!(foreign.notices[0].contains("another model's"), "{:?}", foreign.notices);
    let own = encoded_with(&conversation(thought("s")), CacheLifetime::Off);
    assert_eq!(own.body["thinking"]["type"], "enabled");
}

#[test]
fn extra_fields_are_added_merged_or_taken_away_but_never_contradict() {
    let mut request = asking(Some(ReasoningEffort::Low), "claude-opus-5-5");
    request.output_schema = Some(json!({"type": "object"}));
    request.extra = [
        ("stop_sequences".to_owned(), json!(["END"])),
        ("output_config".to_owned(), json!({"effort": "xhigh"})),
        ("thinking".to_owned(), Value::Null),
    ]
    .into();
    let body = encoded(&request);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["output_config"]["effort"], "xhigh");
    assert_eq!(body["output_config"]["format"]["type"], "json_schema");
    assert_eq!(body.get("thinking"), None);
    for field in RESERVED {
        let mut request = asking(None, MODEL);
        request.extra = [(field.to_owned(), Value::Null)].into();
        let names = ToolNames::of(&request, super::super::NAMES);
        let setting = Setting {
            provider: "anthropic",
            names: &names,
            cache: CacheLifetime::Off,
            generation: generation_of(MODEL),
            max_output: None,
        };
        let fault = super::body(&request, &setting).unwrap_err();
        assert_eq!(fault.kind, ErrorKind::InvalidRequest, "{field}");
    }
}

#[test]
fn counting_sends_the_prompt_and_nothing_else() {
    let mut request = asking(Some(ReasoningEffort::Low), "claude-opus-5-5");
    request.tools = vec![spec("t")];
    request.extra = [("service_tier".to_owned(), json!("auto"))].into();
    let body = counted(encoded(&request));
    let fields: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["messages", "model", "output_config", "thinking", "tools"]);
}
