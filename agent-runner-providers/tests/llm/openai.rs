//! [`OpenAiProvider`] over real connections.

mod conformance;

use std::{error::Error as _, time::Duration};

use agent_runner_core::{
    llm::{
        CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmProviderExt as _, LlmRequest,
        ReasoningEffort, Recovery, SendState, StopReason,
    },
    message::{Message, Role},
};
use agent_runner_providers::{OpenAiApi, OpenAiProvider, Profile, Timeouts};
use futures::StreamExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::service::{Answer, Service, hear, nowhere};

const KEY: &str = "sk-test-5d1f0c";

fn provider(service: &Service) -> OpenAiProvider {
    OpenAiProvider::new(&service.url(), Some(SecretString::from(KEY))).unwrap()
}

fn request() -> LlmRequest {
    LlmRequest::new("m", vec![Message::text(Role::User, "Hi")])
}

fn cx() -> CallCx {
    CallCx::new("1")
}

fn delta(delta: &Value) -> String {
    format!("data: {}\n\n", json!({"model": "m", "choices": [{"index": 0, "delta": delta}]}))
}

fn end(reason: &str) -> String {
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    format!("data: {last}\n\ndata: [DONE]\n\n")
}

#[tokio::test]
async fn a_request_carries_key_tools_and_the_wish_for_usage_and_comes_back_as_a_reply() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c1", "function": {
        "name": "files_write", "arguments": "{\"path\":\"a\"}"}}]});
    let service = Service::always(Answer::ok(&(delta(&call) + &end("stop")))).await;
    let mut request = request();
    request.tools.push(agent_runner_core::llm::ToolSpec {
        name: "files.write".to_owned(),
        description: "Writes.".to_owned(),
        input_schema: json!({"type": "object"}),
    });
    let reply = provider(&service).complete(&request, &cx()).await.unwrap();
    assert_eq!(reply.message.tool_calls().next().unwrap().name, "files.write");
    assert_eq!((reply.stop, reply.request_id.as_deref()), (StopReason::ToolCalls, Some("req-7")));
    let sent = &service.requests()[0];
    assert_eq!(sent.line, "POST /v1/chat/completions");
    assert!(sent.head.contains(&format!("authorization: bearer {KEY}")), "{}", sent.head);
    assert!(sent.head.contains("accept-encoding: identity"), "{}", sent.head);
    assert_eq!(sent.body["tools"][0]["function"]["name"], "files_write");
    assert_eq!(sent.body["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn the_debug_text_of_a_provider_shows_no_key() {
    let service = Service::always(Answer::default()).await;
    for api in [OpenAiApi::ChatCompletions, OpenAiApi::Responses] {
        let told = format!("{:?}", provider(&service).with_api(api));
        assert!(told.contains("openai") && !told.contains(KEY), "{told}");
    }
}

#[tokio::test]
async fn without_a_key_no_authorization_is_sent_and_a_path_is_kept() {
    let service = Service::always(Answer::ok(&end("stop"))).await;
    let provider = OpenAiProvider::new(&format!("{}/api", service.url()), None).unwrap();
    provider.complete(&request(), &cx()).await.unwrap();
    let sent = &service.requests()[0];
    assert_eq!(sent.line, "POST /api/chat/completions");
    assert!(!sent.head.contains("authorization"), "{}", sent.head);
}

#[tokio::test]
async fn a_reply_cut_by_a_broken_transfer_is_truncated_however_it_breaks() {
    for answer in Answer::cuts(&delta(&json!({"content": "Half"})), "data: {") {
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
    let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let rate = r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    let context = r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#;
    let llama = r#"{"error":{"code":400,"message":"request (5 tokens) exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":5,"n_ctx":4}}"#;
    let model = r#"{"error":{"message":"The model does not exist","code":"model_not_found"}}"#;
    let table = [
        (400, "{}", ErrorKind::InvalidRequest),
        (400, context, ErrorKind::ContextLength),
        (400, llama, ErrorKind::ContextLength),
        (401, "", ErrorKind::Auth),
        (402, "", ErrorKind::QuotaExhausted),
        (403, "<html>no</html>", ErrorKind::PermissionDenied),
        (404, model, ErrorKind::ModelNotFound),
        (404, "<html>nginx</html>", ErrorKind::InvalidRequest),
        (408, "", ErrorKind::Timeout),
        (413, "<html>", ErrorKind::PayloadTooLarge),
        (422, r#"{"detail":"x"}"#, ErrorKind::InvalidRequest),
        (429, rate, ErrorKind::RateLimited),
        (429, quota, ErrorKind::QuotaExhausted),
        (500, "oops", ErrorKind::Unavailable),
        (502, "<html><title>Bad Gateway</title></html>", ErrorKind::Unavailable),
        (503, r#"{"error":{"message":"Loading model"}}"#, ErrorKind::Overloaded),
        (529, "", ErrorKind::Overloaded),
        (307, "", ErrorKind::InvalidRequest),
    ];
    for (status, body, kind) in table {
        let headers = [("retry-after", "1.5"), ("x-request-id", "req-9"), ("location", "/evil")];
        let service = Service::always(Answer::new(status, &headers, body)).await;
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
async fn the_service_may_overrule_whether_to_try_again() {
    for (status, should, expected) in [
        (500, "false", Recovery::GiveUp),
        (400, "true", Recovery::Retry),
        (401, "false", Recovery::Mend),
        (500, "perhaps", Recovery::Retry),
    ] {
        let service = Service::always(Answer::new(status, &[("x-should-retry", should)], "")).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        assert_eq!(error.unwrap().recovery(), expected, "{status} {should}");
    }
}

#[tokio::test]
async fn an_error_keeps_a_kibibyte_of_an_endless_refusal() {
    let body = format!("{KEY} {}", "x".repeat(300_000));
    let service = Service::always(Answer::new(500, &[], &body)).await;
    let (_, error) = hear(&provider(&service), &request(), &cx()).await;
    let error = error.unwrap();
    assert!(error.context().len() <= 1024, "{}", error.context().len());
    assert!(error.context().starts_with("[redacted] xxx"), "{error}");
}

#[tokio::test]
async fn an_error_document_with_status_200_is_an_error() {
    let body = r#"{"error":{"message":"upstream is busy","code":429}}"#;
    let headers = [("content-type", "application/json")];
    let service = Service::always(Answer::new(200, &headers, body)).await;
    let (events, error) = hear(&provider(&service), &request(), &cx()).await;
    assert!(events.iter().all(|event| *event == LlmEvent::Keepalive), "{events:?}");
    assert_eq!(error.unwrap().kind(), ErrorKind::RateLimited);
}

#[tokio::test]
async fn comments_of_the_service_are_signs_of_life() {
    let body = format!(": PROCESSING\n\n{}{}", delta(&json!({"content": "Hi"})), end("stop"));
    // A connection of its own for each half, so that the comment arrives alone.
    let service = Service::always(Answer::ok(": PROCESSING\n\n").then_silence()).await;
    let mut stream = provider(&service).stream(&request(), &cx()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), LlmEvent::Keepalive);
    drop(stream);
    let service = Service::always(Answer::ok(&body)).await;
    let reply = provider(&service).complete(&request(), &cx()).await.unwrap();
    assert_eq!(reply.message.plain_text(), "Hi");
}

#[tokio::test]
async fn silence_is_a_timeout_that_says_how_long_it_was() {
    let timeouts = || Timeouts::default().with_first_byte(Duration::from_millis(80));
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    for answer in [Answer::default(), Answer::raw(head)] {
        let service = Service::always(answer.then_silence()).await;
        let provider = provider(&service).with_timeouts(timeouts()).unwrap();
        let (_, error) = hear(&provider, &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.context().ends_with("sent nothing for 80ms"), "{error}");
        service.client_closed().await;
    }
    let half = Answer::ok(&delta(&json!({"content": "Half"}))).then_silence();
    let service = Service::always(half).await;
    let idle = Timeouts::default().with_idle(Duration::from_millis(90));
    let provider = provider(&service).with_timeouts(idle).unwrap();
    let (events, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, SendState::Sent));
    assert!(error.context().ends_with("sent nothing for 90ms"), "{error}");
    assert!(events.contains(&LlmEvent::TextDelta { text: "Half".into() }));
    service.client_closed().await;
}

#[tokio::test]
async fn signs_of_life_are_no_silence_however_long_they_are_all_there_is() {
    let comments = std::iter::repeat_n(": PROCESSING\n\n".to_owned(), 30);
    let pieces = comments.chain([delta(&json!({"content": "Hi"})) + &end("stop")]);
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
    let body = ": PROCESSING\n\n";
    let service = Service::always(Answer::ok(body).then_silence()).await;
    let impatient = Timeouts::default().with_content(Duration::ZERO);
    let provider = provider(&service).with_timeouts(impatient).unwrap();
    let (events, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, SendState::Sent));
    assert!(error.context().contains("nothing but signs of life"), "{error}");
    assert!(events.is_empty(), "{events:?}");
    service.client_closed().await;
}

#[tokio::test]
async fn a_call_takes_no_longer_than_its_own_timeout() {
    for answer in [Answer::default(), Answer::ok(&delta(&json!({"content": "Half"})))] {
        let service = Service::always(answer.then_silence()).await;
        let cx = CallCx { timeout: Some(Duration::from_millis(70)), ..cx() };
        let (_, error) = hear(&provider(&service), &request(), &cx).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.context().ends_with("within 70ms"), "{error}");
    }
}

#[tokio::test]
async fn cancelling_or_dropping_a_stream_closes_its_connection() {
    let half = || Answer::ok(&delta(&json!({"content": "Half"}))).then_silence();
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
async fn dropping_a_call_before_its_answer_closes_the_connection() {
    let service = Service::always(Answer::default().then_silence()).await;
    let provider = provider(&service);
    let (request, cx) = (request(), cx());
    let call = provider.stream(&request, &cx);
    assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    service.client_closed().await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named_and_certainly_got_nothing() {
    let url = nowhere().await;
    let provider = OpenAiProvider::new(&url, Some(SecretString::from(KEY))).unwrap();
    let (_, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Network, SendState::NotSent));
    assert!(error.context().contains(&url) && error.context().contains("refused"), "{error}");
    let source = format!("{:?}", error.source());
    assert!(!source.contains("/v1"), "the source tells the URL: {source}");
}

#[tokio::test]
async fn the_models_are_those_of_the_server_with_the_context_it_tells() {
    let list = r#"{"object":"list","data":[{"id":"a","max_model_len":4096},{"id":"b","meta":{"n_ctx":8192}},{"id":"c"},{}]}"#;
    let service = Service::always(Answer::ok(list)).await;
    let own = Capabilities { tools: Some(true), ..Capabilities::default() };
    let provider = provider(&service).with_capabilities(own).with_id("vllm");
    let models = provider.models(&cx()).await.unwrap();
    let told: Vec<_> =
        models.iter().map(|m| (m.id.as_str(), m.capabilities.context_window)).collect();
    assert_eq!(told, [("a", Some(4096)), ("b", Some(8192)), ("c", None)]);
    assert_eq!((provider.id(), provider.capabilities("unlisted")), ("vllm", own));
    let listed = Capabilities { context_window: Some(4096), ..own };
    assert_eq!(provider.capabilities("a"), listed);
    assert_eq!(service.requests()[0].line, "GET /v1/models");
    let strange = Service::always(Answer::ok("<html>")).await;
    let error = self::provider(&strange).models(&cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    let refused = Service::always(Answer::new(401, &[], "")).await;
    assert_eq!(self::provider(&refused).models(&cx()).await.unwrap_err().kind(), ErrorKind::Auth);
}

#[test]
fn a_wrong_address_or_key_is_refused_without_being_quoted() {
    for (url, key) in
        [("nonsense sk-1", None), ("http://u:sk-1@h/v1", None), ("http://h/v1", Some("sk-1\n"))]
    {
        let error = OpenAiProvider::new(url, key.map(SecretString::from)).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("sk-1"), "{told}");
        assert_eq!(error.sent(), SendState::NotSent, "{told}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_what_to_set() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Service::always(Answer::ok(&end("stop"))).await;
        let location = format!("{}/v1/chat/completions", elsewhere.url());
        let service = Service::always(Answer::new(status, &[("location", &location)], "")).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.context().contains("set the base URL"), "{error}");
        assert!(elsewhere.requests().is_empty(), "the request went elsewhere");
    }
}

#[tokio::test]
async fn a_web_page_or_nothing_in_place_of_an_answer_is_told_by_its_status() {
    let table = [
        (502, "<html><head><title>Bad Gateway</title></head>nginx</html>", "web page: Bad Gateway"),
        (503, "", "without a reason"),
        (500, "<html>", "web page: untitled"),
    ];
    for (status, body, says) in table {
        let service = Service::always(Answer::new(status, &[], body)).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.recovery(), Recovery::Retry, "{error}");
        assert!(error.context().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_profile_decides_what_is_sent_and_what_the_models_can() {
    let service = Service::always(Answer::ok(&end("stop"))).await;
    let provider = provider(&service).with_profile(Profile::mistral());
    let mut request = request();
    request.max_output_tokens = Some(9);
    request.reasoning = Some(ReasoningEffort::High);
    let reply = provider.complete(&request, &cx()).await.unwrap();
    let sent = &service.requests()[0].body;
    assert_eq!((&sent["max_tokens"], sent.get("stream_options")), (&json!(9), None));
    assert_eq!(provider.capabilities("m"), Profile::mistral().capabilities);
    assert!(reply.notices[0].contains("mistral"), "{:?}", reply.notices);
    assert_eq!(provider.profile().name, "mistral");
}
