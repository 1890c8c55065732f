//! [`AnthropicProvider`] over real connections.

mod conformance;

use std::{error::Error as _, time::Duration};

use agent_runner_core::{
    llm::{
        CallCx, ErrorKind, LlmEvent, LlmProvider, LlmProviderExt as _, LlmRequest, Recovery,
        SendState, StopReason, ToolSpec,
    },
    message::{Message, Part, Role},
};
use agent_runner_providers::{AnthropicProvider, CacheLifetime, Timeouts};
use futures::StreamExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::service::{Answer, Service, hear, nowhere};

const KEY: &str = "sk-ant-test-5d1f0c";
const MODEL: &str = "claude-opus-5-5";

fn provider(service: &Service) -> AnthropicProvider {
    AnthropicProvider::new(&service.url(), Some(SecretString::from(KEY))).unwrap()
}

fn request() -> LlmRequest {
    LlmRequest::new(MODEL, vec![Message::text(Role::User, "Hi")])
}

fn cx() -> CallCx {
    CallCx::new("1")
}

fn frame(kind: &str, mut fields: Value) -> String {
    fields["type"] = kind.into();
    format!("event: {kind}\ndata: {fields}\n\n")
}

fn start() -> String {
    let usage = json!({"input_tokens": 3, "output_tokens": 1});
    frame("message_start", json!({"message": {"model": MODEL, "content": [], "usage": usage}}))
}

fn block(index: u8, block: &Value) -> String {
    frame("content_block_start", json!({"index": index, "content_block": block}))
}

fn delta(index: u8, delta: &Value) -> String {
    frame("content_block_delta", json!({"index": index, "delta": delta}))
}

fn text(pieces: &[&str]) -> String {
    let mut said = start() + &block(0, &json!({"type": "text", "text": ""}));
    for piece in pieces {
        said.push_str(&delta(0, &json!({"type": "text_delta", "text": piece})));
    }
    said
}

fn call(index: u8, id: &str, name: &str, arguments: &str) -> String {
    block(index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}))
        + &delta(index, &json!({"type": "input_json_delta", "partial_json": arguments}))
}

