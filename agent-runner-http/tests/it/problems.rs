//! Every error is a problem, and it names what was wrong.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
        ProviderError,
    },
    store::{InMemoryStore, Store},
    testing::{Fault, FaultyStore, StoreCall, Turn},
};
use agent_runner_http::ApiOptions;
use async_trait::async_trait;
use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::support::{Answer, Service, Setup, idle, request, with_header};

const RUN: &str = "019ab3c4-0000-7000-8000-000000000000";

fn is_problem(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    let body = answer.json();
    assert_eq!(body["code"], code, "{what}: {body}");
    assert_eq!(body["status"], status, "{what}");
    assert_eq!(body["type"], format!("/docs#problem-{code}"), "{what}");
    assert_eq!(body["request_id"], answer.header("x-request-id"), "{what}");
    assert!(!answer.header("x-request-id").is_empty(), "{what}");
    for text in ["title", "detail", "instance"] {
        assert!(body[text].as_str().is_some_and(|t| !t.is_empty()), "{what}: {text}");
    }
    assert!(body["errors"].is_array(), "{what}");
}

/// Method, address and a body that the route takes.
fn routes() -> Vec<(&'static str, String, Option<Value>)> {
    let run = |rest: &str| format!("/runs/{RUN}{rest}");
    let goal = Some(json!({"goal": "g"}));
    vec![
        ("GET", "/projects".into(), None),
        ("POST", "/projects".into(), Some(json!({"name": "n"}))),
        ("GET", format!("/projects/{RUN}"), None),
        ("PATCH", format!("/projects/{RUN}"), Some(json!({}))),
        ("DELETE", format!("/projects/{RUN}"), None),
        ("GET", "/runs".into(), None),
        ("POST", "/runs".into(), goal.clone()),
        ("POST", "/runs/wait".into(), goal.clone()),
        ("POST", "/runs/stream".into(), goal),
        ("GET", run(""), None),
        ("DELETE", run(""), None),
        ("GET", run("/join"), None),
        ("GET", run("/usage"), None),
        ("GET", run("/transcript"), None),
        ("GET", run("/steps"), None),
        ("GET", run("/steps/turn.1.model"), None),
        ("POST", run("/steps/turn.1.model/resolve"), Some(json!({"decision": "retry"}))),
        ("GET", run("/events"), None),
        ("GET", run("/events/1"), None),
        ("GET", run("/events/stream"), None),
        ("POST", run("/cancel"), Some(json!({}))),
        ("POST", run("/stop"), Some(json!({}))),
        ("POST", run("/pause"), Some(json!({}))),
        ("POST", run("/resume"), Some(json!({}))),
        ("POST", run("/directive"), Some(json!({"text": "t"}))),
        ("POST", run("/signals/s"), Some(json!({}))),
        ("GET", "/providers".into(), None),
        ("GET", "/providers/none".into(), None),
        ("POST", "/providers/none/check".into(), Some(json!({}))),
        ("POST", "/providers/test/generate".into(), Some(json!({"prompt": "p"}))),
        ("GET", "/models".into(), None),
        ("GET", "/tools".into(), None),
        ("GET", "/tools/none".into(), None),
        ("GET", "/workers".into(), None),
        ("GET", "/openapi.json".into(), None),
    ]
}

#[tokio::test]
async fn every_route_refuses_parameters_that_it_does_not_know() {
    let service = idle();
    for (method, uri, body) in routes() {
        let answer =
            service.send(request(method, &format!("{uri}?nonsense=1"), body.as_ref())).await;
        is_problem(&answer, 422, "validation", &format!("{method} {uri}"));
        assert_eq!(answer.json()["errors"][0]["pointer"], "/nonsense", "{method} {uri}");
    }
}

