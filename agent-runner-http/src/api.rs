//! The service as one value: the engine, the bounds, and the switches that a server turns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_runner_core::engine::Engine;
use axum::Router;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    options::ApiOptions, provider_health::ProviderHealth, routes, unconfigured::Unconfigured,
};

/// The service over one engine. Cheap to clone; all clones are the same service.
#[derive(Debug, Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    options: ApiOptions,
    unconfigured: Vec<Unconfigured>,
    draining: AtomicBool,
    closing: CancellationToken,
    requests: Arc<Semaphore>,
    imports: Arc<Semaphore>,
    provider_health: ProviderHealth,
}

/// Puts a service together; see [`Api::builder`].
#[derive(Debug)]
pub struct ApiBuilder {
    engine: Engine,
    options: ApiOptions,
    unconfigured: Vec<Unconfigured>,
}

impl ApiBuilder {
    /// Sets bounds and intervals.
    #[must_use]
    pub fn options(mut self, options: ApiOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the providers that the program knows and does not have, so that clients learn what to
    /// do about it. One that the engine has is not listed twice.
    #[must_use]
    pub fn unconfigured(mut self, mut providers: Vec<Unconfigured>) -> Self {
        providers.retain(|provider| self.engine.providers().get(provider.name()).is_none());
        self.unconfigured = providers;
        self
    }

    /// Builds it. The store must be migrated by now: `/startupz` answers 200 from here on.
    #[must_use]
    pub fn build(self) -> Api {
        let requests = Arc::new(Semaphore::new(self.options.requests_max));
        let imports = Arc::new(Semaphore::new(self.options.imports_max));
        Api {
            inner: Arc::new(Inner {
                engine: self.engine,
                options: self.options,
                unconfigured: self.unconfigured,
                draining: AtomicBool::new(false),
                closing: CancellationToken::new(),
                requests,
                imports,
                provider_health: ProviderHealth::default(),
            }),
        }
    }
}

impl Api {
    /// Begins to put a service together around an engine.
    #[must_use]
    pub fn builder(engine: Engine) -> ApiBuilder {
        ApiBuilder { engine, options: ApiOptions::default(), unconfigured: Vec::new() }
    }

    /// All routes with their limits, ready to be served or nested into a larger program.
    /// Limits of connections (slow heads, slow readers, connections per address) belong to
    /// [`crate::serve`] and are not part of the router.
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// The `OpenAPI` 3.1 description of the routes as pretty JSON with a final newline.
    #[must_use]
    pub fn openapi_json() -> String {
        crate::openapi::document()
    }

    /// Makes `/readyz` answer 503 from now on, so that load balancers look elsewhere. Everything
    /// else goes on.
    pub fn set_draining(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Ends all streams with `stream.closing` and all waiting requests with what is known, now and
    /// from now on. [`crate::serve`] does this when it shuts down.
    pub fn close_streams(&self) {
        self.inner.closing.cancel();
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn options(&self) -> &ApiOptions {
        &self.inner.options
    }

    pub(crate) fn unconfigured(&self) -> &[Unconfigured] {
        &self.inner.unconfigured
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    pub(crate) fn requests(&self) -> &Arc<Semaphore> {
        &self.inner.requests
    }

    pub(crate) fn imports(&self) -> &Arc<Semaphore> {
        &self.inner.imports
    }

    pub(crate) fn provider_health(&self) -> &ProviderHealth {
        &self.inner.provider_health
    }

    /// Waits for a run like [`Engine::join`], but not longer than the service lives.
    pub(crate) async fn join(
        &self,
        id: agent_runner_core::id::RunId,
        timeout: Duration,
    ) -> Result<agent_runner_core::run::Run, agent_runner_core::engine::EngineError> {
        tokio::select! {
            run = self.engine().join(id, timeout) => run,
            () = self.closing().cancelled() => self.engine().run(id).await,
        }
    }
}
