//! An engine on an in-memory store, and short ways to ask what a test wants to know.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    blob::BlobStore,
    engine::{Engine, EngineBuilder, EngineHandle, EngineOptions, Frame, NewRun, WatchOptions},
    event::Event,
    id::RunId,
    llm::{LlmProvider, ModelCatalog},
    run::Run,
    store::{EventQuery, InMemoryStore, Store},
    testing::{ScriptedModel, Turn},
    time::{Clock, SystemClock},
    tool::Tool,
};
use agent_runner_providers::{SqliteOptions, SqliteStore, Synchronous};
use futures::{StreamExt as _, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use crate::sim::invariants::{
    a_run_ends_once, decisions_repeat, epochs_never_fall, numbers_have_no_gaps, rows_are_the_fold,
};

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

/// Tokio's paused clock: it jumps to the next timer whenever everything waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PausedClock(tokio::time::Instant);

impl PausedClock {
    /// A clock that begins now; tokio's has to be paused.
    pub(crate) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.0.elapsed().as_micros()).unwrap();
        Timestamp::from_microsecond(1_800_000_000_000_000 + micros).unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
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
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let open = || async {
            match KIND.get() {
                StoreKind::InMemory => Arc::new(InMemoryStore::with_clock(clock)) as Arc<dyn Store>,
                StoreKind::Sqlite => {
                    let path = self.directory.path().join("runs.db");
                    // Nobody cuts the power here.
                    let options =
                        SqliteOptions::new(&path).clock(clock).synchronous(Synchronous::Normal);
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

/// The run once it has ended, its journal checked.
pub(crate) async fn over(engine: &Engine, id: RunId) -> Run {
    let run = engine.join(id, PATIENCE).await.unwrap();
    assert!(run.status.is_terminal(), "the run hangs: {run:#?}\n{:#?}", kinds(engine, id).await);
    check_journal(engine, id).await;
    run
}

/// The same, and it is the same in another database.
pub(crate) async fn ended(engine: &Engine, id: RunId) -> Run {
    let run = over(engine, id).await;
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

/// What must hold for the journal of any run at any moment.
pub(crate) async fn check_journal(engine: &Engine, id: RunId) {
    let run = engine.run(id).await.unwrap();
    let events = events(engine, id).await;
    numbers_have_no_gaps::check(&run, &events);
    epochs_never_fall::check(&run, &events);
    a_run_ends_once::check(&run, &events);
    decisions_repeat::check(engine, &run).await;
    rows_are_the_fold::check(engine, &run, &events).await;
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
