//! [`RetryingProvider`].

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    id::IdSource as _,
    llm::{CallCx, ErrorKind, LlmEvent, LlmProvider as _, Recovery},
    testing::{ManualClock, SequentialIds},
};
use agent_runner_providers::layer::{RetryOptions, RetryingProvider};
use futures::StreamExt as _;

use super::double::{
    Double, Play, Step, clock, cx, deltas, fault, hear, refuses, request, said, says, seconds,
    started, text, used,
};

fn retrying(double: &Arc<Double>, clock: &Arc<ManualClock>) -> RetryingProvider {
    let double: Arc<Double> = Arc::clone(double);
    let options = RetryOptions {
        clock: Arc::clone(clock) as _,
        ids: Arc::new(SequentialIds::new()),
        ..RetryOptions::default()
    };
    RetryingProvider::new(double, options)
}

/// Lets the time pass that waits ask for, until `call` ends.
async fn passing<T>(clock: &ManualClock, step: Duration, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(call);
    loop {
        tokio::select! {
            biased;
            result = &mut call => return result,
            () = clock.wait_for_sleepers(1) => clock.advance(step),
        }
    }
}

#[tokio::test]
async fn an_error_before_the_first_word_is_tried_again_whether_refused_or_streamed() {
    let clock = clock();
    let double = Arc::new(Double::new([
        refuses(ErrorKind::Overloaded),
        Play::Stream(vec![
            started(),
            Step::Say(LlmEvent::Keepalive),
            Step::Say(LlmEvent::Usage { usage: used(1, 0) }),
            Step::Fail(fault(ErrorKind::Network)),
        ]),
        Play::Stream(vec![started(), Step::Stop]),
        says("hello ", "you"),
    ]));
    let provider = retrying(&double, &clock);
    let (call, told) = (request(), CallCx { attempt: 3, ..cx() });
    let (events, error) = passing(&clock, seconds(1), hear(&provider, &call, &told)).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(deltas(&events), "hello you");
    assert_eq!(double.attempts(), [3, 4, 5, 6]);
    assert_eq!(double.open(), 0);
}

#[tokio::test]
async fn an_error_after_the_first_word_is_passed_on() {
    for first in [
        text("a"),
        Step::Say(LlmEvent::ReasoningDelta { text: "a".into() }),
        Step::Say(LlmEvent::ToolCallDelta { name: "t".into(), json: "{".into() }),
    ] {
        let steps = vec![started(), first, Step::Fail(fault(ErrorKind::Network))];
        let double = Arc::new(Double::new([Play::Stream(steps)]));
        let (events, error) = hear(&retrying(&double, &clock()), &request(), &cx()).await;
        assert_eq!((events.len(), error.unwrap().kind()), (2, ErrorKind::Network));
        assert_eq!(double.calls(), 1);
    }
}

#[tokio::test]
async fn tries_are_bounded_and_only_made_where_they_may_help() {
    for kind in ErrorKind::ALL {
        let clock = clock();
        let double = Arc::new(Double::new([refuses(kind)]));
        let provider = retrying(&double, &clock);
        let (_, error) = passing(&clock, seconds(60), hear(&provider, &request(), &cx())).await;
        assert_eq!(error.unwrap().kind(), kind);
        let tries = match kind.recovery() {
            Recovery::Retry if kind == ErrorKind::MalformedResponse => 2,
            Recovery::Retry => 5,
            _ => 1,
        };
        assert_eq!(double.calls(), tries, "{kind:?}");
    }
}

#[tokio::test]
async fn a_malformed_reply_among_other_failures_is_not_asked_for_a_third_time() {
    let (busy, malformed) = (ErrorKind::Overloaded, ErrorKind::MalformedResponse);
    for (plays, tries) in [
        (vec![malformed, malformed, busy], 2),
        (vec![malformed, busy, malformed, busy], 3),
        (vec![busy, busy, malformed, busy], 3),
    ] {
        let clock = clock();
        let double = Arc::new(Double::new(plays.into_iter().map(refuses)));
        let provider = retrying(&double, &clock);
        let (_, error) = passing(&clock, seconds(60), hear(&provider, &request(), &cx())).await;
        assert_eq!((error.unwrap().kind(), double.calls()), (malformed, tries));
    }
}

