//! The world of one seed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    agent::ModelName,
    engine::{Engine, EngineHandle, EngineOptions, NewRun},
    id::{RunId, WorkerId},
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
        ProviderError,
    },
    run::Run,
    step::{EffectPolicy, StepStatus},
    store::{Batch, Expect, InMemoryStore, Order, RunQuery, Store},
    testing::{Fault, FaultyStore, ScriptedModel, SequentialIds, StoreCall, Turn, Weather},
};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{
    chance::Chance,
    code,
    invariants::{
        a_parent_learns_of_each_end_once, an_ended_run_travels, effects_follow_their_policy,
        no_signal_is_forgotten, nobody_outlives_its_parent, what_was_accepted_counts,
    },
    people::{help_to_the_end, interfere, watch},
    tools::{Effects, Hand, SimTool},
};
use crate::engine::fixture::{PausedClock, check_journal, events};

/// Whether it storms.
type Storm = Arc<std::sync::atomic::AtomicBool>;

fn rages(storm: &Storm) -> bool {
    storm.load(std::sync::atomic::Ordering::Relaxed)
}

/// How fast everything is in a world: what is slow in one is fast in another, so that all orders of
/// things come about.
#[derive(Debug, Clone, Copy)]
struct Climate {
    service: Duration,
    tools: Duration,
    appends: Duration,
    people: Duration,
    lives: Duration,
}

impl Climate {
    fn new(chance: &Chance) -> Self {
        Self {
            service: chance.one_of(&[2, 500, 40_000]),
            tools: chance.one_of(&[2, 500, 20_000]),
            appends: chance.one_of(&[2, 200, 6_000]),
            people: chance.one_of(&[300, 4_000, 20_000]),
            lives: chance.one_of(&[5_000, 60_000]),
        }
    }
}

/// A service that is slow, refuses, and breaks off.
struct Service {
    slowest: Duration,
    inner: ScriptedModel,
    chance: Chance,
    storm: Storm,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

#[async_trait]
impl LlmProvider for Service {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        self.inner.capabilities(model)
    }

    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        self.inner.models(cx).await
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        tokio::time::sleep(self.chance.time(self.slowest)).await;
        let fails = |kind| ProviderError::new(kind, "test", "the storm");
        if rages(&self.storm) {
            match self.chance.below(12) {
                0 => return Err(fails(ErrorKind::Overloaded).with_http_status(529)),
                1 => {
                    let wait = self.chance.time(Duration::from_secs(90));
                    return Err(fails(ErrorKind::RateLimited).with_retry_after(wait));
                }
                2 => return Err(fails(ErrorKind::Timeout)),
                3 => {
                    let half = LlmEvent::TextDelta { text: "half".to_owned() };
                    let broken = Err(fails(ErrorKind::StreamTruncated));
                    return Ok(stream::iter([Ok(half), broken]).boxed());
                }
                _ => {}
            }
        }
        let pause = self.chance.time(self.slowest / 4);
        let inner = match request.tools.is_empty() {
            // Code asks, not an agent.
            true => ScriptedModel::new([Turn::text("an answer")]).stream(request, cx).await?,
            false => self.inner.stream(request, cx).await?,
        };
        Ok(inner
            .then(move |item| async move {
                tokio::time::sleep(pause).await;
                item
            })
            .boxed())
    }
}

/// What the agents of a world do.
fn script(chance: &Chance, families: bool) -> Vec<Turn> {
    let policies = ["pure", "idempotent", "at_most_once", "ask", "reconcile"];
    let call = || (policies[chance.index(policies.len())].to_owned(), json!({}));
    let turns = 1 + chance.below(if families { 3 } else { 5 });
    let agent = || ("agent.run".to_owned(), json!({"goal": "go"}));
    let turn = |_| match chance.below(if families { 10 } else { 8 }) {
        0 => Turn::tool("run.wait", json!({"seconds": chance.below(300)})),
        1 => Turn::tool("run.wait", json!({"signal": "go"})),
        2 => Turn::tool("run.wait", json!({"signal": "go", "seconds": 60 + chance.below(300)})),
        n @ 3..8 => Turn::Tools((0..1 + n % 4).map(|_| call()).collect()),
        8 => Turn::Tools(vec![call(), agent()]),
        _ => Turn::Tools(vec![agent(), agent()]),
    };
    (0..turns).map(turn).chain([Turn::text("done")]).collect()
}

/// Whether the agents of a world start others. Not in all, so that what once found a defect stays the
/// history that it was.
const fn has_families(seed: u64) -> bool {
    matches!(seed % 5, 2 | 3)
}

/// The runs and all that descend from them.
pub(super) async fn with_descendants(engine: &Engine, runs: &[RunId]) -> Vec<RunId> {
    let mut all = runs.to_vec();
    let mut n = 0;
    while let Some(parent) = all.get(n).copied() {
        for child in children(engine, parent).await {
            if !all.contains(&child.id) {
                all.push(child.id);
            }
        }
        n += 1;
    }
    all
}

