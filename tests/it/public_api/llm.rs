//! A stranger's provider without a wire, and ones that break one rule each. The whole suite for a
//! provider with a wire is beside it.

use std::sync::Arc;

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, StopReason, Usage,
    },
    message::{Message, Part, Role, ToolCall},
    testing::llm_contract::{self as suite, BAD_ARGUMENTS, LlmHarness, Scene},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

const GOOD: u8 = 0;
const IGNORES_CANCELLATION: u8 = 1;
const TAKES_A_CUT_FOR_AN_END: u8 = 2;
const MENDS_ARGUMENTS: u8 = 3;
const LEAVES_IDS_AS_THEY_ARE: u8 = 4;
const QUOTES_ITS_KEY: u8 = 5;
const REFUSES_LATE: u8 = 6;
const LOSES_A_PIECE: u8 = 7;
const FINISHES_TWICE: u8 = 8;

const KEY: &str = "parrot-key-77ab";

/// Says what its scene says.
#[derive(Debug)]
struct Parrot<const DEFECT: u8>(Scene);

type Item = Result<LlmEvent, ProviderError>;

fn error(kind: ErrorKind, words: impl Into<String>) -> ProviderError {
    ProviderError::new(kind, "parrot", words)
}

fn delta(text: &str) -> LlmEvent {
    LlmEvent::TextDelta { text: text.to_owned() }
}

fn finished(parts: Vec<Part>, stop: StopReason) -> LlmEvent {
    let message = Message { role: Role::Assistant, parts };
    LlmEvent::from(LlmFinished::new(message, stop, Usage::default()))
}

fn call(id: &str, arguments: Value) -> Part {
    let (id, name) = (id.to_owned(), "shout".to_owned());
    Part::ToolCall(ToolCall { id, name, arguments, provider_state: None })
}

impl<const DEFECT: u8> Parrot<DEFECT> {
    fn refusal() -> ProviderError {
        let quoted = if DEFECT == QUOTES_ITS_KEY { KEY } else { "the key" };
        error(ErrorKind::Auth, format!("the service refuses {quoted}"))
    }

    /// What comes before the end, and the end; `None` where nothing comes.
    fn items(&self) -> Option<Vec<Item>> {
        let said = |text: &str| vec![Part::Text { text: text.to_owned(), provider_state: None }];
        Some(match self.0 {
            Scene::Text => {
                let end = finished(said("Hello you"), StopReason::EndTurn);
                let mut items = vec![Ok(delta("Hello")), Ok(delta(" y")), Ok(delta("ou"))];
                if DEFECT == LOSES_A_PIECE {
                    drop(items.remove(1));
                }
                if DEFECT == FINISHES_TWICE {
                    items.push(Ok(end.clone()));
                }
                items.push(Ok(end));
                items
            }
            Scene::ToolCalls => {
                let ids = if DEFECT == LEAVES_IDS_AS_THEY_ARE { ["x", "x"] } else { ["x", "x-2"] };
                let calls = ids.map(|id| call(id, json!({"text": "a"})));
                vec![Ok(finished(calls.to_vec(), StopReason::ToolCalls))]
            }
            Scene::BadArguments => {
                let arguments =
                    if DEFECT == MENDS_ARGUMENTS { json!({}) } else { BAD_ARGUMENTS.into() };
                vec![Ok(finished(vec![call("x", arguments)], StopReason::ToolCalls))]
            }
            Scene::Truncated => {
                let end = match DEFECT {
                    TAKES_A_CUT_FOR_AN_END => Ok(finished(said("Hello"), StopReason::EndTurn)),
                    _ => Err(error(ErrorKind::StreamTruncated, "the reply broke off")),
                };
                vec![Ok(delta("Hello")), end]
            }
            Scene::Refused => vec![Err(Self::refusal())],
            Scene::Silent => return None,
        })
    }
}

#[async_trait::async_trait]
impl<const DEFECT: u8> LlmProvider for Parrot<DEFECT> {
    fn id(&self) -> &str {
        "parrot"
    }

    fn capabilities(&self, _: &str) -> Capabilities {
        Capabilities::default()
    }

    async fn models(&self, _: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Ok(Vec::new())
    }

    async fn stream(
        &self,
        _: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Item>, ProviderError> {
        if self.0 == Scene::Refused && DEFECT != REFUSES_LATE {
            return Err(Self::refusal());
        }
        let items = match self.items() {
            Some(items) => stream::iter(items).boxed(),
            None => stream::pending().boxed(),
        };
        if DEFECT == IGNORES_CANCELLATION {
            return Ok(items);
        }
        let state = Some((items, cx.cancel.clone()));
        let cancelable = stream::unfold(state, |state| async move {
            let (mut items, cancel) = state?;
            match cancel.run_until_cancelled(items.next()).await {
                Some(item) => item.map(|item| (item, Some((items, cancel)))),
                None => Some((Err(error(ErrorKind::Cancelled, "the call was cancelled")), None)),
            }
        });
        Ok(cancelable.boxed())
    }
}

#[derive(Debug)]
struct Harness<const DEFECT: u8>(Scene);

#[async_trait::async_trait]
impl<const DEFECT: u8> LlmHarness for Harness<DEFECT> {
    async fn open(scene: Scene) -> Self {
        Self(scene)
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::new(Parrot::<DEFECT>(self.0))
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }
}

mod a_good_provider_passes {
    use super::{GOOD, Harness};

    agent_runner_core::llm_contract!(Harness<GOOD>);
}

caught! {
    a_provider_that_ignores_cancellation: Harness<IGNORES_CANCELLATION>,
        suite::cancelling_a_call_ends_it_soon_as_cancelled, "went on after it was cancelled";
    a_provider_that_answers_although_it_is_cancelled: Harness<IGNORES_CANCELLATION>,
        suite::a_call_that_is_already_cancelled_ends_as_cancelled, "a cancelled call ends in an error";
    a_provider_that_takes_a_cut_for_an_end: Harness<TAKES_A_CUT_FOR_AN_END>,
        suite::c2_a_reply_that_was_cut_short_is_an_error, "is not a reply";
    a_provider_that_mends_arguments: Harness<MENDS_ARGUMENTS>,
        suite::c4_invalid_arguments_arrive_verbatim, "it never en";
    a_provider_that_repeats_an_id: Harness<LEAVES_IDS_AS_THEY_ARE>,
        suite::c5_ids_of_tool_calls_are_unique_and_never_empty, "[\"x\", \"x\"]";
    a_provider_that_quotes_its_key: Harness<QUOTES_ITS_KEY>,
        suite::c6_no_error_contains_a_key, "a key is in";
    a_provider_that_refuses_late: Harness<REFUSES_LATE>,
        suite::c7_a_refused_request_is_an_error_before_the_first_item, "refused the request";
    a_provider_that_loses_a_piece: Harness<LOSES_A_PIECE>,
        suite::c3_the_deltas_joined_are_the_text_of_the_reply, "Hello you";
    a_provider_that_finishes_twice: Harness<FINISHES_TWICE>,
        suite::c1_a_good_stream_ends_with_one_finished_reply, "more than one `Finished`";
}
