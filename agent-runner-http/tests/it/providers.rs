//! Providers, models, one-shot prompts, tools, workers, probes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_runner_core::{
    budget::Budget,
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest,
        MicroUsd, ModelInfo, ProviderError, SendState, StopReason, Usage,
    },
    message::{Message, Role},
    testing::{Gate, ScriptedModel, Turn},
};
use agent_runner_http::ApiOptions;
use async_trait::async_trait;
use futures::stream;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Service, Setup, answering, idle, request};

/// A provider that refuses, or never answers.
#[derive(Debug, Default)]
struct Broken {
    hangs: bool,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl LlmProvider for Broken {
    fn id(&self) -> &str {
        if self.hangs { "hanging" } else { "broken" }
    }

    fn capabilities(&self, _: &str) -> Capabilities {
        Capabilities::default()
    }

    async fn models(&self, _: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(ProviderError::new(ErrorKind::Auth, "broken", "the key is not accepted"))
    }

    async fn stream(
        &self,
        _: &LlmRequest,
        _: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        Err(ProviderError::new(ErrorKind::RateLimited, "broken", "slow down")
            .with_retry_after(Duration::from_secs(7)))
    }
}

#[tokio::test]
async fn providers_are_asked_at_once_within_their_time_and_not_again_for_a_while() {
    let broken = Broken::default();
    let asked = Arc::clone(&broken.asked);
    let mut setup = Setup::new([Turn::text("done")]);
    setup.providers.push(Arc::new(broken));
    setup.providers.push(Arc::new(Broken { hangs: true, ..Broken::default() }));
    setup.options =
        ApiOptions { provider_timeout: Duration::from_millis(50), ..ApiOptions::default() };
    setup.engine_options.default_model_notice = Some("a test stands in".into());
    let service = setup.idle();
    let list = service.get("/providers").await.json();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["broken", "hanging", "test"]);
    let [broken, hanging, test] = [0, 1, 2].map(|n| list["items"][n].clone());
    assert_eq!((&broken["healthy"], &broken["configured"]), (&json!(false), &json!(true)));
    assert_eq!(broken["error"]["code"], "auth");
    assert_eq!(
        (&hanging["healthy"], &hanging["error"]["code"]),
        (&json!(false), &json!("timeout"))
    );
    assert_eq!((&test["healthy"], &test["default"]), (&json!(true), &json!(true)));
    assert_eq!(test["notice"], "a test stands in");
    assert_eq!(test["default_model"], "test/model");
    assert_eq!(test["models"][0]["name"], "test/model");
    assert_eq!(test["models"][0]["tools"], true);
    let mut one = service.get("/providers/test").await.json();
    let more = one.as_object_mut().unwrap();
    assert_eq!(more.remove("daily_budget"), Some(json!(null)));
    assert_eq!(more.remove("spending").unwrap()["total"]["spend"]["requests"], 0);
    assert_eq!(one, test);
    let models = service.get("/models").await.json();
    assert_eq!(models["items"], test["models"]);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "three requests, one question");
    let check = service.send(request("POST", "/providers/broken/check", None)).await;
    assert_eq!((check.status.as_u16(), &check.json()["code"]), (502, &json!("provider_error")));
    assert!(check.json()["detail"].as_str().unwrap().contains("key is not accepted"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let good = service.send(request("POST", "/providers/test/check", None)).await;
    assert_eq!((good.status.as_u16(), &good.json()["healthy"]), (200, &json!(true)));
    let unknown = service.get("/providers/nobody").await;
    assert!(unknown.json()["detail"].as_str().unwrap().contains("broken, hanging, test"));
}

#[tokio::test]
async fn a_prompt_is_answered_without_a_run() {
    let model = ScriptedModel::new([Turn::text("hello world")]);
    let mut setup = Setup::new([]);
    setup.providers = vec![Arc::new(model.clone()), Arc::new(Broken::default())];
    let service = setup.idle();
    let uri = "/providers/test/generate";
    let body = json!({"prompt": "Say hello world", "instructions": "be kind", "temperature": 0.0});
    let answer = service.post(uri, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let reply = answer.json();
    assert_eq!((&reply["text"], &reply["model"]), (&json!("hello world"), &json!("test/model")));
    assert_eq!((&reply["stop"], &reply["usage"]["total"]), (&json!("end_turn"), &json!(15)));
    let asked = model.requests();
    assert_eq!(asked[0].messages.len(), 2);
    assert_eq!((asked[0].model.as_str(), asked[0].temperature), ("model", Some(0.0)));
    for name in ["test/other/x", "other/x"] {
        service.post(uri, &json!({"prompt": "p", "model": name})).await;
        assert_eq!(model.requests().last().unwrap().model, "other/x");
    }
    let streamed = json!({"prompt": "p", "stream": true});
    let frames = service.open(request("POST", uri, Some(&streamed))).await.all().await;
    let events: Vec<&str> = frames.iter().map(|f| f.event.as_str()).collect();
    assert_eq!(events, ["llm.delta", "llm.completed", "stream.end"]);
    assert_eq!(frames[1].data["payload"]["text"], "hello world");
    for (wrong, pointer) in [
        (json!({"prompt": " "}), "/prompt"),
        (json!({"prompt": "p", "temperature": 9}), "/temperature"),
        (json!({"prompt": "p", "timeout_seconds": 301}), "/timeout_seconds"),
        (json!({"model": "m"}), "/prompt"),
    ] {
        let answer = service.post(uri, &wrong).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["errors"][0]["pointer"]),
            (422, &json!(pointer))
        );
    }
    let broken =
        service.post("/providers/broken/generate", &json!({"prompt": "p", "model": "m"})).await;
    assert_eq!((broken.status.as_u16(), broken.header("retry-after")), (502, "7"));
    assert_eq!(service.get("/runs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn tools_and_workers_are_listed() {
    let service = answering("done");
    let tools = service.get("/tools").await.json();
    let names: Vec<&str> =
        tools["items"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["agent.run", "doubt", "note", "run.ask", "run.wait"]);
    let tool = service.get("/tools/doubt").await.json();
    assert_eq!((&tool["policy"], &tool["input_schema"]["type"]), (&json!("ask"), &json!("object")));
    let typo = service.get("/tools/doubts").await;
    assert!(typo.json()["detail"].as_str().unwrap().contains("did you mean `doubt`?"));
    let id = service.create(&json!({"goal": "g"})).await;
    service.join(&id).await;
    let workers = service.get("/workers").await.json();
    assert_eq!(workers["items"][0]["id"], service.engine.worker_id().to_string());
}

#[tokio::test]
async fn readiness_drops_at_once_and_everything_else_goes_on() {
    let service = answering("done");
    let ready = service.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (200, &json!("ok")));
    service.api.set_draining();
    let draining = service.get("/readyz").await;
    assert_eq!(draining.status, 503);
    assert_eq!(draining.json()["checks"][0], json!({"name": "accepting", "ok": false}));
    assert_eq!(draining.header("content-type"), "application/json");
    for uri in ["/healthz", "/startupz"] {
        let probe = service.get(uri).await;
        assert_eq!(
            (probe.status.as_u16(), probe.json()),
            (200, json!({"status": "ok", "checks": []}))
        );
    }
    let id = service.create(&json!({"goal": "g"})).await;
    assert_eq!(service.join(&id).await["status"], "COMPLETED");
    let version = service.get("/version").await.json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_documentation_brings_all_it_needs() {
    let service = idle();
    let home = service.get("/").await;
    assert_eq!((home.status.as_u16(), home.header("location")), (307, "/docs"));
    let page = service.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    let quoted = page.text.split('"').filter(|text| text.starts_with("/docs/"));
    let assets: Vec<&str> = quoted.collect();
    assert_eq!(assets.len(), 2);
    for asset in assets {
        let file = service.get(asset).await;
        assert_eq!(file.status, 200, "{asset}");
        assert!(!file.text.contains("http://") && !file.text.contains("https://"), "{asset}");
        assert!(!file.text.contains("innerHTML"), "{asset}");
    }
    assert!(!page.text.contains("http://") && !page.text.contains("https://"));
}

#[tokio::test]
async fn what_one_shot_prompts_took_is_booked_and_ends_with_the_days_budget() {
    let mut setup = Setup::new([Turn::text("done")]);
    setup.engine_options.daily_budget = Some(Budget { requests: Some(2), ..Budget::default() });
    let service = setup.idle();
    let prompt = json!({"prompt": "hello"});
    for _ in 0..2 {
        let answer = service.post("/providers/test/generate", &prompt).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    let refused = service.post("/providers/test/generate", &prompt).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["code"], "budget_exceeded");
    let provider = service.get("/providers/test").await.json();
    let today = &provider["spending"]["today"];
    assert_eq!((&today["spend"]["requests"], &today["spend"]["tokens"]), (&json!(2), &json!(30)));
    assert_eq!(today["cost"], json!(null), "nobody knows the price");
    assert_eq!(provider["daily_budget"]["limit"]["requests"], 2);
    assert_eq!(provider["daily_budget"]["used_percent"], 100.0);
}

#[tokio::test]
async fn under_a_budget_of_money_a_model_without_a_price_is_not_asked() {
    let model = ScriptedModel::new([Turn::text("done")]);
    let mut setup = Setup::new([]);
    setup.providers = vec![Arc::new(model.clone())];
    setup.engine_options.daily_budget =
        Some(Budget { micro_usd: Some(MicroUsd(1_000_000)), ..Budget::default() });
    let service = setup.idle();
    let refused = service.post("/providers/test/generate", &json!({"prompt": "hello"})).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    let refused = refused.json();
    assert_eq!(refused["code"], "budget_exceeded");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("the price of test/model; say what it costs in the models file"));
    assert_eq!(model.requests(), []);
    assert_eq!(spent(&service, "test").await, (0, 0));
}

/// Requests and tokens booked on a provider.
async fn spent(service: &Service, provider: &str) -> (u64, u64) {
    let provider = service.get(&format!("/providers/{provider}")).await.json();
    let spend = &provider["spending"]["today"]["spend"];
    (spend["requests"].as_u64().unwrap(), spend["tokens"].as_u64().unwrap())
}

/// The same, when there is something.
async fn booked(service: &Service) -> (u64, u64) {
    let look = async {
        loop {
            match spent(service, "test").await {
                (0, 0) => tokio::task::yield_now().await,
                spent => return spent,
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("a booking")
}

/// What the prompt `hello` is taken for: 4 tokens for the message, 2 for its text.
const HELLO: u64 = 6;

#[tokio::test]
async fn a_stream_that_its_client_leaves_is_booked_as_far_as_it_was_heard() {
    let gate = Gate::new();
    let service =
        Setup::new([Turn::Held("one ".into(), gate.clone(), Box::new(Turn::text("two")))]).idle();
    let body = json!({"prompt": "hello", "stream": true});
    let mut frames = service.open(request("POST", "/providers/test/generate", Some(&body))).await;
    assert_eq!(frames.next().await.unwrap().event, "llm.delta");
    assert_eq!(spent(&service, "test").await, (0, 0));
    drop(frames);
    assert_eq!(booked(&service).await, (1, HELLO + 1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_too_late_is_booked() {
    let held = Turn::Held("one ".into(), Gate::new(), Box::new(Turn::text("two")));
    let service = Setup::new([held]).idle();
    let body = json!({"prompt": "hello", "timeout_seconds": 1});
    let late = service.post("/providers/test/generate", &body).await;
    assert_eq!(late.status, 502, "{late:?}");
    assert!(late.json()["detail"].as_str().unwrap().contains("[timeout]"));
    assert_eq!(spent(&service, "test").await, (1, HELLO + 1));
}

/// Replies with these items. An error that comes first is one of the call.
#[derive(Debug)]
struct Saying(fn() -> Vec<Result<LlmEvent, ProviderError>>);

#[async_trait]
impl LlmProvider for Saying {
    fn id(&self) -> &'static str {
        "test"
    }

    fn capabilities(&self, _: &str) -> Capabilities {
        Capabilities::default()
    }

    async fn models(&self, _: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Ok(Vec::new())
    }

    async fn stream(
        &self,
        _: &LlmRequest,
        _: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let mut items = (self.0)();
        if items.first().is_some_and(Result::is_err) {
            items.remove(0)?;
        }
        Ok(Box::pin(stream::iter(items)))
    }
}

fn piece() -> Result<LlmEvent, ProviderError> {
    Ok(LlmEvent::TextDelta { text: "more ".into() })
}

fn used(input: Option<u64>, output: Option<u64>) -> Result<LlmEvent, ProviderError> {
    Ok(LlmEvent::Usage { usage: Usage { input, output, ..Usage::default() } })
}

fn broken() -> ProviderError {
    ProviderError::new(ErrorKind::Unavailable, "test", "it broke")
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_booked_unless_it_was_refused_or_never_asked_for() {
    type Items = fn() -> Vec<Result<LlmEvent, ProviderError>>;
    let table: [(&str, Items, (u64, u64)); 7] = [
        ("nothing reported", || vec![piece(), piece(), Err(broken())], (1, HELLO + 2)),
        (
            "less reported than heard",
            || vec![used(Some(100), Some(1)), piece(), piece(), Err(broken())],
            (1, 102),
        ),
        ("more reported", || vec![piece(), used(Some(100), Some(50))], (1, 150)),
        ("no prompt reported", || vec![used(None, Some(50)), Err(broken())], (1, HELLO + 50)),
        ("refused", || vec![Err(broken().with_http_status(503))], (0, 0)),
        ("not sent", || vec![Err(broken().with_sent(SendState::NotSent))], (0, 0)),
        ("broken later", || vec![piece(), Err(broken().with_http_status(503))], (1, HELLO + 1)),
    ];
    for (what, items, expected) in table {
        for streamed in [false, true] {
            let mut setup = Setup::new([]);
            setup.providers = vec![Arc::new(Saying(items))];
            let service = setup.idle();
            let body = json!({"prompt": "hello", "model": "model", "stream": streamed});
            let answer = service.post("/providers/test/generate", &body).await;
            let begun = streamed && expected.0 > 0;
            assert_eq!(answer.status, if begun { 200 } else { 502 }, "{what}: {answer:?}");
            assert_eq!(answer.text.contains("event: stream.error"), begun, "{what}: {answer:?}");
            assert_eq!(spent(&service, "test").await, expected, "{what}");
        }
    }
}

#[tokio::test]
async fn a_reply_without_usage_is_estimated() {
    let mut setup = Setup::new([]);
    setup.providers = vec![Arc::new(Saying(|| {
        let message = Message::text(Role::Assistant, "a reply of 26 characters..");
        vec![Ok(LlmFinished::new(message, StopReason::EndTurn, Usage::default()).into())]
    }))];
    let service = setup.idle();
    let body = json!({"prompt": "hello", "model": "model"});
    let reply = service.post("/providers/test/generate", &body).await.json();
    assert_eq!((&reply["usage"]["input"], &reply["usage"]["output"]), (&json!(HELLO), &json!(11)));
    assert!(reply["notices"][0].as_str().unwrap().contains("they are estimated"));
    assert_eq!(reply["cost"], Value::Null);
    assert_eq!(spent(&service, "test").await, (1, HELLO + 11));
}
