//! Leases: a worker that cannot renew its own stops in time, and nothing else ends one early. Time is
//! virtual.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    engine::{Engine, NewRun},
    id::{RunId, StepKey},
    run::{Run, RunStatus},
    step::{EffectPolicy, StepStatus},
    store::{Batch, Store, StoreErrorKind},
    testing::{Fault, FaultyStore, LedgerTool, StoreCall, Turn, Weather},
    time::Clock,
    tool::{Tool, ToolCx, ToolError, ToolInfo, ToolOutput, ToolSpec},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fixture::*;

const TTL: Duration = Duration::from_secs(15);
/// The time that a tool gets.
const LIMIT: Duration = Duration::from_secs(60);

/// When a call of [`Long`] began and when it was over.
type Calls = Arc<Mutex<Vec<(Instant, Option<Instant>)>>>;

/// A tool that says nothing until its time is over.
#[derive(Debug, Clone)]
struct Long {
    info: ToolInfo,
    takes: Duration,
    calls: Calls,
    /// The token of the last call.
    cancel: Arc<Mutex<CancellationToken>>,
}

impl Long {
    fn new(policy: EffectPolicy, takes: Duration) -> Self {
        let spec = ToolSpec {
            name: "long".to_owned(),
            description: "Takes long.".to_owned(),
            input_schema: json!({"type": "object"}),
        };
        let mut info = ToolInfo::new(spec, policy);
        info.timeout = LIMIT;
        Self { info, takes, calls: Calls::default(), cancel: Arc::default() }
    }

    /// Begin and end of each call.
    fn calls(&self) -> Vec<(Instant, Option<Instant>)> {
        self.calls.lock().unwrap().clone()
    }
}

/// Notes the end of a call, however it ends.
struct Noted(Calls, usize);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.lock().unwrap()[self.1].1 = Some(Instant::now());
    }
}

#[async_trait]
impl Tool for Long {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, _arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let n = self.calls().len();
        self.calls.lock().unwrap().push((Instant::now(), None));
        *self.cancel.lock().unwrap() = cx.cancel.clone();
        let _noted = Noted(Arc::clone(&self.calls), n);
        tokio::time::sleep(self.takes).await;
        Ok(ToolOutput::new(json!("at last")))
    }
}

/// The run once it ended, however long that takes.
async fn ended_at_last(engine: &Engine, id: RunId) -> Run {
    engine.join(id, 10 * LIMIT).await.unwrap();
    over(engine, id).await
}

/// A world on a paused clock whose agent calls a tool once. Its store is held to that clock.
async fn world(tool: impl Tool) -> World {
    let name = tool.info().spec.name.clone();
    let mut world = World::new([Turn::tool(&name, json!({})), Turn::text("done")]).with_tool(tool);
    world.clock = Some(Arc::new(PausedClock::new()));
    world.options.lease_ttl = TTL;
    let store = world.store().await;
    tokio::time::pause();
    world.replace_store(Arc::new(FaultyStore::new(store).holding_time()));
    world
}

on_every_store!(s4_a_worker_that_cannot_reach_its_store_stops_before_its_lease_ends);
async fn s4_a_worker_that_cannot_reach_its_store_stops_before_its_lease_ends() {
    let tool = Long::new(EffectPolicy::Idempotent, Duration::from_secs(50));
    let mut world = world(tool.clone()).await;
    let whole = world.store().await;
    let (cut_off, beats) = (CancellationToken::new(), Arc::new(Mutex::new(Instant::now())));
    let faulty = cut(Arc::clone(&whole), &cut_off, &beats);
    world.replace_store(Arc::new(faulty));
    let (_, _alone) = world.start().await;
    world.replace_store(whole);
    let other = world.engine().await;
    let id = create(&other, NewRun::new("x")).await;
    wait_for(&other, id, "step.started").await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(tool.calls().len(), 1);
    cut_off.cancel();
    let _other = other.start();
    let run = ended_at_last(&other, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    let calls = tool.calls();
    assert_eq!(calls.len(), 2, "the other one called it again");
    let (stopped, lease) = (calls[0].1.unwrap(), *beats.lock().unwrap() + TTL);
    assert!(stopped < lease, "{:?} after the lease", stopped - lease);
    assert!(calls[1].0 >= lease, "{:?} before the lease ended", lease - calls[1].0);
}

/// A store that cannot be reached once the line is cut; it notes when it last had a heartbeat.
fn cut(
    store: Arc<dyn Store>,
    line: &CancellationToken,
    last_beat: &Arc<Mutex<Instant>>,
) -> FaultyStore {
    let (line, last_beat) = (line.clone(), Arc::clone(last_beat));
    FaultyStore::new(store).counting(StoreCall::ALL).under(move |call| {
        let cut = line.is_cancelled();
        if call == StoreCall::Beat && !cut {
            *last_beat.lock().unwrap() = Instant::now();
        }
        Weather { fault: cut.then_some(Fault::BeforeCommit), ..Weather::default() }
    })
}

/// A clock that people set.
#[derive(Debug)]
struct SetClock {
    true_time: PausedClock,
    wrong_by: Mutex<SignedDuration>,
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.true_time.now() + *self.wrong_by.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.true_time.sleep(duration)
    }
}

