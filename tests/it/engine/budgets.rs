//! Budgets: of a run, its tree, its project and the day; asked before a call, settled after it,
//! and remembered by the store.

use std::time::Duration;

use agent_runner_core::{
    agent::ModelName,
    budget::{Account, Budget, OnExceeded},
    engine::{Engine, NewProject, NewRun, ProjectPatch},
    id::RunId,
    llm::{
        Capabilities, ErrorKind, FactSource, MicroUsd, ModelCatalog, Price, ProviderError, Rates,
    },
    run::{FailureReason, ParkReason, Run, RunStatus},
    step::EffectPolicy,
    testing::{Gate, LedgerTool, Turn},
};
use jiff::Timestamp;
use serde_json::json;

use super::{
    answering::{Answering, calls, says, tokens},
    fixture::*,
};

/// Every model costs 1 USD per million prompt tokens and 10 USD per million others.
#[derive(Debug)]
pub(super) struct Prices;

impl ModelCatalog for Prices {
    fn capabilities(&self, _: &ModelName) -> Capabilities {
        Capabilities::default()
    }

    fn price(&self, model: &ModelName, _: Timestamp) -> Option<Price> {
        (model.provider() == "answering").then(|| Price {
            rates: Rates { input: 1_000_000, output: 10_000_000, ..Rates::default() },
            tiers: Vec::new(),
            source: FactSource::Catalog,
            basis: "test prices".to_owned(),
        })
    }
}

/// A model that calls the ledger for ever; each call takes 100 tokens.
fn busy() -> Answering {
    Answering::new(|_, number| {
        Ok(calls(&[(&format!("c{number}"), "ledger", json!({"n": number}))], tokens(90, 10)))
    })
}

fn world(model: &Answering) -> World {
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    World::new([]).with_provider(model.clone()).with_tool(tool).with_catalog(Prices)
}

pub(super) fn limited(budget: Budget) -> NewRun {
    NewRun { budget: Some(budget), ..NewRun::new("x") }
}

fn parking(budget: Budget) -> Budget {
    Budget { on_exceeded: OnExceeded::Park, ..budget }
}

async fn parked(engine: &Engine, id: RunId) -> Run {
    wait_for(engine, id, "run.parked").await;
    let run = engine.run(id).await.unwrap();
    assert_eq!(run.park.as_ref().unwrap().reason, ParkReason::Budget);
    assert_eq!(run.status, RunStatus::Running);
    run
}

on_every_store!(a_run_that_spends_its_budget_fails_with_that_reason);
async fn a_run_that_spends_its_budget_fails_with_that_reason() {
    let table = [
        (Budget { requests: Some(3), ..Budget::default() }, 3, 1, "requests"),
        // Each call takes 100 tokens or 190 micro-USD; the next one needs room for 64 of its reply.
        (Budget { tokens: Some(370), ..Budget::default() }, 3, 1, "tokens"),
        (Budget { micro_usd: Some(MicroUsd(1_150)), ..Budget::default() }, 3, 0, "USD"),
    ];
    for (budget, most, warnings, word) in table {
        let model = busy();
        let place = world(&model);
        let (engine, _handle) = place.start().await;
        let id = create(&engine, limited(budget)).await;
        let run = ended(&engine, id).await;
        let error = run.error.unwrap();
        assert_eq!(error.reason, FailureReason::Budget, "{}", error.message);
        assert!(error.message.contains(word), "{}", error.message);
        assert_eq!(model.requests().len(), most, "{budget:?}");
        let kinds = kinds(&engine, id).await;
        assert_eq!(count(&kinds, "budget.exceeded"), 1);
        assert_eq!(count(&kinds, "budget.warning"), warnings, "{budget:?}");
        assert_eq!(budget.exceeded(run.spend, Default::default()), None, "{:?}", run.spend);
    }
}

on_every_store!(a_run_without_a_price_is_not_begun_under_a_budget_of_money);
async fn a_run_without_a_price_is_not_begun_under_a_budget_of_money() {
    let world = World::new([Turn::text("free")]).with_catalog(Prices);
    let (engine, _handle) = world.start().await;
    let budget = Budget { micro_usd: Some(MicroUsd(1_000_000)), ..Budget::default() };
    let id = create(&engine, limited(budget)).await;
    let error = ended(&engine, id).await.error.unwrap();
    assert_eq!(error.reason, FailureReason::Budget);
    assert!(error.message.contains("nobody knows the price of test/model"), "{}", error.message);
    assert!(world.model.requests().is_empty());
}

