//! [`RateLimitedProvider`].

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{Arc, Mutex},
};

use agent_runner_core::{
    llm::{CallCx, ErrorKind, LlmEvent, LlmProvider as _, LlmRequest, RateLimits, RateWindow},
    message::{Message, Role},
    testing::{Gate, ManualClock},
};
use agent_runner_providers::layer::{LimitOptions, RateLimitedProvider};
use futures::StreamExt as _;

use super::double::{
    Double, Play, Step, clock, cx, failure, fault, finished, hear, refuses, reply, request, says,
    seconds, started, text, used,
};

const fn per_minute(n: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(n)
}

fn limited(
    double: &Arc<Double>,
    clock: &Arc<ManualClock>,
    mut options: LimitOptions,
) -> RateLimitedProvider {
    let double: Arc<Double> = Arc::clone(double);
    options.clock = Arc::clone(clock) as _;
    RateLimitedProvider::new(double, options)
}

/// A request whose prompt is estimated to have that many tokens.
fn sized(tokens: usize) -> LlmRequest {
    LlmRequest::new("model", vec![Message::text(Role::User, "x".repeat((tokens - 4) * 4))])
}

#[tokio::test]
async fn calls_wait_for_their_turn_in_the_order_in_which_they_came() {
    let clock = clock();
    let double = Arc::new(Double::new([says("a", "b")]));
    let options = LimitOptions {
        requests_per_minute: per_minute(1),
        wait_max: seconds(600),
        ..Default::default()
    };
    let provider = limited(&double, &clock, options);
    reply(&provider, &request()).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for n in 0..3 {
        let (provider, order) = (provider.clone(), Arc::clone(&order));
        calls.push(tokio::spawn(async move {
            reply(&provider, &request()).await;
            order.lock().unwrap().push(n);
        }));
        // Its patience sleeps, and for the first one the bucket as well.
        clock.wait_for_sleepers(2 + n).await;
    }
    for n in 1..=3 {
        clock.advance(seconds(59));
        assert_eq!(double.calls(), n);
        clock.advance(seconds(1));
        while double.calls() == n || order.lock().unwrap().len() < n {
            tokio::task::yield_now().await;
        }
        // The next one in the queue now waits for the bucket.
        clock.wait_for_sleepers(if n < 3 { 4 - n } else { 0 }).await;
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    assert_eq!(clock.sleepers(), 0);
}

#[tokio::test]
async fn a_wait_that_would_be_too_long_fails_at_once_and_says_how_long() {
    let clock = clock();
    let double = Arc::new(Double::new([says("a", "b")]));
    let options = LimitOptions {
        requests_per_minute: per_minute(2),
        wait_max: seconds(29),
        ..Default::default()
    };
    let provider = limited(&double, &clock, options);
    reply(&provider, &request()).await;
    reply(&provider, &request()).await;
    let error = failure(&provider, &request()).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::RateLimited, Some("rate_limit_wait")));
    assert_eq!(error.retry_after(), Some(seconds(30)));
    assert_eq!((double.calls(), clock.sleepers()), (2, 0));
}

#[tokio::test]
async fn tokens_are_estimated_before_and_corrected_afterwards() {
    let clock = clock();
    // Each call is estimated at 50 and uses 15.
    let double = Arc::new(Double::new([says("a", "b")]));
    let options = LimitOptions {
        tokens_per_minute: per_minute(100),
        wait_max: seconds(0),
        ..Default::default()
    };
    let provider = limited(&double, &clock, options);
    for _ in 0..4 {
        reply(&provider, &sized(50)).await;
    }
    let error = failure(&provider, &sized(50)).await;
    assert_eq!(error.retry_after(), Some(seconds(6)), "40 are left, and 100 come in a minute");
}

