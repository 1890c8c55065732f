//! The conformance suite on the Messages API.

use std::sync::Arc;

use agent_runner_core::{
    llm::LlmProvider,
    testing::{
        llm_contract::{BAD_ARGUMENTS, LlmHarness, Scene},
        provider_conformance::{OptionalScene, REASONING},
    },
};
use serde_json::json;

use super::{KEY, MODEL, block, call, delta, end, error, frame, provider, start, text};
use crate::{
    service::{Answer, Service},
    wire::{Play, Stage, Wire, always, in_turn},
};

static WIRE: Wire = Wire {
    begin: || text(&[]),
    text: |text| delta(0, &json!({"type": "text_delta", "text": text})),
    end: || end("end_turn"),
    error: |status, words| {
        let kind = match status {
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        error(kind, words)
    },
    error_in_stream: |words| format!("event: error\ndata: {}\n\n", error("api_error", words)),
    endless: r#"data: {"type":""#,
    overloaded: 529,
    request_id: "request-id",
};

#[derive(Debug)]
struct Harness(Stage);

impl Harness {
    async fn with(play: Play) -> Self {
        let service = Service::start(play).await;
        Self(Stage { provider: Arc::new(provider(&service)), service })
    }
}

/// A signed thought.
fn thought() -> String {
    let (head, tail) = REASONING.split_at(9);
    let think = |text: &str| delta(0, &json!({"type": "thinking_delta", "thinking": text}));
    block(0, &json!({"type": "thinking", "thinking": "", "signature": ""}))
        + &think(head)
        + &think(tail)
        + &delta(0, &json!({"type": "signature_delta", "signature": SIGNATURE}))
        + &frame("content_block_stop", json!({"index": 0}))
}

/// Two calls whose pieces alternate.
fn alternating() -> String {
    let open = |index, id: &str| {
        block(index, &json!({"type": "tool_use", "id": id, "name": "shout", "input": {}}))
    };
    let piece = |index, json: &str| {
        delta(index, &json!({"type": "input_json_delta", "partial_json": json}))
    };
    open(0, "c1")
        + &open(1, "c2")
        + &piece(0, "{\"te")
        + &piece(1, "{\"text\"")
        + &piece(0, "xt\":\"a\"}")
        + &piece(1, ":\"b\"}")
}

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        let good = r#"{"text":"a"}"#;
        Self::with(always(match scene {
            Scene::Text => Answer::ok(&(text(&["Hello", " you"]) + &end("end_turn"))),
            Scene::ToolCalls => Answer::ok(
                &(start()
                    + &call(0, "", "shout", good)
                    + &call(1, "x", "shout", good)
                    + &call(2, "x", "shout", good)
                    + &end("tool_use")),
            ),
            Scene::BadArguments => {
                Answer::ok(&(start() + &call(0, "c", "shout", BAD_ARGUMENTS) + &end("tool_use")))
            }
            Scene::Truncated => Answer::ok(&text(&["Half"])),
            Scene::Refused => {
                let headers = [("request-id", KEY)];
                let message = format!("invalid x-api-key {KEY}");
                Answer::new(401, &headers, &error("authentication_error", &message))
            }
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
        "claude-sonnet-5-5".to_owned()
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }

    async fn open_optional(scene: OptionalScene) -> Option<Self> {
        let refuses = |status, kind: &str, message: &str| {
            always(Answer::new(status, &[], &error(kind, message)))
        };
        let stops = |reason: &str| always(Answer::ok(&(text(&["Hello"]) + &end(reason))));
        let calls = |calls: String| Answer::ok(&(start() + &calls + &end("tool_use")));
        let shout = |index, id: &str, args: &str| call(index, id, "shout", args);
        let play = match scene {
            OptionalScene::WrongKey => refuses(401, "authentication_error", "invalid x-api-key"),
            OptionalScene::UnknownModel => refuses(404, "not_found_error", "model: nothing"),
            OptionalScene::TooLong => refuses(
                400,
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            OptionalScene::ToolRound => in_turn(
                calls(
                    shout(0, "c1", r#"{"text":"knock"}"#) + &shout(1, "c2", r#"{"text":"ring"}"#),
                ),
                WIRE.reply(&["Hello"]),
            ),
            OptionalScene::Reasoning => in_turn(
                calls(thought() + &shout(1, "c1", r#"{"text":"a"}"#)),
                WIRE.reply(&["Hello"]),
            ),
            OptionalScene::EmptyArguments => always(calls(shout(0, "c1", ""))),
            OptionalScene::ParallelCalls => always(calls(alternating())),
            OptionalScene::Usage => {
                let first =
                    json!({"input_tokens": 100, "cache_read_input_tokens": 40, "output_tokens": 1});
                let head =
                    frame("message_start", json!({"message": {"content": [], "usage": first}}));
                let last =
                    json!({"output_tokens": 30, "output_tokens_details": {"thinking_tokens": 12}});
                let tail = frame(
                    "message_delta",
                    json!({"delta": {"stop_reason": "end_turn"}, "usage": last}),
                ) + &frame("message_stop", json!({}));
                let said = block(0, &json!({"type": "text", "text": "Hello"}));
                always(Answer::ok(&(head + &said + &tail)))
            }
            OptionalScene::MaxTokens => stops("max_tokens"),
            OptionalScene::Refusal => stops("refusal"),
            OptionalScene::ContentFilter => return None,
            other => WIRE.play(other)?,
        };
        Some(Self::with(play).await)
    }

    fn requests(&self) -> Vec<String> {
        self.0.requests("/v1/messages")
    }

    async fn closed(&self) {
        self.0.service.client_closed().await;
    }

    fn reasoning_echo(&self) -> Vec<String> {
        vec![REASONING.to_owned(), SIGNATURE.to_owned()]
    }
}

/// What the service signs a thought with.
const SIGNATURE: &str = "EqRkbWFuZGFyaW4=";

agent_runner_core::provider_conformance!(Harness, skip: {
    content_filter: "the API filters as a refusal",
});
