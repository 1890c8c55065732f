//! A service that does not answer.

use super::{
    OptionalScene, PROXY_PAGE, REQUEST_ID, SHORT_WAIT, WAIT, WAIT_UNTIL, WORDS, hear_scene,
};
use crate::{
    llm::{ErrorKind, LlmEvent, ProviderError, Recovery},
    testing::llm_contract::LlmHarness,
};

/// The error of a scene in which nothing is said before it.
async fn refused<H: LlmHarness>(scene: OptionalScene) -> (H, ProviderError) {
    let (harness, (heard, error)) = hear_scene::<H>(scene).await;
    let error = error.unwrap_or_else(|| panic!("{scene:?} is no reply, but: {heard:?}"));
    let said = heard.iter().any(|event| !matches!(event, LlmEvent::Keepalive));
    assert!(!said, "{scene:?}: something was said before `{error}`: {heard:?}");
    assert_eq!(error.provider(), harness.provider().id(), "{error}");
    assert!(!error.context().trim().is_empty(), "{scene:?}: {error:?} does not say what was wrong");
    let broken = error.context().chars().any(char::is_control);
    assert!(!broken, "what people read is one line without control characters: {error}");
    (harness, error)
}

/// A refusal with a wait.
async fn limited<H: LlmHarness>(scene: OptionalScene) -> ProviderError {
    let (_, error) = refused::<H>(scene).await;
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert_eq!(error.recovery(), Recovery::Retry, "{error}");
    error
}

/// [`OptionalScene::RateLimited`].
pub async fn a_rate_limit_in_seconds_says_how_long_to_wait<H: LlmHarness>() {
    let error = limited::<H>(OptionalScene::RateLimited).await;
    assert_eq!(error.retry_after(), Some(WAIT), "{error}");
}

/// [`OptionalScene::RateLimitedMillis`].
pub async fn a_rate_limit_in_milliseconds_says_how_long_to_wait<H: LlmHarness>() {
    let error = limited::<H>(OptionalScene::RateLimitedMillis).await;
    assert_eq!(error.retry_after(), Some(SHORT_WAIT), "{error}");
}

/// [`OptionalScene::RateLimitedUntil`].
pub async fn a_rate_limit_until_a_date_says_how_long_to_wait<H: LlmHarness>() {
    let error = limited::<H>(OptionalScene::RateLimitedUntil).await;
    let wait = error.retry_after().expect("the date is a wait");
    // A slow machine has used up some of it.
    assert!(wait <= WAIT_UNTIL && wait > WAIT_UNTIL / 3, "{wait:?}: {error}");
}

/// [`OptionalScene::Overloaded`].
pub async fn an_overloaded_service_is_tried_again<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::Overloaded).await;
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert_eq!(error.recovery(), Recovery::Retry, "{error}");
}

/// [`OptionalScene::ServerError`].
pub async fn a_server_error_is_told_in_the_words_of_the_service<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::ServerError).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(error.recovery(), Recovery::Retry, "{error}");
    assert!(error.context().contains(WORDS), "{error}");
}

/// [`OptionalScene::ServerErrorInStream`].
pub async fn a_server_error_within_a_reply_is_no_reply<H: LlmHarness>() {
    let (_, (heard, error)) = hear_scene::<H>(OptionalScene::ServerErrorInStream).await;
    let error = error.expect("the service failed");
    let text = heard.iter().any(|event| matches!(event, LlmEvent::TextDelta { .. }));
    assert!(text, "the harness failed before any text: {heard:?}");
    let kinds = [ErrorKind::Unavailable, ErrorKind::Overloaded];
    assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
    assert!(error.context().contains(WORDS), "{error}");
}

/// [`OptionalScene::ErrorAsReply`].
pub async fn an_error_with_the_status_of_a_reply_is_an_error<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::ErrorAsReply).await;
    assert_ne!(error.kind(), ErrorKind::StreamTruncated, "the service said more: {error}");
    assert!(error.context().contains(WORDS), "{error}");
}

/// [`OptionalScene::ProxyPage`].
pub async fn the_page_of_a_proxy_is_an_unavailable_service<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::ProxyPage).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.context().contains(PROXY_PAGE), "a page is not for people: {error}");
}

/// [`OptionalScene::ProxyPageAsReply`].
pub async fn the_page_of_a_proxy_is_no_reply<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::ProxyPageAsReply).await;
    assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{error}");
}

/// [`OptionalScene::WrongKey`].
pub async fn a_wrong_key_has_to_be_mended<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::WrongKey).await;
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert_eq!(error.recovery(), Recovery::Mend, "{error}");
}

/// [`OptionalScene::UnknownModel`].
pub async fn an_unknown_model_is_named<H: LlmHarness>() {
    let (harness, error) = refused::<H>(OptionalScene::UnknownModel).await;
    assert_eq!(error.kind(), ErrorKind::ModelNotFound, "{error}");
    assert_eq!(error.recovery(), Recovery::Mend, "{error}");
    assert!(error.context().contains(&harness.model()), "which model? {error}");
}

/// [`OptionalScene::TooLong`].
pub async fn a_conversation_that_is_too_long_has_to_be_shortened<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::TooLong).await;
    assert_eq!(error.kind(), ErrorKind::ContextLength, "{error}");
    assert_eq!(error.recovery(), Recovery::Compact, "{error}");
}

/// [`OptionalScene::ConnectionReset`].
pub async fn a_lost_connection_is_an_error_before_the_first_item<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::ConnectionReset).await;
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert_eq!(error.recovery(), Recovery::Retry, "{error}");
}

/// [`OptionalScene::RequestId`].
pub async fn an_error_names_the_request<H: LlmHarness>() {
    let (_, error) = refused::<H>(OptionalScene::RequestId).await;
    assert_eq!(error.request_id(), Some(REQUEST_ID), "{error}");
}
