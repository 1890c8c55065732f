//! What is expected of a provider, scene by scene: the same list for every provider, those of this
//! project and yours.
//!
//! It is [`llm_contract`](super::llm_contract) and, beyond that, what services do when they are
//! busy, broken, cut off or in the hands of a proxy, and what they do on good days. The harness is
//! the same [`LlmHarness`]; it plays an [`OptionalScene`] in `open_optional`. A scene that a wire
//! cannot have is declared, with the reason:
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{llm::LlmProvider, testing::{ScriptedModel, Turn, llm_contract::{LlmHarness, Scene}}};
//! # #[derive(Debug)]
//! # struct MyHarness(Arc<dyn LlmProvider>);
//! # #[async_trait::async_trait]
//! # impl LlmHarness for MyHarness {
//! #     async fn open(_: Scene) -> Self { Self(Arc::new(ScriptedModel::new([Turn::text("hi")]))) }
//! #     fn provider(&self) -> Arc<dyn LlmProvider> { self.0.clone() }
//! # }
//! mod conformance {
//!     agent_runner_core::provider_conformance!(super::MyHarness, skip: {
//!         reasoning: "the API has none",
//!         content_filter: "the API has none",
//!     });
//! }
//! # fn main() {}
//! ```
//!
//! A declared skip is a test of its own, `skipped::reasoning`, which prints the reason and fails
//! when the harness plays the scene after all. A scene that is neither played nor declared fails.
//! A name that is no scene does not compile:
//!
//! ```compile_fail
//! # use std::sync::Arc;
//! # use agent_runner_core::{llm::LlmProvider, testing::{ScriptedModel, Turn, llm_contract::{LlmHarness, Scene}}};
//! # #[derive(Debug)]
//! # struct MyHarness(Arc<dyn LlmProvider>);
//! # #[async_trait::async_trait]
//! # impl LlmHarness for MyHarness {
//! #     async fn open(_: Scene) -> Self { Self(Arc::new(ScriptedModel::new([Turn::text("hi")]))) }
//! #     fn provider(&self) -> Arc<dyn LlmProvider> { self.0.clone() }
//! # }
//! mod conformance {
//!     agent_runner_core::provider_conformance!(super::MyHarness, skip: {
//!         reasonnig: "the API has none",
//!     });
//! }
//! # fn main() {}
//! ```

mod conversation;
mod refusal;
mod reply;
mod stream;

use std::time::Duration;

use jiff::Timestamp;

pub use self::{
    conversation::{
        calls_and_their_results_are_sent_back,
        reasoning_goes_back_to_the_model_it_came_from_and_to_no_other,
        reasoning_is_told_apart_from_the_answer,
        the_prompt_of_a_turn_begins_with_that_of_the_turn_before,
    },
    refusal::{
        a_conversation_that_is_too_long_has_to_be_shortened,
        a_lost_connection_is_an_error_before_the_first_item,
        a_rate_limit_in_milliseconds_says_how_long_to_wait,
        a_rate_limit_in_seconds_says_how_long_to_wait,
        a_rate_limit_until_a_date_says_how_long_to_wait,
        a_server_error_is_told_in_the_words_of_the_service,
        a_server_error_within_a_reply_is_no_reply, a_wrong_key_has_to_be_mended,
        an_error_names_the_request, an_error_with_the_status_of_a_reply_is_an_error,
        an_overloaded_service_is_tried_again, an_unknown_model_is_named,
        the_page_of_a_proxy_is_an_unavailable_service, the_page_of_a_proxy_is_no_reply,
    },
    reply::{
        a_filtered_reply_is_not_an_answer, a_refusal_is_not_an_answer,
        a_reply_that_hit_its_limit_says_so, calls_side_by_side_keep_their_own_arguments,
        no_arguments_are_an_empty_object, the_schema_and_the_tools_reach_the_service_together,
        the_schema_reaches_the_service_and_the_reply_fits_it,
        tokens_are_counted_as_core_counts_them,
    },
    stream::{
        a_character_in_two_pieces_is_one, a_reply_cut_within_a_character_is_an_error,
        a_reply_without_an_end_can_be_cancelled, a_reply_without_an_end_is_given_up,
        an_event_without_an_end_is_given_up, dropping_the_stream_closes_the_connection,
        two_calls_at_once_do_not_mix,
    },
};
pub use super::llm_contract::run_case;
use super::llm_contract::{Heard, LlmHarness, hear_request, request};
use crate::llm::{CallCx, Usage};

