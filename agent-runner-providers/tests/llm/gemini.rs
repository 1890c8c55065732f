//! [`GeminiProvider`] over real connections.

mod conformance;
mod embed;
mod models;

use std::{error::Error as _, time::Duration};

use agent_runner_core::{
    llm::{
        CallCx, Embedder as _, ErrorKind, LlmEvent, LlmProvider, LlmProviderExt as _, LlmRequest,
        ReasoningEffort, Recovery, SendState, StopReason, ToolSpec,
    },
    message::{Message, Part, Role},
};
use agent_runner_providers::{GeminiProvider, Timeouts};
use futures::StreamExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::service::{Answer, Request, Service, hear, nowhere};

const KEY: &str = "AIzaSy-5d1f0c";
const MODEL: &str = "gemini-3.8-flash";

fn provider(service: &Service) -> GeminiProvider {
    GeminiProvider::new(&service.url(), Some(SecretString::from(KEY))).unwrap()
}

fn request() -> LlmRequest {
    let mut request = LlmRequest::new(MODEL, vec![Message::text(Role::User, "Hi")]);
    request.tools.push(ToolSpec {
        name: "files.write".to_owned(),
        description: "Writes.".to_owned(),
        input_schema: json!({"type": "object"}),
    });
    request
}

fn cx() -> CallCx {
    CallCx::new("1")
}

fn frame(parts: &Value) -> String {
    let candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    format!("data: {}\r\n\r\n", json!({"candidates": [candidate], "modelVersion": MODEL}))
}

fn text(text: &str) -> String {
    frame(&json!([{"text": text}]))
}

fn end(reason: &str) -> String {
    let last = json!({"candidates": [{"finishReason": reason}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}});
    format!("data: {last}\r\n\r\n")
}

fn refusal(code: u16, status: &str, message: &str, details: &Value) -> String {
    json!({"error": {"code": code, "message": message, "status": status, "details": details}})
        .to_string()
}

fn bad_key() -> String {
    let info = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]);
    refusal(400, "INVALID_ARGUMENT", &format!("API key not valid: {KEY}"), &info)
}

#[tokio::test]
async fn the_key_goes_into_its_header_and_never_into_a_url() {
    let service = Service::start(|request: &Request| match request.line.as_str() {
        line if line.contains("streamGenerateContent") => Answer::ok(&end("STOP")),
        line if line.contains("countTokens") => Answer::ok("{\"totalTokens\":3}"),
        line if line.contains("batchEmbed") => Answer::ok("{\"embeddings\":[{\"values\":[1.0]}]}"),
        _ => Answer::ok("{\"models\":[]}"),
    })
    .await;
    let provider = provider(&service);
    provider.complete(&request(), &cx()).await.unwrap();
    provider.count_tokens(&request(), &cx()).await.unwrap();
    provider.models(&cx()).await.unwrap();
    provider.embed(&embed::texts(&["a"]), &cx()).await.unwrap();
    let sent = service.requests();
    assert_eq!(sent.len(), 4);
    for request in sent {
        assert!(request.head.contains(&format!("x-goog-api-key: {}", KEY.to_lowercase())));
        assert!(!request.head.contains("authorization"), "{}", request.head);
        assert!(!request.line.contains("key="), "{}", request.line);
        assert!(!request.line.contains(KEY), "{}", request.line);
    }
    assert!(!format!("{provider:?}").contains(KEY));
}

#[tokio::test]
async fn a_model_is_asked_with_or_without_its_prefix_and_a_version_in_the_address_is_kept() {
    for (path, model, line) in [
        ("", MODEL, "POST /v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"),
        ("/v1", "models/x", "POST /v1/models/x:streamGenerateContent?alt=sse"),
        (
            "/proxy/v1beta/",
            "../x?y",
            "POST /proxy/v1beta/models/..%2Fx%3Fy:streamGenerateContent?alt=sse",
        ),
    ] {
        let service = Service::always(Answer::ok(&end("STOP"))).await;
        let provider = GeminiProvider::new(&format!("{}{path}", service.url()), None).unwrap();
        let request = LlmRequest::new(model, vec![Message::text(Role::User, "Hi")]);
        provider.complete(&request, &cx()).await.unwrap();
        let sent = &service.requests()[0];
        assert_eq!(sent.line, line);
        assert!(!sent.head.contains("x-goog-api-key"), "{}", sent.head);
        assert!(sent.head.contains("accept-encoding: identity"), "{}", sent.head);
    }
}

