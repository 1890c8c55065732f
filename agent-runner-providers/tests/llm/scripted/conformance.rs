//! The conformance suite on scripts.

use std::sync::Arc;

use agent_runner_core::{
    llm::LlmProvider,
    testing::{
        llm_contract::{LlmHarness, Scene},
        provider_conformance::{OptionalScene, WORDS},
    },
};
use agent_runner_providers::ScriptedProvider;

#[derive(Debug)]
struct Harness(Arc<dyn LlmProvider>);

impl Harness {
    fn of(turn: &str) -> Self {
        let yaml = format!("models: {{model: {{turns: [{turn}]}}}}");
        Self(Arc::new(ScriptedProvider::from_yaml(&yaml).unwrap()))
    }
}

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        Self::of(match scene {
            Scene::Text => "{text: Hello you there, usage: {output: 3}}",
            Scene::ToolCalls => {
                "{tool_calls: [{name: shout, arguments: {text: a}}, {name: shout, arguments: {text: b}}]}"
            }
            Scene::BadArguments => {
                r#"{tool_calls: [{name: shout, arguments: '{"text": "it never en'}]}"#
            }
            Scene::Truncated => {
                "{text: Hello you there, error: {kind: stream_truncated, after_chunks: 2}}"
            }
            Scene::Refused => "{error: {kind: auth, http_status: 401}}",
            Scene::Silent => "{text: late, delay_ms: 3600000}",
        })
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::clone(&self.0)
    }

    async fn open_optional(scene: OptionalScene) -> Option<Self> {
        let error = |fields: &str| format!("{{text: Hello you, error: {{{fields}}}}}");
        Some(Self::of(&match scene {
            OptionalScene::RateLimited => error("kind: rate_limited, retry_after_ms: 7000"),
            OptionalScene::RateLimitedMillis => error("kind: rate_limited, retry_after_ms: 250"),
            OptionalScene::Overloaded => error("kind: overloaded"),
            OptionalScene::ServerError => error(&format!("kind: unavailable, message: {WORDS}")),
            OptionalScene::ServerErrorInStream => {
                error(&format!("kind: unavailable, after_chunks: 1, message: {WORDS}"))
            }
            OptionalScene::WrongKey => error("kind: auth"),
            OptionalScene::UnknownModel => {
                let yaml = "models: {another: {turns: [{text: Hello}]}}";
                return Some(Self(Arc::new(ScriptedProvider::from_yaml(yaml).unwrap())));
            }
            OptionalScene::TooLong => error("kind: context_length"),
            OptionalScene::ConnectionReset => error("kind: network"),
            OptionalScene::Echo => "{text: '{{goal}}'}".to_owned(),
            OptionalScene::EmptyArguments => "{tool_calls: [{name: shout}]}".to_owned(),
            OptionalScene::ParallelCalls => {
                "{tool_calls: [{name: shout, arguments: {text: a}}, {name: shout, arguments: {text: b}}]}"
                    .to_owned()
            }
            OptionalScene::Usage => {
                "{text: Hello, usage: {input: 100, output: 30, cache_read: 40, reasoning: 12}}"
                    .to_owned()
            }
            OptionalScene::MaxTokens => "{text: Hello, stop: max_tokens}".to_owned(),
            OptionalScene::Refusal => "{text: No, stop: refusal}".to_owned(),
            OptionalScene::ContentFilter => "{text: No, stop: content_filter}".to_owned(),
            _ => return None,
        }))
    }
}

agent_runner_core::provider_conformance!(Harness, skip: {
    rate_limited_until: "a script says how long, not until when",
    error_as_reply: "there is no wire",
    proxy_page: "there is no wire",
    proxy_page_as_reply: "there is no wire",
    request_id: "there is no service that would name a request",
    endless_event: "there is no wire",
    endless_reply: "a script has an end",
    split_character: "there is no wire",
    cut_character: "there is no wire",
    held_open: "there is no connection",
    structured_output: "a script says what it says, whatever the schema",
    structured_beside_tools: "a script says what it says, whatever the schema",
    tool_round: "there is no wire on which to see the conversation",
    reasoning: "a script wants nothing back",
});
