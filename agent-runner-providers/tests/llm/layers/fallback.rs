//! [`FallbackProvider`].

use std::{error::Error as _, sync::Arc};

use agent_runner_core::{
    agent::ModelName,
    llm::{CallCx, Capabilities, ErrorKind, LlmEvent, LlmLayer as _, LlmProvider, Recovery},
};
use agent_runner_providers::layer::{FallbackOptions, FallbackProvider};
use futures::StreamExt as _;

use super::double::{
    Double, Fault, Play, Step, cx, failure, fault, hear, refuses, reply, request, said, says,
    seconds, started, text,
};

const KEY: &str = "sk-canary";

fn chain(members: &[&Arc<Double>]) -> FallbackProvider {
    let members = members
        .iter()
        .enumerate()
        .map(|(n, double)| (Arc::clone(double) as Arc<dyn LlmProvider>, format!("m{n}")))
        .collect();
    FallbackProvider::new("chain", [("model".to_owned(), members), ("none".to_owned(), Vec::new())])
}

fn double(id: &str, play: Play) -> Arc<Double> {
    Arc::new(Double::new([play]).with_id(id))
}

#[tokio::test]
async fn the_next_model_answers_and_the_reply_says_who_and_why() {
    let leaky =
        Fault { context: format!("wrong key {KEY}"), status: Some(401), ..fault(ErrorKind::Auth) };
    let first = double("one", Play::Refuse(leaky));
    let second =
        double("two", Play::Stream(vec![started(), Step::Fail(fault(ErrorKind::Overloaded))]));
    let third = double("three", says("hello ", "you"));
    let finished = reply(&chain(&[&first, &second, &third]), &request()).await;
    assert_eq!(said(&finished), "hello you");
    assert_eq!(finished.answered_by, Some(ModelName::new("three", "m2")));
    assert_eq!(
        finished.notices,
        ["one/m0 did not answer: auth (HTTP 401)", "two/m1 did not answer: overloaded"]
    );
    assert_eq!(third.models_asked(), ["m2"]);
    assert_eq!(second.open(), 0);
}

#[tokio::test]
async fn only_errors_that_another_model_may_mend_go_on() {
    for kind in ErrorKind::ALL {
        let (first, second) = (double("one", refuses(kind)), double("two", says("a", "b")));
        let (_, error) = hear(&chain(&[&first, &second]), &request(), &cx()).await;
        let goes_on = matches!(kind.recovery(), Recovery::Retry | Recovery::Mend);
        assert_eq!(second.calls(), usize::from(goes_on), "{kind:?}");
        assert_eq!(error.is_none(), goes_on, "{kind:?}");
        if let Some(error) = error {
            assert_eq!((error.kind(), error.provider()), (kind, "chain"));
            assert_eq!(error.recovery(), kind.recovery());
        }
    }
}

#[tokio::test]
async fn after_the_first_word_an_error_is_passed_on_under_the_chains_name() {
    let steps = vec![text("a"), Step::Fail(fault(ErrorKind::Network))];
    let (first, second) = (double("one", Play::Stream(steps)), double("two", says("a", "b")));
    let (events, error) = hear(&chain(&[&first, &second]), &request(), &cx()).await;
    let error = error.unwrap();
    assert_eq!((events.len(), error.kind(), error.provider()), (1, ErrorKind::Network, "chain"));
    assert!(error.to_string().contains("one"), "{error}");
    assert_eq!(second.calls(), 0);
}

#[tokio::test]
async fn when_all_fail_the_error_names_each_and_may_be_tried_again_if_one_may() {
    let leaky = |kind| Fault { context: KEY.into(), ..fault(kind) };
    let first = double("one", Play::Refuse(leaky(ErrorKind::RateLimited).after(20)));
    let second = double("two", Play::Refuse(leaky(ErrorKind::Overloaded).after(5)));
    let third = double("three", Play::Refuse(leaky(ErrorKind::ModelNotFound)));
    let error = failure(&chain(&[&first, &second, &third]), &request()).await;
    assert_eq!((error.kind(), error.recovery()), (ErrorKind::RateLimited, Recovery::Retry));
    assert_eq!(error.retry_after(), Some(seconds(5)));
    for name in ["one/m0", "two/m1", "three/m2", "model_not_found"] {
        assert!(error.context().contains(name), "{error}");
    }
    assert!(!error.to_string().contains(KEY));
    assert!(error.source().is_some());

    let error = failure(&chain(&[&third, &third]), &request()).await;
    assert_eq!((error.kind(), error.recovery()), (ErrorKind::ModelNotFound, Recovery::Mend));
}

