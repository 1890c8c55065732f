//! The contract of [`LlmProvider`] as tests, named after its clauses.
//!
//! A provider proves itself with one line in its tests, in a module of its own. Its harness puts a
//! service (a double that speaks the wire format) behind the provider and makes it behave as each
//! [`Scene`] says. This is the part that every provider keeps;
//! [`provider_conformance`](super::provider_conformance) is the whole.
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{llm::{BoxStream, CallCx, Capabilities, LlmEvent, LlmProvider, LlmRequest, ModelInfo, ProviderError}, testing::llm_contract::{LlmHarness, Scene}};
//! # #[derive(Debug)]
//! # struct MyProvider;
//! # #[async_trait::async_trait]
//! # impl LlmProvider for MyProvider {
//! #     fn id(&self) -> &str { "mine" }
//! #     fn capabilities(&self, _: &str) -> Capabilities { Capabilities::default() }
//! #     async fn models(&self, _: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> { Ok(Vec::new()) }
//! #     async fn stream(&self, _: &LlmRequest, _: &CallCx) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> { Ok(Box::pin(futures::stream::empty())) }
//! # }
//! # impl MyProvider { fn of(_: Scene) -> Self { Self } }
//! #[derive(Debug)]
//! struct MyHarness(Arc<dyn LlmProvider>);
//!
//! #[async_trait::async_trait]
//! impl LlmHarness for MyHarness {
//!     async fn open(scene: Scene) -> Self {
//!         Self(Arc::new(MyProvider::of(scene)))
//!     }
//!
//!     fn provider(&self) -> Arc<dyn LlmProvider> {
//!         self.0.clone()
//!     }
//! }
//!
//! agent_runner_core::llm_contract!(MyHarness);
//! # fn main() {}
//! ```

use std::{collections::BTreeSet, error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};

use super::provider_conformance::OptionalScene;
use crate::{
    llm::{
        CallCx, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest, ProviderError, Usage,
    },
    message::{Message, Role},
    tool::ToolSpec,
};

/// What the model of [`Scene::BadArguments`] writes as the arguments of its tool call.
pub const BAD_ARGUMENTS: &str = r#"{"text": "it never en"#;

/// How the service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a harness must play every scene")]
pub enum Scene {
    /// Says some text in several pieces and ends well.
    Text,
    /// Calls the tool `shout` at least twice and ends well. If the wire format allows ids that are
    /// missing or repeated, this is the place for them.
    ToolCalls,
    /// Calls the tool `shout` with [`BAD_ARGUMENTS`] and ends well.
    BadArguments,
    /// Says some text and breaks off.
    Truncated,
    /// Refuses the request, quoting the key that it was given, if there is one.
    Refused,
    /// Takes the request and says nothing.
    Silent,
}

/// Brings a provider before the suite, with a service for it to talk to.
#[async_trait]
pub trait LlmHarness: fmt::Debug + Sized + Send + Sync + 'static {
    /// Starts a service that plays the scene, and a provider that talks to it. The service lives as
    /// long as the harness.
    async fn open(scene: Scene) -> Self;

    /// The provider that [`LlmHarness::open`] made.
    fn provider(&self) -> Arc<dyn LlmProvider>;

    /// The model to ask.
    fn model(&self) -> String {
        "model".to_owned()
    }

    /// The keys that the provider was given. No error may contain them.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// The same as [`LlmHarness::open`] for a scene of [`provider_conformance!`], or `None` for one
    /// that it cannot play, which has to be declared as skipped there.
    ///
    /// [`provider_conformance!`]: crate::provider_conformance
    async fn open_optional(_scene: OptionalScene) -> Option<Self> {
        None
    }

    /// The bodies in which the service was asked for replies until now, as they came, oldest first.
    fn requests(&self) -> Vec<String> {
        Vec::new()
    }

    /// Waits until the service has noticed that the client closed its connection.
    async fn closed(&self) {
        std::future::pending::<()>().await;
    }

    /// Another model than [`LlmHarness::model`].
    fn other_model(&self) -> String {
        "other-model".to_owned()
    }

    /// What [`OptionalScene::Usage`] comes to, where a wire tells less than the scene says.
    fn usage(&self) -> Usage {
        super::provider_conformance::USAGE
    }

    /// What of [`OptionalScene::Reasoning`] has to come back in the next request to the same model.
    fn reasoning_echo(&self) -> Vec<String> {
        vec![super::provider_conformance::REASONING.to_owned()]
    }
}

