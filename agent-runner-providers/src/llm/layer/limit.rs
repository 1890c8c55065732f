//! Keeps calls within what a service allows.

mod quota;

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmLayer, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, SendState, estimate_tokens,
    },
    time::{self, Clock, SystemClock},
};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Mutex as Turnstile, Notify, OwnedSemaphorePermit, Semaphore};

use self::quota::Quota;
use super::call::{Bounds, Observer, lock, watch};

/// What calls are kept within. Each limit holds for all calls of a wrapped provider together.
#[derive(Debug, Clone)]
pub struct LimitOptions {
    /// Calls in a minute. Default: as many as the service says.
    pub requests_per_minute: Option<NonZeroU64>,
    /// Tokens in a minute, prompts and replies together. Default: as many as the service says.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Calls at once. Default: any number.
    pub concurrent_max: Option<NonZeroUsize>,
    /// How long a call waits for its turn before it fails. Default 60 s.
    pub wait_max: Duration,
    /// Calls that may wait at once. Default 1,024.
    pub waiting_max: usize,
    /// Default: the machine's.
    pub clock: Arc<dyn Clock>,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent_max: None,
            wait_max: Duration::from_secs(60),
            waiting_max: 1_024,
            clock: Arc::new(SystemClock),
        }
    }
}

impl LlmLayer for LimitOptions {
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(RateLimitedProvider::new(inner, self.clone()))
    }
}

/// Lets calls wait until the service would take them, in the order in which they came.
///
/// Before a call its prompt is estimated ([`estimate_tokens`]); afterwards the real usage counts. What the service says it still allows ([`LlmEvent::Limits`], a refusal with a time to
/// wait) counts beside the own limits. A call that would have to wait for longer than
/// [`LimitOptions::wait_max`] fails as [`ErrorKind::RateLimited`] with the time that it would take.
/// Listing models and counting tokens are not limited.
#[derive(Debug, Clone)]
pub struct RateLimitedProvider {
    inner: Arc<dyn LlmProvider>,
    limiter: Arc<Limiter>,
}

impl RateLimitedProvider {
    /// Wraps `inner`. Clones share the limits.
    #[must_use]
    pub fn new(inner: Arc<dyn LlmProvider>, options: LimitOptions) -> Self {
        let now = options.clock.now();
        let limiter = Limiter {
            turn: Turnstile::new(()),
            slots: options
                .concurrent_max
                .map(|max| Arc::new(Semaphore::new(max.get().min(Semaphore::MAX_PERMITS)))),
            state: Mutex::new(State {
                requests: Quota::new(options.requests_per_minute.map(NonZeroU64::get), now),
                tokens: Quota::new(options.tokens_per_minute.map(NonZeroU64::get), now),
                closed_until: None,
                waiting: 0,
            }),
            changed: Notify::new(),
            options,
        };
        Self { inner, limiter: Arc::new(limiter) }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for RateLimitedProvider {
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
        let bounds = Bounds::of(self.id(), cx, &self.limiter.options.clock);
        let admission = self.limiter.admit(estimate_tokens(request), &bounds).await?;
        let reply = self.inner.stream(request, &bounds.cx(cx)).await;
        watch(self.id(), reply, admission)
    }
}

#[derive(Debug)]
struct Limiter {
    options: LimitOptions,
    /// Held by the call whose turn it is to wait for the limits; the others queue for it, and
    /// tokio hands it out in the order in which they came.
    turn: Turnstile<()>,
    slots: Option<Arc<Semaphore>>,
    state: Mutex<State>,
    /// Something was given back or heard.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    requests: Quota,
    tokens: Quota,
    /// The service refused calls until then.
    closed_until: Option<Timestamp>,
    waiting: usize,
}

impl State {
    /// How long until a call with that many tokens may begin.
    fn wait_for(&mut self, tokens: u64, now: Timestamp) -> Duration {
        self.closed_until = self.closed_until.filter(|until| *until > now);
        let closed = self.closed_until.map_or(Duration::ZERO, |until| time::until(now, until));
        self.requests.wait_for(1, now).max(self.tokens.wait_for(tokens, now)).max(closed)
    }
}

/// A place among those that wait.
struct Place<'a>(&'a Limiter);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.waiting = state.waiting.saturating_sub(1);
    }
}

