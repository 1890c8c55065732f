//! A run of twenty steps whose store fails at a call, or whose worker dies at one: the first, the second,
//! and so on, until the run is over before that call comes. Time is virtual, so leases end at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent_runner_core::{
    directive::Resolution,
    engine::{Engine, EngineHandle, NewRun},
    id::{RunId, StepKey},
    llm::LlmRequest,
    message::Role,
    run::{ParkReason, Run, RunStatus},
    step::{EffectPolicy, Step, StepKind, StepStatus},
    store::Store,
    testing::{Effect, Fault, FaultyStore, LedgerTool, StoreCall, Turn},
};
use serde_json::json;

use super::fixture::*;

/// Calls of tools, two of each policy. With the model calls that ask for them, twenty steps; then the
/// model says that it is done.
const CALLS: usize = 2 * EffectPolicy::ALL.len();
const STEPS: usize = 2 * CALLS + 1;

/// A store that all voyages of a test share, and its clock.
struct Sea {
    store: Arc<dyn Store>,
    clock: PausedClock,
    _world: World,
}

impl Sea {
    async fn new() -> Self {
        let clock = PausedClock::new();
        let mut world = World::new([]);
        world.clock = Some(Arc::new(clock));
        let store = world.store().await;
        tokio::time::pause();
        Self { store, clock, _world: world }
    }
}

/// One run, its tools, and a store around that of all others.
struct Voyage {
    world: World,
    tools: Vec<LedgerTool>,
    faulty: Arc<FaultyStore>,
    /// Looks on through a store that never fails.
    observer: Engine,
    id: RunId,
}

impl Voyage {
    async fn new(sea: &Sea, counted: &[StoreCall]) -> Self {
        let tools = EffectPolicy::ALL.map(|policy| LedgerTool::new(policy.as_str(), policy));
        let tools = tools.map(LedgerTool::probing_its_ledger).to_vec();
        let policies = EffectPolicy::ALL.iter().cycle().take(CALLS).enumerate();
        let calls = policies.map(|(n, policy)| Turn::tool(policy.as_str(), json!({ "n": n })));
        let mut world = World::new(calls.chain([Turn::text("done")]));
        for tool in &tools {
            world = world.with_tool(tool.clone());
        }
        world.clock = Some(Arc::new(sea.clock));
        let view = || FaultyStore::new(Arc::clone(&sea.store)).holding_time();
        world.replace_store(Arc::new(view()));
        let observer = world.engine().await;
        let id = create(&observer, NewRun::new("go")).await;
        let faulty = Arc::new(view().counting(counted));
        world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
        Self { world, tools, faulty, observer, id }
    }

    /// From now on the store is as good as the observer's.
    fn calm(&mut self, sea: &Sea) {
        let whole = FaultyStore::new(Arc::clone(&sea.store)).holding_time();
        self.world.replace_store(Arc::new(whole));
    }

    /// The effects of the call of that turn; the first turn is 1.
    fn effects(&self, turn: usize) -> Vec<Effect> {
        let all = self.tools.iter().flat_map(LedgerTool::effects);
        all.filter(|effect| effect.arguments["n"] == turn - 1).collect()
    }

    /// How often the model was asked for the reply of that turn.
    fn asked(&self, turn: usize) -> usize {
        let replies = |request: &LlmRequest| {
            request.messages.iter().filter(|m| m.role == Role::Assistant).count()
        };
        let requests = self.world.model.requests();
        requests.iter().filter(|request| replies(request) == turn - 1).count()
    }

    /// The calls of tools with their effects.
    async fn tool_steps(&self) -> Vec<(Step, Vec<Effect>)> {
        let steps = self.observer.steps(self.id).await.unwrap().into_iter();
        let tools = steps.filter(|step| step.kind == StepKind::Tool);
        tools.map(|step| (step.clone(), self.effects(turn(&step)))).collect()
    }

    /// The steps that succeeded, and how often each was performed.
    async fn done(&self) -> BTreeMap<StepKey, usize> {
        let steps = self.observer.steps(self.id).await.unwrap().into_iter();
        let done = steps.filter(|step| step.status == StepStatus::Succeeded);
        done.map(|step| {
            let times = match step.kind {
                StepKind::Model => self.asked(turn(&step)),
                _ => self.effects(turn(&step)).len(),
            };
            (step.key, times)
        })
        .collect()
    }

    /// Waits for the end; a person who knows what happened says so when the run asks.
    async fn end(&self) -> Run {
        for _ in 0..CALLS {
            let run = self.observer.join(self.id, PATIENCE).await.unwrap();
            if run.park.is_none_or(|park| park.reason != ParkReason::Ask) {
                break;
            }
            for (step, effects) in self.tool_steps().await {
                if step.status == StepStatus::Started {
                    let resolution = match effects.is_empty() {
                        true => Resolution::Retry,
                        false => Resolution::Succeeded { output: json!("a person saw it") },
                    };
                    self.observer.resolve(self.id, &step.key, resolution).await.unwrap();
                }
            }
        }
        over(&self.observer, self.id).await
    }
}