pub(crate) async fn children(engine: &Engine, parent: RunId) -> Vec<Run> {
    let query = RunQuery {
        parent_id: Some(parent),
        order: Order::Ascending,
        limit: 1_000,
        ..RunQuery::default()
    };
    engine.runs(&query).await.unwrap()
}

/// Whether a world has code beside its agents.
const fn has_code(seed: u64) -> bool {
    seed.is_multiple_of(5)
}

/// Whether agents get fewer turns than they need.
const fn is_impatient(seed: u64) -> bool {
    seed % 7 == 1
}

/// Whether what workers append may arrive after their death.
const fn is_far_away(seed: u64) -> bool {
    seed % 4 == 3
}

/// Something wrong in the world, which the rules have to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    /// The store lets those write who lost their run.
    NoFence,
    /// The store forgets what a run used.
    ForgottenUsage,
    /// The store forgets that a run is to be canceled.
    ForgottenCancel,
    /// The store keeps an event and not the step that it is about.
    ForgottenStep,
    /// Every effect happens twice.
    DoubleEffects,
}

impl Defect {
    pub(super) const ALL: [Self; 5] = [
        Self::NoFence,
        Self::ForgottenUsage,
        Self::ForgottenCancel,
        Self::ForgottenStep,
        Self::DoubleEffects,
    ];

    fn apply(self, mut batch: Batch, owners: &mut BTreeMap<RunId, (WorkerId, u64)>) -> Batch {
        match self {
            Self::NoFence => {
                if let Expect::Owner { worker, epoch, .. } = &mut batch.expect {
                    let last = owners.entry(batch.run).or_insert((*worker, *epoch));
                    if *epoch > last.1 {
                        *last = (*worker, *epoch);
                    }
                    (*worker, *epoch) = *last;
                }
            }
            Self::ForgottenUsage => batch.patch.usage = None,
            Self::ForgottenCancel => batch.patch.cancel_requested = false,
            Self::ForgottenStep => {
                batch.steps.retain(|step| step.status != StepStatus::Succeeded);
            }
            Self::DoubleEffects => {}
        }
        batch
    }
}

/// All that workers share.
struct World {
    chance: Chance,
    climate: Climate,
    storm: Storm,
    clock: PausedClock,
    ids: Arc<SequentialIds>,
    store: Arc<dyn Store>,
    model: ScriptedModel,
    effects: Effects,
    hand: Hand,
    has_code: bool,
    /// How long appends are under way, and for what chance.
    line: Option<Chance>,
    defect: Option<Defect>,
    owners: Arc<Mutex<BTreeMap<RunId, (WorkerId, u64)>>>,
    snapshot_interval: u64,
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let chance = Chance::new(seed);
        let clock = PausedClock::new();
        let families = has_families(seed);
        let model = ScriptedModel::new(script(&chance, families));
        let (climate, effects) = (Climate::new(&chance), Effects::default());
        let mut hand = Hand::new(&effects, &chance, climate.tools);
        hand.trembles = defect == Some(Defect::DoubleEffects);
        Self {
            store: Arc::new(InMemoryStore::with_clock(Arc::new(clock))),
            ids: Arc::new(SequentialIds::new()),
            storm: Storm::default(),
            effects,
            hand,
            has_code: has_code(seed),
            // A chance of its own, so that other worlds stay what they were.
            line: is_far_away(seed).then(|| Chance::new(!seed)),
            defect,
            owners: Arc::default(),
            snapshot_interval: 1 + seed % 40,
            climate,
            chance,
            clock,
            model,
        }
    }

    /// The store, with the world's defect.
    fn base(&self) -> Arc<dyn Store> {
        let Some(defect) = self.defect else { return Arc::clone(&self.store) };
        let owners = Arc::clone(&self.owners);
        let change = move |batch| defect.apply(batch, &mut owners.lock().unwrap());
        Arc::new(FaultyStore::new(Arc::clone(&self.store)).changed(change))
    }

    /// A store as one process sees it.
    fn view(&self) -> FaultyStore {
        let (chance, storm) = (self.chance.clone(), Arc::clone(&self.storm));
        let appends = self.climate.appends;
        let mut store = FaultyStore::new(self.base());
        if let Some(line) = self.line.clone() {
            let storm = Arc::clone(&self.storm);
            store = store.on_a_line(move || match rages(&storm) && line.one_in(3) {
                true => Duration::from_millis(line.below(150_000)),
                false => Duration::ZERO,
            });
        }
        store.under(move |call| {
            if !rages(&storm) {
                return Weather::default();
            }
            let fault = match chance.below(40) {
                0 => Some(Fault::BeforeCommit),
                1 => Some(Fault::AfterCommit),
                _ => None,
            };
            let most = match call {
                _ if chance.one_in(60) => Duration::from_secs(12),
                StoreCall::Append => appends,
                _ => Duration::from_millis(200),
            };
            Weather { before: chance.time(most), fault, after: chance.time(most) }
        })
    }

    fn engine(&self, store: Arc<dyn Store>) -> Engine {
        let service = Service {
            slowest: self.climate.service,
            inner: self.model.clone(),
            chance: self.chance.clone(),
            storm: Arc::clone(&self.storm),
        };
        let options = EngineOptions {
            default_model: ModelName::new("test", "model"),
            concurrency: 1 + self.chance.index(4),
            poll_interval: Duration::from_secs(2),
            snapshot_interval: self.snapshot_interval,
            ..EngineOptions::default()
        };
        let mut builder = Engine::builder(store)
            .provider(service)
            .clock(Arc::new(self.clock))
            .ids(Arc::clone(&self.ids) as _)
            .options(options);
        for policy in EffectPolicy::ALL {
            builder = builder.tool(SimTool::new(policy, &self.hand));
        }
        if self.has_code {
            builder = code::with_code(builder, &self.hand);
        }
        builder.build().unwrap()
    }

    fn worker(&self) -> EngineHandle {
        self.engine(Arc::new(self.view())).start()
    }

    /// Workers that die and are replaced, for as long as it storms.
    async fn live_and_die(&self) {
        let mut workers: Vec<EngineHandle> = (0..2).map(|_| self.worker()).collect();
        loop {
            tokio::time::sleep(self.chance.time(self.climate.lives)).await;
            let worker = workers.swap_remove(self.chance.index(workers.len()));
            match self.chance.below(3) {
                0 => worker.shutdown(self.chance.time(Duration::from_secs(20))).await,
                _ => drop(worker),
            }
            workers.push(self.worker());
        }
    }
}