#[tokio::test]
async fn every_route_with_a_body_refuses_what_is_not_its_json() {
    let service = idle();
    for (method, uri, body) in routes() {
        let Some(body) = body else { continue };
        let what = format!("{method} {uri}");
        let raw = |text: &str, media: &str| {
            let builder = Request::builder().method(method).uri(&uri).header("content-type", media);
            builder.body(Body::from(text.to_owned())).unwrap()
        };
        for broken in ["{", "{\"goal\":}", "\u{1}", "{\"goal\":\"\\ud800\"}", "nul"] {
            let answer = service.send(raw(broken, "application/json")).await;
            is_problem(&answer, 400, "bad_request", &what);
        }
        let deep = "[".repeat(100_000);
        is_problem(&service.send(raw(&deep, "application/json")).await, 400, "bad_request", &what);
        let form = service.send(raw("goal=g", "application/x-www-form-urlencoded")).await;
        is_problem(&form, 415, "unsupported_media_type", &what);
        for wrong in ["[]", "[\"g\"]", "\"text\"", "7", "null"] {
            let answer = service.send(raw(wrong, "application/json")).await;
            is_problem(&answer, 422, "validation", &format!("{what} {wrong}"));
        }
        let mut unknown = body.clone();
        unknown["no/such~field"] = json!(1);
        let answer = service.send(request(method, &uri, Some(&unknown))).await;
        is_problem(&answer, 422, "validation", &what);
        assert_eq!(answer.json()["errors"][0]["pointer"], "/no~1such~0field", "{what}");
        let large = format!("\"{}\"", "x".repeat(1024 * 1024));
        let answer = service.send(raw(&large, "application/json")).await;
        is_problem(&answer, 413, "too_large", &what);
    }
}

