use agent_runner_core::message::{Message, Part, Role, ToolCall};
use proptest::prelude::*;

use super::*;

const NEW: &str = "gemini-3.8-flash";
const OLD: &str = "gemini-2.5-flash";

fn target(model: &str) -> Target<'_> {
    let family = Family::of(model);
    Target { provider: "gemini", model, family, thinking: family.thinking }
}

fn outgoing_of(request: &LlmRequest) -> Result<Outgoing, Fault> {
    outgoing(request, &ToolNames::of(request, super::super::NAMES), target(&request.model))
}

fn encoded(request: &LlmRequest) -> Value {
    outgoing_of(request).unwrap().body
}

fn contents_of(model: &str, messages: Vec<Message>) -> Value {
    encoded(&LlmRequest::new(model, messages))["contents"].clone()
}

fn spec(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: "Does it.".to_owned(),
        input_schema: json!({"type": "object"}),
    }
}

fn state(provider: &str, model: &str, raw: Value) -> Option<ProviderState> {
    Some(ProviderState { provider: provider.into(), model: model.into(), raw })
}

fn own(raw: Value) -> Option<ProviderState> {
    state("gemini", NEW, raw)
}

fn text(text: &str, provider_state: Option<ProviderState>) -> Part {
    Part::Text { text: text.into(), provider_state }
}

fn call(id: &str, name: &str, provider_state: Option<ProviderState>) -> Part {
    let (id, name, arguments) = (id.into(), name.into(), json!({"a": 1}));
    Part::ToolCall(ToolCall { id, name, arguments, provider_state })
}

fn result(id: &str, name: &str, text: &str) -> Part {
    let (call_id, name, text) = (id.into(), name.into(), text.into());
    Part::ToolResult { call_id, name, text, is_error: false }
}

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts }
}

fn conversation() -> Vec<Message> {
    let failed = Part::ToolResult {
        call_id: "c2".into(),
        name: "7.up".into(),
        text: "no".into(),
        is_error: true,
    };
    vec![
        Message::text(Role::System, "Be brief."),
        Message::text(Role::System, "Be kind."),
        Message::text(Role::User, "Write a.md"),
        Message::text(Role::User, "Now."),
        said(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "unsigned".into(), provider_state: None },
                Part::Reasoning {
                    text: "I think".into(),
                    provider_state: own(json!({"thoughtSignature": "r=="})),
                },
                call("c1", "files.write", own(json!({"thoughtSignature": "s-_/+=", "id": "fc_1"}))),
                call("c2", "7.up", own(json!({"id": "fc_2"}))),
            ],
        ),
        said(Role::Tool, vec![failed, result("c1", "files.write", "ok")]),
        Message::text(Role::User, "And?"),
        said(
            Role::Assistant,
            vec![text("Done", None), text("", own(json!({"thoughtSignature": "t"})))],
        ),
        Message::text(Role::System, "Be quick."),
    ]
}

#[test]
fn a_conversation_with_tools_is_encoded_whole() {
    let mut request = LlmRequest::new(NEW, conversation());
    request.tools = vec![spec("files.write"), spec("7.up")];
    request.temperature = Some(0.2);
    request.max_output_tokens = Some(64);
    request.reasoning = Some(ReasoningEffort::Low);
    assert_eq!(
        encoded(&request),
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Write a.md"}, {"text": "Now."}]},
                {"role": "model", "parts": [
                    {"text": "I think", "thought": true, "thoughtSignature": "r=="},
                    {"functionCall": {"name": "files.write", "args": {"a": 1}, "id": "fc_1"},
                        "thoughtSignature": "s-_/+="},
                    {"functionCall": {"name": "_7.up", "args": {"a": 1}, "id": "fc_2"}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "files.write", "id": "fc_1",
                        "response": {"output": "ok"}}},
                    {"functionResponse": {"name": "_7.up", "id": "fc_2",
                        "response": {"error": "no"}}},
                    {"text": "And?"},
                ]},
                {"role": "model", "parts": [
                    {"text": "Done"}, {"text": "", "thoughtSignature": "t"},
                ]},
                {"role": "user", "parts": [{"text": "Be quick."}]},
            ],
            "tools": [{"functionDeclarations": [
                {"name": "files.write", "description": "Does it.",
                    "parametersJsonSchema": {"type": "object"}},
                {"name": "_7.up", "description": "Does it.",
                    "parametersJsonSchema": {"type": "object"}},
            ]}],
            "generationConfig": {
                "temperature": 0.2,
                "maxOutputTokens": 64,
                "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": true},
            },
        })
    );
}

