//! What a connection does to a reply.

use std::time::Duration;

use futures::StreamExt as _;

use super::{OptionalScene, SPLIT_TEXT, hear_scene, open};
use crate::{
    llm::{BoxStream, CallCx, ErrorKind, LlmEvent, LlmProviderExt as _, ProviderError},
    message::{Message, Role},
    testing::llm_contract::{LlmHarness, ends_as_cancelled, request},
};

/// What "soon" means after a stream was dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// [`OptionalScene::EndlessEvent`].
pub async fn an_event_without_an_end_is_given_up<H: LlmHarness>() {
    given_up::<H>(OptionalScene::EndlessEvent).await;
}

/// [`OptionalScene::EndlessReply`].
pub async fn a_reply_without_an_end_is_given_up<H: LlmHarness>() {
    given_up::<H>(OptionalScene::EndlessReply).await;
}

async fn given_up<H: LlmHarness>(scene: OptionalScene) {
    let harness = open::<H>(scene).await;
    // The items are not kept: memory must stay bounded in the suite as well.
    let error = last_error(begin(&harness, &CallCx::new("1")).await).await;
    let why = "only a bound ends it before the service breaks off";
    assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{why}: {error}");
}

/// [`OptionalScene::EndlessReply`], and somebody who no longer wants it.
pub async fn a_reply_without_an_end_can_be_cancelled<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::EndlessReply).await;
    let cx = CallCx::new("1");
    let stream = begin(&harness, &cx).await;
    cx.cancel.cancel();
    ends_as_cancelled(async { (Vec::new(), Some(last_error(stream).await)) }).await;
}

/// [`OptionalScene::SplitCharacter`].
pub async fn a_character_in_two_pieces_is_one<H: LlmHarness>() {
    let (_, (heard, error)) = hear_scene::<H>(OptionalScene::SplitCharacter).await;
    assert!(error.is_none(), "{error:?}");
    let Some(LlmEvent::Finished(finished)) = heard.last() else {
        panic!("no `Finished`: {heard:?}")
    };
    assert_eq!(finished.message.plain_text(), SPLIT_TEXT);
}

/// [`OptionalScene::CutCharacter`].
pub async fn a_reply_cut_within_a_character_is_an_error<H: LlmHarness>() {
    let (_, (heard, error)) = hear_scene::<H>(OptionalScene::CutCharacter).await;
    let error = error.unwrap_or_else(|| panic!("the reply was cut: {heard:?}"));
    assert_eq!(error.kind(), ErrorKind::StreamTruncated, "{error}");
}

/// [`OptionalScene::HeldOpen`].
pub async fn dropping_the_stream_closes_the_connection<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::HeldOpen).await;
    drop(begin(&harness, &CallCx::new("1")).await);
    let closed = tokio::time::timeout(CLOSE_LIMIT, harness.closed()).await;
    assert!(closed.is_ok(), "nobody reads the reply, and its connection is still open");
}

/// [`OptionalScene::Echo`].
pub async fn two_calls_at_once_do_not_mix<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::Echo).await;
    let provider = harness.provider();
    let say = async |word: &str| {
        let mut request = request(harness.model());
        request.messages = vec![Message::text(Role::User, word)];
        let reply = provider.complete(&request, &CallCx::new(word)).await;
        reply.expect("the scene ends well").message.plain_text()
    };
    let (tick, tock) = tokio::join!(say("tick"), say("tock"));
    assert_eq!((tick.as_str(), tock.as_str()), ("tick", "tock"));
}

type Stream = BoxStream<'static, Result<LlmEvent, ProviderError>>;

/// A reply of which the first text has come in.
async fn begin<H: LlmHarness>(harness: &H, cx: &CallCx) -> Stream {
    let mut stream = harness.provider().stream(&request(harness.model()), cx).await.unwrap();
    loop {
        match stream.next().await {
            Some(Ok(LlmEvent::TextDelta { .. })) => return stream,
            Some(Ok(LlmEvent::Finished(_)) | Err(_)) | None => panic!("the scene begins with text"),
            Some(Ok(_)) => {}
        }
    }
}

/// The error at the end of a reply.
async fn last_error(mut stream: Stream) -> ProviderError {
    loop {
        match stream.next().await {
            Some(Ok(LlmEvent::Finished(_))) | None => panic!("the scene has no good end"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return error,
        }
    }
}