#[tokio::test]
async fn the_service_is_waited_for_as_long_as_it_asks_up_to_a_cap() {
    let clock = clock();
    let double = Arc::new(Double::new([
        Play::Refuse(fault(ErrorKind::RateLimited).after(100)),
        says("a", "b"),
    ]));
    let provider = retrying(&double, &clock);
    let call = tokio::spawn(async move { hear(&provider, &request(), &cx()).await });
    clock.wait_for_sleepers(1).await;
    clock.advance(seconds(99));
    assert_eq!((clock.sleepers(), double.calls()), (1, 1));
    clock.advance(seconds(1));
    assert!(call.await.unwrap().1.is_none());

    let double = Arc::new(Double::new([Play::Refuse(fault(ErrorKind::RateLimited).after(121))]));
    let (_, error) = hear(&retrying(&double, &clock), &request(), &cx()).await;
    assert_eq!(error.unwrap().retry_after(), Some(seconds(121)));
    assert_eq!(double.calls(), 1);
}

#[tokio::test]
async fn waits_grow_and_have_full_jitter() {
    let clock = clock();
    let double = Arc::new(Double::new([refuses(ErrorKind::Network)]));
    let provider = retrying(&double, &clock);
    let call = tokio::spawn(async move { hear(&provider, &request(), &cx()).await });
    // Thousandths of the ceiling, from the same ids.
    let ids = SequentialIds::new();
    for ceiling in [500_u64, 1_000, 2_000, 4_000] {
        let share = u64::try_from(ids.next().as_u128() % 1_000).unwrap();
        clock.wait_for_sleepers(1).await;
        clock.advance(Duration::from_micros(ceiling * share - 1));
        assert_eq!(clock.sleepers(), 1, "{ceiling}");
        clock.advance(Duration::from_micros(1));
        assert_eq!(clock.sleepers(), 0, "{ceiling}");
    }
    assert_eq!(call.await.unwrap().1.unwrap().kind(), ErrorKind::Network);
}

#[tokio::test]
async fn a_wait_beyond_the_time_of_the_call_is_not_begun_and_tries_share_that_time() {
    let clock = clock();
    let double = Arc::new(Double::new([
        Play::Refuse(fault(ErrorKind::Overloaded).after(4)),
        Play::Refuse(fault(ErrorKind::Overloaded).after(6)),
    ]));
    let provider = retrying(&double, &clock);
    let told = CallCx { timeout: Some(seconds(10)), ..cx() };
    let call = tokio::spawn(async move { hear(&provider, &request(), &told).await });
    clock.wait_for_sleepers(2).await;
    clock.advance(seconds(4));
    assert_eq!(call.await.unwrap().1.unwrap().kind(), ErrorKind::Overloaded);
    assert_eq!(double.timeouts(), [Some(seconds(10)), Some(seconds(6))]);
}

#[tokio::test]
async fn a_wait_ends_when_the_call_is_cancelled_or_dropped() {
    let clock = clock();
    let double = Arc::new(Double::new([refuses(ErrorKind::Overloaded)]));
    let provider = retrying(&double, &clock);
    let told = cx();
    let cancel = told.cancel.clone();
    let call = tokio::spawn({
        let provider = provider.clone();
        async move { hear(&provider, &request(), &told).await }
    });
    clock.wait_for_sleepers(1).await;
    cancel.cancel();
    assert_eq!(call.await.unwrap().1.unwrap().kind(), ErrorKind::Cancelled);
    assert_eq!(clock.sleepers(), 0);

    let call = tokio::spawn(async move { hear(&provider, &request(), &cx()).await });
    clock.wait_for_sleepers(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!((clock.sleepers(), double.open()), (0, 0));
}

#[tokio::test]
async fn dropping_the_stream_drops_the_one_inside() {
    let double = Arc::new(Double::new([Play::Stream(vec![text("a"), Step::Hang])]));
    let provider = retrying(&double, &clock());
    let mut stream = provider.stream(&request(), &cx()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(double.open(), 1);
    drop(stream);
    assert_eq!(double.open(), 0);
}

#[tokio::test]
async fn a_failed_reply_is_closed_before_the_wait() {
    let clock = clock();
    let steps = vec![started(), Step::Fail(fault(ErrorKind::Network))];
    let double = Arc::new(Double::new([Play::Stream(steps), says("a", "b")]));
    let provider = retrying(&double, &clock);
    let call = tokio::spawn(async move { hear(&provider, &request(), &cx()).await });
    clock.wait_for_sleepers(1).await;
    assert_eq!(double.open(), 0);
    clock.advance(seconds(1));
    let (mut events, _) = call.await.unwrap();
    let Some(LlmEvent::Finished(finished)) = events.pop() else { panic!("{events:?}") };
    assert_eq!(said(&finished), "ab");
}