#[test]
fn signatures_go_back_only_to_the_model_they_came_from() {
    let signed = |provider: &str, model: &str| {
        let raw = json!({"thoughtSignature": "s", "id": "fc"});
        let call = call("c", "t", state(provider, model, raw.clone()));
        let text = text("", state(provider, model, raw));
        contents_of(NEW, vec![said(Role::Assistant, vec![call, text])])[0]["parts"].clone()
    };
    let mine = json!([
        {"functionCall": {"name": "t", "args": {"a": 1}, "id": "fc"}, "thoughtSignature": "s"},
        {"text": "", "thoughtSignature": "s"},
    ]);
    assert_eq!(signed("gemini", NEW), mine);
    let foreign = json!([{"functionCall": {"name": "t", "args": {"a": 1}},
        "thoughtSignature": "skip_thought_signature_validator"}]);
    for (provider, model) in [("gemini", "gemini-4-argon"), ("other", NEW), ("openai", "gpt-6")] {
        assert_eq!(signed(provider, model), foreign, "{provider} {model}");
    }
}

#[test]
fn the_first_call_of_each_step_has_a_signature_where_the_model_wants_one() {
    let step = |a: &str, b: &str| {
        [
            said(Role::Assistant, vec![call(a, "t", None), call(b, "t", None)]),
            said(Role::Tool, vec![result(a, "t", "1"), result(b, "t", "2")]),
        ]
    };
    let messages = || {
        let goal = [Message::text(Role::User, "Go")];
        goal.into_iter().chain(step("a", "b")).chain(step("c", "d")).collect::<Vec<_>>()
    };
    let signatures = |model: &str| {
        let contents = contents_of(model, messages());
        [1, 3].map(|turn| {
            [0, 1].map(|part| contents[turn]["parts"][part].get("thoughtSignature").cloned())
        })
    };
    let dummy = || Some(json!("skip_thought_signature_validator"));
    assert_eq!(signatures(NEW), [[dummy(), None], [dummy(), None]]);
    assert_eq!(signatures(OLD), [[None, None], [None, None]]);
    assert_eq!(signatures("gemma-4-27b-it"), [[None, None], [None, None]]);
}

#[test]
fn every_call_has_one_answer_in_the_next_content_whatever_the_conversation_lacks() {
    let answer = |contents: &Value, turn: usize, part: usize| {
        contents[turn]["parts"][part]["functionResponse"]["response"].clone()
    };
    let missing = contents_of(
        OLD,
        vec![
            said(Role::Assistant, vec![call("a", "t", None), call("b", "t", None)]),
            said(Role::Tool, vec![result("b", "t", "B")]),
        ],
    );
    assert_eq!(answer(&missing, 1, 0), json!({"error": "there is no result of this call"}));
    assert_eq!(answer(&missing, 1, 1), json!({"output": "B"}));
    let open = contents_of(OLD, vec![said(Role::Assistant, vec![call("a", "t", None)])]);
    assert_eq!(answer(&open, 1, 0), json!({"error": "there is no result of this call"}));
    let orphan = contents_of(OLD, vec![said(Role::Tool, vec![result("x", "time.now", "noon")])]);
    let text = "Result of an earlier call of time.now:\nnoon";
    assert_eq!(orphan, json!([{"role": "user", "parts": [{"text": text}]}]));
}

