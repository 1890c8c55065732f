//! [`CachingProvider`].

use std::sync::Arc;

use agent_runner_core::{
    llm::{
        CallCx, Cost, ErrorKind, FactSource, LlmEvent, LlmProvider as _, LlmRequest, MicroUsd,
        StopReason,
    },
    testing::{Gate, ManualClock},
};
use agent_runner_providers::layer::{CacheOptions, CachingProvider};
use futures::StreamExt as _;

use super::double::{
    Double, Play, Step, clock, cx, deltas, fault, finished, hear, refuses, reply, request, said,
    says, seconds, started, text, used,
};

const NOTICE: &str = "from the response cache";

fn caching(
    double: &Arc<Double>,
    clock: &Arc<ManualClock>,
    mut options: CacheOptions,
) -> CachingProvider {
    let double: Arc<Double> = Arc::clone(double);
    options.clock = Arc::clone(clock) as _;
    CachingProvider::new(double, options)
}

#[tokio::test]
async fn the_same_request_is_answered_from_memory_as_a_stream_that_cost_nothing() {
    let clock = clock();
    let mut end = finished("hello you", used(10, 5));
    end.request_id = Some("req_1".into());
    let basis = "the service".to_owned();
    end.cost = Some(Cost { micro_usd: MicroUsd(7), source: FactSource::Provider, basis });
    let steps = vec![started(), text("hello "), text("you"), Step::Say(end.into())];
    let double = Arc::new(Double::new([Play::Stream(steps), says("other", "")]));
    let provider = caching(&double, &clock, CacheOptions::default());
    let first = reply(&provider, &request()).await;
    assert_eq!((first.usage, first.notices.len()), (used(10, 5), 0));
    let (events, error) = hear(&provider, &request(), &cx()).await;
    assert!(error.is_none());
    assert_eq!((events.len(), deltas(&events).as_str()), (4, "hello you"));
    let Some(LlmEvent::Finished(again)) = events.last() else { panic!("{events:?}") };
    assert_eq!((again.usage.total(), again.message.clone()), (Some(0), first.message));
    assert_eq!(again.notices, [NOTICE]);
    assert_eq!((&again.cost, &again.request_id), (&None, &None));
    assert_eq!(double.calls(), 1);

    let other = LlmRequest { max_output_tokens: Some(9), ..request() };
    assert_eq!(said(&reply(&provider, &other).await), "other");
    assert_eq!(provider.size().0, 2);
}

#[tokio::test]
async fn only_good_replies_are_kept() {
    let mut cut = finished("a", used(1, 1));
    cut.stop = StopReason::MaxTokens;
    for play in [
        refuses(ErrorKind::Auth),
        Play::Stream(vec![text("a"), Step::Stop]),
        Play::Stream(vec![text("a"), Step::Fail(fault(ErrorKind::Network))]),
        Play::Stream(vec![text("a"), Step::Say(cut.into())]),
    ] {
        let double = Arc::new(Double::new([play]));
        let provider = caching(&double, &clock(), CacheOptions::default());
        for _ in 0..2 {
            let _ = hear(&provider, &request(), &cx()).await;
        }
        assert_eq!((double.calls(), provider.size()), (2, (0, 0)));
    }
}

#[tokio::test]
async fn a_reply_lives_for_its_time_and_sampled_ones_only_on_request() {
    let clock = clock();
    let double = Arc::new(Double::new([says("a", "b")]));
    let provider =
        caching(&double, &clock, CacheOptions { ttl: seconds(10), ..Default::default() });
    let asked = |provider: CachingProvider, temperature| {
        let double = Arc::clone(&double);
        async move {
            let before = double.calls();
            reply(&provider, &LlmRequest { temperature, ..request() }).await;
            double.calls() - before
        }
    };
    assert_eq!(asked(provider.clone(), Some(0.0)).await, 1);
    assert_eq!(asked(provider.clone(), Some(0.0)).await, 0);
    clock.advance(seconds(10));
    assert_eq!(asked(provider.clone(), Some(0.0)).await, 1);
    assert_eq!(asked(provider.clone(), Some(0.5)).await, 1);
    assert_eq!(asked(provider, Some(0.5)).await, 1);
    let sampled = caching(&double, &clock, CacheOptions { sampled: true, ..Default::default() });
    assert_eq!(asked(sampled.clone(), Some(0.5)).await, 1);
    assert_eq!(asked(sampled, Some(0.5)).await, 0);
}