/// A model that writes a file with a signed call, then another one without thinking, and is done.
async fn signing() -> Service {
    Service::start(|request: &Request| {
        let call = |id: &str, signature: Option<&str>| {
            let mut part = json!({"functionCall": {
                "id": id, "name": "files.write", "args": {"path": id}}});
            if let Some(signature) = signature {
                part["thoughtSignature"] = json!(signature);
            }
            part
        };
        let parts = match request.body["contents"].as_array().unwrap().len() {
            1 => json!([call("f1", Some("A-_b+/==")), call("f2", None)]),
            3 => json!([{"text": "One more."}, call("f3", Some("C=="))]),
            _ => json!([{"text": "Done."}, {"text": "", "thoughtSignature": "D"}]),
        };
        Answer::ok(&(frame(&parts) + &end("STOP")))
    })
    .await
}

#[tokio::test]
async fn a_growing_conversation_repeats_what_was_said_byte_for_byte_with_its_signatures() {
    let service = signing().await;
    let provider = provider(&service);
    let mut request = request();
    for _ in 0..4 {
        let reply = provider.complete(&request, &cx()).await.unwrap();
        let results = reply.message.tool_calls().map(|call| Part::ToolResult {
            call_id: call.id.clone(),
            name: call.name.clone(),
            text: "ok".to_owned(),
            is_error: false,
        });
        let results: Vec<Part> = results.collect();
        request.messages.push(reply.message);
        request.messages.push(if results.is_empty() {
            Message::text(Role::User, "Thanks")
        } else {
            Message { role: Role::Tool, parts: results }
        });
    }
    let sent: Vec<String> =
        service.requests().iter().map(|request| request.body["contents"].to_string()).collect();
    for pair in sent.windows(2) {
        let beginning = pair[0].strip_suffix(']').unwrap();
        assert!(pair[1].starts_with(beginning), "{} then {}", pair[0], pair[1]);
    }
    let last = &service.requests()[3].body["contents"];
    assert_eq!(
        last[1]["parts"],
        json!([
            {"functionCall": {"id": "f1", "name": "files.write", "args": {"path": "f1"}},
                "thoughtSignature": "A-_b+/=="},
            {"functionCall": {"id": "f2", "name": "files.write", "args": {"path": "f2"}}},
        ])
    );
    let answer = |id: &str| {
        json!({"functionResponse": {
            "id": id, "name": "files.write", "response": {"output": "ok"}}})
    };
    assert_eq!(last[2], json!({"role": "user", "parts": [answer("f1"), answer("f2")]}));
    assert_eq!(last[3]["parts"][1]["thoughtSignature"], "C==");
    assert_eq!(last[5]["parts"][1], json!({"text": "", "thoughtSignature": "D"}));
    assert_eq!(last[6], json!({"role": "user", "parts": [{"text": "Thanks"}]}));
}

#[tokio::test]
async fn a_conversation_that_moves_to_another_model_leaves_its_signatures_behind() {
    let service = signing().await;
    let mut request = request();
    let reply = provider(&service).complete(&request, &cx()).await.unwrap();
    request.messages.push(reply.message);
    for (model, id, signature) in [
        (MODEL, "gemini", json!("A-_b+/==")),
        ("models/gemini-3.8-flash", "gemini", json!("A-_b+/==")),
        (MODEL, "mine", json!("skip_thought_signature_validator")),
        ("gemini-4-argon", "gemini", json!("skip_thought_signature_validator")),
        ("gemini-2.5-flash", "gemini", Value::Null),
    ] {
        request.model = model.to_owned();
        let provider = provider(&service).with_id(id);
        provider.complete(&request, &cx()).await.unwrap();
        let sent = service.requests().pop().unwrap();
        let parts = &sent.body["contents"][1]["parts"];
        assert_eq!(parts[0]["thoughtSignature"], signature, "{model} {id}");
        assert_eq!(parts[1].get("thoughtSignature"), None, "{model} {id}");
    }
}

#[tokio::test]
async fn what_a_model_does_not_take_is_left_out_and_said_in_the_reply() {
    let service = Service::always(Answer::ok(&(text("Hi") + &end("STOP")))).await;
    let mut request = request();
    request.model = "gemini-2.0-flash".to_owned();
    request.reasoning = Some(ReasoningEffort::High);
    let reply = provider(&service).complete(&request, &cx()).await.unwrap();
    assert_eq!(reply.notices.len(), 1, "{:?}", reply.notices);
    assert_eq!(service.requests()[0].body.get("generationConfig"), None);
    assert_eq!((reply.stop, reply.usage.input), (StopReason::EndTurn, Some(9)));
}