/// The longest that a case may take, so that a provider that hangs fails its test.
const CASE_LIMIT: Duration = Duration::from_secs(60);
/// What "soon" means after a call is cancelled.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

/// Runs a case within its time limit.
#[doc(hidden)]
pub async fn run_case(case: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(CASE_LIMIT, Box::pin(case)).await;
    assert!(ended.is_ok(), "the case did not end within {CASE_LIMIT:?}: the provider hangs");
}

/// Expands to the whole contract of [`LlmProvider`](crate::llm::LlmProvider) for one
/// [`LlmHarness`](crate::testing::llm_contract::LlmHarness), one `#[tokio::test]` per case.
///
/// The crate that calls it needs tokio with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! llm_contract {
    ($harness:ty) => {
        $crate::llm_contract! { @cases $harness;
            c1_a_good_stream_ends_with_one_finished_reply,
            c2_a_reply_that_was_cut_short_is_an_error,
            c3_the_deltas_joined_are_the_text_of_the_reply,
            c4_invalid_arguments_arrive_verbatim,
            c5_ids_of_tool_calls_are_unique_and_never_empty,
            c6_no_error_contains_a_key,
            c7_a_refused_request_is_an_error_before_the_first_item,
            a_call_that_is_already_cancelled_ends_as_cancelled,
            cancelling_a_call_ends_it_soon_as_cancelled,
        }
    };
    (@cases $harness:ty; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use $crate::testing::llm_contract as suite;
                suite::run_case(suite::$case::<$harness>()).await;
            }
        )*
    };
}

/// What a call came to: the items before an error or the end, and the error.
pub(super) type Heard = (Vec<LlmEvent>, Option<ProviderError>);

/// The request that every case sends: a goal, and a tool on offer.
pub(super) fn request(model: String) -> LlmRequest {
    let goal = Message::text(Role::User, "Say something, or shout it.");
    let mut request = LlmRequest::new(model, vec![goal]);
    request.tools.push(ToolSpec {
        name: "shout".to_owned(),
        description: "Shouts a text.".to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": false,
        }),
    });
    request
}

async fn hear<H: LlmHarness>(harness: &H, cx: &CallCx) -> Heard {
    hear_request(harness, &request(harness.model()), cx).await
}

/// Asks, and listens until an error or the end.
pub(super) async fn hear_request<H: LlmHarness>(
    harness: &H,
    request: &LlmRequest,
    cx: &CallCx,
) -> Heard {
    let mut heard = Vec::new();
    let mut stream = match harness.provider().stream(request, cx).await {
        Ok(stream) => stream,
        Err(error) => return (heard, Some(error)),
    };
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => heard.push(event),
            Err(error) => {
                assert!(stream.next().await.is_none(), "something follows the error `{error}`");
                return (heard, Some(error));
            }
        }
    }
    (heard, None)
}

async fn hear_all(scene: Scene, harness: &impl LlmHarness) -> (Vec<LlmEvent>, LlmFinished) {
    let (mut heard, error) = hear(harness, &CallCx::new("1")).await;
    assert!(error.is_none(), "{scene:?} ends well, but: {error:?}");
    let Some(LlmEvent::Finished(finished)) = heard.pop() else {
        panic!("a good stream ends with `Finished`, not with {:?}", heard.last());
    };
    (heard, *finished)
}

/// Clause 1.
pub async fn c1_a_good_stream_ends_with_one_finished_reply<H: LlmHarness>() {
    for scene in [Scene::Text, Scene::ToolCalls, Scene::BadArguments] {
        let harness = H::open(scene).await;
        let (before, finished) = hear_all(scene, &harness).await;
        let more = before.iter().any(|event| matches!(event, LlmEvent::Finished(_)));
        assert!(!more, "{scene:?}: more than one `Finished`");
        assert_eq!(finished.message.role, Role::Assistant);
    }
}

