//! [`OpenAiProvider`] speaking the Responses API over real connections.

mod conformance;

use agent_runner_core::{
    llm::{CallCx, ErrorKind, LlmEvent, LlmProviderExt as _, LlmRequest, SendState, StopReason},
    message::{Message, Part, Role},
};
use agent_runner_providers::{OpenAiApi, OpenAiProvider, Profile};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::service::{Answer, Service, hear};

const KEY: &str = "sk-test-71aa0e";

fn provider(service: &Service) -> OpenAiProvider {
    OpenAiProvider::new(&service.url(), Some(SecretString::from(KEY)))
        .unwrap()
        .with_api(OpenAiApi::Responses)
        .with_profile(Profile::openai())
}

fn request() -> LlmRequest {
    LlmRequest::new("m", vec![Message::text(Role::User, "Hi")])
}

fn cx() -> CallCx {
    CallCx::new("1")
}

fn event(kind: &str, mut fields: Value) -> String {
    fields["type"] = kind.into();
    format!("event: {kind}\ndata: {fields}\n\n")
}

fn delta(text: &str) -> String {
    event("response.output_text.delta", json!({"output_index": 0, "delta": text}))
}

fn item(place: u64, item: &Value) -> String {
    event("response.output_item.done", json!({"output_index": place, "item": item}))
}

fn call(place: u64, id: &str, arguments: &str) -> String {
    let call =
        json!({"type": "function_call", "call_id": id, "name": "shout", "arguments": arguments});
    item(place, &call)
}

fn end() -> String {
    event("response.completed", json!({"response": {"status": "completed", "model": "m-1"}}))
}

#[tokio::test]
async fn reasoning_goes_back_as_it_came_and_nothing_is_stored_at_the_service() {
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [],
        "encrypted_content": "gAAAAB+/=="});
    let service =
        Service::always(Answer::ok(&(item(0, &thought) + &call(1, "c1", "{}") + &end()))).await;
    let provider = provider(&service);
    let mut request = request();
    let reply = provider.complete(&request, &cx()).await.unwrap();
    assert_eq!(
        (reply.stop.clone(), reply.request_id.as_deref()),
        (StopReason::ToolCalls, Some("req-7"))
    );
    request.messages.push(reply.message);
    let (call_id, name) = ("c1".to_owned(), "shout".to_owned());
    let result = Part::ToolResult { call_id, name, text: "A".to_owned(), is_error: false };
    request.messages.push(Message { role: Role::Tool, parts: vec![result] });
    provider.complete(&request, &cx()).await.unwrap();
    let sent = service.requests();
    assert_eq!(sent[0].line, "POST /v1/responses");
    assert_eq!((&sent[1].body["store"], &sent[1].body["stream"]), (&json!(false), &json!(true)));
    assert_eq!(
        sent[1].body["input"],
        json!([
            {"role": "user", "content": "Hi"},
            thought,
            {"type": "function_call", "call_id": "c1", "name": "shout", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "A"},
        ])
    );
}

#[tokio::test]
async fn a_reply_cut_by_a_broken_transfer_is_truncated_however_it_breaks() {
    let done = event("response.output_text.done", json!({"output_index": 0, "text": "Half"}));
    let without_end = Answer::ok(&(delta("Half") + &done));
    for answer in Answer::cuts(&delta("Half"), "data: {").into_iter().chain([without_end]) {
        let service = Service::always(answer).await;
        let (events, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::StreamTruncated, "{error}");
        assert_eq!(error.sent(), SendState::Sent);
        assert!(events.contains(&LlmEvent::TextDelta { text: "Half".into() }), "{events:?}");
        assert_eq!(service.requests().len(), 1, "the request was repeated");
    }
}

#[tokio::test]
async fn what_the_service_still_allows_comes_before_the_reply() {
    let headers = [
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-remaining-tokens", "1000"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    let service = Service::always(Answer::new(200, &headers, &(delta("Hi") + &end()))).await;
    let (events, error) = hear(&provider(&service), &request(), &cx()).await;
    assert!(error.is_none(), "{error:?}");
    let LlmEvent::Limits(limits) = &events[0] else { panic!("{events:?}") };
    assert_eq!(limits.requests.unwrap().remaining, 59);
    assert_eq!(limits.tokens.unwrap().resets_in.unwrap().as_secs(), 360);
    assert_eq!(events.iter().filter(|event| matches!(event, LlmEvent::Limits(_))).count(), 1);
}

#[tokio::test]
async fn a_server_without_this_api_says_so() {
    let service = Service::always(Answer::new(404, &[], "404 page not found")).await;
    let (_, error) = hear(&provider(&service), &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.context().contains("no such API"), "{error}");
}