#[tokio::test]
async fn every_refusal_becomes_the_kind_that_says_what_to_do() {
    let none = json!([]);
    let day = json!([
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
            {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "47s"},
    ]);
    let long =
        "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).";
    let table = [
        (400, bad_key(), ErrorKind::Auth),
        (400, format!("[{}]", bad_key()), ErrorKind::Auth),
        (400, refusal(400, "INVALID_ARGUMENT", long, &none), ErrorKind::ContextLength),
        (400, refusal(400, "INVALID_ARGUMENT", "bad", &none), ErrorKind::InvalidRequest),
        (403, refusal(403, "PERMISSION_DENIED", "no", &none), ErrorKind::PermissionDenied),
        (404, refusal(404, "NOT_FOUND", "models/x is not found", &none), ErrorKind::ModelNotFound),
        (404, "<html>404</html>".to_owned(), ErrorKind::InvalidRequest),
        (413, "<html>".to_owned(), ErrorKind::PayloadTooLarge),
        (429, refusal(429, "RESOURCE_EXHAUSTED", "slow", &none), ErrorKind::RateLimited),
        (429, refusal(429, "RESOURCE_EXHAUSTED", "day", &day), ErrorKind::QuotaExhausted),
        (500, refusal(500, "INTERNAL", "oops", &none), ErrorKind::Unavailable),
        (502, "<html><title>Bad Gateway</title></html>".to_owned(), ErrorKind::Unavailable),
        (503, refusal(503, "UNAVAILABLE", "Overloaded", &none), ErrorKind::Overloaded),
        (503, String::new(), ErrorKind::Overloaded),
        (504, refusal(504, "DEADLINE_EXCEEDED", "slow", &none), ErrorKind::Timeout),
        (307, String::new(), ErrorKind::InvalidRequest),
    ];
    for (status, body, kind) in table {
        let service = Service::always(Answer::new(status, &[("location", "/evil")], &body)).await;
        let (events, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), kind, "{status} {body}: {error}");
        assert_eq!((events.len(), error.http_status()), (0, Some(status)));
        assert_eq!(error.sent(), SendState::Sent);
        assert!(!error.context().contains("<html>") && !error.context().is_empty(), "{error}");
        assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
        assert_eq!(service.requests().len(), 1, "a redirect was followed or a request repeated");
    }
}

#[tokio::test]
async fn the_wait_stands_in_the_body_and_a_header_wins_over_it() {
    let info = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}]);
    let body = refusal(429, "RESOURCE_EXHAUSTED", "slow", &info);
    for (headers, seconds) in [(vec![], 37), (vec![("retry-after", "2")], 2)] {
        let service = Service::always(Answer::new(429, &headers, &body)).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
        assert_eq!((error.kind(), error.recovery()), (ErrorKind::RateLimited, Recovery::Retry));
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_the_events_ends_the_reply() {
    let error = refusal(503, "UNAVAILABLE", &format!("busy {KEY}"), &json!([]));
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&error).unwrap());
    for tail in [pretty.unwrap(), format!("[{error}]\r\n"), format!("data: {error}\r\n\r\n")] {
        let service = Service::always(Answer::ok(&(text("Half") + &tail))).await;
        let (events, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{tail}: {error}");
        assert!(error.context().contains("busy [redacted]"), "{error}");
        assert!(events.contains(&LlmEvent::TextDelta { text: "Half".into() }), "{events:?}");
    }
}

#[tokio::test]
async fn an_accepted_answer_that_is_no_stream_is_read_whole() {
    let array = r#"[{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}]"#;
    let json = [("content-type", "application/json; charset=UTF-8")];
    let service = Service::always(Answer::new(200, &json, array)).await;
    let reply = provider(&service).complete(&request(), &cx()).await.unwrap();
    assert_eq!(reply.message.plain_text(), "Hi");
    for (body, kind) in [
        (bad_key(), ErrorKind::Auth),
        ("<html>Log in</html>".to_owned(), ErrorKind::MalformedResponse),
        (String::new(), ErrorKind::StreamTruncated),
    ] {
        let service = Service::always(Answer::new(200, &json, &body)).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        assert_eq!(error.unwrap().kind(), kind, "{body}");
    }
}