/// What the service says went wrong, in every scene in which it says something.
pub const WORDS: &str = "the stove is on fire";
/// The wait in [`OptionalScene::RateLimited`].
pub const WAIT: Duration = Duration::from_secs(7);
/// The wait in [`OptionalScene::RateLimitedMillis`].
pub const SHORT_WAIT: Duration = Duration::from_millis(250);
/// The time until the date in [`OptionalScene::RateLimitedUntil`].
pub const WAIT_UNTIL: Duration = Duration::from_secs(90);
/// The id of the request in [`OptionalScene::RequestId`].
pub const REQUEST_ID: &str = "req-c0ffee";
/// What a proxy says in place of the service.
pub const PROXY_PAGE: &str =
    "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>";
/// The text of [`OptionalScene::SplitCharacter`].
pub const SPLIT_TEXT: &str = "żółw 🐢 €";
/// How much a service sends in a scene that is endless. A provider gives up long before.
pub const FLOOD_BYTES: usize = 96 * 1024 * 1024;
/// The reply of [`OptionalScene::Structured`].
pub const STRUCTURED: &str = r#"{"n":7}"#;
/// The reasoning of [`OptionalScene::Reasoning`].
pub const REASONING: &str = "First the kettle, then the tea.";
/// What [`OptionalScene::Usage`] comes to, as core counts.
pub const USAGE: Usage = Usage {
    input: Some(100),
    output: Some(30),
    cache_read: Some(40),
    cache_write: None,
    cache_write_1h: None,
    reasoning: Some(12),
};