/// Clause 2.
pub async fn c2_a_reply_that_was_cut_short_is_an_error<H: LlmHarness>() {
    let harness = H::open(Scene::Truncated).await;
    let (heard, error) = hear(&harness, &CallCx::new("1")).await;
    let error = error.expect("a reply that was cut short is not a reply");
    assert_eq!(error.kind(), ErrorKind::StreamTruncated, "{error}");
    let text = heard.iter().any(|event| matches!(event, LlmEvent::TextDelta { .. }));
    assert!(text, "the harness broke off before any text: {heard:?}");
    let finished = heard.iter().any(|event| matches!(event, LlmEvent::Finished(_)));
    assert!(!finished, "finished and cut short at once");
}

/// Clause 3.
pub async fn c3_the_deltas_joined_are_the_text_of_the_reply<H: LlmHarness>() {
    let harness = H::open(Scene::Text).await;
    let (heard, finished) = hear_all(Scene::Text, &harness).await;
    let pieces: Vec<&str> = heard
        .iter()
        .filter_map(|event| match event {
            LlmEvent::TextDelta { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert!(pieces.len() >= 2, "the harness said its text in one piece: {pieces:?}");
    assert_eq!(pieces.concat(), finished.message.plain_text());
}

/// Clause 4.
pub async fn c4_invalid_arguments_arrive_verbatim<H: LlmHarness>() {
    let harness = H::open(Scene::BadArguments).await;
    let (_, finished) = hear_all(Scene::BadArguments, &harness).await;
    let call = finished.message.tool_calls().next().expect("the scene has a call");
    assert_eq!(call.name, "shout");
    assert_eq!(call.arguments, Value::String(BAD_ARGUMENTS.to_owned()));
}

/// Clause 5.
pub async fn c5_ids_of_tool_calls_are_unique_and_never_empty<H: LlmHarness>() {
    let harness = H::open(Scene::ToolCalls).await;
    let (_, finished) = hear_all(Scene::ToolCalls, &harness).await;
    let ids: Vec<&str> = finished.message.tool_calls().map(|call| call.id.as_str()).collect();
    assert!(ids.len() >= 2, "the scene has at least two calls: {ids:?}");
    assert!(ids.iter().all(|id| !id.is_empty()), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

/// Clause 6.
pub async fn c6_no_error_contains_a_key<H: LlmHarness>() {
    for scene in [Scene::Refused, Scene::Truncated] {
        let harness = H::open(scene).await;
        let (_, error) = hear(&harness, &CallCx::new("1")).await;
        let error = error.expect("the scene ends in an error");
        let mut told = vec![format!("{error:?}"), format!("{:?}", harness.provider())];
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            told.push(error.to_string());
            cause = error.source();
        }
        for secret in harness.secrets() {
            for text in &told {
                assert!(!text.contains(&secret), "a key is in `{text}`");
            }
        }
    }
}

/// Clause 7.
pub async fn c7_a_refused_request_is_an_error_before_the_first_item<H: LlmHarness>() {
    let harness = H::open(Scene::Refused).await;
    let refused = harness.provider().stream(&request(harness.model()), &CallCx::new("1")).await;
    let error = refused.err().expect("the service refused the request");
    assert_ne!(error.kind(), ErrorKind::StreamTruncated, "{error}");
    assert_eq!(error.provider(), harness.provider().id());
}

/// Cancellation, before the call begins.
pub async fn a_call_that_is_already_cancelled_ends_as_cancelled<H: LlmHarness>() {
    for scene in [Scene::Text, Scene::Silent] {
        let harness = H::open(scene).await;
        let cx = CallCx::new("1");
        cx.cancel.cancel();
        ends_as_cancelled(hear(&harness, &cx)).await;
    }
}

/// Cancellation, while the model is silent.
pub async fn cancelling_a_call_ends_it_soon_as_cancelled<H: LlmHarness>() {
    let harness = H::open(Scene::Silent).await;
    let cx = CallCx::new("1");
    let cancelled = async {
        // Long enough for the call to be under way, however it is built.
        tokio::time::sleep(Duration::from_millis(50)).await;
        cx.cancel.cancel();
    };
    ends_as_cancelled(async { tokio::join!(hear(&harness, &cx), cancelled).0 }).await;
}

/// Checks that a call ends soon as cancelled.
pub(super) async fn ends_as_cancelled(call: impl Future<Output = Heard>) {
    let ended = tokio::time::timeout(CANCEL_LIMIT, call).await;
    let (_, error) = ended.expect("the call went on after it was cancelled");
    let error = error.expect("a cancelled call ends in an error");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
}
