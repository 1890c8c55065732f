//! What is known of providers and models: what they lack, cost and count.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, FactSource, LlmEvent, LlmFinished, LlmProvider,
        LlmRequest, ModelCatalog, ModelInfo, Price, ProviderError, Rates, ReasoningEffort,
        StopReason, Usage,
    },
    message::{Message, Role},
    testing::{ScriptedModel, Turn},
};
use agent_runner_http::{ApiOptions, Unconfigured};
use async_trait::async_trait;
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Setup, request};

/// A provider that panics when it lists its models, counts tokens, and says everything that a
/// reply can say.
#[derive(Debug)]
struct Talker;

#[async_trait]
impl LlmProvider for Talker {
    fn id(&self) -> &str {
        "talker"
    }

    fn capabilities(&self, _: &str) -> Capabilities {
        Capabilities::default()
    }

    async fn models(&self, _: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        panic!("a defect")
    }

    async fn count_tokens(
        &self,
        request: &LlmRequest,
        _: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        match request.model.as_str() {
            "silent" => Ok(None),
            "gone" => Err(ProviderError::new(ErrorKind::Auth, "talker", "the key is not accepted")
                .with_request_id("req_7")),
            _ => Ok(Some(request.messages.len() as u64)),
        }
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        _: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let usage = Usage { input: Some(1_000), output: Some(100), ..Usage::default() };
        let message = Message::text(Role::Assistant, format!("{:?}", request.reasoning));
        let mut finished = LlmFinished::new(message, StopReason::Refusal, usage);
        finished.stop_detail = Some("cyber".into());
        finished.notices = vec!["the model takes no temperature".into()];
        finished.request_id = Some("req_8".into());
        if request.model == "chain" {
            finished.answered_by = Some(ModelName::new("talker", "dear"));
        }
        Ok(Box::pin(stream::iter([Ok(finished.into())])))
    }
}

/// Knows one model, and the context of another.
#[derive(Debug)]
struct List;

impl ModelCatalog for List {
    fn capabilities(&self, _: &ModelName) -> Capabilities {
        Capabilities { context_window: Some(8_000), ..Capabilities::default() }
    }

    fn price(&self, model: &ModelName, _: Timestamp) -> Option<Price> {
        let rates = |input| Rates { input, output: 1_000_000, ..Rates::default() };
        let rates = match model.to_string().as_str() {
            "talker/dear" => rates(4_000_000),
            "test/model" => Rates { cache_read: Some(75_000), ..rates(750_000) },
            _ => return None,
        };
        Some(Price {
            rates,
            tiers: vec![(200_000, Rates { input: 1_500_000, ..rates })],
            source: FactSource::Catalog,
            basis: "a list".into(),
        })
    }
}

fn setup() -> Setup {
    let mut setup = Setup::new([]);
    setup.providers = vec![Arc::new(ScriptedModel::new([Turn::text("done")])), Arc::new(Talker)];
    setup.unconfigured = vec![
        Unconfigured::new("anthropic", "set ANTHROPIC_API_KEY"),
        Unconfigured::new("test", "never shown, because it is there"),
    ];
    setup.catalog = Some(Arc::new(List));
    setup.options =
        ApiOptions { provider_timeout: Duration::from_secs(5), ..ApiOptions::default() };
    setup
}

