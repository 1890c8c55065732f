//! [`OllamaProvider`] over real connections.

mod conformance;

use std::time::Duration;

use agent_runner_core::{
    llm::{
        CallCx, ErrorKind, LlmEvent, LlmProvider, LlmProviderExt as _, LlmRequest, ReasoningEffort,
        SendState, StopReason, ToolSpec,
    },
    message::{Message, Role},
};
use agent_runner_providers::{OllamaProvider, PullProgress, Timeouts};
use futures::StreamExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::service::{Answer, Request, Service, hear, nowhere};

const KEY: &str = "ollama-5d1f0c";

fn provider(service: &Service) -> OllamaProvider {
    OllamaProvider::new(&service.url()).unwrap()
}

fn request() -> LlmRequest {
    LlmRequest::new("qwen3:4b", vec![Message::text(Role::User, "Hi")])
}

fn cx() -> CallCx {
    CallCx::new("1")
}

fn line(message: &Value) -> String {
    format!("{}\n", json!({"model": "qwen3:4b", "message": message, "done": false}))
}

fn end() -> String {
    let last = json!({"done": true, "done_reason": "stop", "eval_count": 3});
    format!("{last}\n")
}

/// A server that knows its model, and answers chats as told.
async fn server(capabilities: &'static [&'static str], length: u64, chat: Answer) -> Service {
    playing(capabilities, length, move |_: &Request| chat.clone()).await
}