#[test]
fn duplicate_call_ids_of_a_conversation_are_made_unique_when_they_go_back() {
    let step = |local: &str| {
        let state = own(json!({"id": "same", "thoughtSignature": "s"}));
        [
            said(Role::Assistant, vec![call(local, "t", state)]),
            said(Role::Tool, vec![result(local, "t", local)]),
        ]
    };
    let contents = contents_of(NEW, step("same").into_iter().chain(step("call00001")).collect());
    for (turn, id) in [(0, "same"), (2, "call00001")] {
        assert_eq!(contents[turn]["parts"][0]["functionCall"]["id"], id);
        let response = &contents[turn + 1]["parts"][0]["functionResponse"];
        assert_eq!((&response["id"], &response["response"]["output"]), (&json!(id), &json!(id)));
    }
}

#[test]
fn a_paused_reply_goes_on_with_its_token_and_the_request_it_belongs_to() {
    let paused = |said_so_far: &str, token: &str| {
        let token = own(json!({"continuationToken": token}));
        said(Role::Assistant, vec![text(said_so_far, None), text("", token)])
    };
    let mut messages = vec![Message::text(Role::User, "Write a book")];
    let first = contents_of(NEW, messages.clone());
    for token in ["t1", "t2"] {
        messages.push(paused("Once", token));
        let body = encoded(&LlmRequest::new(NEW, messages.clone()));
        assert_eq!((&body["continuationToken"], &body["contents"]), (&json!(token), &first));
        let elsewhere = encoded(&LlmRequest::new(OLD, messages.clone()));
        assert_eq!(elsewhere.get("continuationToken"), None);
        assert_eq!(elsewhere["contents"][1]["parts"][0]["text"], "Once");
    }
    messages.push(Message::text(Role::Assistant, "upon a time"));
    messages.push(Message::text(Role::User, "Thanks"));
    let body = encoded(&LlmRequest::new(NEW, messages));
    assert_eq!(body.get("continuationToken"), None);
    let parts = json!([{"text": "Once"}, {"text": "Once"}, {"text": "upon a time"}]);
    assert_eq!(body["contents"][1]["parts"], parts);
}

