//! Stops asking a service that does not answer.

mod circuit;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmLayer, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, SendState,
    },
    time::{Clock, SystemClock},
};
use async_trait::async_trait;
use tracing::warn;

pub use self::circuit::BreakerState;
use self::circuit::{Circuit, Finding, Verdict};
use super::call::{Observer, lock, watch};

/// When a circuit breaker opens, and for how long.
#[derive(Debug, Clone)]
pub struct BreakerOptions {
    /// Failures in a row that open it. Default 5.
    pub failures_max: u32,
    /// How long it stays open before a call may probe the service. Default 30 s.
    pub open_for: Duration,
    /// Default: the machine's.
    pub clock: Arc<dyn Clock>,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures_max: 5, open_for: Duration::from_secs(30), clock: Arc::new(SystemClock) }
    }
}

impl LlmLayer for BreakerOptions {
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(BreakerProvider::new(inner, self.clone()))
    }
}

/// Fails calls at once while the service does not answer.
///
/// Failures in a row of the kinds unavailable, overloaded, network, timeout and truncated open it;
/// any other answer of the service closes it, a refusal too. While it is open a call fails as
/// [`ErrorKind::Unavailable`] with the code `breaker_open` and the time that is left. After that one
/// call goes through as a probe and decides. Listing models and counting tokens always go through.
#[derive(Debug, Clone)]
pub struct BreakerProvider {
    inner: Arc<dyn LlmProvider>,
    circuit: Circuit,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<BreakerState>>,
}

impl BreakerProvider {
    /// Wraps `inner`; closed at first. Clones share one state.
    #[must_use]
    pub fn new(inner: Arc<dyn LlmProvider>, options: BreakerOptions) -> Self {
        Self {
            inner,
            circuit: Circuit {
                failures_max: options.failures_max.max(1),
                open_for: options.open_for,
            },
            clock: options.clock,
            state: Arc::new(Mutex::new(BreakerState::Closed { failures: 0 })),
        }
    }

    /// Where it stands, for a health page.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        *lock(&self.state)
    }

    /// Lets a call through, or says why not.
    fn admit(&self) -> Result<Watch, ProviderError> {
        let mut state = lock(&self.state);
        let (next, verdict) = self.circuit.admit(*state, self.clock.now());
        *state = next;
        drop(state);
        let probe = match verdict {
            Verdict::Go => false,
            Verdict::Probe => true,
            Verdict::Refused(wait) => {
                let context = format!(
                    "the last calls all failed, so none is sent for another {}s",
                    wait.as_secs_f64().ceil()
                );
                return Err(ProviderError::new(
                    ErrorKind::Unavailable,
                    self.inner.id().to_owned(),
                    context,
                )
                .with_code("breaker_open")
                .with_sent(SendState::NotSent)
                .with_retry_after(wait));
            }
        };
        Ok(Watch { breaker: self.clone(), probe, finding: Finding::Nothing })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for BreakerProvider {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        self.inner.capabilities(model)
    }

    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        self.inner.models(cx).await
    }

    async fn count_tokens(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        self.inner.count_tokens(request, cx).await
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let observer = self.admit()?;
        watch(self.id(), self.inner.stream(request, cx).await, observer)
    }
}

/// A call that went through. What it found is learned when it is dropped, which a call that
/// nobody waits for any more is as well.
struct Watch {
    breaker: BreakerProvider,
    probe: bool,
    finding: Finding,
}

impl Observer for Watch {
    fn event(&mut self, event: &mut LlmEvent) {
        if matches!(event, LlmEvent::Finished(_)) {
            self.finding = Finding::Alive;
        }
    }

    fn error(&mut self, error: &ProviderError) {
        self.finding = Finding::of(error);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let breaker = &self.breaker;
        let mut state = lock(&breaker.state);
        let before = *state;
        *state = breaker.circuit.learn(before, (self.probe, self.finding), breaker.clock.now());
        let opened = matches!(*state, BreakerState::Open { .. })
            && !matches!(before, BreakerState::Open { .. })
            && self.finding == Finding::Down;
        drop(state);
        if opened {
            warn!(provider = breaker.inner.id(), "the service does not answer; calls fail at once");
        }
    }
}
