//! The conformance suite on chat completions.

use std::sync::Arc;

use agent_runner_core::{
    llm::LlmProvider,
    testing::{
        llm_contract::{BAD_ARGUMENTS, LlmHarness, Scene},
        provider_conformance::{OptionalScene, REASONING},
    },
};
use serde_json::json;

use super::{KEY, delta, end, provider};
use crate::{
    service::{Answer, Service},
    wire::{Play, Stage, Wire, always, in_turn},
};

/// A piece of a call: its place in the reply, the id, the arguments.
fn call(index: u64, id: &str, arguments: &str) -> String {
    let function = json!({"name": "shout", "arguments": arguments});
    delta(&json!({"tool_calls": [{"index": index, "id": id, "function": function}]}))
}

static WIRE: Wire = Wire {
    begin: String::new,
    text: |text| delta(&json!({"content": text})),
    end: || end("stop"),
    error: |_, words| json!({"error": {"message": words, "type": "x", "code": null}}).to_string(),
    error_in_stream: |words| format!("data: {}\n\n", json!({"error": {"message": words}})),
    endless: r#"data: {"choices":""#,
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

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        let text = || WIRE.say(&["Hello", " you"]);
        let good = r#"{"text":"a"}"#;
        let call = |id: &str, arguments: &str| call(0, id, arguments);
        Self::with(always(match scene {
            Scene::Text => Answer::ok(&(text() + &end("stop"))),
            Scene::ToolCalls => Answer::ok(
                &(call("", good) + &call("", good) + &call("x", good) + &end("tool_calls")),
            ),
            Scene::BadArguments => Answer::ok(&(call("c", BAD_ARGUMENTS) + &end("tool_calls"))),
            Scene::Truncated => Answer::ok(&text()),
            Scene::Refused => {
                let body = json!({"error": {"message": format!("bad key {KEY}"), "code": KEY}});
                let headers = [("x-request-id", KEY)];
                Answer::new(401, &headers, &body.to_string())
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
        let text = |text: &str| delta(&json!({"content": text}));
        let hello = |reason: &str| Answer::ok(&(text("Hello") + &end(reason)));
        let calls = end("tool_calls");
        let play = match scene {
            OptionalScene::WrongKey => refuses(401, "invalid_api_key"),
            OptionalScene::UnknownModel => refuses(404, "model_not_found"),
            OptionalScene::TooLong => refuses(400, "context_length_exceeded"),
            OptionalScene::ToolRound => {
                let knock = call(0, "c1", r#"{"text":"knock"}"#);
                let ring = call(1, "c2", r#"{"text":"ring"}"#);
                in_turn(Answer::ok(&(knock + &ring + &calls)), hello("stop"))
            }
            OptionalScene::Reasoning => {
                let (head, tail) = REASONING.split_at(9);
                let think = |text: &str| delta(&json!({"reasoning_content": text}));
                let call = call(0, "c1", r#"{"text":"a"}"#);
                in_turn(Answer::ok(&(think(head) + &think(tail) + &call + &calls)), hello("stop"))
            }
            OptionalScene::EmptyArguments => always(Answer::ok(&(call(0, "c", "") + &calls))),
            OptionalScene::ParallelCalls => {
                let pieces = [(0, "a", "{\"te"), (1, "b", "{\"text\""), (0, "", "xt\":\"a\"}")];
                let last = call(1, "", ":\"b\"}");
                let pieces: String = pieces.map(|(at, id, json)| call(at, id, json)).concat();
                always(Answer::ok(&(pieces + &last + &calls)))
            }
            OptionalScene::Usage => {
                let usage = json!({"choices": [], "usage": {
                    "prompt_tokens": 140, "prompt_tokens_details": {"cached_tokens": 40},
                    "completion_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 12},
                }});
                let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
                let tail = format!("data: {last}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
                always(Answer::ok(&(text("Hello") + &tail)))
            }
            OptionalScene::MaxTokens => always(hello("length")),
            OptionalScene::Refusal => {
                always(Answer::ok(&(delta(&json!({"refusal": "I will not."})) + &end("stop"))))
            }
            OptionalScene::ContentFilter => always(hello("content_filter")),
            other => WIRE.play(other)?,
        };
        Some(Self::with(play).await)
    }

    fn requests(&self) -> Vec<String> {
        self.0.requests("/chat/completions")
    }

    async fn closed(&self) {
        self.0.service.client_closed().await;
    }
}

agent_runner_core::provider_conformance!(Harness);