async fn playing(
    capabilities: &'static [&'static str],
    length: u64,
    chat: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Service {
    Service::start(move |request: &Request| match request.line.as_str() {
        "POST /api/show" => Answer::ok(
            &json!({
                "capabilities": capabilities,
                "model_info": {"general.architecture": "qwen3", "qwen3.context_length": length},
                "template": "x".repeat(10_000),
            })
            .to_string(),
        ),
        "GET /api/tags" => Answer::ok(r#"{"models":[{"name":"qwen3:4b","size":1},{"name":"b"}]}"#),
        _ => chat(request),
    })
    .await
}

#[tokio::test]
async fn a_request_asks_for_the_models_context_which_is_looked_up_once() {
    let call = json!({"content": "", "tool_calls": [{"function": {
        "name": "time.now", "arguments": {"timezone": "UTC"}}}]});
    let chat = Answer::ok(&(line(&call) + &end()));
    let service = server(&["completion", "tools", "thinking"], 131_072, chat).await;
    let provider = provider(&service);
    assert_eq!(provider.capabilities("qwen3:4b").reasoning, None, "nothing is known yet");
    let mut request = request();
    request.tools.push(ToolSpec {
        name: "time.now".to_owned(),
        description: "Tells the time.".to_owned(),
        input_schema: json!({"type": "object"}),
    });
    for _ in 0..2 {
        let reply = provider.complete(&request, &cx()).await.unwrap();
        let called = reply.message.tool_calls().next().unwrap();
        assert_eq!(
            (called.name.as_str(), &called.arguments["timezone"]),
            ("time.now", &json!("UTC"))
        );
        assert_eq!((reply.stop, reply.usage.output), (StopReason::ToolCalls, Some(3)));
    }
    let sent = service.requests();
    let lines: Vec<&str> = sent.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(lines, ["POST /api/show", "POST /api/chat", "POST /api/chat"]);
    assert_eq!(sent[1].body["options"]["num_ctx"], 16_384);
    assert_eq!(sent[1].body["tools"][0]["function"]["name"], "time.now");
    assert_eq!((&sent[1].body["stream"], &sent[1].body["truncate"]), (&json!(true), &json!(false)));
    let known = provider.capabilities("qwen3:4b");
    assert_eq!(
        (known.reasoning, known.tools, known.vision),
        (Some(true), Some(true), Some(false)),
        "{known:?}"
    );
    assert_eq!(known.context_window, Some(16_384));
}

#[tokio::test]
async fn a_context_named_in_the_request_needs_no_look_up() {
    let service = server(&[], 8192, Answer::ok(&end())).await;
    let mut request = request();
    request.extra.insert("options".to_owned(), json!({"num_ctx": 2048}));
    provider(&service).complete(&request, &cx()).await.unwrap();
    let sent = service.requests();
    assert_eq!((sent.len(), &sent[0].body["options"]["num_ctx"]), (1, &json!(2048)));
}

#[tokio::test]
async fn a_server_that_cannot_describe_its_models_is_used_all_the_same() {
    let service = Service::start(|request| match request.line.as_str() {
        "POST /api/show" => Answer::new(404, &[], "404 page not found"),
        _ => Answer::ok(&end()),
    })
    .await;
    let provider = provider(&service);
    provider.complete(&request(), &cx()).await.unwrap();
    assert_eq!(service.requests()[1].body.get("options"), None);
    assert_ne!(provider.capabilities("qwen3:4b").tools, Some(false));
}

#[tokio::test]
async fn the_models_are_those_of_the_server_with_what_they_can() {
    let service = server(&["completion"], 4096, Answer::default()).await;
    let provider = provider(&service).with_id("box").with_context_max(1024);
    let models = provider.models(&cx()).await.unwrap();
    let names: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(names, ["qwen3:4b", "b"]);
    assert!(models.iter().all(|model| model.capabilities.tools == Some(false)), "{models:?}");
    assert_eq!(models[0].capabilities.context_window, Some(1024));
    assert_eq!(provider.id(), "box");
}

#[tokio::test]
async fn a_key_is_sent_with_every_request_and_without_one_nothing_is() {
    let service = server(&["completion"], 4096, Answer::ok(&end())).await;
    let keyed = provider(&service).with_key(SecretString::from(KEY)).unwrap();
    let told = format!("{keyed:?}");
    assert!(told.contains("ollama") && !told.contains(KEY), "{told}");
    keyed.complete(&request(), &cx()).await.unwrap();
    provider(&service).complete(&request(), &cx()).await.unwrap();
    let sent = service.requests();
    let keys: Vec<bool> = sent
        .iter()
        .map(|request| request.head.contains(&format!("authorization: bearer {KEY}")))
        .collect();
    assert_eq!(keys, [true, true, false, false]);
    assert!(!sent[2].head.contains("authorization"), "{}", sent[2].head);
}

#[tokio::test]
async fn every_refusal_becomes_the_kind_that_says_what_to_do() {
    let table = [
        (
            404,
            r#"{"error":"model 'qwen3:4b' not found"}"#,
            ErrorKind::ModelNotFound,
            "run `ollama pull qwen3:4b`",
        ),
        (404, "404 page not found", ErrorKind::InvalidRequest, "OLLAMA_HOST"),
        (
            400,
            r#"{"error":"registry.ollama.ai/library/x does not support tools"}"#,
            ErrorKind::UnsupportedFeature,
            "tools",
        ),
        (
            400,
            r#"{"error":"the input length exceeds the context length"}"#,
            ErrorKind::ContextLength,
            "input",
        ),
        (400, r#"{"error":"invalid options"}"#, ErrorKind::InvalidRequest, "options"),
        (
            401,
            r#"{"error":"unauthorized","signin_url":"https://x"}"#,
            ErrorKind::Auth,
            "unauthorized",
        ),
        (429, "", ErrorKind::RateLimited, "without a reason"),
        (
            500,
            r#"{"error":"llama runner process has terminated"}"#,
            ErrorKind::Unavailable,
            "runner",
        ),
        (503, r#"{"error":"server busy, please try again."}"#, ErrorKind::Overloaded, "busy"),
        (301, "", ErrorKind::InvalidRequest, "redirects"),
    ];
    for (status, body, kind, says) in table {
        let answer = Answer::new(status, &[("retry-after", "2")], body);
        let service = server(&["completion"], 4096, answer).await;
        let (events, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!((error.kind(), error.http_status()), (kind, Some(status)), "{error}");
        assert!(error.context().contains(says), "{error}");
        assert_eq!((events.len(), error.retry_after()), (0, Some(Duration::from_secs(2))));
    }
}

#[tokio::test]
async fn a_model_that_is_missing_is_told_by_the_look_up_already() {
    let body = r#"{"error":"model 'qwen3:4b' not found"}"#;
    let service = Service::always(Answer::new(404, &[], body)).await;
    let (_, error) = hear(&provider(&service), &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(error.context().ends_with("run `ollama pull qwen3:4b`"), "{error}");
    assert_eq!(service.requests().len(), 1);
}

#[tokio::test]
async fn an_error_line_or_a_missing_end_fails_the_reply() {
    let half = line(&json!({"content": "Half"}));
    let table = [
        (format!("{half}{{\"error\":\"out of memory\"}}\n"), ErrorKind::Unavailable),
        (half.clone(), ErrorKind::StreamTruncated),
        (format!("{half}{{\"mess"), ErrorKind::StreamTruncated),
    ];
    for (body, kind) in table {
        let service = server(&["completion"], 4096, Answer::ok(&body)).await;
        let (events, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!((error.kind(), error.sent()), (kind, SendState::Sent), "{error}");
        assert_eq!(events.len(), 2, "{events:?}");
    }
}

#[tokio::test]
async fn a_reply_cut_by_a_broken_transfer_is_truncated_however_it_breaks() {
    for answer in Answer::cuts(&line(&json!({"content": "Half"})), "{\"mess") {
        let service = server(&["completion"], 4096, answer).await;
        let (events, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::StreamTruncated, "{error}");
        assert_eq!(error.sent(), SendState::Sent);
        assert!(events.contains(&LlmEvent::TextDelta { text: "Half".into() }), "{events:?}");
        let asked: Vec<String> = service.requests().into_iter().map(|it| it.line).collect();
        assert_eq!(asked, ["POST /api/show", "POST /api/chat"], "the request was repeated");
    }
}

#[tokio::test]
async fn signs_of_life_are_no_silence_however_long_they_are_all_there_is() {
    let pieces =
        std::iter::repeat_n("\n".to_owned(), 30).chain([line(&json!({"content": "Hi"})) + &end()]);
    let answer = Answer::ok("").then_paced(pieces, Duration::from_millis(20));
    let service = server(&["completion"], 4096, answer).await;
    // Half of what the reply takes, and fifteen times what lies between its pieces.
    let idle = Timeouts::default().with_idle(Duration::from_millis(300));
    let provider = provider(&service).with_timeouts(idle).unwrap();
    let reply = provider.complete(&request(), &cx()).await.unwrap();
    assert_eq!(reply.message.plain_text(), "Hi");
}

#[tokio::test]
async fn signs_of_life_do_not_keep_a_call_alive_forever() {
    let service = server(&["completion"], 4096, Answer::ok("\n").then_silence()).await;
    let impatient = Timeouts::default().with_content(Duration::ZERO);
    let provider = provider(&service).with_timeouts(impatient).unwrap();
    let (_, error) = hear(&provider, &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, SendState::Sent));
    assert!(error.context().contains("nothing but signs of life"), "{error}");
    service.client_closed().await;
}

#[tokio::test]
async fn silence_is_a_timeout_and_dropping_the_stream_closes_the_connection() {
    let half = Answer::ok(&line(&json!({"content": "Half"}))).then_silence();
    let service = server(&["completion"], 4096, half).await;
    let idle = Timeouts::default().with_idle(Duration::from_millis(80));
    let impatient = provider(&service).with_timeouts(idle).unwrap();
    let (_, error) = hear(&impatient, &request(), &cx()).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Timeout);
    service.client_closed().await;
    let mut stream = provider(&service).stream(&request(), &cx()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    service.client_closed().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let url = nowhere().await;
    let provider = OllamaProvider::new(&url).unwrap();
    let error = provider.models(&cx()).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Network, SendState::NotSent));
    assert!(error.context().contains(&url), "{error}");
}

#[tokio::test]
async fn a_web_page_or_nothing_in_place_of_an_answer_is_told_by_its_status() {
    let table = [
        (
            502,
            "<html><head><title>Bad Gateway</title></head>nginx</html>",
            ErrorKind::Unavailable,
            "web page: Bad Gateway",
        ),
        (503, "", ErrorKind::Overloaded, "without a reason"),
        (413, "<!DOCTYPE html>", ErrorKind::PayloadTooLarge, "web page: untitled"),
        (307, "", ErrorKind::InvalidRequest, "redirects elsewhere"),
    ];
    for (status, body, kind, says) in table {
        let answer = Answer::new(status, &[("location", "http://127.0.0.1:9/evil")], body);
        let service = server(&["completion"], 4096, answer).await;
        let (_, error) = hear(&provider(&service), &request(), &cx()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.context().contains(says) && !error.context().contains("<h"), "{error}");
        assert_eq!(service.requests().len(), 2, "a redirect was followed or a request repeated");
    }
}

#[tokio::test]
async fn a_context_length_of_zero_or_none_asks_for_no_context() {
    let service = server(&["completion"], 0, Answer::ok(&end())).await;
    let provider = provider(&service);
    provider.complete(&request(), &cx()).await.unwrap();
    assert_eq!(service.requests()[1].body.get("options"), None);
    assert_eq!(provider.capabilities("qwen3:4b").context_window, None);
    let service = server(&["completion"], 131_072, Answer::ok(&end())).await;
    let unbounded = self::provider(&service).with_context_max(0);
    unbounded.complete(&request(), &cx()).await.unwrap();
    assert_eq!(service.requests()[1].body["options"]["num_ctx"], 131_072);
}

#[tokio::test]
async fn an_effort_is_sent_to_a_model_that_can_think_and_noticed_with_another() {
    for (capabilities, think, notices) in [
        (&["completion", "thinking"] as &[&str], Some(json!("high")), 0),
        (&["completion"], None, 1),
    ] {
        let service = server(capabilities, 4096, Answer::ok(&end())).await;
        let mut request = request();
        request.reasoning = Some(ReasoningEffort::High);
        request.extra.insert("options".to_owned(), json!({"num_ctx": 2048}));
        let reply = provider(&service).complete(&request, &cx()).await.unwrap();
        assert_eq!(service.requests()[1].body.get("think").cloned(), think);
        assert_eq!(reply.notices.len(), notices, "{:?}", reply.notices);
    }
}

fn progress(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn pull(service: &Service) -> (Vec<PullProgress>, Option<ErrorKind>) {
    let mut stream = match provider(service).pull("qwen3:4b", &cx()).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error.kind())),
    };
    let mut told = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(progress) => told.push(progress),
            Err(error) => return (told, Some(error.kind())),
        }
    }
    (told, None)
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is_and_ends_with_success() {
    let body = progress(&[
        json!({"status": "pulling manifest"}),
        json!({"status": "pulling ab12", "digest": "sha256:ab12", "total": 200}),
        json!({"status": "pulling ab12", "digest": "sha256:ab12", "total": 200, "completed": 150}),
        json!({"status": "success"}),
        json!({"status": "never read"}),
    ]);
    let service = Service::always(Answer::ok(&body)).await;
    let (told, error) = pull(&service).await;
    assert_eq!(error, None);
    let counts: Vec<_> =
        told.iter().map(|it| (it.status.as_str(), it.total, it.completed)).collect();
    assert_eq!(
        counts,
        [
            ("pulling manifest", None, None),
            ("pulling ab12", Some(200), None),
            ("pulling ab12", Some(200), Some(150)),
            ("success", None, None),
        ]
    );
    assert_eq!(told[2].digest.as_deref(), Some("sha256:ab12"));
    let sent = &service.requests()[0];
    assert_eq!(sent.line, "POST /api/pull");
    assert_eq!(sent.body, json!({"model": "qwen3:4b", "stream": true}));
}

#[tokio::test]
async fn a_pull_that_fails_or_stops_is_an_error_after_what_was_told() {
    let half = progress(&[json!({"status": "pulling manifest"})]);
    let table = [
        (
            200,
            format!("{half}{{\"error\":\"pull model manifest: file does not exist\"}}\n"),
            1,
            ErrorKind::Unavailable,
        ),
        (200, half.clone(), 1, ErrorKind::StreamTruncated),
        (200, String::new(), 0, ErrorKind::StreamTruncated),
        (200, format!("{half}nonsense\n"), 1, ErrorKind::MalformedResponse),
        (200, format!("{half}{}", "x".repeat(70_000)), 1, ErrorKind::MalformedResponse),
        (500, r#"{"error":"disk full"}"#.to_owned(), 0, ErrorKind::Unavailable),
    ];
    for (status, body, count, kind) in table {
        let service = Service::always(Answer::new(status, &[], &body)).await;
        let (told, error) = pull(&service).await;
        assert_eq!((told.len(), error), (count, Some(kind)), "{status} {told:?}");
    }
}