impl Limiter {
    async fn admit(
        self: &Arc<Self>,
        tokens: u64,
        bounds: &Bounds,
    ) -> Result<Admission, ProviderError> {
        let Some(_place) = self.place() else {
            return Err(self.too_many(tokens, bounds));
        };
        let give_up_at = time::later(self.options.clock.now(), self.options.wait_max);
        let patience = self.options.clock.sleep(self.options.wait_max);
        let admitted = bounds.wait(async {
            tokio::select! {
                biased;
                admitted = self.take_turn(tokens, give_up_at) => admitted,
                () = patience => None,
            }
        });
        admitted.await?.ok_or_else(|| self.too_many(tokens, bounds))
    }

    fn place(&self) -> Option<Place<'_>> {
        let mut state = lock(&self.state);
        (state.waiting < self.options.waiting_max).then(|| {
            state.waiting += 1;
            Place(self)
        })
    }

    /// Waits for the turn and then for the limits; `None` when they would take too long. Nothing is
    /// taken when the future is dropped before it is done.
    async fn take_turn(self: &Arc<Self>, tokens: u64, give_up_at: Timestamp) -> Option<Admission> {
        let _turn = self.turn.lock().await;
        let slot = match &self.slots {
            // The semaphore is never closed.
            Some(slots) => Some(Arc::clone(slots).acquire_owned().await.ok()?),
            None => None,
        };
        loop {
            let now = self.options.clock.now();
            let wait = {
                let mut state = lock(&self.state);
                let wait = state.wait_for(tokens, now);
                if wait.is_zero() {
                    state.requests.take(1);
                    state.tokens.take(tokens);
                    drop(state);
                    return Some(Admission {
                        limiter: Arc::clone(self),
                        tokens,
                        used: None,
                        sent: true,
                        answered: false,
                        _slot: slot,
                    });
                }
                wait
            };
            if time::later(now, wait) > give_up_at {
                return None;
            }
            tokio::select! {
                () = self.options.clock.sleep(wait) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn too_many(&self, tokens: u64, bounds: &Bounds) -> ProviderError {
        let wait = lock(&self.state).wait_for(tokens, self.options.clock.now());
        // With none to wait for it is the calls before this one that take too long.
        let wait = if wait.is_zero() { Duration::from_secs(1) } else { wait };
        let context = format!(
            "too many calls: this one would wait for longer than {:?}; raise the limits or send fewer",
            self.options.wait_max
        );
        bounds
            .error(ErrorKind::RateLimited, context)
            .with_code("rate_limit_wait")
            .with_retry_after(wait)
    }
}

/// A call within the limits. When it is dropped, what it did not use is given back.
struct Admission {
    limiter: Arc<Limiter>,
    tokens: u64,
    /// What it used, if that is known.
    used: Option<u64>,
    /// It may have been sent.
    sent: bool,
    /// The service said what is left after this call.
    answered: bool,
    /// Held until the call is over.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Admission {
    fn note_answer(&mut self, state: &mut State) {
        if !std::mem::replace(&mut self.answered, true) {
            state.requests.answered(1);
            state.tokens.answered(self.tokens);
        }
    }
}

impl Observer for Admission {
    fn event(&mut self, event: &mut LlmEvent) {
        match event {
            LlmEvent::Limits(limits) => {
                let limiter = Arc::clone(&self.limiter);
                let now = limiter.options.clock.now();
                let mut state = lock(&limiter.state);
                self.note_answer(&mut state);
                if let Some(window) = limits.requests {
                    state.requests.hear(window, now);
                }
                if let Some(window) = limits.tokens {
                    state.tokens.hear(window, now);
                }
                drop(state);
                limiter.changed.notify_one();
            }
            // Until the end it may become more, so it never counts for less than the estimate.
            LlmEvent::Usage { usage } => {
                self.used = usage.total().map(|used| used.max(self.tokens)).or(self.used);
            }
            LlmEvent::Finished(finished) => self.used = finished.usage.total().or(self.used),
            _ => {}
        }
    }

    fn error(&mut self, error: &ProviderError) {
        let refused = matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Overloaded);
        if let Some(wait) = error.retry_after().filter(|_| refused) {
            let until = time::later(self.limiter.options.clock.now(), wait);
            let mut state = lock(&self.limiter.state);
            state.closed_until = state.closed_until.max(Some(until));
        }
        self.sent = error.sent() != SendState::NotSent;
        if refused || !self.sent {
            self.used = self.used.or(Some(0));
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let limiter = Arc::clone(&self.limiter);
        let mut state = lock(&limiter.state);
        self.note_answer(&mut state);
        if !self.sent {
            state.requests.correct(1, 0);
        }
        if let Some(used) = self.used {
            state.tokens.correct(self.tokens, used);
        }
        drop(state);
        limiter.changed.notify_one();
    }
}