/// The turn of a step; the first is 1.
fn turn(step: &Step) -> usize {
    step.key.as_str().split('.').nth(1).unwrap().parse().unwrap()
}

/// Each call of a kind fails once, in a run of its own.
async fn fail_each(calls: &[StoreCall], fault: Fault) {
    let sea = Sea::new().await;
    for n in 1.. {
        let voyage = Voyage::new(&sea, calls).await;
        voyage.faulty.fail_nth(n, fault);
        let (_, _handle) = voyage.world.start().await;
        let run = over(&voyage.observer, voyage.id).await;
        assert_eq!(run.status, RunStatus::Completed, "{n}: {:?}", run.error);
        let done = voyage.done().await;
        assert_eq!(done.len(), STEPS, "{n}");
        assert!(done.values().all(|times| *times == 1), "{n}: {done:?}");
        if voyage.faulty.calls() < n {
            assert!(n > STEPS as u64, "a run makes more than {n} calls");
            break;
        }
    }
}

on_every_store!(s1_any_one_call_that_the_store_refuses_costs_a_run_nothing);
async fn s1_any_one_call_that_the_store_refuses_costs_a_run_nothing() {
    fail_each(StoreCall::ALL, Fault::BeforeCommit).await;
}

on_every_store!(s1_any_one_write_whose_answer_is_lost_costs_a_run_nothing);
async fn s1_any_one_write_whose_answer_is_lost_costs_a_run_nothing() {
    fail_each(StoreCall::WRITES, Fault::AfterCommit).await;
}

/// The worker of a run dies, and another ends the run; how many effects had no record.
async fn taken_over(voyage: &mut Voyage, sea: &Sea, dying: EngineHandle, n: u64) -> usize {
    drop(dying);
    tokio::task::yield_now().await;
    let done = voyage.done().await;
    voyage.calm(sea);
    let (_, handle) = voyage.world.start().await;
    let run = voyage.end().await;
    assert_eq!(run.status, RunStatus::Completed, "{n}: {:?}", run.error);
    let after = voyage.done().await;
    let again = done.iter().find(|(key, times)| after.get(key) != Some(times));
    assert_eq!(again, None, "{n}: a step that was done ran again");
    handle.shutdown(Duration::from_secs(1)).await;
    check_policies(voyage, n).await
}

/// At each call of a kind the worker of a run dies, and another takes over.
async fn die_at_each(calls: &[StoreCall], place: Fault) {
    let sea = Sea::new().await;
    let mut unknown = 0;
    for n in 1.. {
        let mut voyage = Voyage::new(&sea, calls).await;
        let death = voyage.faulty.pause_nth(n, place);
        let (_, handle) = voyage.world.start().await;
        let survived = tokio::select! {
            () = death.reached() => false,
            run = voyage.observer.join(voyage.id, PATIENCE) => run.unwrap().status.is_terminal(),
        };
        unknown += taken_over(&mut voyage, &sea, handle, n).await;
        if survived {
            assert!(n > STEPS as u64, "a run makes more than {n} calls");
            break;
        }
    }
    assert!(unknown > 0, "no death came between an effect and its record");
}

on_every_store!(s1_whichever_call_its_worker_dies_before_another_ends_the_run);
async fn s1_whichever_call_its_worker_dies_before_another_ends_the_run() {
    die_at_each(StoreCall::ALL, Fault::BeforeCommit).await;
}

on_every_store!(s1_whichever_write_its_worker_dies_after_another_ends_the_run);
async fn s1_whichever_write_its_worker_dies_after_another_ends_the_run() {
    die_at_each(StoreCall::WRITES, Fault::AfterCommit).await;
}

/// Each step ran as its policy says; how many had their effect without a record of it.
async fn check_policies(voyage: &Voyage, n: u64) -> usize {
    let mut unknown = 0;
    let steps = voyage.tool_steps().await;
    assert_eq!(steps.len(), CALLS, "{n}");
    for (step, effects) in steps {
        let case = format!("{n}: {} times: {step:?}", effects.len());
        assert!(effects.windows(2).all(|pair| pair[0].idempotency_key == pair[1].idempotency_key));
        match (step.policy, step.status) {
            (EffectPolicy::AtMostOnce, StepStatus::Indeterminate) => {
                assert!(effects.len() <= 1, "{case}");
                unknown += effects.len();
            }
            (EffectPolicy::Pure | EffectPolicy::Idempotent, StepStatus::Succeeded) => {
                assert!((1..=2).contains(&effects.len()), "{case}");
                unknown += effects.len() - 1;
            }
            (
                EffectPolicy::AtMostOnce | EffectPolicy::Ask | EffectPolicy::Reconcile,
                StepStatus::Succeeded,
            ) => assert_eq!(effects.len(), 1, "{case}"),
            _ => panic!("{case}"),
        }
    }
    unknown
}
