//! An engine on an in-memory store, and short ways to ask what a test wants to know.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    blob::BlobStore,
    engine::{Engine, EngineBuilder, EngineHandle, EngineOptions, Frame, NewRun, WatchOptions},
    event::{Event, EventBody},
    id::{RunId, StepKey},
    llm::{LlmProvider, ModelCatalog},
    machine::RunState,
    run::Run,
    step::StepStatus,
    store::{EventQuery, InMemoryStore, Store},
    testing::{ScriptedModel, Turn},
    time::Clock,
    tool::Tool,
};
use agent_runner_providers::{SqliteOptions, SqliteStore};
use futures::StreamExt as _;
use tokio::sync::OnceCell;

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    InMemory,
    Sqlite,
}

thread_local! {
    // A scenario runs on the one thread of its runtime.
    static KIND: std::cell::Cell<StoreKind> = const { std::cell::Cell::new(StoreKind::InMemory) };
}

pub(crate) fn use_store(kind: StoreKind) {
    KIND.set(kind);
}

pub(crate) struct World {
    store: OnceCell<Arc<dyn Store>>,
    directory: tempfile::TempDir,
    pub(crate) model: ScriptedModel,
    tools: Vec<Arc<dyn Tool>>,
    providers: Vec<Arc<dyn LlmProvider>>,
    catalog: Option<Arc<dyn ModelCatalog>>,
    /// The program's workflows.
    code: Vec<Arc<dyn Fn(EngineBuilder) -> EngineBuilder>>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) blobs: Option<Arc<dyn BlobStore>>,
    pub(crate) options: EngineOptions,
}

impl World {
    pub(crate) fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        let options = EngineOptions {
            default_model: ModelName::new("test", "model"),
            poll_interval: Duration::from_millis(20),
            lease_ttl: Duration::from_secs(2),
            // Most runs here are short, and shall have snapshots nevertheless.
            snapshot_interval: 8,
            ..EngineOptions::default()
        };
        Self {
            store: OnceCell::new(),
            directory: tempfile::tempdir().unwrap(),
            model: ScriptedModel::new(turns),
            tools: Vec::new(),
            providers: Vec::new(),
            catalog: None,
            code: Vec::new(),
            clock: None,
            blobs: None,
            options,
        }
    }

    pub(crate) fn with_tool(mut self, tool: impl Tool) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    pub(crate) fn with_provider(mut self, provider: impl LlmProvider) -> Self {
        self.options.default_model = ModelName::new(provider.id(), "model");
        self.providers.push(Arc::new(provider));
        self
    }

    pub(crate) fn with_catalog(mut self, catalog: impl ModelCatalog) -> Self {
        self.catalog = Some(Arc::new(catalog));
        self
    }

    pub(crate) fn with_code(
        mut self,
        code: impl Fn(EngineBuilder) -> EngineBuilder + 'static,
    ) -> Self {
        self.code.push(Arc::new(code));
        self
    }

    /// From now on programs have this code and no other.
    pub(crate) fn change_code(&mut self, code: impl Fn(EngineBuilder) -> EngineBuilder + 'static) {
        self.code = vec![Arc::new(code)];
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        let open = || async {
            match KIND.get() {
                StoreKind::InMemory => Arc::new(InMemoryStore::new()) as Arc<dyn Store>,
                StoreKind::Sqlite => {
                    let path = self.directory.path().join("runs.db");
                    let options = SqliteOptions::new(&path);
                    Arc::new(SqliteStore::open(options).await.unwrap())
                }
            }
        };
        Arc::clone(self.store.get_or_init(open).await)
    }

    /// The size of the database, if there is one. Nothing may be using it any more.
    pub(crate) async fn database_bytes(&self) -> Option<u64> {
        let path = self.directory.path().join("runs.db");
        if KIND.get() == StoreKind::InMemory {
            return None;
        }
        // Whoever closes it folds the log into the file.
        SqliteStore::open(SqliteOptions::new(&path)).await.unwrap().close().await.unwrap();
        Some(std::fs::metadata(path).unwrap().len())
    }

    pub(crate) fn replace_store(&mut self, store: Arc<dyn Store>) {
        self.store = OnceCell::from(store);
    }

    /// Another engine on the same store, as another process would have it.
    pub(crate) async fn engine(&self) -> Engine {
        let mut builder = Engine::builder(self.store().await)
            .provider(self.model.clone())
            .tools(self.tools.iter().cloned())
            .options(self.options.clone());
        for provider in &self.providers {
            builder = builder.shared_provider(Arc::clone(provider));
        }
        if let Some(catalog) = &self.catalog {
            builder = builder.catalog(Arc::clone(catalog));
        }
        if let Some(blobs) = &self.blobs {
            builder = builder.blobs(Arc::clone(blobs));
        }
        if let Some(clock) = &self.clock {
            builder = builder.clock(Arc::clone(clock));
        }
        for code in &self.code {
            builder = code(builder);
        }
        builder.build().unwrap()
    }

    pub(crate) async fn start(&self) -> (Engine, EngineHandle) {
        let engine = self.engine().await;
        let handle = engine.start();
        (engine, handle)
    }
}

