//! What the engine does as time passes: pauses between attempts, budgets of time, the next day.
//! The clock is the test's.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    budget::{Budget, OnExceeded},
    engine::{Engine, NewProject, NewRun},
    id::RunId,
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
        ProviderError,
    },
    run::{FailureReason, ParkReason, RunStatus},
    step::EffectPolicy,
    store::InMemoryStore,
    testing::{LedgerTool, ManualClock},
};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{
    answering::{Answering, calls, says, tokens},
    budgets::limited,
    fixture::*,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A world whose time stands still until somebody moves it.
fn still(model: &Answering) -> (World, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let mut world = World::new([]).with_provider(model.clone());
    world.options.lease_ttl = 100 * HOUR;
    world.clock = Some(Arc::clone(&clock) as _);
    world.replace_store(Arc::new(InMemoryStore::with_clock(Arc::clone(&clock) as _)));
    (world, clock)
}

/// Moves the clock in steps until the run has so many events of a kind.
async fn pass(
    clock: &ManualClock,
    step: Duration,
    engine: &Engine,
    id: RunId,
    kind: &str,
    n: usize,
) {
    tokio::time::timeout(PATIENCE, async {
        while count(&kinds(engine, id).await, kind) < n {
            clock.advance(step);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("`{kind}` did not come {n} times"));
}

fn overloaded(wait: Duration) -> ProviderError {
    ProviderError::new(ErrorKind::Overloaded, "answering", "busy")
        .with_http_status(529)
        .with_retry_after(wait)
}

/// Refuses the first call and says when to come again.
fn refuses_once(wait: Duration) -> Answering {
    Answering::new(move |_, number| match number {
        1 => Err(overloaded(wait)),
        _ => Ok(says("done", tokens(1, 1))),
    })
}

#[tokio::test]
async fn nobody_asks_again_before_the_service_wants_it() {
    let wait = Duration::from_secs(40);
    let model = refuses_once(wait);
    let (world, clock) = still(&model);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let retrying = wait_for(&engine, id, "step.retrying").await;
    assert!(retrying.payload["delay_ms"].as_u64().unwrap() >= 40_000, "{}", retrying.payload);
    clock.advance(wait - Duration::from_millis(1));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(model.requests().len(), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn a_wait_that_is_too_long_fails_the_run_at_once() {
    let model = refuses_once(Duration::from_secs(121));
    let (world, _clock) = still(&model);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.error.unwrap().reason, FailureReason::Provider);
    assert_eq!(model.requests().len(), 1);
}

#[tokio::test]
async fn a_run_that_waits_for_its_next_attempt_is_canceled_at_once() {
    let model = refuses_once(Duration::from_secs(100));
    let (world, _clock) = still(&model);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, id, "step.retrying").await;
    engine.cancel(id, None).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Canceled);
}

#[tokio::test]
async fn s35_the_pause_between_two_attempts_outlives_its_worker() {
    let wait = Duration::from_secs(60);
    let model = refuses_once(wait);
    let (world, clock) = still(&model);
    let (first, handle) = world.start().await;
    let id = create(&first, NewRun::new("x")).await;
    wait_for(&first, id, "step.retrying").await;
    clock.advance(Duration::from_secs(20));
    handle.shutdown(Duration::ZERO).await;
    let (second, _handle) = world.start().await;
    pass(&clock, Duration::from_millis(20), &second, id, "run.claimed", 2).await;
    clock.advance(Duration::from_secs(30));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(model.requests().len(), 1, "50 of 60 seconds are over");
    clock.advance(Duration::from_secs(10));
    assert_eq!(ended(&second, id).await.status, RunStatus::Completed);
}

fn busy() -> Answering {
    Answering::new(|_, number| {
        Ok(calls(&[(&format!("c{number}"), "ledger", json!({"n": number}))], tokens(90, 10)))
    })
}

fn with_ledger((world, clock): (World, Arc<ManualClock>)) -> (World, Arc<ManualClock>) {
    (world.with_tool(LedgerTool::new("ledger", EffectPolicy::Idempotent)), clock)
}

#[tokio::test]
async fn a_budget_of_time_ends_a_run_and_warns_before() {
    let model = Answering::new(|_, number| match number % 2 {
        1 => Err(overloaded(Duration::from_secs(9))),
        _ => Ok(calls(&[(&format!("c{number}"), "ledger", json!({"n": number}))], tokens(9, 1))),
    });
    let (world, clock) = with_ledger(still(&model));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, limited(Budget { seconds: Some(60), ..Budget::default() })).await;
    pass(&clock, Duration::from_millis(500), &engine, id, "run.failed", 1).await;
    let run = ended(&engine, id).await;
    let error = run.error.unwrap();
    assert_eq!(error.reason, FailureReason::Budget);
    assert!(error.message.contains("60 seconds"), "{}", error.message);
    assert_eq!(count(&kinds(&engine, id).await, "budget.warning"), 1);
    assert!(engine.usage(id).await.unwrap().used_per_mille.unwrap() >= 1_000);
    // The time was spent in pauses, not in calls.
    assert!(run.spend.busy_ms < 1_000, "{:?}", run.spend);
}

#[tokio::test]
async fn a_run_parked_for_the_budget_of_a_day_goes_on_when_the_next_one_begins() {
    let model = busy();
    let (mut world, clock) = with_ledger(still(&model));
    let budget = Budget { requests: Some(2), on_exceeded: OnExceeded::Park, ..Budget::default() };
    world.options.daily_budget = Some(budget);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, id, "run.parked").await;
    let park = engine.run(id).await.unwrap().park.unwrap();
    assert_eq!(park.reason, ParkReason::Budget);
    assert_eq!(park.wake_at.unwrap().to_string(), "2026-03-02T00:00:00Z");
    assert_eq!(model.requests().len(), 2);
    clock.advance(12 * HOUR);
    pass(&clock, Duration::from_millis(20), &engine, id, "run.parked", 2).await;
    assert_eq!(model.requests().len(), 4);
    let today = engine.spending(None).await.unwrap();
    assert_eq!((today.today.booked.requests, today.total.booked.requests), (2, 4));
}

