//! Tries again what another try may cure.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    id::{IdSource, SystemIds},
    limits,
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmLayer, LlmProvider,
        LlmRequest, ModelInfo, ProviderError, Recovery,
    },
    time::{Clock, SystemClock},
};
use async_trait::async_trait;
use tracing::debug;

use super::call::{Bounds, Items, Source, reopening};

/// How often to try, and how long to wait in between.
#[derive(Debug, Clone)]
pub struct RetryOptions {
    /// Tries in all, the first included. Default 5. A reply that was not what the protocol says is
    /// given up at the second try already, as in the engine.
    pub attempts_max: u32,
    /// Ceiling of the first wait; it doubles with every try. Default 500 ms.
    pub delay_min: Duration,
    /// Ceiling of every wait. Default 30 s.
    pub delay_max: Duration,
    /// A service that asks for a longer wait than this is not waited for. Default 120 s.
    pub retry_after_max: Duration,
    /// Default: the machine's.
    pub clock: Arc<dyn Clock>,
    /// Where the jitter comes from. Default: the machine's random source.
    pub ids: Arc<dyn IdSource>,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts_max: limits::ATTEMPTS_MAX,
            delay_min: limits::RETRY_DELAY_MIN,
            delay_max: limits::RETRY_DELAY_MAX,
            retry_after_max: limits::RETRY_AFTER_MAX,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
        }
    }
}

impl RetryOptions {
    /// Most tries when the last of them failed so.
    fn attempts_max(&self, kind: ErrorKind) -> u32 {
        let most = if kind == ErrorKind::MalformedResponse {
            limits::MALFORMED_ATTEMPTS_MAX
        } else {
            u32::MAX
        };
        self.attempts_max.min(most)
    }

    /// Exponential with full jitter.
    fn backoff(&self, tried: u32) -> Duration {
        const SHARES: u32 = 1_000;
        let factor = 1_u32 << tried.saturating_sub(1).min(16);
        let ceiling = self.delay_min.saturating_mul(factor).min(self.delay_max);
        // The last bytes of a UUIDv7 are random; the id source is the injected randomness.
        let share = u32::try_from(self.ids.next().as_u128() % u128::from(SHARES)).unwrap_or(0);
        ceiling.saturating_mul(share) / SHARES
    }
}

impl LlmLayer for RetryOptions {
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(RetryingProvider::new(inner, self.clone()))
    }
}

/// Asks again after errors whose [`Recovery`] is [`Recovery::Retry`], as long as nothing of the
/// reply was delivered; after that an error is passed on.
///
/// It waits at least as long as the service asks. It does not wait for longer than the call may
/// take, and then passes the error on at once. [`CallCx::attempt`] grows with every try. The usage of a
/// reply is that of the try that succeeded: what counts all of them belongs inside.
#[derive(Debug, Clone)]
pub struct RetryingProvider {
    inner: Arc<dyn LlmProvider>,
    options: RetryOptions,
}

impl RetryingProvider {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn LlmProvider>, options: RetryOptions) -> Self {
        Self { inner, options }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for RetryingProvider {
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
        reopening(Attempts {
            bounds: Bounds::of(self.inner.id(), cx, &self.options.clock),
            provider: self.clone(),
            request: request.clone(),
            cx: cx.clone(),
            tried: 0,
        })
        .await
    }
}

/// One call, try by try.
struct Attempts {
    provider: RetryingProvider,
    request: LlmRequest,
    cx: CallCx,
    bounds: Bounds,
    tried: u32,
}

impl Attempts {
    /// Waits for the moment of the next try, or says that there is none.
    async fn pause(&self, error: ProviderError) -> Result<(), ProviderError> {
        let options = &self.provider.options;
        let wanted = error.retry_after();
        let patient = wanted.is_none_or(|wanted| wanted <= options.retry_after_max);
        let tries = self.tried < options.attempts_max(error.kind());
        if error.recovery() != Recovery::Retry || !tries || !patient {
            return Err(error);
        }
        let delay = options.backoff(self.tried).max(wanted.unwrap_or_default());
        if self.bounds.left().is_some_and(|left| left <= delay) {
            return Err(error);
        }
        debug!(provider = self.id(), tried = self.tried, ?delay, %error, "a model call is tried again");
        self.bounds.wait(options.clock.sleep(delay)).await
    }
}

#[async_trait]
impl Source for Attempts {
    async fn open(&mut self, mut failed: Option<ProviderError>) -> Result<Items, ProviderError> {
        loop {
            if let Some(error) = failed.take() {
                self.pause(error).await?;
            }
            let attempt = self.cx.attempt.saturating_add(self.tried);
            let cx = CallCx { attempt, ..self.bounds.cx(&self.cx) };
            self.tried += 1;
            match self.provider.inner.stream(&self.request, &cx).await {
                Ok(items) => return Ok(items),
                Err(error) => failed = Some(error),
            }
        }
    }

    fn error(&self, error: ProviderError) -> ProviderError {
        error
    }

    fn finish(&mut self, _finished: &mut LlmFinished) {}

    fn id(&self) -> &str {
        self.provider.inner.id()
    }
}
