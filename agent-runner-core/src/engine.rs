//! The engine: the only place with I/O, time and tasks. It claims runs, performs what their
//! machines ask for, journals intent and result, and tells watchers.

mod active;
mod agent_tool;
mod approvals;
mod artifacts;
mod ask;
mod budgets;
mod builder;
mod bulk;
mod bundle;
mod children;
mod code;
mod control;
mod diff;
mod driver;
mod error;
mod export;
mod family;
mod files;
mod fork;
mod import;
mod inbox;
mod invoke;
mod journal;
mod known_projects;
mod lease;
mod live;
mod new_run;
mod oneshot;
mod project;
mod query;
mod replay;
mod snapshot;
mod tail;
mod wait;
mod worker;

use std::sync::Arc;

pub use self::{
    agent_tool::AGENT_TOOL,
    approvals::{ApprovalDetail, ApprovalFilter, NewDecision},
    artifacts::Collected,
    ask::ASK_TOOL,
    budgets::Spending,
    builder::{BuildError, EngineBuilder, EngineOptions},
    bulk::{ManyDone, ManyRuns},
    diff::{FieldDiff, PartingEvents, RunDiff, StepDiff},
    error::{EngineError, EngineErrorKind, FieldError},
    family::{Family, Member},
    fork::NewFork,
    inbox::NewMessage,
    invoke::{InvokeError, Invoked, ToolPreview},
    live::{Frame, LiveFrame, LiveKind, WatchOptions},
    new_run::{NewRun, NewWorkflow},
    oneshot::{OneShot, OneShotError},
    project::{NewProject, ProjectPatch, VersionedProject},
    query::{RunUsage, StepDetail, StepUsage},
    replay::Replayed,
    wait::WAIT_TOOL,
    worker::EngineHandle,
};
use crate::{
    agent::ModelName, blob::BlobStore, files::ProjectFiles, id::IdSource, id::WorkerId,
    llm::ProviderRegistry, store::Store, time::Clock, tool::ToolRegistry,
};

/// The engine. Cheap to clone; all clones are the same engine.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What all parts of the engine share.
#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    providers: ProviderRegistry,
    tools: ToolRegistry,
    files: Option<Arc<dyn ProjectFiles>>,
    blobs: Option<Arc<dyn BlobStore>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    options: EngineOptions,
    worker: WorkerId,
    live: live::Hub,
    active: active::ActiveRuns,
    projects: known_projects::KnownProjects,
    codes: crate::code::CodeRegistry,
}

impl Engine {
    /// Begins to put an engine together around a store.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>) -> EngineBuilder {
        EngineBuilder::new(store)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The providers it can ask.
    #[must_use]
    pub fn providers(&self) -> &ProviderRegistry {
        &self.inner.providers
    }

    /// The tools its agents can have.
    #[must_use]
    pub fn tools(&self) -> &ToolRegistry {
        &self.inner.tools
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Where its ids come from.
    #[must_use]
    pub fn ids(&self) -> &Arc<dyn IdSource> {
        &self.inner.ids
    }

    /// Its bounds and intervals.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.inner.options
    }

    /// The model of runs that name none.
    #[must_use]
    pub fn default_model(&self) -> &ModelName {
        &self.inner.options.default_model
    }

    /// This process's worker id.
    #[must_use]
    pub fn worker_id(&self) -> WorkerId {
        self.inner.worker
    }

    /// Whether this process takes new runs: it was started and is not draining.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.inner.active.is_working()
    }
}
