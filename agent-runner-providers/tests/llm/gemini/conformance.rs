//! The conformance suite on `streamGenerateContent`.

use std::sync::Arc;

use agent_runner_core::{
    llm::LlmProvider,
    testing::{
        llm_contract::{BAD_ARGUMENTS, LlmHarness, Scene},
        provider_conformance::{OptionalScene, REASONING},
    },
};
use serde_json::{Value, json};

use super::{KEY, MODEL, bad_key, end, frame, provider, refusal, text};
use crate::{
    service::{Answer, Service},
    wire::{Play, Stage, Wire, always, in_turn},
};

/// What the service signs a call with.
const SIGNATURE: &str = "EqRkbWFuZGFyaW4=";

static WIRE: Wire = Wire {
    begin: String::new,
    text,
    end: || end("STOP"),
    error: |status, words| {
        let (code, name) = match status {
            429 => (429, "RESOURCE_EXHAUSTED"),
            503 => (503, "UNAVAILABLE"),
            _ => (500, "INTERNAL"),
        };
        refusal(code, name, words, &json!([]))
    },
    error_in_stream: |words| refusal(500, "INTERNAL", words, &json!([])),
    endless: r#"data: {"candidates":""#,
    overloaded: 503,
    request_id: "x-request-id",
};

#[derive(Debug)]
struct Harness(Stage);

impl Harness {
    async fn with(play: Play) -> Self {
        let service = Service::start(play).await;
        Self(Stage { provider: Arc::new(provider(&service)), service })
    }
}

fn shout(id: Option<&str>, args: &Value) -> String {
    frame(&json!([{"functionCall": {"id": id, "name": "shout", "args": args}}]))
}

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        let good = json!({"text": "a"});
        Self::with(always(match scene {
            Scene::Text => Answer::ok(&(text("Hello") + &text(" you") + &end("STOP"))),
            Scene::ToolCalls => Answer::ok(
                &(shout(None, &good)
                    + &shout(Some("x"), &good)
                    + &shout(Some("x"), &good)
                    + &end("STOP")),
            ),
            Scene::BadArguments => Answer::ok(&(shout(None, &json!(BAD_ARGUMENTS)) + &end("STOP"))),
            Scene::Truncated => Answer::ok(&(text("Hello") + &text(" you"))),
            Scene::Refused => Answer::new(400, &[("x-request-id", KEY)], &bad_key()),
            Scene::Silent => Answer::default().then_silence(),
        }))
        .await
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::clone(&self.0.provider)
    }

    fn model(&self) -> String {
        MODEL.to_owned()
    }

    fn other_model(&self) -> String {
        "gemini-4-argon".to_owned()
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }

    async fn open_optional(scene: OptionalScene) -> Option<Self> {
        let refuses = |status, name: &str, message: &str| {
            always(Answer::new(status, &[], &refusal(status, name, message, &json!([]))))
        };
        let limited = |wait: &str| {
            let info =
                json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait}]);
            always(Answer::new(429, &[], &refusal(429, "RESOURCE_EXHAUSTED", "slowly", &info)))
        };
        let stops = |reason: &str| always(Answer::ok(&(text("Hello") + &end(reason))));
        let calls = |calls: String| Answer::ok(&(calls + &end("STOP")));
        let play = match scene {
            OptionalScene::RateLimited => limited("7s"),
            OptionalScene::RateLimitedMillis => limited("0.250s"),
            OptionalScene::WrongKey => always(Answer::new(400, &[], &bad_key())),
            OptionalScene::UnknownModel => refuses(404, "NOT_FOUND", "no such model"),
            OptionalScene::TooLong => refuses(
                400,
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ),
            OptionalScene::ToolRound => in_turn(
                calls(
                    shout(Some("c1"), &json!({"text": "knock"}))
                        + &shout(Some("c2"), &json!({"text": "ring"})),
                ),
                WIRE.reply(&["Hello"]),
            ),
            OptionalScene::Reasoning => {
                let (head, tail) = REASONING.split_at(9);
                let think = |text: &str| frame(&json!([{"text": text, "thought": true}]));
                let call = frame(&json!([{"thoughtSignature": SIGNATURE, "functionCall": {
                    "id": "c1", "name": "shout", "args": {"text": "a"}}}]));
                in_turn(calls(think(head) + &think(tail) + &call), WIRE.reply(&["Hello"]))
            }
            OptionalScene::EmptyArguments => {
                always(calls(frame(&json!([{"functionCall": {"name": "shout"}}]))))
            }
            OptionalScene::ParallelCalls => always(calls(frame(&json!([
                {"functionCall": {"name": "shout", "args": {"text": "a"}}},
                {"functionCall": {"name": "shout", "args": {"text": "b"}}},
            ])))),
            OptionalScene::Usage => {
                let last = json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": {
                    "promptTokenCount": 140, "cachedContentTokenCount": 40,
                    "candidatesTokenCount": 18, "thoughtsTokenCount": 12, "totalTokenCount": 170}});
                always(Answer::ok(&(text("Hello") + &format!("data: {last}\r\n\r\n"))))
            }
            OptionalScene::MaxTokens => stops("MAX_TOKENS"),
            OptionalScene::ContentFilter => stops("SAFETY"),
            OptionalScene::StructuredBesideTools | OptionalScene::Refusal => return None,
            other => WIRE.play(other)?,
        };
        Some(Self::with(play).await)
    }

    fn requests(&self) -> Vec<String> {
        self.0.requests("streamGenerateContent")
    }

    async fn closed(&self) {
        self.0.service.client_closed().await;
    }

    fn reasoning_echo(&self) -> Vec<String> {
        vec![SIGNATURE.to_owned()]
    }
}

agent_runner_core::provider_conformance!(Harness, skip: {
    structured_beside_tools: "some of its models refuse both at once, so the provider denies it",
    refusal: "the API refuses as a filter",
});
