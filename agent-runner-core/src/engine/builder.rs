//! Puts an engine together.

use std::{fmt::Display, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Engine, Inner, active::ActiveRuns, agent_tool::AgentTool, ask::AskTool,
    known_projects::KnownProjects, live::Hub, wait::WaitTool,
};
use crate::{
    agent::ModelName,
    blob::BlobStore,
    budget::Budget,
    code::{CodeRegistry, Ctx, FnCode},
    files::ProjectFiles,
    id::{IdSource, SystemIds, WorkerId},
    limits,
    llm::{LlmProvider, ModelCatalog, ProviderRegistry},
    store::Store,
    time::{Clock, SystemClock},
    tool::{RegisterToolError, Tool, ToolRegistry, ToolSource},
};

/// Bounds and intervals of an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// The model of runs that name none.
    pub default_model: ModelName,
    /// Said in every run that uses the default model, when there is something to say.
    pub default_model_notice: Option<String>,
    /// Most runs in execution at once in this process. Default 64.
    pub concurrency: usize,
    /// How long a silent worker keeps its runs. Default 15 s.
    pub lease_ttl: Duration,
    /// How often a model call in progress says that it is. Default 15 s.
    pub heartbeat_interval: Duration,
    /// How often the store is asked for work without a hint. Default 500 ms.
    pub poll_interval: Duration,
    /// How long a canceled tool call that must not be repeated may take to end. Default 1 s.
    pub cancel_grace: Duration,
    /// Most that all runs of all projects may spend on one day (UTC). Default none.
    pub daily_budget: Option<Budget>,
    /// How long bytes that no artifact needs are kept. Default 1 h: longer than any call takes
    /// between keeping bytes and recording them.
    pub blob_grace: Duration,
    /// Events after which a snapshot of a run is worth it, if they are as long as the last one.
    /// Default [`limits::SNAPSHOT_INTERVAL`].
    pub snapshot_interval: u64,
    /// The machine's name, for people.
    pub host: String,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            default_model: ModelName::new("scripted", "demo"),
            default_model_notice: None,
            concurrency: 64,
            lease_ttl: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(15),
            poll_interval: Duration::from_millis(500),
            cancel_grace: Duration::from_secs(1),
            daily_budget: None,
            blob_grace: Duration::from_secs(3_600),
            snapshot_interval: limits::SNAPSHOT_INTERVAL,
            host: "localhost".to_owned(),
        }
    }
}

/// What keeps an engine from being built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A tool cannot be registered.
    #[error(transparent)]
    Tool(#[from] RegisterToolError),
    /// A workflow of that name and version is there already.
    #[error(
        "there are two workflows `{name}` of version {version}; give the newer one a new version"
    )]
    Workflow {
        /// The name.
        name: String,
        /// The version.
        version: u32,
    },
    /// A bound or interval makes no sense.
    #[error("{0}")]
    Option(&'static str),
}

/// Puts an engine together; see [`Engine::builder`].
#[derive(Debug)]
pub struct EngineBuilder {
    store: Arc<dyn Store>,
    providers: ProviderRegistry,
    tools: Vec<Arc<dyn Tool>>,
    sources: Vec<Arc<dyn ToolSource>>,
    files: Option<Arc<dyn ProjectFiles>>,
    blobs: Option<Arc<dyn BlobStore>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    codes: CodeRegistry,
    /// A workflow that was there already.
    twice: Option<(String, u32)>,
    options: EngineOptions,
}

impl EngineBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            providers: ProviderRegistry::default(),
            tools: Vec::new(),
            sources: Vec::new(),
            files: None,
            blobs: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            codes: CodeRegistry::default(),
            twice: None,
            options: EngineOptions::default(),
        }
    }

    /// Adds a provider.
    #[must_use]
    pub fn provider(mut self, provider: impl LlmProvider) -> Self {
        self.providers.add(Arc::new(provider));
        self
    }

    /// Adds a provider that is shared already.
    #[must_use]
    pub fn shared_provider(mut self, provider: Arc<dyn LlmProvider>) -> Self {
        self.providers.add(provider);
        self
    }

    /// What the operator says that models can do and cost: believed before anybody else.
    #[must_use]
    pub fn operator_catalog(mut self, catalog: Arc<dyn ModelCatalog>) -> Self {
        self.providers.set_operator(catalog);
        self
    }

    /// A list of what models can do and cost, for what neither the operator nor a provider says.
    #[must_use]
    pub fn catalog(mut self, catalog: Arc<dyn ModelCatalog>) -> Self {
        self.providers.set_catalog(catalog);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: impl Tool) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    /// Adds tools that are shared already.
    #[must_use]
    pub fn tools(mut self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Adds tools that come and go.
    #[must_use]
    pub fn tool_source(mut self, source: Arc<dyn ToolSource>) -> Self {
        self.sources.push(source);
        self
    }

    /// Adds a code workflow: `async fn(Ctx, Input) -> Result<Output, _>`, which runs as
    /// [`NewRun::workflow`](super::NewRun::workflow) asks for it. Runs keep the version that they began
    /// with, new ones get the highest.
    #[must_use]
    pub fn workflow<I, O, E, F, Fut>(
        mut self,
        name: impl Into<String>,
        version: u32,
        code: F,
    ) -> Self
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        E: Display + 'static,
        F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let name = name.into();
        if !self.codes.add(name.clone(), version, Arc::new(FnCode::new(code))) {
            self.twice.get_or_insert((name, version));
        }
        self
    }

    /// Sets where the files of projects are.
    #[must_use]
    pub fn files(mut self, files: Arc<dyn ProjectFiles>) -> Self {
        self.files = Some(files);
        self
    }

    /// Sets where the bytes of artifacts are kept.
    #[must_use]
    pub fn blobs(mut self, blobs: Arc<dyn BlobStore>) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Sets the clock. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets where ids come from. Default: the machine's clock and random source.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Sets bounds and intervals.
    #[must_use]
    pub fn options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the model of runs that name none.
    #[must_use]
    pub fn default_model(mut self, model: ModelName) -> Self {
        self.options.default_model = model;
        self
    }

    /// Builds it. Nothing runs until [`Engine::start`].
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Engine, BuildError> {
        let options = &self.options;
        if options.concurrency == 0 {
            return Err(BuildError::Option("concurrency must be at least 1"));
        }
        if options.lease_ttl < Duration::from_millis(100) {
            return Err(BuildError::Option("lease_ttl must be at least 100ms"));
        }
        if options.heartbeat_interval.is_zero() || options.poll_interval.is_zero() {
            return Err(BuildError::Option("intervals must be longer than 0"));
        }
        if let Some((name, version)) = self.twice {
            return Err(BuildError::Workflow { name, version });
        }
        let mut tools = ToolRegistry::default();
        tools.add(Arc::new(WaitTool::new()))?;
        tools.add(Arc::new(AskTool::new()))?;
        tools.add(Arc::new(AgentTool::new()))?;
        for tool in self.tools {
            tools.add(tool)?;
        }
        for source in self.sources {
            tools.add_source(source);
        }
        let worker = WorkerId::from_uuid(self.ids.next());
        Ok(Engine {
            inner: Arc::new(Inner {
                store: self.store,
                providers: self.providers,
                tools,
                files: self.files,
                blobs: self.blobs,
                clock: self.clock,
                ids: self.ids,
                options: self.options,
                worker,
                live: Hub::default(),
                active: ActiveRuns::default(),
                projects: KnownProjects::default(),
                codes: self.codes,
            }),
        })
    }
}
