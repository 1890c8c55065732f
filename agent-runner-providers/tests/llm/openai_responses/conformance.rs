//! The conformance suite on the Responses API.

use std::sync::Arc;

use agent_runner_core::{
    llm::LlmProvider,
    testing::{
        llm_contract::{BAD_ARGUMENTS, LlmHarness, Scene},
        provider_conformance::{OptionalScene, REASONING},
    },
};
use serde_json::{Value, json};

use super::{KEY, call, delta, end, event, item, provider};
use crate::{
    service::{Answer, Service},
    wire::{Play, Stage, Wire, always, in_turn},
};

/// What the service seals its reasoning with.
const SEALED: &str = "gAAAAB+mandarin/==";

static WIRE: Wire = Wire {
    begin: String::new,
    text: delta,
    end,
    error: |_, words| json!({"error": {"message": words, "type": "x", "code": null}}).to_string(),
    error_in_stream: |words| {
        let error = json!({"code": "server_error", "message": words});
        event("response.failed", json!({"response": {"status": "failed", "error": error}}))
    },
    endless: r#"data: {"type":""#,
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

fn refuses(status: u16, code: &str) -> Play {
    let body = json!({"error": {"message": "No.", "type": "invalid_request_error", "code": code}});
    always(Answer::new(status, &[], &body.to_string()))
}

/// Some text and a response that ends so.
fn ends(kind: &str, response: &Value) -> Play {
    always(Answer::ok(&(delta("Hello") + &event(kind, json!({"response": response})))))
}

/// A reply that stays incomplete for this reason.
fn incomplete(reason: &str) -> Play {
    let details = json!({"reason": reason});
    ends("response.incomplete", &json!({"status": "incomplete", "incomplete_details": details}))
}

/// Sealed reasoning, its summary piece by piece.
fn thought() -> String {
    let (head, tail) = REASONING.split_at(9);
    let think = |text: &str| {
        event("response.reasoning_summary_text.delta", json!({"output_index": 0, "delta": text}))
    };
    let whole = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": SEALED,
        "summary": [{"type": "summary_text", "text": REASONING}]});
    think(head) + &think(tail) + &item(0, &whole)
}

/// Two calls whose pieces alternate.
fn alternating() -> String {
    let open = |place: u64, id: &str| {
        let call = json!({"type": "function_call", "call_id": id, "name": "shout"});
        event("response.output_item.added", json!({"output_index": place, "item": call}))
    };
    let piece = |place: u64, json: &str| {
        let fields = json!({"output_index": place, "delta": json});
        event("response.function_call_arguments.delta", fields)
    };
    open(0, "a")
        + &open(1, "b")
        + &piece(0, "{\"te")
        + &piece(1, "{\"text\"")
        + &piece(0, "xt\":\"a\"}")
        + &piece(1, ":\"b\"}")
        + &call(0, "a", r#"{"text":"a"}"#)
        + &call(1, "b", r#"{"text":"b"}"#)
}

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        let text = || WIRE.say(&["Hello", " you"]);
        let good = r#"{"text":"a"}"#;
        Self::with(always(match scene {
            Scene::Text => Answer::ok(&(text() + &end())),
            Scene::ToolCalls => {
                Answer::ok(&(call(0, "", good) + &call(1, "", good) + &call(2, "x", good) + &end()))
            }
            Scene::BadArguments => Answer::ok(&(call(0, "c", BAD_ARGUMENTS) + &end())),
            Scene::Truncated => Answer::ok(&text()),
            Scene::Refused => {
                let body = json!({"error": {"message": format!("bad key {KEY}"), "code": KEY}});
                Answer::new(401, &[("x-request-id", KEY)], &body.to_string())
            }
            Scene::Silent => Answer::default().then_silence(),
        }))
        .await
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::clone(&self.0.provider)
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }

    async fn open_optional(scene: OptionalScene) -> Option<Self> {
        let calls = |calls: String| Answer::ok(&(calls + &end()));
        let play = match scene {
            OptionalScene::WrongKey => refuses(401, "invalid_api_key"),
            OptionalScene::UnknownModel => refuses(404, "model_not_found"),
            OptionalScene::TooLong => refuses(400, "context_length_exceeded"),
            OptionalScene::ToolRound => {
                let knock = call(0, "c1", r#"{"text":"knock"}"#);
                let ring = call(1, "c2", r#"{"text":"ring"}"#);
                in_turn(calls(knock + &ring), WIRE.reply(&["Hello"]))
            }
            OptionalScene::Reasoning => {
                let call = call(1, "c1", r#"{"text":"a"}"#);
                in_turn(calls(thought() + &call), WIRE.reply(&["Hello"]))
            }
            OptionalScene::EmptyArguments => always(calls(call(0, "c", ""))),
            OptionalScene::ParallelCalls => always(calls(alternating())),
            OptionalScene::Usage => ends(
                "response.completed",
                &json!({"status": "completed", "usage": {
                    "input_tokens": 140, "input_tokens_details": {"cached_tokens": 40},
                    "output_tokens": 30, "output_tokens_details": {"reasoning_tokens": 12},
                }}),
            ),
            OptionalScene::MaxTokens => incomplete("max_output_tokens"),
            OptionalScene::Refusal => {
                let refusal = json!({"output_index": 0, "delta": "I will not."});
                always(Answer::ok(&(event("response.refusal.delta", refusal) + &end())))
            }
            OptionalScene::ContentFilter => incomplete("content_filter"),
            other => WIRE.play(other)?,
        };
        Some(Self::with(play).await)
    }

    fn requests(&self) -> Vec<String> {
        self.0.requests("/responses")
    }

    async fn closed(&self) {
        self.0.service.client_closed().await;
    }

    fn reasoning_echo(&self) -> Vec<String> {
        vec![SEALED.to_owned()]
    }
}

agent_runner_core::provider_conformance!(Harness);