/// A moment as HTTP headers write it (RFC 9110, 5.6.7), that long from now.
///
/// # Panics
/// When that moment is beyond the calendar.
#[must_use]
pub fn http_date(from_now: Duration) -> String {
    let then = Timestamp::now() + from_now;
    then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

macro_rules! scenes {
    ($($(#[$doc:meta])+ $variant:ident $name:ident)*) => {
        /// How the service behaves, beyond what [`Scene`](super::llm_contract::Scene) asks of every
        /// one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum OptionalScene {
            $($(#[$doc])+ $variant,)*
        }

        impl OptionalScene {
            /// Every scene.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name under which it is skipped.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)*
                }
            }
        }

        /// The scenes by the names under which they are skipped, so that a wrong name is an error
        /// of the compiler.
        #[doc(hidden)]
        #[expect(non_upper_case_globals, reason = "the names that a skip writes")]
        pub mod scene {
            use super::OptionalScene;
            $(pub const $name: OptionalScene = OptionalScene::$variant;)*
        }
    };
}

scenes! {
    /// Refuses the request as one too many, and says in seconds to wait for [`WAIT`].
    RateLimited rate_limited
    /// The same, in milliseconds: [`SHORT_WAIT`].
    RateLimitedMillis rate_limited_millis
    /// The same, with a date: [`http_date`] of [`WAIT_UNTIL`].
    RateLimitedUntil rate_limited_until
    /// Has no capacity.
    Overloaded overloaded
    /// Fails before it answers, saying [`WORDS`].
    ServerError server_error
    /// Says some text, then fails, saying [`WORDS`].
    ServerErrorInStream server_error_in_stream
    /// Accepts the request and answers with a document that is an error and says [`WORDS`].
    ErrorAsReply error_as_reply
    /// A proxy answers with status 502 and [`PROXY_PAGE`].
    ProxyPage proxy_page
    /// A proxy answers with status 200 and [`PROXY_PAGE`].
    ProxyPageAsReply proxy_page_as_reply
    /// Does not know the key.
    WrongKey wrong_key
    /// Does not have the model.
    UnknownModel unknown_model
    /// Says that the conversation is too long for the model.
    TooLong too_long
    /// Closes the connection without a byte.
    ConnectionReset connection_reset
    /// Fails, and names the request [`REQUEST_ID`].
    RequestId request_id
    /// Says some text, then sends one event or line that does not end for [`FLOOD_BYTES`], and
    /// breaks off.
    EndlessEvent endless_event
    /// Says more and more text, [`FLOOD_BYTES`] of it, and breaks off.
    EndlessReply endless_reply
    /// Says [`SPLIT_TEXT`] in pieces that end within characters, and ends well.
    SplitCharacter split_character
    /// Says some text and breaks off within a character.
    CutCharacter cut_character
    /// Says some text, then nothing, with the connection open. The harness tells when it is
    /// [`closed`](LlmHarness::closed).
    HeldOpen held_open
    /// Says the last word of the user back, in several pieces.
    Echo echo
    /// Says [`STRUCTURED`], which the request's schema asks for.
    Structured structured_output
    /// The same, although the request has a tool as well. For providers whose
    /// [`schema_with_tools`](crate::llm::Capabilities::schema_with_tools) does not deny it.
    StructuredBesideTools structured_beside_tools
    /// First calls `shout` with the text `knock` and, in the same reply, with the text `ring`.
    /// Says some text whenever the request contains a result. The harness shows its
    /// [`requests`](LlmHarness::requests).
    ToolRound tool_round
    /// First reasons [`REASONING`] and calls `shout` once; says some text whenever the request
    /// contains a result. The harness shows its [`requests`](LlmHarness::requests).
    Reasoning reasoning
    /// Calls `shout` without arguments, in the oddest way that the wire has for it.
    EmptyArguments empty_arguments
    /// Calls `shout` with the texts `a` and `b` in one reply; where the wire has pieces of
    /// arguments, those of the two calls alternate.
    ParallelCalls parallel_calls
    /// Says some text, and that it used [`USAGE`].
    Usage usage
    /// Says some text and stops at the limit of 17 tokens that the request sets.
    MaxTokens max_tokens
    /// Refuses to answer, as the model's own decision.
    Refusal refusal
    /// A filter cuts the reply off.
    ContentFilter content_filter
}

/// Expands to everything that is expected of a provider, one `#[tokio::test]` per case, for one
/// [`LlmHarness`](crate::testing::llm_contract::LlmHarness); see
/// [`provider_conformance`](mod@crate::testing::provider_conformance).
///
/// The crate that calls it needs tokio with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! provider_conformance {
    ($harness:ty $(,)?) => {
        $crate::provider_conformance!($harness, skip: {});
    };
    ($harness:ty, skip: { $($scene:ident: $why:literal),* $(,)? } $(,)?) => {
        $crate::llm_contract!($harness);
        $(
            const _: $crate::testing::provider_conformance::OptionalScene =
                $crate::testing::provider_conformance::scene::$scene;
        )*
        $crate::provider_conformance! { @skips ($) $($scene)* }
        $crate::provider_conformance! { @cases $harness;
            rate_limited: a_rate_limit_in_seconds_says_how_long_to_wait,
            rate_limited_millis: a_rate_limit_in_milliseconds_says_how_long_to_wait,
            rate_limited_until: a_rate_limit_until_a_date_says_how_long_to_wait,
            overloaded: an_overloaded_service_is_tried_again,
            server_error: a_server_error_is_told_in_the_words_of_the_service,
            server_error_in_stream: a_server_error_within_a_reply_is_no_reply,
            error_as_reply: an_error_with_the_status_of_a_reply_is_an_error,
            proxy_page: the_page_of_a_proxy_is_an_unavailable_service,
            proxy_page_as_reply: the_page_of_a_proxy_is_no_reply,
            wrong_key: a_wrong_key_has_to_be_mended,
            unknown_model: an_unknown_model_is_named,
            too_long: a_conversation_that_is_too_long_has_to_be_shortened,
            connection_reset: a_lost_connection_is_an_error_before_the_first_item,
            request_id: an_error_names_the_request,
            endless_event: an_event_without_an_end_is_given_up,
            endless_reply: a_reply_without_an_end_is_given_up,
            endless_reply: a_reply_without_an_end_can_be_cancelled,
            split_character: a_character_in_two_pieces_is_one,
            cut_character: a_reply_cut_within_a_character_is_an_error,
            held_open: dropping_the_stream_closes_the_connection,
            echo: two_calls_at_once_do_not_mix,
            structured_output: the_schema_reaches_the_service_and_the_reply_fits_it,
            structured_beside_tools: the_schema_and_the_tools_reach_the_service_together,
            tool_round: calls_and_their_results_are_sent_back,
            tool_round: the_prompt_of_a_turn_begins_with_that_of_the_turn_before,
            reasoning: reasoning_is_told_apart_from_the_answer,
            reasoning: reasoning_goes_back_to_the_model_it_came_from_and_to_no_other,
            empty_arguments: no_arguments_are_an_empty_object,
            parallel_calls: calls_side_by_side_keep_their_own_arguments,
            usage: tokens_are_counted_as_core_counts_them,
            max_tokens: a_reply_that_hit_its_limit_says_so,
            refusal: a_refusal_is_not_an_answer,
            content_filter: a_filtered_reply_is_not_an_answer,
        }
        #[allow(dead_code, reason = "nothing may be skipped")]
        type ConformanceHarness = $harness;
        mod skipped {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scene() {
                    use $crate::testing::provider_conformance as suite;
                    let skip = suite::skipped::<super::ConformanceHarness>(suite::scene::$scene, $why);
                    suite::run_case(skip).await;
                }
            )*
        }
    };
    // `$d` is a dollar sign, which a macro that makes a macro cannot write.
    (@skips ($d:tt) $($scene:ident)*) => {
        macro_rules! unless_skipped {
            $( ($scene $d($d case:tt)*) => {}; )*
            ($d scene:ident $d($d case:tt)*) => { $d($d case)* };
        }
    };
    (@cases $harness:ty; $($scene:ident: $case:ident,)*) => {
        $(
            unless_skipped! { $scene
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    use $crate::testing::provider_conformance as suite;
                    suite::run_case(suite::$case::<$harness>()).await;
                }
            }
        )*
    };
}