pub(crate) async fn create(engine: &Engine, new: NewRun) -> RunId {
    engine.create_run(new).await.unwrap().run.id
}

pub(crate) async fn ended(engine: &Engine, id: RunId) -> Run {
    let run = engine.join(id, PATIENCE).await.unwrap();
    assert!(run.status.is_terminal(), "the run hangs: {run:#?}\n{:#?}", kinds(engine, id).await);
    check_journal(engine, id).await;
    super::bundles::check_travels(engine, id).await;
    run
}

pub(crate) async fn events(engine: &Engine, id: RunId) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.seq);
        let page = engine.events(id, &EventQuery::after(after)).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub(crate) async fn kinds(engine: &Engine, id: RunId) -> Vec<String> {
    events(engine, id).await.into_iter().map(|event| event.kind).collect()
}

pub(crate) fn count(kinds: &[String], kind: &str) -> usize {
    kinds.iter().filter(|k| *k == kind).count()
}

/// I5, I6, I7, I8 for one run.
pub(crate) async fn check_journal(engine: &Engine, id: RunId) {
    let run = engine.run(id).await.unwrap();
    let events = events(engine, id).await;
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.seq, n as u64 + 1, "numbers have no gaps");
    }
    assert_eq!(events.last().unwrap().seq, run.last_seq);
    assert!(events.is_sorted_by_key(|event| event.epoch), "epochs never go back");
    let ends: Vec<_> = events
        .iter()
        .filter(|e| matches!(e.kind.as_str(), "run.completed" | "run.failed" | "run.canceled"))
        .collect();
    if run.status.is_terminal() {
        assert_eq!(ends.len(), 1, "one end");
        assert_eq!(ends[0].seq, run.last_seq, "the end is last");
        assert!(run.owner.is_none() && run.finished_at.is_some());
    } else {
        assert!(ends.is_empty());
    }
    let replayed = engine.replay(id).await.unwrap();
    assert_eq!(replayed.differs, None, "the journal alone leads to the same decisions");
    let state = engine.fold(id).await.unwrap();
    assert_eq!(state.status(), run.status, "the row is the fold of the journal");
    assert_eq!(state.usage(), run.usage);
    assert_eq!(state.spend(), run.spend);
    let folded = folded_steps(engine, id).await;
    for step in engine.steps(id).await.unwrap() {
        assert_eq!(folded.get(&step.key), Some(&(step.status, step.attempts)), "{}", step.key);
        assert!(step.started_at.is_some() && step.started_seq.is_some(), "{}", step.key);
        if run.status.is_terminal() {
            assert!(step.status.is_terminal(), "step {} is still {}", step.key, step.status);
        }
        for seq in [step.started_seq, step.done_seq].into_iter().flatten() {
            let body = EventBody::from_event(&events[seq as usize - 1]).unwrap().unwrap();
            assert_eq!(body.step(), Some(&step.key), "the row points at its own events");
        }
    }
}

/// Every step of a run as its journal tells it, those included that the fold forgets.
async fn folded_steps(engine: &Engine, id: RunId) -> BTreeMap<StepKey, (StepStatus, u32)> {
    let (mut state, mut steps) = (RunState::default(), BTreeMap::new());
    for mut event in events(engine, id).await {
        if event.blob.is_some() {
            event = engine.event(id, event.seq).await.unwrap();
        }
        let Some(body) = EventBody::from_event(&event).unwrap() else { continue };
        state.apply(event.seq, &body).unwrap();
        if let Some((key, step)) = body.step().and_then(|key| Some((key, state.step(key)?))) {
            steps.insert(key.clone(), (step.status, step.attempts));
        }
    }
    assert_eq!(state, engine.fold(id).await.unwrap(), "the fold is the fold of the whole journal");
    steps
}

/// Waits until the run has an event of that kind.
pub(crate) async fn wait_for(engine: &Engine, id: RunId, kind: &str) -> Event {
    wait_for_nth(engine, id, kind, 1).await
}

/// Waits until the run has so many events of that kind; the last of them.
pub(crate) async fn wait_for_nth(engine: &Engine, id: RunId, kind: &str, n: usize) -> Event {
    let mut seen = 0;
    let mut frames = engine.watch(id, WatchOptions { after: 0, live: false });
    let found = async {
        loop {
            match frames.next().await {
                Some(Ok(Frame::Event(event))) if event.kind == kind => {
                    seen += 1;
                    if seen == n {
                        return event;
                    }
                }
                Some(Ok(Frame::End { .. })) | None => panic!("the run ended without `{kind}`"),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("`{kind}` never came"))
}