fn end(reason: &str) -> String {
    frame("message_delta", json!({"delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}))
        + &frame("message_stop", json!({}))
}

fn error(kind: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_body"})
        .to_string()
}

mod questions;

#[tokio::test]
async fn a_request_carries_key_version_and_tools_and_comes_back_as_a_reply() {
    let body = start() + &call(0, "toolu_1", "files_write", r#"{"path":"a"}"#) + &end("tool_use");
    let service = Service::always(Answer::new(200, &[("request-id", "req-7")], &body)).await;
    let mut request = request();
    request.tools.push(ToolSpec {
        name: "files.write".to_owned(),
        description: "Writes.".to_owned(),
        input_schema: json!({"type": "object"}),
    });
    request.temperature = Some(0.5);
    let reply = provider(&service).complete(&request, &cx()).await.unwrap();
    let called = reply.message.tool_calls().next().unwrap();
    assert_eq!((called.name.as_str(), called.id.as_str()), ("files.write", "toolu_1"));
    assert_eq!((reply.stop, reply.request_id.as_deref()), (StopReason::ToolCalls, Some("req-7")));
    assert_eq!((reply.usage.input, reply.usage.output), (Some(3), Some(9)));
    assert!(reply.notices[0].contains("temperature"), "{:?}", reply.notices);
    let sent = &service.requests()[0];
    assert_eq!(sent.line, "POST /v1/messages");
    for header in [format!("x-api-key: {KEY}"), "anthropic-version: 2026-10-21".to_owned()] {
        assert!(sent.head.contains(&format!("{header}\r\n")), "{}", sent.head);
    }
    for absent in ["authorization", "anthropic-beta"] {
        assert!(!sent.head.contains(absent), "{}", sent.head);
    }
    assert!(sent.head.contains("accept-encoding: identity"), "{}", sent.head);
    let mark = json!({"type": "ephemeral"});
    assert_eq!(
        sent.body,
        json!({
            "model": MODEL,
            "max_tokens": 128_000,
            "stream": true,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "tools": [{"name": "files_write", "description": "Writes.",
                "input_schema": {"type": "object"}, "cache_control": mark}],
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": "Hi", "cache_control": mark},
            ]}],
        })
    );
}

#[tokio::test]
async fn options_are_headers_and_marks_and_a_path_is_kept() {
    let service = Service::always(Answer::ok(&(text(&["Hi"]) + &end("end_turn")))).await;
    for (base, line) in [
        (service.url(), "POST /v1/messages"),
        (format!("{}/v1", service.url()), "POST /v1/messages"),
        (format!("{}/proxy/v1/", service.url()), "POST /proxy/v1/messages"),
        (format!("{}/proxyv1", service.url()), "POST /proxyv1/v1/messages"),
        (format!("{}/proxy", service.url()), "POST /proxy/v1/messages"),
    ] {
        let provider = AnthropicProvider::new(&base, None)
            .unwrap()
            .with_betas(["files-2025-04-14", "x-1"])
            .unwrap()
            .with_cache(CacheLifetime::OneHour)
            .with_id("claude");
        assert_eq!(provider.id(), "claude");
        provider.complete(&request(), &cx()).await.unwrap();
        let sent = service.requests().pop().unwrap();
        assert_eq!(sent.line, line);
        assert!(sent.head.contains("anthropic-beta: files-2025-04-14,x-1\r\n"), "{}", sent.head);
        assert!(!sent.head.contains("x-api-key"), "{}", sent.head);
        assert_eq!(sent.body["messages"][0]["content"][0]["cache_control"]["ttl"], "1h");
    }
    let default = AnthropicProvider::new(" ", None);
    assert_eq!(default.unwrap().id(), "anthropic");
}

#[tokio::test]
async fn thoughts_and_unknown_blocks_go_back_as_they_came() {
    let thought = json!({"type": "thinking", "thinking": "", "signature": ""});
    let search = json!({"type": "server_tool_use", "id": "s", "name": "web", "input": {"q": "x"}});
    let body = start()
        + &block(0, &thought)
        + &delta(0, &json!({"type": "signature_delta", "signature": "Eq+/Q=="}))
        + &block(1, &search)
        + &block(2, &json!({"type": "text", "text": "Well."}))
        + &end("pause_turn");
    let service = Service::always(Answer::ok(&body)).await;
    let provider = provider(&service);
    let mut request = request();
    let reply = provider.complete(&request, &cx()).await.unwrap();
    assert_eq!(reply.stop, StopReason::Pause);
    request.messages.push(reply.message);
    provider.complete(&request, &cx()).await.unwrap();
    let sent = &service.requests()[1].body["messages"][1];
    let signed = json!({"type": "thinking", "thinking": "", "signature": "Eq+/Q=="});
    let mark = json!({"type": "ephemeral"});
    let said = json!({"type": "text", "text": "Well.", "cache_control": mark});
    assert_eq!(*sent, json!({"role": "assistant", "content": [signed, search, said]}));
    // Another model gets what was said and nothing of what was signed.
    request.model = "claude-sonnet-4-6".to_owned();
    provider.complete(&request, &cx()).await.unwrap();
    assert_eq!(service.requests()[2].body["messages"][1]["content"], json!([said]));
}

#[tokio::test]
async fn a_reply_cut_by_a_broken_transfer_is_truncated_however_it_breaks() {
    let text = text(&["Half"]);
    let said = frame("message_delta", json!({"delta": {"stop_reason": "end_turn"}}));
    let without_end = Answer::ok(&format!("{text}{said}"));
    for answer in Answer::cuts(&text, "data: {").into_iter().chain([without_end]) {
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
async fn every_status_becomes_the_kind_that_says_what_to_do() {
    let page = "<html><title>Bad Gateway</title></html>";
    let table = [
        (400, error("invalid_request_error", "bad"), ErrorKind::InvalidRequest),
        (
            400,
            error("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
            ErrorKind::ContextLength,
        ),
        (401, error("authentication_error", "invalid x-api-key"), ErrorKind::Auth),
        (402, error("billing_error", "pay"), ErrorKind::QuotaExhausted),
        (403, error("permission_error", "no"), ErrorKind::PermissionDenied),
        (404, error("not_found_error", "model: x"), ErrorKind::ModelNotFound),
        (404, page.to_owned(), ErrorKind::InvalidRequest),
        (409, error("conflict_error", "again"), ErrorKind::Unavailable),
        (413, page.to_owned(), ErrorKind::PayloadTooLarge),
        (413, error("request_too_large", "big"), ErrorKind::PayloadTooLarge),
        (429, error("rate_limit_error", "slow"), ErrorKind::RateLimited),
        (500, error("api_error", "oops"), ErrorKind::Unavailable),
        (502, page.to_owned(), ErrorKind::Unavailable),
        (503, String::new(), ErrorKind::Overloaded),
        (504, error("timeout_error", "late"), ErrorKind::Timeout),
        (529, error("overloaded_error", "Overloaded"), ErrorKind::Overloaded),
        (529, String::new(), ErrorKind::Overloaded),
        (307, String::new(), ErrorKind::InvalidRequest),
    ];
    for (status, body, kind) in table {
        let headers = [("retry-after", "1.5"), ("request-id", "req-9"), ("location", "/evil")];
        let service = Service::always(Answer::new(status, &headers, &body)).await;
        let (events, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), kind, "{status} {body}: {error}");
        assert_eq!((events.len(), error.http_status()), (0, Some(status)));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!((error.request_id(), error.sent()), (Some("req-9"), SendState::Sent));
        assert!(!error.context().contains("<html>") && !error.context().is_empty(), "{error}");
        assert_eq!(service.requests().len(), 1, "a redirect was followed or a request repeated");
    }
}

#[tokio::test]
async fn a_spend_limit_is_for_a_person_and_the_body_may_tell_the_request() {
    let body = json!({"type": "error", "request_id": "req_body", "error": {
        "type": "rate_limit_error", "message": "You hit your limit.",
        "details": {"error_code": "enforced_spend_limit_reached"}}});
    let service = Service::always(Answer::new(429, &[], &body.to_string())).await;
    let (_, error) = hear(&provider(&service), &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.recovery()), (ErrorKind::QuotaExhausted, Recovery::Mend));
    assert_eq!(error.code(), Some("enforced_spend_limit_reached"));
    assert_eq!((error.request_id(), error.retry_after()), (Some("req_body"), None));
}

#[tokio::test]
async fn the_service_may_overrule_whether_to_try_again() {
    for (should, expected) in [("false", Recovery::GiveUp), ("true", Recovery::Retry)] {
        let service = Service::always(Answer::new(500, &[("x-should-retry", should)], "")).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        assert_eq!(error.unwrap().recovery(), expected, "{should}");
    }
}

#[tokio::test]
async fn an_error_after_200_in_a_stream_or_a_document_is_an_error() {
    let overloaded = error("overloaded_error", "Overloaded");
    let stream = format!("{}event: error\ndata: {overloaded}\n\n", text(&["Half"]));
    for body in [stream, overloaded] {
        let service = Service::always(Answer::new(200, &[], &body)).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!((error.kind(), error.request_id()), (ErrorKind::Overloaded, Some("req_body")));
        assert_eq!((error.http_status(), error.sent()), (None, SendState::Sent));
    }
}

#[tokio::test]
async fn a_json_document_in_place_of_a_stream_is_a_reply() {
    let body = json!({"type": "message", "model": MODEL, "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 1}});
    let headers = [("content-type", "application/json")];
    let service = Service::always(Answer::new(200, &headers, &body.to_string())).await;
    let (events, error) = hear(&provider(&service), &request(), &cx()).await;
    assert!(error.is_none(), "{error:?}");
    assert!(events.contains(&LlmEvent::TextDelta { text: "Hi".into() }), "{events:?}");
    let Some(LlmEvent::Finished(reply)) = events.last() else { panic!("{events:?}") };
    assert_eq!((reply.message.plain_text().as_str(), &reply.stop), ("Hi", &StopReason::EndTurn));
}

#[tokio::test]
async fn silence_is_a_timeout_that_says_how_long_it_was() {
    let service = Service::always(Answer::default().then_silence()).await;
    let first = Timeouts::default().with_first_byte(Duration::from_millis(80));
    let provider = provider(&service).with_timeouts(first).unwrap();
    let (_, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.context().ends_with("sent nothing for 80ms"), "{error}");
    service.client_closed().await;

    let service = Service::always(Answer::ok(&text(&["Half"])).then_silence()).await;
    let idle = Timeouts::default().with_idle(Duration::from_millis(90));
    let provider = self::provider(&service).with_timeouts(idle).unwrap();
    let (events, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, SendState::Sent));
    assert!(error.context().ends_with("sent nothing for 90ms"), "{error}");
    assert!(events.contains(&LlmEvent::TextDelta { text: "Half".into() }));
    service.client_closed().await;
}

#[tokio::test]
async fn a_ping_alone_is_a_sign_of_life() {
    let service = Service::always(Answer::ok(&frame("ping", json!({}))).then_silence()).await;
    let mut stream = provider(&service).stream(&request(), &cx()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), LlmEvent::Keepalive);
}

#[tokio::test]
async fn pings_are_no_silence_however_long_they_are_all_there_is() {
    let pings = std::iter::repeat_n(frame("ping", json!({})), 30);
    let pieces = pings.chain([text(&["Hi"]) + &end("end_turn")]);
    let answer = Answer::ok("").then_paced(pieces, Duration::from_millis(20));
    let service = Service::always(answer).await;
    // Half of what the reply takes, and fifteen times what lies between its pieces.
    let idle = Timeouts::default().with_idle(Duration::from_millis(300));
    let provider = provider(&service).with_timeouts(idle).unwrap();
    let reply = provider.complete(&request(), &cx()).await.unwrap();
    assert_eq!(reply.message.plain_text(), "Hi");
}

#[tokio::test]
async fn pings_do_not_keep_a_call_alive_forever() {
    let ping = frame("ping", json!({}));
    let alone = Answer::ok(&ping).then_silence();
    // Again and again, after a reply that began, for far longer than the patience lasts.
    let begun =
        Answer::ok(&start()).then_paced(std::iter::repeat_n(ping, 300), Duration::from_millis(10));
    for (answer, patience) in [(alone, Duration::ZERO), (begun, Duration::from_millis(80))] {
        let service = Service::always(answer).await;
        let impatient = Timeouts::default().with_content(patience);
        let provider = provider(&service).with_timeouts(impatient).unwrap();
        let (_, error) = hear(&provider, &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, SendState::Sent), "{error}");
        assert!(error.context().contains("nothing but signs of life"), "{error}");
    }
}

#[tokio::test]
async fn cancelling_or_dropping_a_stream_closes_its_connection() {
    let half = || Answer::ok(&text(&["Half"])).then_silence();
    let service = Service::always(half()).await;
    let cx = cx();
    let mut stream = provider(&service).stream(&request(), &cx).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    cx.cancel.cancel();
    while let Some(item) = stream.next().await {
        if let Err(error) = item {
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            break;
        }
    }
    assert!(stream.next().await.is_none(), "something follows the error");
    service.client_closed().await;

    let service = Service::always(half()).await;
    let mut stream = provider(&service).stream(&request(), &CallCx::new("2")).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    service.client_closed().await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named_and_certainly_got_nothing() {
    let url = nowhere().await;
    let provider = AnthropicProvider::new(&url, Some(SecretString::from(KEY))).unwrap();
    let (_, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Network, SendState::NotSent));
    assert!(error.context().contains(&url) && error.context().contains("refused"), "{error}");
    let source = format!("{:?}", error.source());
    assert!(!source.contains("/v1"), "the source tells the URL: {source}");
}

#[tokio::test]
async fn reasoning_is_shown_as_it_comes_and_a_refusal_says_why() {
    let refusal = json!({"delta": {"stop_reason": "refusal", "stop_details": {
        "type": "refusal", "category": "bio", "explanation": null}}});
    let body = start()
        + &block(0, &json!({"type": "thinking", "thinking": ""}))
        + &delta(0, &json!({"type": "thinking_delta", "thinking": "Hm."}))
        + &delta(0, &json!({"type": "signature_delta", "signature": "s"}))
        + &frame("message_delta", refusal)
        + &frame("message_stop", json!({}));
    let service = Service::always(Answer::ok(&body)).await;
    let (events, error) = hear(&provider(&service), &request(), &cx()).await;
    assert!(error.is_none(), "{error:?}");
    assert!(events.contains(&LlmEvent::ReasoningDelta { text: "Hm.".into() }), "{events:?}");
    let Some(LlmEvent::Finished(reply)) = events.last() else { panic!("{events:?}") };
    assert_eq!((&reply.stop, reply.stop_detail.as_deref()), (&StopReason::Refusal, Some("bio")));
    assert!(matches!(&reply.message.parts[0], Part::Reasoning { text, .. } if text == "Hm."));
}

#[test]
fn a_wrong_address_key_or_beta_is_refused_without_being_quoted() {
    for (url, key) in
        [("nonsense sk-1", None), ("http://u:sk-1@h/v1", None), ("http://h/v1", Some("sk-1\n"))]
    {
        let error = AnthropicProvider::new(url, key.map(SecretString::from)).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("sk-1"), "{told}");
        assert_eq!(error.sent(), SendState::NotSent, "{told}");
    }
    let provider = AnthropicProvider::new("", Some(SecretString::from(KEY))).unwrap();
    assert!(!format!("{provider:?}").contains(KEY));
    let error = provider.with_betas(["a\nb"]).unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidRequest, SendState::NotSent));
}