#[tokio::test]
async fn what_was_never_sent_is_given_back_and_a_dropped_call_keeps_its_estimate() {
    let clock = clock();
    let unsent = super::double::Fault {
        sent: agent_runner_core::llm::SendState::NotSent,
        ..fault(ErrorKind::Network)
    };
    let double =
        Arc::new(Double::new([Play::Refuse(unsent), Play::Stream(vec![text("a"), Step::Hang])]));
    let options = LimitOptions {
        requests_per_minute: per_minute(2),
        tokens_per_minute: per_minute(60),
        wait_max: seconds(0),
        ..Default::default()
    };
    let provider = limited(&double, &clock, options);
    failure(&provider, &sized(60)).await;
    let mut stream = provider.stream(&sized(60), &cx()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    assert_eq!(double.open(), 0);
    assert_eq!(failure(&provider, &sized(10)).await.retry_after(), Some(seconds(10)));
}

#[tokio::test]
async fn only_so_many_calls_are_under_way_at_once() {
    let clock = clock();
    let gate = Gate::new();
    let end = finished("a", used(1, 1));
    let held = Play::Stream(vec![started(), Step::Wait(gate.clone()), Step::Say(end.into())]);
    let double = Arc::new(Double::new([held, says("a", "b")]));
    let options = LimitOptions { concurrent_max: NonZeroUsize::new(1), ..Default::default() };
    let provider = limited(&double, &clock, options);
    let first = tokio::spawn({
        let provider = provider.clone();
        async move { reply(&provider, &request()).await }
    });
    gate.wait_for_arrival().await;
    let second = tokio::spawn(async move { reply(&provider, &request()).await });
    clock.wait_for_sleepers(1).await;
    assert_eq!(double.calls(), 1);
    gate.open();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!((double.calls(), clock.sleepers()), (2, 0));
}

#[tokio::test]
async fn what_the_service_says_is_left_counts() {
    let clock = clock();
    let left =
        |remaining| Some(RateWindow { limit: Some(100), remaining, resets_in: Some(seconds(20)) });
    let limits = RateLimits { requests: left(5), tokens: left(30) };
    let end = finished("a", used(1, 1));
    let steps = vec![Step::Say(LlmEvent::Limits(limits)), Step::Say(end.into())];
    let double = Arc::new(Double::new([Play::Stream(steps)]));
    let options = LimitOptions { wait_max: seconds(0), ..Default::default() };
    let provider = limited(&double, &clock, options);
    reply(&provider, &sized(1_000)).await;
    assert_eq!(failure(&provider, &sized(31)).await.retry_after(), Some(seconds(20)));
    reply(&provider, &sized(30)).await;
    clock.advance(seconds(20));
    reply(&provider, &sized(1_000)).await;
}

#[tokio::test]
async fn after_a_refusal_nobody_asks_before_the_service_wants_to_be_asked() {
    let clock = clock();
    let double = Arc::new(Double::new([
        Play::Refuse(fault(ErrorKind::RateLimited).after(7)),
        says("a", "b"),
    ]));
    let provider = limited(&double, &clock, LimitOptions::default());
    assert_eq!(failure(&provider, &request()).await.retry_after(), Some(seconds(7)));
    let call = tokio::spawn(async move { reply(&provider, &request()).await });
    clock.wait_for_sleepers(2).await;
    clock.advance(seconds(6));
    assert_eq!(double.calls(), 1);
    clock.advance(seconds(1));
    call.await.unwrap();
}

#[tokio::test]
async fn a_waiting_call_ends_when_it_is_cancelled_dropped_or_out_of_time() {
    let clock = clock();
    let double = Arc::new(Double::new([says("a", "b")]));
    let options = LimitOptions { requests_per_minute: per_minute(1), ..Default::default() };
    let provider = limited(&double, &clock, options);
    reply(&provider, &request()).await;
    let wait = |told: CallCx| {
        let provider = provider.clone();
        tokio::spawn(async move { hear(&provider, &request(), &told).await.1 })
    };

    let told = cx();
    let call = wait(told.clone());
    clock.wait_for_sleepers(2).await;
    told.cancel.cancel();
    assert_eq!(call.await.unwrap().unwrap().kind(), ErrorKind::Cancelled);

    let call = wait(cx());
    clock.wait_for_sleepers(2).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(clock.sleepers(), 0);

    let call = wait(CallCx { timeout: Some(seconds(1)), ..cx() });
    clock.wait_for_sleepers(3).await;
    clock.advance(seconds(1));
    assert_eq!(call.await.unwrap().unwrap().kind(), ErrorKind::Timeout);
    assert_eq!((double.calls(), clock.sleepers()), (1, 0));

    clock.advance(seconds(59));
    reply(&provider, &request()).await;
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let clock = clock();
    let double = Arc::new(Double::new([says("a", "b")]));
    let options =
        LimitOptions { requests_per_minute: per_minute(1), waiting_max: 1, ..Default::default() };
    let provider = limited(&double, &clock, options);
    reply(&provider, &request()).await;
    let waiting = tokio::spawn({
        let provider = provider.clone();
        async move { reply(&provider, &request()).await }
    });
    clock.wait_for_sleepers(2).await;
    let error = failure(&provider, &request()).await;
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(seconds(60))));
    clock.advance(seconds(60));
    waiting.await.unwrap();
}

#[tokio::test]
async fn errors_of_the_service_are_passed_on() {
    let double = Arc::new(Double::new([refuses(ErrorKind::Auth)]));
    let provider = limited(&double, &clock(), LimitOptions::default());
    assert_eq!(failure(&provider, &request()).await.kind(), ErrorKind::Auth);
}
