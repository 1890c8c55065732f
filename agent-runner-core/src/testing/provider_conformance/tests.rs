//! The suite on a provider without a wire, [`ScriptedModel`].

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    llm::{Capabilities, ErrorKind, LlmProvider, StopReason},
    testing::{
        Gate, ScriptedModel, Turn,
        llm_contract::{BAD_ARGUMENTS, Scene},
    },
};

#[derive(Debug)]
struct Harness(ScriptedModel);

fn fails(kind: ErrorKind) -> Turn {
    Turn::Fails(usize::MAX, kind, Box::new(Turn::text("")))
}

/// Two pieces of text.
fn hello() -> Turn {
    let gate = Gate::default();
    gate.open();
    Turn::Held("Hello".to_owned(), gate, Box::new(Turn::text(" you")))
}

fn held(text: &str) -> Turn {
    Turn::Held(text.to_owned(), Gate::default(), Box::new(Turn::text("never")))
}

fn shout(texts: &[&str]) -> Turn {
    Turn::Tools(texts.iter().map(|text| ("shout".to_owned(), json!({"text": text}))).collect())
}

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        Self(ScriptedModel::new([match scene {
            Scene::Text => hello(),
            Scene::ToolCalls => shout(&["a", "b"]),
            Scene::BadArguments => Turn::tool("shout", Value::String(BAD_ARGUMENTS.to_owned())),
            Scene::Truncated => Turn::Breaks("Hello".to_owned(), ErrorKind::StreamTruncated),
            Scene::Refused => fails(ErrorKind::Auth),
            Scene::Silent => held(""),
        }]))
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::new(self.0.clone())
    }

    async fn open_optional(scene: OptionalScene) -> Option<Self> {
        let stops = |stop| Turn::Stops("Hello".to_owned(), stop);
        Some(Self(ScriptedModel::new(match scene {
            OptionalScene::Overloaded => vec![fails(ErrorKind::Overloaded)],
            OptionalScene::WrongKey => vec![fails(ErrorKind::Auth)],
            OptionalScene::TooLong => vec![fails(ErrorKind::ContextLength)],
            OptionalScene::ConnectionReset => vec![fails(ErrorKind::Network)],
            OptionalScene::HeldOpen => vec![held("Hello")],
            OptionalScene::Structured | OptionalScene::StructuredBesideTools => {
                vec![Turn::text(STRUCTURED)]
            }
            OptionalScene::ToolRound => vec![shout(&["knock", "ring"]), hello()],
            OptionalScene::EmptyArguments => vec![Turn::tool("shout", json!({}))],
            OptionalScene::ParallelCalls => vec![shout(&["a", "b"])],
            OptionalScene::MaxTokens => vec![stops(StopReason::MaxTokens)],
            OptionalScene::Refusal => vec![stops(StopReason::Refusal)],
            OptionalScene::ContentFilter => vec![stops(StopReason::ContentFilter)],
            _ => return None,
        })))
    }

    fn requests(&self) -> Vec<String> {
        let requests = self.0.requests();
        requests.iter().map(|request| serde_json::to_string(request).unwrap()).collect()
    }

    async fn closed(&self) {
        // Dropping a stream counts it before the drop returns.
        assert_eq!(self.0.streams_dropped(), 1);
    }
}

mod conformance {
    crate::provider_conformance!(super::Harness, skip: {
        rate_limited: "a scripted failure has no wait",
        rate_limited_millis: "a scripted failure has no wait",
        rate_limited_until: "a scripted failure has no wait",
        server_error: "a scripted failure has no words",
        server_error_in_stream: "a scripted failure has no words",
        error_as_reply: "there is no wire",
        proxy_page: "there is no wire",
        proxy_page_as_reply: "there is no wire",
        unknown_model: "the double answers as any model",
        request_id: "there is no service",
        endless_event: "there is no wire",
        endless_reply: "a turn has an end",
        split_character: "there is no wire",
        cut_character: "there is no wire",
        echo: "a turn does not read the conversation",
        reasoning: "a turn has no reasoning",
        usage: "every turn uses the same",
    });
}

#[test]
fn every_scene_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<&str> =
        OptionalScene::ALL.iter().map(|scene| scene.name()).collect();
    assert_eq!(names.len(), OptionalScene::ALL.len());
    assert_eq!(OptionalScene::RateLimited.name(), "rate_limited");
    assert_eq!(scene::rate_limited, OptionalScene::RateLimited);
}