/// Lives through the history of one seed, checks all rules, and tells all journals.
pub(super) fn simulate(seed: u64, defect: Option<Defect>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(history(seed, defect))
}

async fn history(seed: u64, defect: Option<Defect>) -> String {
    let world = World::new(seed, defect);
    let engine = world.engine(world.base());
    let mut runs: Vec<RunId> = Vec::new();
    for _ in 0..1 + world.chance.below(4) {
        let all = ["*".to_owned(), "agent.run".to_owned()];
        let tools = has_families(seed).then(|| all.to_vec());
        let max_steps = Some(if is_impatient(seed) { 1 } else { 200 });
        let new = NewRun { max_steps, tools, ..NewRun::new("go") };
        runs.push(engine.create_run(new).await.unwrap().run.id);
    }
    if world.has_code {
        runs.push(engine.create_run(code::errand(&world.chance)).await.unwrap().run.id);
    }
    let watchers: Vec<_> = runs.iter().map(|id| tokio::spawn(watch(engine.clone(), *id))).collect();
    let watched = runs.clone();

    world.storm.store(true, std::sync::atomic::Ordering::Relaxed);
    let pause = world.climate.people;
    let time = pause * (10 + world.chance.below(15) as u32);
    let accepted = tokio::select! {
        biased;
        accepted = interfere(&engine, &mut runs, &world.chance, (pause, time)) => accepted,
        () = world.live_and_die() => unreachable!("it ends with the storm"),
    };
    world.storm.store(false, std::sync::atomic::Ordering::Relaxed);
    let last = world.worker();
    // What was under way comes to rest.
    tokio::time::sleep(Duration::from_secs(60)).await;
    for id in with_descendants(&engine, &runs).await {
        let run = engine.run(id).await.unwrap();
        no_signal_is_forgotten::check(&engine, &run).await;
        nobody_outlives_its_parent::check(&engine, &run).await;
    }
    help_to_the_end(&engine, &runs, &world.chance).await;

    let effects = world.effects.lock().unwrap().clone();
    let nothing = super::people::Accepted::default();
    let mut told = String::new();
    for id in &with_descendants(&engine, &runs).await {
        let run = engine.run(*id).await.unwrap();
        assert!(run.status.is_terminal());
        check_journal(&engine, *id).await;
        an_ended_run_travels::check(&engine, &run).await;
        let journal = events(&engine, *id).await;
        a_parent_learns_of_each_end_once::check(&engine, &run, &journal).await;
        effects_follow_their_policy::check(&engine, &run, &effects).await;
        let accepted = accepted.get(id).unwrap_or(&nothing);
        what_was_accepted_counts::check(&engine, &run, accepted).await;
        for event in journal {
            told.push_str(&format!(
                "{} {} {} {} {}\n",
                id, event.seq, event.at, event.kind, event.payload
            ));
        }
    }
    for (id, watcher) in watched.into_iter().zip(watchers) {
        let seen = watcher.await.unwrap();
        assert_eq!(seen, engine.run(id).await.unwrap().status);
    }
    drop(last);
    told
}
