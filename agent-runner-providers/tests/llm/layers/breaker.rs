//! [`BreakerProvider`].

use std::sync::Arc;

use agent_runner_core::{
    llm::{ErrorKind, LlmProvider as _, SendState},
    testing::ManualClock,
    time::Clock as _,
};
use agent_runner_providers::layer::{BreakerOptions, BreakerProvider, BreakerState};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::double::{
    Double, Play, Step, clock, cx, failure, fault, refuses, reply, request, says, seconds, text,
};

fn breaker(double: &Arc<Double>, clock: &Arc<ManualClock>) -> BreakerProvider {
    let options =
        BreakerOptions { failures_max: 2, clock: Arc::clone(clock) as _, ..Default::default() };
    let double: Arc<Double> = Arc::clone(double);
    BreakerProvider::new(double, options)
}

#[tokio::test]
async fn failures_in_a_row_open_it_and_one_probe_closes_it() {
    let clock = clock();
    let truncated = Play::Stream(vec![text("a"), Step::Stop]);
    let double = Arc::new(Double::new([
        refuses(ErrorKind::Network),
        says("a", "b"),
        truncated,
        refuses(ErrorKind::Unavailable),
        refuses(ErrorKind::Overloaded),
        says("a", "b"),
    ]));
    let provider = breaker(&double, &clock);
    failure(&provider, &request()).await;
    assert_eq!(provider.state(), BreakerState::Closed { failures: 1 });
    reply(&provider, &request()).await;
    assert_eq!(provider.state(), BreakerState::Closed { failures: 0 });
    failure(&provider, &request()).await;
    failure(&provider, &request()).await;
    let until = Timestamp::from_second(30).unwrap();
    assert_eq!(provider.state(), BreakerState::Open { until });

    clock.advance(seconds(10));
    let error = failure(&provider, &request()).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, Some("breaker_open")));
    assert_eq!((error.retry_after(), error.sent()), (Some(seconds(20)), SendState::NotSent));
    assert_eq!(double.calls(), 4);

    clock.advance(seconds(20));
    assert_eq!(failure(&provider, &request()).await.kind(), ErrorKind::Overloaded);
    assert_eq!(provider.state(), BreakerState::Open { until: Timestamp::from_second(60).unwrap() });
    clock.advance(seconds(30));
    reply(&provider, &request()).await;
    assert_eq!(provider.state(), BreakerState::Closed { failures: 0 });
}

#[tokio::test]
async fn while_the_probe_is_under_way_no_other_call_goes_through() {
    let clock = clock();
    let double = Arc::new(Double::new([
        refuses(ErrorKind::Timeout),
        refuses(ErrorKind::Timeout),
        Play::Stream(vec![text("a"), Step::Hang]),
        says("a", "b"),
    ]));
    let provider = breaker(&double, &clock);
    failure(&provider, &request()).await;
    failure(&provider, &request()).await;
    clock.advance(seconds(30));
    let mut probe = provider.stream(&request(), &cx()).await.unwrap();
    assert!(probe.next().await.unwrap().is_ok());
    assert_eq!(provider.state(), BreakerState::HalfOpen);
    assert_eq!(failure(&provider, &request()).await.code(), Some("breaker_open"));

    // A probe that nobody waits for says nothing: the next call is the probe.
    drop(probe);
    assert_eq!(double.open(), 0);
    assert_eq!(provider.state(), BreakerState::Open { until: clock.now() });
    reply(&provider, &request()).await;
    assert_eq!(provider.state(), BreakerState::Closed { failures: 0 });
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_a_call_that_was_not_sent_is_none() {
    let not_sent =
        super::double::Fault { sent: SendState::NotSent, ..fault(ErrorKind::RateLimited) };
    for (play, expected) in [
        (refuses(ErrorKind::InvalidRequest), 0),
        (refuses(ErrorKind::Auth), 0),
        (Play::Refuse(not_sent), 1),
        (refuses(ErrorKind::Cancelled), 1),
    ] {
        let double = Arc::new(Double::new([refuses(ErrorKind::Network), play]));
        let provider = breaker(&double, &clock());
        failure(&provider, &request()).await;
        failure(&provider, &request()).await;
        assert_eq!(provider.state(), BreakerState::Closed { failures: expected });
    }
}