/// What a case says when it fails, `None` when it passes.
async fn failure(case: impl Future<Output = ()> + Send + 'static) -> Option<String> {
    let error = tokio::spawn(case).await.err()?;
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned()))
}

#[tokio::test]
async fn a_skip_of_a_scene_that_the_harness_plays_fails() {
    let said = failure(skipped::<Harness>(OptionalScene::Overloaded, "just because")).await;
    assert!(said.unwrap().contains("`overloaded` is skipped (just because), but"));
    assert_eq!(failure(skipped::<Harness>(OptionalScene::Echo, "has none")).await, None);
}

#[tokio::test]
async fn a_skip_without_a_reason_fails() {
    let said = failure(skipped::<Harness>(OptionalScene::Echo, " ")).await;
    assert!(said.unwrap().contains("without a reason"));
}

#[tokio::test]
async fn a_scene_that_is_neither_played_nor_skipped_fails() {
    let said = failure(two_calls_at_once_do_not_mix::<Harness>()).await;
    assert!(said.unwrap().contains("declare `skip: { echo: \"why\" }`"));
}

#[test]
fn a_date_is_written_as_http_does() {
    let date = http_date(Duration::ZERO);
    assert!(
        date.ends_with(" GMT") && date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(),
        "{date}"
    );
}

/// A provider that denies what its service would do.
#[derive(Debug)]
struct Denying(ScriptedModel);

#[async_trait::async_trait]
impl LlmHarness for Denying {
    async fn open(_: Scene) -> Self {
        let can = Capabilities { schema_with_tools: Some(false), ..Capabilities::default() };
        Self(ScriptedModel::new([Turn::text(STRUCTURED)]).with_capabilities(can))
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::new(self.0.clone())
    }

    async fn open_optional(_: OptionalScene) -> Option<Self> {
        Some(Self::open(Scene::Text).await)
    }
}

#[tokio::test]
async fn a_schema_beside_tools_has_to_be_skipped_by_a_provider_that_denies_it() {
    let said = failure(the_schema_and_the_tools_reach_the_service_together::<Denying>()).await;
    assert!(said.unwrap().contains("declare `skip: { structured_beside_tools: \"why\" }`"));
}

/// A provider that gets everything wrong: a model that says the same in every scene.
#[derive(Debug)]
struct Wrong(ScriptedModel);

#[async_trait::async_trait]
impl LlmHarness for Wrong {
    async fn open(_: Scene) -> Self {
        Self(ScriptedModel::new([Turn::text("Hello")]))
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::new(self.0.clone())
    }

    async fn open_optional(_: OptionalScene) -> Option<Self> {
        Some(Self::open(Scene::Text).await)
    }
}

macro_rules! fail {
    ($($case:ident)*) => {
        $(assert!(failure($case::<Wrong>()).await.is_some(), "nothing fails `{}`", stringify!($case));)*
    };
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_gets_everything_wrong_fails_in_every_scene() {
    fail! {
        a_rate_limit_in_seconds_says_how_long_to_wait
        a_rate_limit_in_milliseconds_says_how_long_to_wait
        a_rate_limit_until_a_date_says_how_long_to_wait
        an_overloaded_service_is_tried_again
        a_server_error_is_told_in_the_words_of_the_service
        a_server_error_within_a_reply_is_no_reply
        an_error_with_the_status_of_a_reply_is_an_error
        the_page_of_a_proxy_is_an_unavailable_service
        the_page_of_a_proxy_is_no_reply
        a_wrong_key_has_to_be_mended
        an_unknown_model_is_named
        a_conversation_that_is_too_long_has_to_be_shortened
        a_lost_connection_is_an_error_before_the_first_item
        an_error_names_the_request
        an_event_without_an_end_is_given_up
        a_reply_without_an_end_is_given_up
        a_character_in_two_pieces_is_one
        a_reply_cut_within_a_character_is_an_error
        dropping_the_stream_closes_the_connection
        two_calls_at_once_do_not_mix
        the_schema_reaches_the_service_and_the_reply_fits_it
        the_schema_and_the_tools_reach_the_service_together
        calls_and_their_results_are_sent_back
        the_prompt_of_a_turn_begins_with_that_of_the_turn_before
        reasoning_is_told_apart_from_the_answer
        reasoning_goes_back_to_the_model_it_came_from_and_to_no_other
        no_arguments_are_an_empty_object
        calls_side_by_side_keep_their_own_arguments
        tokens_are_counted_as_core_counts_them
        a_reply_that_hit_its_limit_says_so
        a_refusal_is_not_an_answer
        a_filtered_reply_is_not_an_answer
    }
}
