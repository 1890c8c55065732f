//! All layers on top of each other.

use std::sync::Arc;

use agent_runner_core::{
    agent::ModelName,
    llm::{ErrorKind, LlmEvent, LlmLayer, LlmProvider},
    testing::{ManualClock, SequentialIds},
};
use agent_runner_providers::layer::{
    BreakerOptions, BudgetLimits, BudgetOptions, CacheOptions, FallbackOptions, LimitOptions,
    RecordOptions, ReplayOptions, RetryOptions, stack,
};
use futures::StreamExt as _;

use super::double::{
    Double, Play, Step, clock, cx, deltas, fault, hear, refuses, reply, request, said, says,
    seconds, started, text,
};

struct Stack {
    provider: Arc<dyn LlmProvider>,
    clock: Arc<ManualClock>,
    record: RecordOptions,
    budget: BudgetOptions,
}

fn build(inner: &Arc<Double>, other: &Arc<Double>) -> Stack {
    let clock = clock();
    let shared = || Arc::clone(&clock) as _;
    let record = RecordOptions { clock: shared(), ..RecordOptions::default() };
    let budget = BudgetOptions::new(BudgetLimits { requests: Some(100), ..Default::default() });
    let layers: [&dyn LlmLayer; 7] = [
        &CacheOptions { clock: shared(), ..Default::default() },
        &RetryOptions {
            clock: shared(),
            ids: Arc::new(SequentialIds::new()),
            ..Default::default()
        },
        &FallbackOptions { clock: shared(), ..Default::default() }
            .then(Arc::clone(other) as _, "o"),
        &BreakerOptions { clock: shared(), ..Default::default() },
        &budget,
        &LimitOptions { clock: shared(), ..Default::default() },
        &record,
    ];
    let provider = stack(Arc::clone(inner) as _, &layers);
    Stack { provider, clock, record, budget }
}

#[tokio::test]
async fn a_reply_streams_through_all_layers_and_then_comes_from_the_cache() {
    let inner = Arc::new(Double::new([says("hello ", "you")]));
    let other = Arc::new(Double::new([refuses(ErrorKind::Internal)]));
    let stack = build(&inner, &other);
    let (events, error) = hear(&*stack.provider, &request(), &cx()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!((events.len(), deltas(&events).as_str()), (4, "hello you"));
    assert!(matches!(events.first(), Some(LlmEvent::Started { .. })));
    let again = reply(&*stack.provider, &request()).await;
    assert_eq!((said(&again).as_str(), again.usage.total()), ("hello you", Some(0)));
    assert_eq!((inner.calls(), other.calls(), stack.budget.spent().requests), (1, 0, 1));

    let tape = stack.record.tape.take();
    let replayed = ReplayOptions::new(tape).layer(inner);
    assert_eq!(said(&reply(&*replayed, &request()).await), "hello you");
}

#[tokio::test]
async fn each_layer_does_its_part_of_a_call_that_fails_at_first() {
    let inner = Arc::new(Double::new([refuses(ErrorKind::Overloaded)]));
    let broken = Play::Stream(vec![started(), Step::Fail(fault(ErrorKind::Network))]);
    let other = Arc::new(Double::new([broken, says("hello ", "you")]).with_id("other"));
    let stack = build(&inner, &other);
    let call = tokio::spawn({
        let provider = Arc::clone(&stack.provider);
        async move { reply(&*provider, &request()).await }
    });
    // Both failed, and the retry waits.
    stack.clock.wait_for_sleepers(1).await;
    assert_eq!((inner.calls(), other.calls()), (1, 1));
    stack.clock.advance(seconds(1));
    let finished = call.await.unwrap();
    assert_eq!(said(&finished), "hello you");
    assert_eq!(finished.answered_by, Some(ModelName::new("other", "o")));
    assert_eq!(finished.notices, ["double/model did not answer: overloaded"]);
    assert_eq!((inner.calls(), other.calls()), (2, 2));
    assert_eq!(stack.budget.spent().requests, 2);
    assert_eq!(stack.record.tape.take().interactions.len(), 2);
    for _ in 0..3 {
        let _ = reply(&*stack.provider, &request()).await;
    }
    assert_eq!(other.calls(), 2, "the reply is in the cache");
}

#[tokio::test]
async fn every_order_of_the_layers_streams() {
    let budget = BudgetOptions::new(BudgetLimits::default());
    let layers: [&dyn LlmLayer; 7] = [
        &CacheOptions::default(),
        &RetryOptions::default(),
        &FallbackOptions::default(),
        &BreakerOptions::default(),
        &budget,
        &LimitOptions::default(),
        &RecordOptions::default(),
    ];
    for turn in 0..layers.len() {
        let mut order = layers;
        order.rotate_left(turn);
        for mirrored in [false, true] {
            if mirrored {
                order.reverse();
            }
            let provider = stack(Arc::new(Double::new([says("hello ", "you")])), &order);
            let (events, error) = hear(&*provider, &request(), &cx()).await;
            assert!(error.is_none(), "{turn} {mirrored}: {error:?}");
            assert_eq!((events.len(), deltas(&events).as_str()), (4, "hello you"));
        }
    }
}

#[tokio::test]
async fn dropping_the_outermost_stream_drops_the_innermost() {
    let inner = Arc::new(Double::new([Play::Stream(vec![text("a"), Step::Hang])]));
    let stack = build(&inner, &Arc::new(Double::new([refuses(ErrorKind::Auth)])));
    let mut stream = stack.provider.stream(&request(), &cx()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(inner.open(), 1);
    drop(stream);
    assert_eq!((inner.open(), stack.clock.sleepers()), (0, 0));
}
