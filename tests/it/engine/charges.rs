//! What calls cost that were never begun, broke off or were lost, and how long a reply may be.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    budget::Budget,
    directive::DirectiveMode,
    engine::{NewMessage, NewRun},
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, MicroUsd,
        ModelInfo, ProviderError,
    },
    run::{FailureReason, RunStatus},
    testing::{Fault, FaultyStore, Gate, PausedCall, StoreCall, Turn},
};
use async_trait::async_trait;
use futures::stream;

use super::{
    answering::{Answering, says, tokens},
    budgets::{Prices, limited},
    fixture::*,
};

fn brief() -> Answering {
    Answering::new(|_, _| Ok(says("short", tokens(20, 5))))
}

on_every_store!(a_reply_is_cut_only_where_the_budget_leaves_less_than_the_model_can_say);
async fn a_reply_is_cut_only_where_the_budget_leaves_less_than_the_model_can_say() {
    let known = Capabilities {
        tools: Some(true),
        max_output: Some(8_000),
        context_window: Some(100_000),
        ..Capabilities::default()
    };
    let unknown = Capabilities { tools: Some(true), ..Capabilities::default() };
    let of_tokens = |n| Budget { tokens: Some(n), ..Budget::default() };
    // A token of a reply costs 10 micro-USD.
    let of_money = |n| Budget { micro_usd: Some(MicroUsd(n)), ..Budget::default() };
    let table = [
        (known, of_tokens(500_000), None),
        (known, of_money(1_000_000), None),
        (known, of_tokens(5_000), Some(4_000..5_000)),
        (known, of_money(10_000), Some(900..1_000)),
        (unknown, of_tokens(500_000), Some(8_192..8_193)),
        (unknown, of_tokens(500), Some(64..500)),
        (unknown, Budget { requests: Some(5), ..Budget::default() }, None),
    ];
    for (capabilities, budget, expected) in table {
        let model = brief().with_capabilities(capabilities);
        let world = World::new([]).with_provider(model.clone()).with_catalog(Prices);
        let (engine, _handle) = world.start().await;
        let id = create(&engine, limited(budget)).await;
        assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
        match (model.requests()[0].max_output_tokens, expected) {
            (None, None) => {}
            (Some(most), Some(range)) => assert!(range.contains(&most), "{most} {budget:?}"),
            (most, expected) => panic!("{most:?} instead of {expected:?} under {budget:?}"),
        }
    }
}

on_every_store!(a_call_is_not_made_for_a_reply_of_a_few_tokens);
async fn a_call_is_not_made_for_a_reply_of_a_few_tokens() {
    let model = brief();
    let world = World::new([]).with_provider(model.clone());
    let (engine, _handle) = world.start().await;
    let budget = Budget { tokens: Some(60), ..Budget::default() };
    let id = create(&engine, limited(budget)).await;
    assert_eq!(ended(&engine, id).await.error.unwrap().reason, FailureReason::Budget);
    assert!(model.requests().is_empty());
}

/// A world whose day has a budget, and whose first reservation is held after it was granted.
async fn held(model: &Answering) -> (World, PausedCall) {
    let mut world = World::new([]).with_provider(model.clone());
    world.options.daily_budget = Some(Budget { requests: Some(10), ..Budget::default() });
    let store = FaultyStore::new(world.store().await).counting(&[StoreCall::Reserve]);
    let paused = store.pause_nth(1, Fault::AfterCommit);
    world.replace_store(Arc::new(store));
    (world, paused)
}

on_every_store!(a_run_canceled_while_its_budget_is_asked_costs_nothing);
async fn a_run_canceled_while_its_budget_is_asked_costs_nothing() {
    let model = brief();
    let (world, paused) = held(&model).await;
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    paused.reached().await;
    assert_eq!(engine.spending(None).await.unwrap().today.reserved.requests, 1);
    engine.cancel(id, None).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Canceled);
    paused.release();
    let today = engine.spending(None).await.unwrap().today;
    assert_eq!((today.booked, today.reserved), Default::default());
    assert!(model.requests().is_empty());
}

on_every_store!(a_message_that_comes_while_the_budget_is_asked_is_in_the_request);
async fn a_message_that_comes_while_the_budget_is_asked_is_in_the_request() {
    let model = brief();
    let (world, paused) = held(&model).await;
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    paused.reached().await;
    let message = NewMessage {
        text: "be brief".into(),
        mode: DirectiveMode::Interrupt,
        ..NewMessage::default()
    };
    engine.send_message(id, message).await.unwrap();
    paused.release();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let requests = model.requests();
    assert_eq!(requests.len(), 1);
    assert!(format!("{:?}", requests[0].messages).contains("be brief"));
    let today = engine.spending(None).await.unwrap().today;
    assert_eq!((today.booked.requests, today.reserved.requests), (1, 0));
}