#[tokio::test]
async fn every_route_answers_404_for_what_does_not_exist() {
    let service = idle();
    for (method, uri, body) in routes() {
        if !uri.contains(RUN) && !uri.contains("none") {
            continue;
        }
        let answer = service.send(request(method, &uri, body.as_ref())).await;
        is_problem(&answer, 404, "not_found", &format!("{method} {uri}"));
        let not_an_id = uri.replace(RUN, "not-an-id");
        let answer = service.send(request(method, &not_an_id, body.as_ref())).await;
        is_problem(&answer, 404, "not_found", &format!("{method} {not_an_id}"));
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let service = idle();
    for uri in ["/nowhere", "/runs/", "//", "/runs/x/y/z", "/docs/none.js", "/%ff"] {
        is_problem(&service.get(uri).await, 404, "not_found", uri);
    }
    for (method, uri, allowed) in [
        ("DELETE", "/runs", ["GET", "POST"].as_slice()),
        ("PUT", "/projects", &["GET", "POST"]),
        ("GET", "/runs/wait", &["POST"]),
        ("POST", "/healthz", &["GET"]),
        ("POST", "/runs", &[]),
    ] {
        if allowed.is_empty() {
            continue;
        }
        // `GET /runs/wait` is a run with a strange id as well as a method that is not allowed.
        let answer = service.send(request(method, uri, None)).await;
        if answer.status == 404 {
            is_problem(&answer, 404, "not_found", uri);
            continue;
        }
        is_problem(&answer, 405, "method_not_allowed", uri);
        for method in allowed {
            assert!(answer.header("allow").contains(method), "{uri}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_run_names_every_wrong_field_at_once() {
    let service = idle();
    let body = json!({
        "goal": " ", "model": "nobody/x", "agent": "other", "tools": ["fils.*"], "tags": [""],
        "output_schema": {"type": 7},
        "options": {"max_steps": 0, "priority": 5000, "temperature": 3.5, "timeout_seconds": 0,
                    "max_output_tokens": 0},
    });
    let answer = service.post("/runs", &body).await;
    is_problem(&answer, 422, "validation", "run");
    let problem = answer.json();
    let mut pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/agent",
            "/goal",
            "/model",
            "/options/max_output_tokens",
            "/options/max_steps",
            "/options/priority",
            "/options/temperature",
            "/options/timeout_seconds",
            "/output_schema",
            "/tags",
            "/tools",
        ]
    );
    assert_eq!(service.get("/runs").await.json()["items"], json!([]), "nothing was half applied");
}

#[tokio::test]
async fn a_typo_is_told_with_the_name_that_was_meant() {
    let service = idle();
    for (body, pointer, words) in [
        (
            json!({"goal": "g", "options": {"max_step": 3}}),
            "/options/max_step",
            "did you mean `max_steps`?",
        ),
        (json!({"gaol": "g"}), "/gaol", "did you mean `goal`?"),
        (json!({"goal": "g", "webhook": "u"}), "/webhook", "unknown field `webhook`"),
        (json!({"goal": "g", "session_id": "s"}), "/session_id", "unknown field `session_id`"),
        (json!({"goal": "g", "options": {"dry_run": true}}), "/options/dry_run", "unknown field"),
        (json!({"goal": "g", "options": {"max_steps": "ten"}}), "/options/max_steps", "u32"),
        (json!({"goal": "g", "tool_mode": "magic"}), "/tool_mode", "unknown variant"),
        (json!({"goal": "g", "project_id": "x"}), "/project_id", "UUID"),
        (json!({"goal": "g", "start_at": "soon"}), "/start_at", "year"),
    ] {
        let answer = service.post("/runs", &body).await;
        is_problem(&answer, 422, "validation", pointer);
        let error = answer.json()["errors"][0].clone();
        assert_eq!(error["pointer"], pointer);
        assert!(error["detail"].as_str().unwrap().contains(words), "{error}");
    }
    let answer = service.get("/runs?statsu=FAILED").await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("did you mean `status`?"));
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let service = idle();
    let id = service.create(&json!({"goal": "g"})).await;
    for (uri, pointer) in [
        ("/runs?status=DONE".to_owned(), "/status"),
        ("/runs?limit=501".to_owned(), "/limit"),
        ("/runs?limit=1&limit=2".to_owned(), "/limit"),
        ("/runs?cursor=x".to_owned(), "/cursor"),
        ("/runs?project_id=x".to_owned(), "/project_id"),
        ("/runs?parent_id=x".to_owned(), "/parent_id"),
        ("/runs?created_after=yesterday".to_owned(), "/created_after"),
        ("/runs?order=up".to_owned(), "/order"),
        ("/projects?cursor=x".to_owned(), "/cursor"),
        (format!("/runs/{id}/events?after=-1"), "/after"),
        (format!("/runs/{id}/events?types=run.qeued"), "/types"),
        (format!("/runs/{id}/events?cursor=x"), "/cursor"),
        (format!("/runs/{id}/events/stream?after=x"), "/after"),
        (format!("/runs/{id}/events/stream?until=noon"), "/until"),
        (format!("/runs/{id}/events/stream?include_deltas=maybe"), "/include_deltas"),
        (format!("/runs/{id}/join?timeout=301"), "/timeout"),
        (format!("/runs/{id}/join?timeout=1.5"), "/timeout"),
    ] {
        let answer = service.get(&uri).await;
        is_problem(&answer, 422, "validation", &uri);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{uri}");
    }
    for garbage in ["abc", "-1", "1.5", "99999999999999999999999"] {
        let uri = format!("/runs/{id}/events/stream");
        let asked = with_header(request("GET", &uri, None), "last-event-id", garbage);
        is_problem(&service.send(asked).await, 422, "validation", garbage);
    }
    let asked = with_header(
        request("GET", &format!("/runs/{id}/events/stream"), None),
        "accept",
        "text/html",
    );
    is_problem(&service.send(asked).await, 406, "not_acceptable", "accept");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_by_its_own_code() {
    let service = idle();
    let long = format!("/runs?q={}", "x".repeat(9 * 1024));
    is_problem(&service.get(&long).await, 414, "uri_too_long", "uri");
    let many: Vec<String> = (0..101).map(|n| format!("a{n}=1")).collect();
    is_problem(
        &service.get(&format!("/runs?{}", many.join("&"))).await,
        422,
        "validation",
        "query",
    );
    let large = with_header(request("GET", "/runs", None), "x-large", &"x".repeat(17 * 1024));
    is_problem(&service.send(large).await, 431, "headers_too_large", "bytes");
    let mut fields = Request::builder().uri("/runs");
    for n in 0..101 {
        fields = fields.header(format!("x-{n}"), "1");
    }
    let answer = service.send(fields.body(Body::empty()).unwrap()).await;
    is_problem(&answer, 431, "headers_too_large", "fields");
}

#[tokio::test]
async fn every_answer_has_the_security_headers_and_a_request_id() {
    let service = idle();
    for uri in ["/healthz", "/runs", "/nowhere", "/docs", "/openapi.json"] {
        let answer = service.get(uri).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{uri}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{uri}");
        assert!(
            answer.header("content-security-policy").contains("frame-ancestors 'none'"),
            "{uri}"
        );
        assert!(!answer.header("x-request-id").is_empty(), "{uri}");
    }
    let named = with_header(request("GET", "/nowhere", None), "x-request-id", "mine-1");
    assert_eq!(service.send(named).await.json()["request_id"], "mine-1");
    let evil = with_header(request("GET", "/nowhere", None), "x-request-id", "a\"b<c>");
    assert_ne!(service.send(evil).await.json()["request_id"], "a\"b<c>");
}

#[tokio::test]
async fn a_store_that_fails_is_503_and_its_words_stay_inside() {
    let inner: Arc<dyn Store> = Arc::new(InMemoryStore::new());
    let store = Arc::new(FaultyStore::new(inner).counting(&[StoreCall::Create]));
    store.fail_nth(1, Fault::BeforeCommit);
    let mut setup = Setup::new([Turn::text("done")]);
    setup.store = store;
    let service = setup.idle();
    let answer = service.post("/runs", &json!({"goal": "g"})).await;
    is_problem(&answer, 503, "store_unavailable", "store");
    assert_eq!(answer.header("retry-after"), "5");
    assert!(answer.json()["detail"].as_str().unwrap().contains("try again later"));
    assert_eq!(service.post("/runs", &json!({"goal": "g"})).await.status, 201);
}

fn limited(requests_max: usize) -> Service {
    let mut setup = Setup::new([Turn::text("done")]);
    setup.options = ApiOptions { requests_max, ..ApiOptions::default() };
    setup.idle()
}

#[tokio::test]
async fn a_service_that_is_full_sheds_load_but_answers_probes() {
    let service = limited(0);
    let answer = service.get("/runs").await;
    is_problem(&answer, 503, "overloaded", "full");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(service.get("/healthz").await.status, 200);
    assert_eq!(service.get("/readyz").await.status, 503, "no worker was started");
}

#[tokio::test]
async fn a_defect_in_a_plugin_is_a_500_and_the_service_goes_on() {
    let mut setup = Setup::new([Turn::Panics]);
    setup.providers.push(Arc::new(Panicking));
    let service = setup.idle();
    for _ in 0..2 {
        let answer = service.post("/providers/test/generate", &json!({"prompt": "p"})).await;
        is_problem(&answer, 500, "internal", "panic");
        assert!(!answer.text.contains("secret"), "{answer:?}");
    }
    // A list goes on without the one that is broken.
    let answer = service.get("/providers").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.text.contains("secret"), "{answer:?}");
    assert_eq!(service.get("/runs").await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let inner: Arc<dyn Store> = Arc::new(InMemoryStore::new());
    let store = Arc::new(FaultyStore::new(inner).counting(&[StoreCall::Create]));
    let held = store.pause_nth(1, Fault::BeforeCommit);
    let mut setup = Setup::new([Turn::text("done")]);
    setup.store = store;
    setup.options =
        ApiOptions { request_timeout: Duration::from_millis(50), ..ApiOptions::default() };
    let service = setup.idle();
    let answer = service.post("/runs", &json!({"goal": "g"})).await;
    is_problem(&answer, 503, "overloaded", "slow store");
    assert_eq!(answer.header("retry-after"), "5");
    held.release();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_slowly_is_refused() {
    let service = idle();
    let drops = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, std::io::Error>("x"), ()))
    });
    let slow = Request::builder()
        .method("POST")
        .uri("/runs/wait")
        .header("content-type", "application/json")
        .body(Body::from_stream(drops))
        .unwrap();
    is_problem(&service.send(slow).await, 408, "timeout", "slow body");
}

/// A provider with a defect.
#[derive(Debug)]
struct Panicking;

#[async_trait]
impl LlmProvider for Panicking {
    fn id(&self) -> &str {
        "panicking"
    }

    fn capabilities(&self, _: &str) -> Capabilities {
        Capabilities::default()
    }

    async fn models(&self, _: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        panic!("a secret of the plugin")
    }

    async fn stream(
        &self,
        _: &LlmRequest,
        _: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        panic!("a secret of the plugin")
    }
}