#[tokio::test]
async fn a_name_that_is_not_there_is_a_clear_error() {
    let provider = chain(&[&double("one", says("a", "b"))]);
    for name in ["other", "none"] {
        let mut request = request();
        request.model = name.into();
        let error = failure(&provider, &request).await;
        assert_eq!(error.kind(), ErrorKind::ModelNotFound);
        assert!(error.context().contains("there are model"), "{error}");
    }
}

#[tokio::test]
async fn a_name_can_what_all_of_its_models_can() {
    let able = |context_window, vision| Capabilities {
        tools: Some(true),
        vision,
        context_window,
        ..Capabilities::default()
    };
    let member =
        |capabilities| Arc::new(Double::new([says("a", "b")]).with_capabilities(capabilities));
    let a = member(able(Some(8_000), Some(true)));
    let b = member(able(Some(4_000), None));
    let c = member(Capabilities { max_output: Some(7), ..able(None, Some(false)) });
    let all = chain(&[&a, &b, &c]).capabilities("model");
    assert_eq!((all.tools, all.vision), (Some(true), Some(false)));
    assert_eq!((all.context_window, all.max_output), (Some(4_000), Some(7)));
    assert_eq!(chain(&[&a, &b]).capabilities("model").vision, None);
    assert_eq!(chain(&[&a]).capabilities("none"), Capabilities::default());
}

#[tokio::test]
async fn the_names_are_listed_as_long_as_one_provider_is_there() {
    let down = double("one", refuses(ErrorKind::Network));
    let up = double("two", says("a", "b"));
    let provider = chain(&[&down, &up]);
    let names = provider.models(&cx()).await.unwrap();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].id, "model");
    assert_eq!(provider.count_tokens(&request(), &cx()).await.unwrap(), Some(1));
    let error = chain(&[&down]).models(&cx()).await.unwrap_err();
    assert_eq!((error.kind(), error.provider()), (ErrorKind::Network, "chain"));
}

#[tokio::test]
async fn as_a_layer_it_asks_the_wrapped_provider_first() {
    let (first, second) = (double("one", says("a", "b")), double("two", says("c", "d")));
    let options = FallbackOptions::default().then(second, "other");
    let provider = options.layer(first);
    let finished = reply(&*provider, &request()).await;
    assert_eq!((provider.id(), said(&finished), finished.answered_by), ("one", "ab".into(), None));

    let provider = options.layer(double("one", refuses(ErrorKind::Unavailable)));
    let finished = reply(&*provider, &request()).await;
    assert_eq!(finished.answered_by, Some(ModelName::new("two", "other")));
}

#[tokio::test]
async fn a_call_that_is_cancelled_does_not_go_on_and_a_dropped_one_is_closed() {
    let (first, second) = (double("one", Play::Silent), double("two", says("a", "b")));
    let told = cx();
    told.cancel.cancel();
    let (_, error) = hear(&chain(&[&first, &second]), &request(), &told).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Cancelled);
    assert_eq!(second.calls(), 0);

    let first = double("one", Play::Stream(vec![started(), Step::Hang]));
    let mut stream = chain(&[&first, &second]).stream(&request(), &cx()).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(LlmEvent::Started { .. }))));
    assert_eq!(first.open(), 1);
    drop(stream);
    assert_eq!(first.open(), 0);
}

#[tokio::test]
async fn no_model_is_asked_after_the_time_of_the_call() {
    let (first, second) =
        (double("one", refuses(ErrorKind::Timeout)), double("two", says("a", "b")));
    let told = CallCx { timeout: Some(seconds(0)), ..cx() };
    let (_, error) = hear(&chain(&[&first, &second]), &request(), &told).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Timeout);
    assert_eq!(second.calls(), 0);
}
