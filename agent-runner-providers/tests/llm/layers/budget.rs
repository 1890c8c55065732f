//! [`BudgetedProvider`].

use std::sync::Arc;

use agent_runner_core::{
    agent::ModelName,
    llm::{
        Capabilities, Cost, ErrorKind, FactSource, LlmEvent, LlmProvider as _, LlmRequest,
        MicroUsd, ModelCatalog, Price, Rates, Recovery, SendState, Usage,
    },
};
use agent_runner_providers::layer::{BudgetLimits, BudgetOptions, BudgetedProvider, Spent};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::double::{
    Double, Play, Step, clock, cx, failure, fault, finished, refuses, reply, request, says,
    started, text, used,
};

/// A dollar for a million tokens in, two for a million out.
fn price(model: &ModelName, usage: &Usage) -> Option<Cost> {
    (model.model() == "model").then_some(())?;
    let micro_usd = MicroUsd(usage.prompt()? + 2 * usage.output?);
    Some(Cost { micro_usd, source: FactSource::Operator, basis: "a test".into() })
}

fn tokens(limit: u64) -> BudgetOptions {
    BudgetOptions::new(BudgetLimits { tokens: Some(limit), ..BudgetLimits::default() })
}

fn money(limit: u64) -> BudgetOptions {
    let limits = BudgetLimits { micro_usd: Some(MicroUsd(limit)), ..BudgetLimits::default() };
    BudgetOptions::new(limits).with_price(price)
}

fn budgeted(double: Double, budget: BudgetOptions) -> BudgetedProvider {
    BudgetedProvider::new(Arc::new(double), budget)
}

/// A request whose prompt is estimated at 5 tokens, and that may have 10 of output.
fn small() -> LlmRequest {
    LlmRequest { max_output_tokens: Some(10), ..request() }
}

#[tokio::test]
async fn a_call_counts_for_what_it_used_and_not_for_what_was_set_aside() {
    let provider = budgeted(Double::new([says("a", "b")]), money(60));
    reply(&provider, &small()).await;
    let once = Spent { requests: 1, tokens: 15, micro_usd: MicroUsd(20), unpriced: 0 };
    assert_eq!(provider.spent(), once);
    reply(&provider, &small()).await;
    assert_eq!(provider.spent(), once.plus(once));
    let error = failure(&provider, &small()).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::QuotaExhausted, Some("budget_exceeded")));
    assert_eq!((error.recovery(), error.sent()), (Recovery::GiveUp, SendState::NotSent));
    assert!(error.context().contains("60 micro-USD"), "{error}");
    assert_eq!(provider.spent(), once.plus(once), "a refused call counts for nothing");
}