#[tokio::test]
async fn a_provider_that_lacks_its_key_is_listed_with_what_to_set() {
    let service = setup().idle();
    let list = service.get("/providers").await.json();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["anthropic", "talker", "test"]);
    let lacking = &list["items"][0];
    assert_eq!((&lacking["configured"], &lacking["healthy"]), (&json!(false), &json!(false)));
    assert_eq!(lacking["error"]["code"], "not_configured");
    assert!(lacking["error"]["message"].as_str().unwrap().contains("set ANTHROPIC_API_KEY"));
    assert_eq!((&lacking["models"], &lacking["latency_ms"]), (&json!([]), &Value::Null));
    let one = service.get("/providers/anthropic").await.json();
    for (field, value) in lacking.as_object().unwrap() {
        assert_eq!(one[field], *value, "{field}");
    }
    for path in ["generate", "check", "count_tokens"] {
        let body = json!({"prompt": "p"});
        let body = (path != "check").then_some(&body);
        let answer =
            service.send(request("POST", &format!("/providers/anthropic/{path}"), body)).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("ANTHROPIC_API_KEY"));
    }
    assert_eq!(service.get("/models").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_provider_that_panics_is_ill_and_the_others_are_not() {
    let service = setup().idle();
    let list = service.get("/providers").await.json();
    let [talker, test] = [1, 2].map(|n| &list["items"][n]);
    assert_eq!((&talker["configured"], &talker["healthy"]), (&json!(true), &json!(false)));
    assert_eq!(talker["error"]["code"], "internal");
    assert!(!talker["error"]["message"].as_str().unwrap().contains("a defect"));
    assert_eq!(test["healthy"], true);
    let check = service.send(request("POST", "/providers/talker/check", None)).await;
    assert_eq!(check.status, 502);
}

#[tokio::test]
async fn a_model_has_its_price_and_who_says_what_it_can() {
    let service = setup().idle();
    let model = &service.get("/models").await.json()["items"][0];
    assert_eq!(
        (&model["context"], &model["sources"]["context_window"]),
        (&json!(8_000), &json!("catalog"))
    );
    let price = &model["price"];
    assert_eq!((&price["input"], &price["cache_read"]), (&json!(0.75), &json!(0.075)));
    assert_eq!((&price["cache_write"], &price["source"]), (&Value::Null, &json!("catalog")));
    assert_eq!(price["tiers"][0], json!({"above": 200_000, "input": 1.5, "output": 1.0}));
}

#[tokio::test]
async fn a_reply_says_what_it_cost_and_who_answered_and_takes_how_much_to_reason() {
    let service = setup().idle();
    let uri = "/providers/talker/generate";
    let body = json!({"prompt": "p", "model": "chain", "reasoning": "high"});
    let reply = service.post(uri, &body).await.json();
    assert_eq!(reply["text"], format!("{:?}", Some(ReasoningEffort::High)));
    assert_eq!(
        (&reply["model"], &reply["answered_by"]),
        (&json!("talker/chain"), &json!("talker/dear"))
    );
    assert_eq!((&reply["stop"], &reply["stop_detail"]), (&json!("refusal"), &json!("cyber")));
    assert_eq!(reply["notices"], json!(["the model takes no temperature"]));
    assert_eq!(
        reply["cost"],
        json!({"usd": 0.0041, "micro_usd": 4_100, "source": "catalog", "basis": "a list"})
    );
    assert_eq!(reply["provider_request_id"], "req_8");
    let unknown = service.post(uri, &json!({"prompt": "p", "model": "new"})).await.json();
    assert_eq!((&unknown["cost"], &unknown["answered_by"]), (&Value::Null, &Value::Null));
    let wrong = service.post(uri, &json!({"prompt": "p", "reasoning": "a bit"})).await;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.json()["errors"][0]["pointer"]),
        (422, &json!("/reasoning"))
    );
    let streamed = json!({"prompt": "p", "model": "chain", "stream": true});
    let frames = service.open(request("POST", uri, Some(&streamed))).await.all().await;
    assert_eq!(frames[0].data["payload"]["cost"]["micro_usd"], 4_100);
}

#[tokio::test]
async fn tokens_are_counted_by_the_service_or_estimated() {
    let service = setup().idle();
    let uri = "/providers/talker/count_tokens";
    let said = json!([{"role": "user", "text": "a"}, {"role": "assistant", "text": "b"}]);
    let body = json!({"messages": said, "instructions": "i", "model": "talker/m"});
    let counted = service.post(uri, &body).await.json();
    assert_eq!(
        counted,
        json!({"provider": "talker", "model": "talker/m", "tokens": 3, "source": "provider"})
    );
    let estimated =
        service.post(uri, &json!({"prompt": "x".repeat(400), "model": "silent"})).await.json();
    assert_eq!((&estimated["source"], &estimated["tokens"]), (&json!("estimate"), &json!(104)));
    let gone = service.post(uri, &json!({"prompt": "p", "model": "gone"})).await;
    assert_eq!(gone.status, 502);
    assert!(gone.json()["detail"].as_str().unwrap().contains("request req_7"));
    for (wrong, pointer) in [
        (json!({"model": "m"}), "/prompt"),
        (json!({"model": "m", "messages": []}), "/messages"),
        (json!({"model": "m", "prompt": "p", "messages": said}), "/messages"),
        (json!({"prompt": "p", "temperature": 1}), "/temperature"),
        (json!({"messages": [{"role": "tool", "text": "x"}]}), "/messages/0/role"),
    ] {
        let answer = service.post(uri, &wrong).await;
        assert_eq!(answer.status, 422, "{wrong}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{wrong}");
    }
}
