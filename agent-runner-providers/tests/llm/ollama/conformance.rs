//! The conformance suite on `/api/chat`.

use std::sync::Arc;

use agent_runner_core::{
    llm::{LlmProvider, Usage},
    testing::{
        llm_contract::{BAD_ARGUMENTS, LlmHarness, Scene},
        provider_conformance::{OptionalScene, REASONING},
    },
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{KEY, end, line, playing, provider};
use crate::{
    service::Answer,
    wire::{Play, Stage, Wire, always, in_turn},
};

fn call(id: &str, arguments: &Value) -> String {
    let function = json!({"name": "shout", "arguments": arguments});
    line(&json!({"content": "", "tool_calls": [{"id": id, "function": function}]}))
}

static WIRE: Wire = Wire {
    begin: String::new,
    text: |text| line(&json!({"content": text})),
    end,
    error: |_, words| json!({"error": words}).to_string(),
    error_in_stream: |words| json!({"error": words}).to_string() + "\n",
    endless: r#"{"message":{"content":""#,
    overloaded: 503,
    request_id: "x-request-id",
};

#[derive(Debug)]
struct Harness(Stage);

impl Harness {
    async fn with(play: Play) -> Self {
        let service = playing(&["completion", "tools", "thinking"], 8192, play).await;
        let provider = provider(&service).with_key(SecretString::from(KEY)).unwrap();
        Self(Stage { provider: Arc::new(provider), service })
    }
}

fn refuses(status: u16, sentence: &str) -> Play {
    always(Answer::new(status, &[], &json!({"error": sentence}).to_string()))
}

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        let text = || WIRE.say(&["Hello", " you"]);
        let call = |arguments: &Value| call("x", arguments);
        let good = json!({"text": "a"});
        Self::with(always(match scene {
            Scene::Text => Answer::ok(&(text() + &end())),
            Scene::ToolCalls => Answer::ok(&(call(&good) + &call(&good) + &end())),
            Scene::BadArguments => Answer::ok(&(call(&json!(BAD_ARGUMENTS)) + &end())),
            Scene::Truncated => Answer::ok(&text()),
            Scene::Refused => {
                let headers = [("x-request-id", KEY)];
                Answer::new(401, &headers, &json!({"error": format!("no {KEY}")}).to_string())
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
        let last =
            |last: Value| Answer::ok(&(line(&json!({"content": "Hello"})) + &format!("{last}\n")));
        let play = match scene {
            OptionalScene::WrongKey => refuses(401, "unauthorized"),
            OptionalScene::UnknownModel => refuses(404, "model 'model' not found"),
            OptionalScene::TooLong => refuses(400, "the input length exceeds the context length"),
            OptionalScene::ToolRound => {
                let knock = call("c1", &json!({"text": "knock"}));
                let ring = call("c2", &json!({"text": "ring"}));
                in_turn(Answer::ok(&(knock + &ring + &end())), WIRE.reply(&["Hello"]))
            }
            OptionalScene::Reasoning => {
                let (head, tail) = REASONING.split_at(9);
                let think = |text: &str| line(&json!({"content": "", "thinking": text}));
                let call = call("c1", &json!({"text": "a"}));
                let first = think(head) + &think(tail) + &call + &end();
                in_turn(Answer::ok(&first), WIRE.reply(&["Hello"]))
            }
            OptionalScene::EmptyArguments => {
                let call = json!({"tool_calls": [{"function": {"name": "shout"}}]});
                always(Answer::ok(&(line(&call) + &end())))
            }
            OptionalScene::ParallelCalls => {
                let both = call("", &json!({"text": "a"})) + &call("", &json!({"text": "b"}));
                always(Answer::ok(&(both + &end())))
            }
            OptionalScene::Usage => always(last(json!({
                "done": true, "done_reason": "stop", "prompt_eval_count": 100, "eval_count": 30,
            }))),
            OptionalScene::MaxTokens => {
                always(last(json!({"done": true, "done_reason": "length"})))
            }
            OptionalScene::StructuredBesideTools
            | OptionalScene::Refusal
            | OptionalScene::ContentFilter => return None,
            other => WIRE.play(other)?,
        };
        Some(Self::with(play).await)
    }

    fn requests(&self) -> Vec<String> {
        self.0.requests("/api/chat")
    }

    async fn closed(&self) {
        self.0.service.client_closed().await;
    }

    fn usage(&self) -> Usage {
        // The service does not say what was cached or thought.
        Usage { input: Some(100), output: Some(30), ..Usage::default() }
    }
}

agent_runner_core::provider_conformance!(Harness, skip: {
    structured_beside_tools: "the schema binds calls too, so the provider denies it",
    refusal: "the API has no word for it",
    content_filter: "the API has no filter",
});