/// A skip that was declared: the harness must not play the scene.
#[doc(hidden)]
pub async fn skipped<H: LlmHarness>(scene: OptionalScene, why: &str) {
    assert!(why.trim().len() > 3, "`{}` is skipped without a reason", scene.name());
    let played = H::open_optional(scene).await.is_some();
    assert!(!played, "`{}` is skipped ({why}), but the harness plays it", scene.name());
    announce(&format!("`{}` is skipped: {why}", scene.name()));
}

#[expect(clippy::print_stderr, reason = "a skip must be seen")]
fn announce(text: &str) {
    eprintln!("{text}");
}

/// Opens a scene that is not declared as skipped.
async fn open<H: LlmHarness>(scene: OptionalScene) -> H {
    H::open_optional(scene).await.unwrap_or_else(|| {
        let name = scene.name();
        panic!(
            "the harness does not play `{name}`: {scene:?}; declare `skip: {{ {name}: \"why\" }}`"
        )
    })
}

/// What the request of every case comes to in that scene.
async fn hear_scene<H: LlmHarness>(scene: OptionalScene) -> (H, Heard) {
    let harness = open::<H>(scene).await;
    let heard = hear_request(&harness, &request(harness.model()), &CallCx::new("1")).await;
    (harness, heard)
}

#[cfg(test)]
mod tests;