#[tokio::test]
async fn a_blocked_prompt_says_nothing_but_the_reason() {
    let body = "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\r\n\r\n";
    let service = Service::always(Answer::ok(body)).await;
    let (events, error) = hear(&provider(&service), &request(), &cx()).await;
    let error = error.unwrap();
    assert!(events.iter().all(|event| *event == LlmEvent::Keepalive), "{events:?}");
    assert_eq!((error.kind(), error.code()), (ErrorKind::ContentFilter, Some("SAFETY")));
}

#[tokio::test]
async fn a_reply_cut_by_a_broken_transfer_is_truncated_however_it_breaks() {
    for answer in Answer::cuts(&text("Half"), "data: {") {
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
async fn silence_is_a_timeout_that_says_how_long_it_was() {
    let first = Timeouts::default().with_first_byte(Duration::from_millis(80));
    let idle = Timeouts::default().with_idle(Duration::from_millis(90));
    let half = Answer::ok(&text("Half"));
    for (answer, timeouts, wait) in [(Answer::default(), first, "80ms"), (half, idle, "90ms")] {
        let service = Service::always(answer.then_silence()).await;
        let provider = provider(&service).with_timeouts(timeouts).unwrap();
        let (_, error) = hear(&provider, &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.context().ends_with(&format!("sent nothing for {wait}")), "{error}");
        service.client_closed().await;
    }
}

#[tokio::test]
async fn comments_are_signs_of_life_and_dropping_the_stream_closes_its_connection() {
    let service = Service::always(Answer::ok(": keep-alive\r\n\r\n").then_silence()).await;
    let mut stream = provider(&service).stream(&request(), &cx()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), LlmEvent::Keepalive);
    drop(stream);
    service.client_closed().await;
}

#[tokio::test]
async fn signs_of_life_are_no_silence_however_long_they_are_all_there_is() {
    let pieces = std::iter::repeat_n(": keep-alive\r\n\r\n".to_owned(), 30)
        .chain([text("Hi") + &end("STOP")]);
    let answer = Answer::ok("").then_paced(pieces, Duration::from_millis(20));
    let service = Service::always(answer).await;
    // Half of what the reply takes, and fifteen times what lies between its pieces.
    let idle = Timeouts::default().with_idle(Duration::from_millis(300));
    let provider = provider(&service).with_timeouts(idle).unwrap();
    let reply = provider.complete(&request(), &cx()).await.unwrap();
    assert_eq!(reply.message.plain_text(), "Hi");
}

#[tokio::test]
async fn signs_of_life_do_not_keep_a_call_alive_forever() {
    let service = Service::always(Answer::ok(": keep-alive\r\n\r\n").then_silence()).await;
    let impatient = Timeouts::default().with_content(Duration::ZERO);
    let provider = provider(&service).with_timeouts(impatient).unwrap();
    let (_, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, SendState::Sent));
    assert!(error.context().contains("nothing but signs of life"), "{error}");
    service.client_closed().await;
}

#[tokio::test]
async fn cancelling_a_call_ends_its_stream_and_closes_its_connection() {
    let service = Service::always(Answer::ok(&text("Half")).then_silence()).await;
    let cx = cx();
    let mut stream = provider(&service).stream(&request(), &cx).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    cx.cancel.cancel();
    let mut last = None;
    while let Some(item) = stream.next().await {
        last = item.err().map(|error| error.kind());
    }
    assert_eq!(last, Some(ErrorKind::Cancelled));
    service.client_closed().await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named_and_certainly_got_nothing() {
    let url = nowhere().await;
    let provider = GeminiProvider::new(&url, Some(SecretString::from(KEY))).unwrap();
    let (_, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Network, SendState::NotSent));
    assert!(error.context().contains(&url) && error.context().contains("refused"), "{error}");
    let source = format!("{:?}", error.source());
    assert!(!source.contains("/v1beta") && !source.contains(KEY), "{source}");
}

#[test]
fn a_wrong_address_or_key_is_refused_without_being_quoted() {
    for (url, key) in
        [("nonsense sk-1", None), ("http://h/?key=sk-1", None), ("http://h", Some("sk-1\n"))]
    {
        let error = GeminiProvider::new(url, key.map(SecretString::from)).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("sk-1"), "{told}");
        assert_eq!(error.sent(), SendState::NotSent, "{told}");
    }
}