on_every_store!(a_run_parked_for_its_budget_goes_on_with_a_larger_one);
async fn a_run_parked_for_its_budget_goes_on_with_a_larger_one() {
    let model = Answering::new(|_, number| {
        let usage = tokens(90, 10);
        Ok(match number {
            1..5 => calls(&[(&format!("c{number}"), "ledger", json!({"n": number}))], usage),
            _ => says("done", usage),
        })
    });
    let place = world(&model);
    let (engine, _handle) = place.start().await;
    let budget = parking(Budget { requests: Some(2), ..Budget::default() });
    let id = create(&engine, limited(budget)).await;
    let run = parked(&engine, id).await;
    assert_eq!(run.spend.requests, 2);
    // Looking again changes nothing as long as there is no more.
    engine.resume(id).await.unwrap();
    tokio::time::timeout(PATIENCE, async {
        while count(&kinds(&engine, id).await, "run.parked") < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(model.requests().len(), 2);
    let more = Budget { requests: Some(20), ..Budget::default() };
    engine.change_budget(id, Some(more)).await.unwrap();
    let run = ended(&engine, id).await;
    assert_eq!((run.status, run.spend.requests), (RunStatus::Completed, 5));
    assert_eq!(engine.usage(id).await.unwrap().budget, Some(more));
}

on_every_store!(a_reply_is_cut_to_what_the_budget_leaves);
async fn a_reply_is_cut_to_what_the_budget_leaves() {
    let model = Answering::new(|_, _| Ok(says("short", tokens(20, 5))));
    let place = world(&model);
    let (engine, _handle) = place.start().await;
    let budget = Budget { tokens: Some(500), ..Budget::default() };
    let id = create(&engine, limited(budget)).await;
    ended(&engine, id).await;
    let most = model.requests()[0].max_output_tokens.unwrap();
    assert!((1..500).contains(&most), "{most}");
}

on_every_store!(attempts_that_failed_after_they_were_sent_are_charged);
async fn attempts_that_failed_after_they_were_sent_are_charged() {
    let model =
        Answering::new(|_, number| match number {
            // Nobody knows whether the service worked on it.
            1 => Err(ProviderError::new(ErrorKind::Network, "answering", "lost")),
            // The service said no, and that is free.
            2 => Err(ProviderError::new(ErrorKind::Overloaded, "answering", "busy")
                .with_http_status(529)),
            _ => Ok(says("done", tokens(90, 10))),
        });
    let place = world(&model);
    let (engine, _handle) = place.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(count(&kinds(&engine, id).await, "llm.charged"), 1);
    assert_eq!(run.spend.requests, 2);
    assert!(run.spend.tokens > 100, "{:?}", run.spend);
    let usage = engine.usage(id).await.unwrap();
    assert_eq!(usage.steps.iter().map(|step| step.failed).collect::<Vec<_>>(), [true, false]);
    assert!(usage.steps.iter().all(|step| step.cost.is_some()));
    let booked = engine.spending(None).await.unwrap().total;
    assert_eq!(booked.booked, run.spend);
    assert_eq!(booked.reserved, Default::default());
}

on_every_store!(the_budget_of_a_project_holds_for_all_its_runs_together);
async fn the_budget_of_a_project_holds_for_all_its_runs_together() {
    let model = busy();
    let place = world(&model);
    let (engine, _handle) = place.start().await;
    let budget = Budget { requests: Some(7), ..Budget::default() };
    let new = NewProject { name: "frugal".into(), budget: Some(budget), ..NewProject::default() };
    let project = engine.create_project(new).await.unwrap().project.id;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let new = NewRun { project_id: Some(project), ..NewRun::new("x") };
        ids.push(create(&engine, new).await);
    }
    for id in ids {
        let error = ended(&engine, id).await.error.unwrap();
        assert_eq!(error.reason, FailureReason::Budget);
        assert!(error.message.contains("the project's budget"), "{}", error.message);
    }
    assert_eq!(model.requests().len(), 7);
    let spent = engine.spending(Some(Account::Project(project))).await.unwrap();
    assert_eq!((spent.total.booked.requests, spent.total.reserved.requests), (7, 0));
    let provider = Account::Provider("answering".into());
    assert_eq!(engine.spending(Some(provider)).await.unwrap().today.booked.requests, 7);
}

on_every_store!(a_run_beyond_the_budget_of_a_day_waits_until_midnight);
async fn a_run_beyond_the_budget_of_a_day_waits_until_midnight() {
    let model = busy();
    let mut world = world(&model);
    world.options.daily_budget = Some(parking(Budget { requests: Some(2), ..Budget::default() }));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let run = parked(&engine, id).await;
    let wake_at = run.park.unwrap().wake_at.unwrap();
    let midnight = wake_at.as_second() % 86_400 == 0;
    assert!(midnight && wake_at > run.created_at, "{wake_at}");
    assert_eq!(engine.spending(None).await.unwrap().today.booked.requests, 2);
    engine.cancel(id, None).await.unwrap();
    ended(&engine, id).await;
}

on_every_store!(a_changed_budget_of_a_project_holds_soon);
async fn a_changed_budget_of_a_project_holds_soon() {
    let model = busy();
    let place = world(&model);
    let (engine, _handle) = place.start().await;
    let new = NewProject { name: "later".into(), ..NewProject::default() };
    let project = engine.create_project(new).await.unwrap();
    let tight = Budget { requests: Some(1), ..Budget::default() };
    let patch = ProjectPatch { budget: Some(tight), ..ProjectPatch::default() };
    let changed = engine.update_project(project.project.id, patch, None).await.unwrap();
    assert_eq!(changed.project.budget, Some(tight));
    let new = NewRun { project_id: Some(project.project.id), ..NewRun::new("x") };
    let id = create(&engine, new).await;
    assert_eq!(ended(&engine, id).await.error.unwrap().reason, FailureReason::Budget);
    assert_eq!(model.requests().len(), 1);
}

on_every_store!(the_budget_of_a_tree_is_that_of_its_first_run);
async fn the_budget_of_a_tree_is_that_of_its_first_run() {
    let model = busy();
    let place = world(&model);
    let (engine, _handle) = place.start().await;
    let budget = Budget { tokens: Some(5_000), ..Budget::default() };
    let new = NewRun { tree_budget: Some(budget), max_output_tokens: Some(50), ..NewRun::new("x") };
    let id = create(&engine, new).await;
    let run = ended(&engine, id).await;
    let error = run.error.unwrap();
    assert_eq!(error.reason, FailureReason::Budget, "{}", error.message);
    assert!(error.message.contains("tree"), "{}", error.message);
    let spent = engine.spending(Some(Account::Tree(id))).await.unwrap().total;
    assert_eq!((spent.booked, spent.reserved.tokens), (run.spend, 0));
    assert!(spent.booked.tokens <= 5_000);
}

on_every_store!(an_attempt_whose_worker_was_lost_is_charged_and_its_budget_survives);
async fn an_attempt_whose_worker_was_lost_is_charged_and_its_budget_survives() {
    let gate = Gate::new();
    let mut world = World::new([Turn::Held("w".into(), gate.clone(), Box::new(Turn::text("x")))]);
    world.options.daily_budget = Some(Budget { requests: Some(10), ..Budget::default() });
    world.options.lease_ttl = Duration::from_millis(300);
    let (first, handle) = world.start().await;
    let id = create(&first, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    wait_for(&first, id, "llm.started").await;
    let reserved = first.spending(None).await.unwrap().today.reserved;
    assert_eq!(reserved.requests, 1);
    drop(handle);
    tokio::task::yield_now().await;
    gate.open();
    world.options.lease_ttl = Duration::from_secs(5);
    let (second, _handle) = world.start().await;
    let run = ended(&second, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(run.spend.requests, 2, "the lost attempt counts");
    assert_eq!(count(&kinds(&second, id).await, "llm.charged"), 1);
    let today = second.spending(None).await.unwrap().today;
    assert_eq!((today.booked.requests, today.reserved.requests), (2, 0));
}

on_every_store!(a_canceled_call_is_charged_for_what_was_heard);
async fn a_canceled_call_is_charged_for_what_was_heard() {
    let gate = Gate::new();
    let world = World::new([Turn::Held("w".into(), gate.clone(), Box::new(Turn::text("x")))]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    engine.cancel(id, None).await.unwrap();
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Canceled);
    assert_eq!(run.spend.requests, 1);
    assert!(run.spend.tokens >= 1, "{:?}", run.spend);
    assert_eq!(engine.spending(None).await.unwrap().total.booked, run.spend);
}

on_every_store!(runs_side_by_side_never_spend_more_than_the_day_allows);
async fn runs_side_by_side_never_spend_more_than_the_day_allows() {
    let model = Answering::new(|_, number| {
        Ok(calls(&[(&format!("c{number}"), "ledger", json!({"n": number}))], tokens(50, 50)))
    });
    let mut world = world(&model);
    world.options.daily_budget = Some(Budget { tokens: Some(4_000), ..Budget::default() });
    let (engine, _handle) = world.start().await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        let new = NewRun { max_output_tokens: Some(50), ..NewRun::new("x") };
        ids.push(create(&engine, new).await);
    }
    for id in ids {
        assert_eq!(ended(&engine, id).await.error.unwrap().reason, FailureReason::Budget);
    }
    let today = engine.spending(None).await.unwrap().today;
    assert!(today.booked.tokens <= 4_000, "{today:?}");
    assert_eq!(today.reserved, Default::default());
}
