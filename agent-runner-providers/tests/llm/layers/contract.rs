//! Every layer keeps the contract of a provider.

use std::sync::Arc;

use agent_runner_core::{
    llm::{
        Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmLayer, LlmProvider, StopReason, Usage,
    },
    message::{Message, Part, Role, ToolCall},
    testing::llm_contract::{BAD_ARGUMENTS, Scene},
};
use agent_runner_providers::layer::{
    BreakerOptions, BudgetLimits, BudgetOptions, CacheOptions, Cassette, FallbackOptions,
    FallbackProvider, LimitOptions, RecordOptions, RecordedEvent, ReplayMode, ReplayOptions,
    ReplayPace, ReplayProvider, RetryOptions, stack,
};
use serde_json::{Value, json};

use super::double::{Double, Play, Step, cx, fault, hear, refuses, request, says, started, text};

fn calls(arguments: &[Value]) -> Play {
    let call = |(n, arguments): (usize, &Value)| {
        Part::ToolCall(ToolCall {
            id: format!("call_{n}"),
            name: "shout".into(),
            arguments: arguments.clone(),
            provider_state: None,
        })
    };
    let parts = arguments.iter().enumerate().map(call).collect();
    let message = Message { role: Role::Assistant, parts };
    let delta = LlmEvent::ToolCallDelta { name: "shout".into(), json: "{}".into() };
    let finished = LlmFinished::new(message, StopReason::ToolCalls, Usage::default());
    Play::Stream(vec![started(), Step::Say(delta), Step::Say(finished.into())])
}

fn play(scene: Scene) -> Play {
    match scene {
        Scene::Text => says("hello ", "you"),
        Scene::ToolCalls => calls(&[json!({"text": "a"}), json!({"text": "b"})]),
        Scene::BadArguments => calls(&[Value::String(BAD_ARGUMENTS.to_owned())]),
        Scene::Truncated => Play::Stream(vec![
            started(),
            text("hel"),
            Step::Fail(fault(ErrorKind::StreamTruncated)),
        ]),
        Scene::Refused => refuses(ErrorKind::Auth),
        Scene::Silent => Play::Silent,
    }
}

fn double(scene: Scene) -> Arc<dyn LlmProvider> {
    Arc::new(Double::new([play(scene)]))
}

/// What was recorded of the scene; silence takes an hour.
async fn recorded(scene: Scene) -> Arc<dyn LlmProvider> {
    let options = RecordOptions::default();
    let silent = scene == Scene::Silent;
    let recorder = options.layer(double(if silent { Scene::Text } else { scene }));
    let _ = hear(&*recorder, &request(), &cx()).await;
    let mut cassette = options.tape.take();
    if silent {
        let hour = |event: &mut RecordedEvent| event.at_ms += 3_600_000;
        cassette.interactions[0].events.iter_mut().for_each(hour);
    }
    let text = cassette.to_json_lines();
    let options = ReplayOptions {
        mode: ReplayMode::InOrder,
        pace: ReplayPace::AsRecorded,
        ..ReplayOptions::new(Cassette::from_json_lines(&text).unwrap())
    };
    Arc::new(ReplayProvider::new("replay", options))
}

fn budget() -> BudgetOptions {
    BudgetOptions::new(BudgetLimits::default())
}

macro_rules! contracts {
    ($($name:ident: |$scene:ident| $provider:expr;)*) => {
        $(
            mod $name {
                use super::*;

                #[derive(Debug)]
                struct Harness(Arc<dyn LlmProvider>);

                #[async_trait::async_trait]
                impl agent_runner_core::testing::llm_contract::LlmHarness for Harness {
                    async fn open($scene: Scene) -> Self {
                        Self($provider)
                    }

                    fn provider(&self) -> Arc<dyn LlmProvider> {
                        Arc::clone(&self.0)
                    }
                }

                agent_runner_core::llm_contract!(Harness);
            }
        )*
    };
}

contracts! {
    retry: |scene| RetryOptions::default().layer(double(scene));
    fallback: |scene| Arc::new(FallbackProvider::new(
        "chain",
        [("model".to_owned(), vec![(double(scene), "m".to_owned()), (double(scene), "m".to_owned())])],
    ));
    fallback_after: |scene| FallbackOptions::default().then(double(scene), "m").layer(double(scene));
    limit: |scene| LimitOptions::default().layer(double(scene));
    breaker: |scene| BreakerOptions::default().layer(double(scene));
    record: |scene| RecordOptions::default().layer(double(scene));
    replay: |scene| recorded(scene).await;
    cache: |scene| CacheOptions::default().layer(double(scene));
    budget: |scene| budget().layer(double(scene));
    all: |scene| stack(double(scene), &[
        &CacheOptions::default(),
        &RetryOptions::default(),
        &FallbackOptions::default(),
        &BreakerOptions::default(),
        &budget(),
        &LimitOptions::default(),
        &RecordOptions::default(),
    ]);
}

/// What a layer does not do itself, the provider inside does.
#[tokio::test]
async fn every_layer_passes_on_what_it_is_asked() {
    let capabilities = Capabilities { vision: Some(true), ..Capabilities::default() };
    let layers: [&dyn LlmLayer; 7] = [
        &CacheOptions::default(),
        &RetryOptions::default(),
        &FallbackOptions::default(),
        &BreakerOptions::default(),
        &budget(),
        &LimitOptions::default(),
        &RecordOptions::default(),
    ];
    for layer in layers {
        let double = Double::new([says("a", "b")]).with_capabilities(capabilities);
        let wrapped = layer.layer(Arc::new(double));
        assert_eq!(wrapped.id(), "double");
        assert_eq!(wrapped.capabilities("model"), capabilities, "{layer:?}");
        assert_eq!(wrapped.models(&cx()).await.unwrap().len(), 1, "{layer:?}");
        assert_eq!(wrapped.count_tokens(&request(), &cx()).await.unwrap(), Some(1), "{layer:?}");
        let refusing = layer.layer(Arc::new(Double::new([Play::Refuse(fault(ErrorKind::Auth))])));
        let error = refusing.models(&cx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{layer:?}");
    }
}