#[tokio::test]
async fn a_project_has_a_budget_for_each_day() {
    let model = busy();
    let (world, clock) = with_ledger(still(&model));
    let (engine, _handle) = world.start().await;
    let daily_budget = Some(Budget { requests: Some(3), ..Budget::default() });
    let new = NewProject { name: "daily".into(), daily_budget, ..NewProject::default() };
    let project = engine.create_project(new).await.unwrap().project.id;
    let new = NewRun { project_id: Some(project), ..NewRun::new("x") };
    for (hours, requests) in [(0, 3), (0, 3), (24, 6)] {
        clock.advance(hours * HOUR);
        let id = create(&engine, new.clone()).await;
        let error = ended(&engine, id).await.error.unwrap();
        assert_eq!(error.reason, FailureReason::Budget);
        assert!(error.message.contains("the project's budget of the day"), "{}", error.message);
        assert_eq!(model.requests().len(), requests, "{hours} hours later");
    }
}

/// Says for ever that it is alive, and nothing else.
#[derive(Debug)]
struct Alive;

#[async_trait]
impl LlmProvider for Alive {
    fn id(&self) -> &str {
        "alive"
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
        let events = stream::repeat(()).then(|()| async {
            tokio::task::yield_now().await;
            Ok(LlmEvent::Keepalive)
        });
        Ok(Box::pin(events))
    }
}

#[tokio::test]
async fn a_model_that_says_that_it_is_alive_is_not_stalled() {
    let mut world = World::new([]).with_provider(Alive);
    world.options.heartbeat_interval = Duration::from_millis(10);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    let beat = wait_for(&engine, id, "llm.heartbeat").await;
    assert_eq!(beat.payload["stalled"], false);
    assert_eq!((&beat.payload["tokens"], &beat.payload["phase"]), (&json!(0), &json!("waiting")));
    engine.cancel(id, None).await.unwrap();
    ended(&engine, id).await;
}