on_every_store!(a_run_paused_while_its_budget_is_asked_gives_back_what_was_reserved);
async fn a_run_paused_while_its_budget_is_asked_gives_back_what_was_reserved() {
    let model = brief();
    let (world, paused) = held(&model).await;
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    paused.reached().await;
    engine.pause(id).await.unwrap();
    paused.release();
    wait_for(&engine, id, "run.paused").await;
    assert!(model.requests().is_empty());
    let today = engine.spending(None).await.unwrap().today;
    assert_eq!((today.booked, today.reserved), Default::default());
    engine.resume(id).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
}

on_every_store!(what_others_have_reserved_makes_a_call_wait_and_does_not_fail_it);
async fn what_others_have_reserved_makes_a_call_wait_and_does_not_fail_it() {
    let gate = Gate::new();
    let mut world = World::new([Turn::Held("w".into(), gate.clone(), Box::new(Turn::text("x")))]);
    // Room for one reply of unknown length, not for two.
    world.options.daily_budget = Some(Budget { tokens: Some(9_000), ..Budget::default() });
    let store = FaultyStore::new(world.store().await).counting(&[StoreCall::Reserve]);
    let store = Arc::new(store);
    world.replace_store(Arc::clone(&store) as _);
    let (engine, _handle) = world.start().await;
    let first = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    let second = create(&engine, NewRun::new("x")).await;
    tokio::time::timeout(PATIENCE, async {
        while store.calls() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(world.model.requests().len(), 1, "the second one waits");
    gate.open();
    for id in [first, second] {
        assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    }
    for request in world.model.requests() {
        assert_eq!(request.max_output_tokens, Some(8_192), "no longer than what is reserved");
    }
    assert_eq!(engine.spending(None).await.unwrap().today.reserved, Default::default());
}

on_every_store!(a_run_that_may_not_try_again_leaves_no_step_open);
async fn a_run_that_may_not_try_again_leaves_no_step_open() {
    let model =
        Answering::new(|_, _| Err(ProviderError::new(ErrorKind::Network, "answering", "x")));
    let world = World::new([]).with_provider(model);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, limited(Budget { requests: Some(1), ..Budget::default() })).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.error.unwrap().reason, FailureReason::Budget);
    let steps = engine.steps(id).await.unwrap();
    assert_eq!(steps[0].error.as_ref().unwrap().code, "budget");
}

/// Says after its first word what the prompt took, goes on for long, and breaks off.
#[derive(Debug)]
struct BreaksOff;

#[async_trait]
impl LlmProvider for BreaksOff {
    fn id(&self) -> &str {
        "breaks"
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
        _: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let mut events = vec![Ok(LlmEvent::Usage { usage: tokens(90, 1) })];
        events.extend((0..500).map(|_| Ok(LlmEvent::TextDelta { text: "word ".into() })));
        events.push(Err(ProviderError::new(ErrorKind::InvalidRequest, "breaks", "no more")));
        Ok(Box::pin(stream::iter(events)))
    }
}

on_every_store!(a_reply_that_breaks_off_costs_what_was_heard_of_it);
async fn a_reply_that_breaks_off_costs_what_was_heard_of_it() {
    let world = World::new([]).with_provider(BreaksOff);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = ended(&engine, id).await;
    assert_eq!((run.spend.requests, run.spend.tokens), (1, 590));
}

on_every_store!(a_lost_call_is_charged_though_its_run_is_canceled_before_anybody_takes_it_over);
async fn a_lost_call_is_charged_though_its_run_is_canceled_before_anybody_takes_it_over() {
    let gate = Gate::new();
    let mut world = World::new([Turn::Held("w".into(), gate.clone(), Box::new(Turn::text("x")))]);
    world.options.lease_ttl = Duration::from_millis(300);
    let (first, handle) = world.start().await;
    let id = create(&first, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    wait_for(&first, id, "llm.started").await;
    drop(handle);
    first.cancel(id, None).await.unwrap();
    let (second, _handle) = world.start().await;
    let run = ended(&second, id).await;
    assert_eq!((run.status, run.spend.requests), (RunStatus::Canceled, 1));
    assert_eq!(count(&kinds(&second, id).await, "llm.charged"), 1);
    assert_eq!(second.spending(None).await.unwrap().total.booked, run.spend);
}

on_every_store!(a_run_whose_provider_is_gone_fails_and_says_so);
async fn a_run_whose_provider_is_gone_fails_and_says_so() {
    let with = World::new([]).with_provider(brief());
    let id = create(&with.engine().await, NewRun::new("x")).await;
    let mut without = World::new([]);
    without.replace_store(with.store().await);
    let (engine, _handle) = without.start().await;
    let error = ended(&engine, id).await.error.unwrap();
    assert_eq!(error.reason, FailureReason::Configuration);
    assert!(error.message.contains("no provider `answering`"), "{}", error.message);
}