#[tokio::test]
async fn what_is_set_aside_is_not_there_for_others_until_the_call_ends() {
    let double =
        Double::new([Play::Stream(vec![started(), text("abcd"), Step::Hang]), says("a", "b")]);
    let provider = budgeted(double, tokens(29));
    let mut stream = provider.stream(&small(), &cx()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(failure(&provider, &small()).await.code(), Some("budget_exceeded"));
    drop(stream);
    // The prompt, and what had arrived.
    assert_eq!(provider.spent(), Spent { requests: 1, tokens: 6, unpriced: 1, ..Spent::default() });
    reply(&provider, &small()).await;
}

#[tokio::test]
async fn a_call_that_failed_counts_for_what_is_known_of_it() {
    let unsent = super::double::Fault { sent: SendState::NotSent, ..fault(ErrorKind::Network) };
    let usage = Step::Say(LlmEvent::Usage { usage: used(40, 2) });
    for (play, requests, tokens_spent) in [
        (Play::Refuse(unsent), 0, 0),
        (refuses(ErrorKind::Overloaded), 1, 0),
        (Play::Stream(vec![started(), Step::Fail(fault(ErrorKind::Network))]), 1, 5),
        (Play::Stream(vec![started(), usage, text("a"), Step::Stop]), 1, 42),
        (Play::Stream(vec![started(), text("1234"), text("5678"), Step::Stop]), 1, 7),
    ] {
        let provider = budgeted(Double::new([play.clone()]), tokens(1_000));
        failure(&provider, &small()).await;
        let spent = provider.spent();
        assert_eq!((spent.requests, spent.tokens), (requests, tokens_spent), "{play:?}");
    }
}

#[tokio::test]
async fn an_unknown_price_counts_tokens_and_says_so() {
    let provider = budgeted(Double::new([says("a", "b")]), money(1));
    let unknown = LlmRequest { model: "other".into(), ..small() };
    let finished = reply(&provider, &unknown).await;
    assert_eq!(
        finished.notices,
        ["the price of double/other is not known: only its tokens count against the budget"]
    );
    let expected = Spent { requests: 1, tokens: 15, micro_usd: MicroUsd(0), unpriced: 1 };
    assert_eq!(provider.spent(), expected);
    assert_eq!(failure(&provider, &small()).await.code(), Some("budget_exceeded"));
}

#[tokio::test]
async fn the_word_of_the_service_and_the_model_that_answered_decide_the_cost() {
    let mut dear = finished("a", used(1, 1));
    let basis = "the service".to_owned();
    dear.cost = Some(Cost { micro_usd: MicroUsd(7), source: FactSource::Provider, basis });
    let mut other = finished("a", used(1, 1));
    other.answered_by = Some(ModelName::new("double", "model"));
    let mut uncounted = finished("abcd", Usage::default());
    uncounted.answered_by = Some(ModelName::new("double", "model"));
    let asked = LlmRequest { model: "x".into(), ..small() };
    for (end, expected) in [(dear, 7), (other, 3), (uncounted, 5 + 2)] {
        let steps = vec![text("abcd"), Step::Say(end.into())];
        let provider = budgeted(Double::new([Play::Stream(steps)]), money(100));
        reply(&provider, &asked).await;
        assert_eq!(provider.spent().micro_usd, MicroUsd(expected));
    }
}

#[tokio::test]
async fn what_an_earlier_process_spent_is_restored_and_clones_share_a_budget() {
    let budget = BudgetOptions::new(BudgetLimits { requests: Some(3), ..BudgetLimits::default() });
    budget.restore(Spent { requests: 1, ..Spent::default() });
    let one = budgeted(Double::new([says("a", "b")]), budget.clone());
    let two = budgeted(Double::new([says("a", "b")]), budget.clone());
    reply(&one, &small()).await;
    reply(&two, &small()).await;
    assert_eq!(failure(&one, &small()).await.kind(), ErrorKind::QuotaExhausted);
    assert_eq!(budget.spent().requests, 3);
}

#[derive(Debug)]
struct Catalog;

impl ModelCatalog for Catalog {
    fn capabilities(&self, _model: &ModelName) -> Capabilities {
        Capabilities::default()
    }

    fn price(&self, _model: &ModelName, at: Timestamp) -> Option<Price> {
        (at >= Timestamp::from_second(5).unwrap()).then(|| Price {
            rates: Rates { input: 1_000_000, output: 3_000_000, ..Rates::default() },
            tiers: Vec::new(),
            source: FactSource::Catalog,
            basis: "a list".into(),
        })
    }
}

#[tokio::test]
async fn prices_come_from_a_catalog_as_they_are_at_that_moment() {
    let clock = clock();
    let budget = tokens(1_000).with_catalog(Arc::new(Catalog), Arc::clone(&clock) as _);
    let provider = budgeted(Double::new([says("a", "b")]), budget);
    reply(&provider, &small()).await;
    assert_eq!((provider.spent().micro_usd, provider.spent().unpriced), (MicroUsd(0), 1));
    clock.advance(super::double::seconds(5));
    reply(&provider, &small()).await;
    assert_eq!((provider.spent().micro_usd, provider.spent().unpriced), (MicroUsd(25), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_never_spend_more_than_there_is() {
    // Each sets 15 aside and uses 15.
    let provider = Arc::new(budgeted(Double::new([says("a", "b")]), tokens(15 * 7 + 14)));
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move {
                super::double::hear(&*provider, &small(), &cx()).await.1.is_none()
            })
        })
        .collect();
    let mut good = 0;
    for call in calls {
        good += usize::from(call.await.unwrap());
    }
    assert_eq!((good, provider.spent().tokens), (7, 15 * 7));
}