#[tokio::test]
async fn bytes_and_entries_are_bounded() {
    let clock = clock();
    let double = Arc::new(Double::new([says(&"x".repeat(500), "b")]));
    let small = caching(&double, &clock, CacheOptions { bytes_max: 400, ..Default::default() });
    reply(&small, &request()).await;
    assert_eq!(small.size(), (0, 0));
    let two = caching(&double, &clock, CacheOptions { entries_max: 2, ..Default::default() });
    for model in ["a", "b", "c"] {
        reply(&two, &LlmRequest::new(model, Vec::new())).await;
    }
    assert_eq!(two.size().0, 2);
}

/// Begins a call of which the second piece is held back.
fn held(gate: &Gate, end: Step) -> Play {
    Play::Stream(vec![started(), text("a"), Step::Wait(gate.clone()), end])
}

#[tokio::test]
async fn the_same_calls_at_once_are_one_call() {
    let (clock, gate) = (clock(), Gate::new());
    let end = Step::Say(finished("a", used(1, 1)).into());
    let double = Arc::new(Double::new([held(&gate, end)]));
    let provider = caching(&double, &clock, CacheOptions::default());
    let call = || {
        let provider = provider.clone();
        tokio::spawn(async move { reply(&provider, &request()).await })
    };
    let first = call();
    gate.wait_for_arrival().await;
    let (second, third) = (call(), call());
    clock.wait_for_sleepers(2).await;
    gate.open();
    assert!(first.await.unwrap().notices.is_empty());
    for call in [second, third] {
        assert_eq!(call.await.unwrap().notices, [NOTICE]);
    }
    assert_eq!((double.calls(), clock.sleepers()), (1, 0));
}

#[tokio::test]
async fn when_the_one_call_fails_or_is_dropped_another_asks() {
    for dropped in [false, true] {
        let (clock, gate) = (clock(), Gate::new());
        let end = Step::Fail(fault(ErrorKind::Network));
        let double = Arc::new(Double::new([held(&gate, end), says("c", "d")]));
        let provider = caching(&double, &clock, CacheOptions::default());
        let first = tokio::spawn({
            let provider = provider.clone();
            async move { hear(&provider, &request(), &cx()).await }
        });
        gate.wait_for_arrival().await;
        let second = tokio::spawn(async move { reply(&provider, &request()).await });
        clock.wait_for_sleepers(1).await;
        if dropped {
            first.abort();
        } else {
            gate.open();
        }
        let second = second.await.unwrap();
        assert_eq!((said(&second).as_str(), second.notices.len()), ("cd", 0));
        assert_eq!(double.calls(), 2);
    }
}

#[tokio::test]
async fn a_call_waits_for_another_only_so_long_and_not_when_it_is_cancelled() {
    let clock = clock();
    let double = Arc::new(Double::new([Play::Stream(vec![text("a"), Step::Hang]), says("c", "d")]));
    let options = CacheOptions { wait_max: seconds(5), ..Default::default() };
    let provider = caching(&double, &clock, options);
    let mut slow = provider.stream(&request(), &cx()).await.unwrap();
    assert!(slow.next().await.unwrap().is_ok());

    let told = cx();
    let call = |told: CallCx| {
        let provider = provider.clone();
        tokio::spawn(async move { hear(&provider, &request(), &told).await.1 })
    };
    let cancelled = call(told.clone());
    clock.wait_for_sleepers(1).await;
    told.cancel.cancel();
    assert_eq!(cancelled.await.unwrap().unwrap().kind(), ErrorKind::Cancelled);

    let impatient = call(cx());
    clock.wait_for_sleepers(1).await;
    clock.advance(seconds(5));
    assert!(impatient.await.unwrap().is_none());
    assert_eq!(double.calls(), 2);
    drop(slow);
    assert_eq!(double.open(), 0);
}