#[test]
fn blank_texts_without_a_signature_and_empty_messages_are_left_out() {
    let contents = contents_of(
        NEW,
        vec![
            Message::text(Role::User, "a"),
            said(Role::Assistant, vec![text("", None)]),
            Message::text(Role::User, "b"),
        ],
    );
    assert_eq!(contents, json!([{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]));
}

#[test]
fn a_schema_is_sent_alone_and_beside_tools_only_where_no_model_is_known_to_refuse_it() {
    let schema = json!({"type": "object"});
    let with = |model: &str, tools: Vec<ToolSpec>| {
        let mut request = LlmRequest::new(model, vec![Message::text(Role::User, "Hi")]);
        request.output_schema = Some(schema.clone());
        request.tools = tools;
        outgoing_of(&request)
    };
    let config = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
    for (model, tools) in [(OLD, vec![]), (NEW, vec![]), (NEW, vec![spec("t")])] {
        assert_eq!(with(model, tools).unwrap().body["generationConfig"], config, "{model}");
    }
    assert_eq!(with(OLD, vec![spec("t")]).unwrap_err().kind, ErrorKind::UnsupportedFeature);
}

#[test]
fn an_effort_that_a_model_does_not_take_is_left_out_and_said() {
    let with = |model: &str, effort: ReasoningEffort| {
        let mut request = LlmRequest::new(model, Vec::new());
        request.reasoning = Some(effort);
        let outgoing = outgoing_of(&request).unwrap();
        (outgoing.body.get("generationConfig").is_some(), outgoing.notice.is_some())
    };
    assert_eq!(with(NEW, ReasoningEffort::High), (true, false));
    assert_eq!(with("gemini-2.0-flash", ReasoningEffort::High), (false, true));
    assert_eq!(with("gemini-2.0-flash", ReasoningEffort::Off), (false, false));
    assert_eq!(with("gemma-4-27b-it", ReasoningEffort::Off), (false, true));
}

#[test]
fn extra_adds_and_removes_fields_but_does_not_contradict_the_request() {
    let mut request = LlmRequest::new(OLD, Vec::new());
    request.temperature = Some(1.0);
    request.max_output_tokens = Some(9);
    request.extra.insert("safetySettings".into(), json!([]));
    request.extra.insert("generationConfig".into(), json!({"seed": 7, "temperature": null}));
    let body = encoded(&request);
    assert_eq!(body["safetySettings"], json!([]));
    assert_eq!(body["generationConfig"], json!({"seed": 7, "maxOutputTokens": 9}));
    request.extra.insert("generationConfig".into(), Value::Null);
    assert_eq!(encoded(&request).get("generationConfig"), None);
    for field in RESERVED {
        let mut request = LlmRequest::new(OLD, Vec::new());
        request.extra.insert(field.into(), Value::Null);
        assert_eq!(outgoing_of(&request).unwrap_err().kind, ErrorKind::InvalidRequest, "{field}");
    }
}

fn any_part() -> impl Strategy<Value = (Role, Part)> {
    let id = || proptest::sample::select(vec!["a", "b", "c"]);
    let signed = || {
        proptest::option::of("[a-z]{1,3}")
            .prop_map(|raw| own(json!({"thoughtSignature": raw?, "id": "w"})))
    };
    prop_oneof![
        "[a-z]{0,3}".prop_map(|it| (Role::User, text(&it, None))),
        "[a-z]{0,3}".prop_map(|it| (Role::System, text(&it, None))),
        ("[a-z]{0,3}", signed()).prop_map(|(it, state)| (Role::Assistant, text(&it, state))),
        (id(), signed()).prop_map(|(id, state)| (Role::Assistant, call(id, "t.x", state))),
        id().prop_map(|id| (Role::Tool, result(id, "t.x", id))),
    ]
}

proptest! {
    #[test]
    fn contents_alternate_and_answer_each_call_once(
        parts in proptest::collection::vec(any_part(), 0..16),
        model in proptest::sample::select(vec![NEW, OLD]),
    ) {
        let messages = parts.into_iter().map(|(role, part)| said(role, vec![part])).collect();
        let contents = contents_of(model, messages);
        let contents = contents.as_array().unwrap();
        let count = |content: Option<&Value>, kind: &str| {
            let parts = content.and_then(|it| it["parts"].as_array()).into_iter().flatten();
            parts.filter(|part| part.get(kind).is_some()).count()
        };
        for (at, content) in contents.iter().enumerate() {
            prop_assert!(!content["parts"].as_array().unwrap().is_empty());
            if at > 0 {
                prop_assert_ne!(&content["role"], &contents[at - 1]["role"]);
            }
            let before = if at == 0 { None } else { contents.get(at - 1) };
            prop_assert_eq!(count(Some(content), "functionResponse"), count(before, "functionCall"));
        }
        prop_assert_eq!(count(contents.last(), "functionCall"), 0);
    }

    #[test]
    fn what_was_sent_stays_the_beginning_of_what_is_sent_byte_for_byte(
        replies in proptest::collection::vec(
            (proptest::collection::vec(any_part(), 1..5), proptest::collection::vec(any_part(), 1..4)),
            1..6,
        ),
        model in proptest::sample::select(vec![NEW, OLD]),
    ) {
        let mut messages = vec![Message::text(Role::System, "s"), Message::text(Role::User, "u")];
        let mut before = contents_of(model, messages.clone());
        for (at, (reply, rest)) in replies.into_iter().enumerate() {
            let mine = |role: Role| role == Role::Assistant;
            let reply = reply.into_iter().filter(|(role, _)| mine(*role)).map(|(_, part)| part);
            let reply: Vec<Part> = reply.chain([text("said", None)]).collect();
            messages.push(said(Role::Assistant, reply));
            messages.extend(rest.into_iter().filter(|(role, _)| !mine(*role)).map(|(role, part)| said(role, vec![part])));
            messages.push(Message::text(Role::User, format!("{at}")));
            let now = contents_of(model, messages.clone());
            let text = before.to_string();
            let beginning = text.strip_suffix(']').unwrap();
            prop_assert!(now.to_string().starts_with(beginning), "{before} {now}");
            before = now;
        }
    }
}