on_every_store!(s5_a_clock_that_is_set_ends_no_lease_and_gives_no_second_owner);
async fn s5_a_clock_that_is_set_ends_no_lease_and_gives_no_second_owner() {
    let tool = Long::new(EffectPolicy::AtMostOnce, Duration::from_secs(55));
    let mut world = world(tool.clone()).await;
    let other = world.engine().await;
    let wrong = Arc::new(SetClock {
        true_time: PausedClock::new(),
        wrong_by: Mutex::new(SignedDuration::ZERO),
    });
    world.clock = Some(Arc::clone(&wrong) as _);
    let (_, _worker) = world.start().await;
    let id = create(&other, NewRun::new("x")).await;
    wait_for(&other, id, "step.started").await;
    let sweeper = other.start();
    let owner = other.run(id).await.unwrap().owner;
    for hours in [1, -1, 0] {
        *wrong.wrong_by.lock().unwrap() = SignedDuration::from_hours(hours);
        tokio::time::sleep(TTL + Duration::from_secs(2)).await;
        let run = other.run(id).await.unwrap();
        assert_eq!((run.owner, run.epoch), (owner, 1), "set by {hours} hours");
    }
    let run = ended_at_last(&other, id).await;
    assert_eq!((run.status, run.recoveries, run.epoch), (RunStatus::Completed, 0, 1));
    assert_eq!(tool.calls().len(), 1);
    sweeper.shutdown(Duration::from_secs(1)).await;
}

on_every_store!(s7_of_a_commit_under_way_and_the_end_of_the_lease_one_wins);
async fn s7_of_a_commit_under_way_and_the_end_of_the_lease_one_wins() {
    for place in [Fault::BeforeCommit, Fault::AfterCommit] {
        for n in 1.. {
            let tool = LedgerTool::new("post", EffectPolicy::AtMostOnce);
            let mut world = world(tool.clone()).await;
            let whole = world.store().await;
            let sent = Arc::<Mutex<Vec<Batch>>>::default();
            let seen = Arc::clone(&sent);
            let appends = FaultyStore::new(Arc::clone(&whole)).counting(&[StoreCall::Append]);
            let appends = appends.witnessed(move |batch| seen.lock().unwrap().push(batch.clone()));
            let under_way = appends.pause_nth(n, place);
            let (cut_off, beats) = (CancellationToken::new(), Arc::new(Mutex::new(Instant::now())));
            world.replace_store(Arc::new(cut(Arc::new(appends), &cut_off, &beats)));
            let (_, _first) = world.start().await;
            world.replace_store(Arc::clone(&whole));
            let other = world.engine().await;
            let id = create(&other, NewRun::new("x")).await;
            let survived = tokio::select! {
                () = under_way.reached() => false,
                run = other.join(id, PATIENCE) => run.unwrap().status.is_terminal(),
            };
            if survived {
                assert!(n > 4, "a run has more than {n} writes");
                tokio::time::resume();
                break;
            }
            cut_off.cancel();
            let late = sent.lock().unwrap()[usize::try_from(n).unwrap() - 1].clone();
            let ends = late.patch.status == Some(RunStatus::Completed);
            let _second = other.start();
            let run = ended_at_last(&other, id).await;
            // One claim, one revocation, one claim; or the write that stood still was the last one.
            let taken = if place == Fault::AfterCommit && ends { 1 } else { 3 };
            assert_eq!((run.status, run.epoch), (RunStatus::Completed, taken), "{place:?} {n}");
            let before = events(&other, id).await;
            let first = &late.events[0];
            let own = before.iter().filter(|event| {
                (&event.kind, event.at, &event.payload)
                    == (&first.kind, first.at, &first.payload.to_value().unwrap())
            });
            assert_eq!(own.count(), usize::from(place == Fault::AfterCommit), "{n}");
            // What was under way comes to the store at last.
            let refused = whole.append(late).await.unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Fenced, "{place:?} {n}");
            assert_eq!(events(&other, id).await, before);
            assert!(tool.effects().len() <= 1, "{place:?} {n}");
            tokio::time::resume();
        }
    }
}

on_every_store!(s46_a_tool_that_says_nothing_is_ended_by_its_own_limit_and_not_by_a_lost_lease);
async fn s46_a_tool_that_says_nothing_is_ended_by_its_own_limit_and_not_by_a_lost_lease() {
    let tool = Long::new(EffectPolicy::AtMostOnce, Duration::MAX / 4);
    let world = world(tool.clone()).await;
    let (engine, _worker) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, id, "step.started").await;
    // Another worker would take the run if its lease ended.
    let (_, _other) = world.start().await;
    let run = ended_at_last(&engine, id).await;
    assert_eq!((run.status, run.recoveries, run.epoch), (RunStatus::Completed, 0, 1));
    let calls = tool.calls();
    assert_eq!(calls.len(), 1, "it is not called again: nobody knows what it did");
    let took = calls[0].1.unwrap() - calls[0].0;
    assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(1), "{took:?}");
    assert!(tool.cancel.lock().unwrap().is_cancelled(), "it is told");
    let step = engine.step(id, &StepKey::new("turn.1.tool.1")).await.unwrap().step;
    assert_eq!(step.status, StepStatus::Indeterminate);
    let said = serde_json::to_string(&world.model.requests().pop().unwrap().messages).unwrap();
    assert!(said.contains("60"), "the model hears of the limit: {said}");
    assert_eq!(count(&kinds(&engine, id).await, "run.claimed"), 1);
}
