//! Providers, models, one-shot prompts, tools, workers, probes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
        ProviderError,
    },
    testing::{ScriptedModel, Turn},
};
use agent_runner_http::ApiOptions;
use async_trait::async_trait;
use serde_json::json;

use crate::support::{Setup, answering, idle, request};

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
    assert_eq!(names, ["doubt", "note", "run.wait"]);
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
    setup.engine_options.daily_budget = Some(agent_runner_core::budget::Budget {
        requests: Some(2),
        ..agent_runner_core::budget::Budget::default()
    });
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
