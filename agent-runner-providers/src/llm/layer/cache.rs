//! Keeps replies, and gives them to those who ask the same again.

mod shelf;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, LlmEvent, LlmFinished, LlmLayer, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, StopReason, Usage,
    },
    time::{self, Clock, SystemClock},
};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use self::shelf::{Kept, Shelf};
use super::{
    call::{Bounds, Items, Observer, lock, play, watch},
    canonical::RequestKey,
};

/// Stands in [`LlmFinished::notices`] of a reply from the cache.
const NOTICE: &str = "from the response cache";
/// What an event takes besides its text.
const EVENT_BYTES: usize = 64;

/// What a response cache keeps.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// Most replies. Default 1,024.
    pub entries_max: usize,
    /// Most bytes of replies. Default 64 MiB.
    pub bytes_max: usize,
    /// How long a reply is given out. Default an hour.
    pub ttl: Duration,
    /// Whether replies to requests with a temperature above 0 are kept as well, which asks for
    /// another reply every time. Default: not.
    pub sampled: bool,
    /// How long a call waits for the same one that is under way, before it asks itself. Default 30 s.
    pub wait_max: Duration,
    /// Default: the machine's.
    pub clock: Arc<dyn Clock>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            entries_max: 1_024,
            bytes_max: 64 * 1024 * 1024,
            ttl: Duration::from_secs(60 * 60),
            sampled: false,
            wait_max: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
        }
    }
}

impl LlmLayer for CacheOptions {
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(CachingProvider::new(inner, self.clone()))
    }
}

/// Answers a request that was answered before from memory, as a stream.
///
/// Two requests are the same when their [`RequestKey`] is. Only replies are kept that are complete
/// and ended as they should: by the model, by its tool calls, by a stop word. Of the same calls at
/// once one is made; the others wait for its reply, and if it fails one of them asks again. A reply
/// from the cache used no tokens, and says in its notices where it is from.
#[derive(Debug, Clone)]
pub struct CachingProvider {
    inner: Arc<dyn LlmProvider>,
    cache: Arc<Cache>,
}

impl CachingProvider {
    /// Wraps `inner`. Clones share one cache.
    #[must_use]
    pub fn new(inner: Arc<dyn LlmProvider>, options: CacheOptions) -> Self {
        let shelf = Shelf::new(options.entries_max, options.bytes_max);
        let state = Mutex::new(State { shelf, flights: HashMap::new() });
        Self { inner, cache: Arc::new(Cache { options, state }) }
    }

    /// Replies in the cache, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        lock(&self.cache.state).shelf.size()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for CachingProvider {
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
        let sampled = request.temperature.is_some_and(|temperature| temperature > 0.0);
        if sampled && !self.cache.options.sampled {
            return self.inner.stream(request, cx).await;
        }
        let bounds = Bounds::of(self.id(), cx, &self.cache.options.clock);
        match self.cache.look_up(RequestKey::of(request), &bounds).await? {
            Found::Reply(kept) => Ok(replay(&request.model, &kept, bounds)),
            Found::Nobody(flight) => {
                let reply = self.inner.stream(request, &bounds.cx(cx)).await;
                watch(self.id(), reply, flight)
            }
            Found::Slow => self.inner.stream(request, &bounds.cx(cx)).await,
        }
    }
}

#[derive(Debug)]
struct Cache {
    options: CacheOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    shelf: Shelf,
    /// Calls under way; each token fires when its call is over, well or not.
    flights: HashMap<RequestKey, CancellationToken>,
}

enum Found {
    /// The reply is there.
    Reply(Arc<Kept>),
    /// Nobody asks at the moment: the caller does, for all.
    Nobody(Flight),
    /// Somebody asks, and it takes too long.
    Slow,
}

impl Cache {
    async fn look_up(
        self: &Arc<Self>,
        key: RequestKey,
        bounds: &Bounds,
    ) -> Result<Found, ProviderError> {
        let clock = &self.options.clock;
        let give_up_at = time::later(clock.now(), self.options.wait_max);
        loop {
            let now = clock.now();
            let under_way = {
                let mut state = lock(&self.state);
                if let Some(kept) = state.shelf.get(&key, now) {
                    return Ok(Found::Reply(kept));
                }
                let Some(under_way) = state.flights.get(&key).cloned() else {
                    let over = CancellationToken::new();
                    state.flights.insert(key.clone(), over.clone());
                    drop(state);
                    let cache = Arc::clone(self);
                    return Ok(Found::Nobody(Flight {
                        cache,
                        key,
                        over,
                        deltas: Vec::new(),
                        bytes: 0,
                    }));
                };
                under_way
            };
            let left = time::until(now, give_up_at);
            if left.is_zero() {
                return Ok(Found::Slow);
            }
            let over = async {
                tokio::select! {
                    () = under_way.cancelled() => {}
                    () = clock.sleep(left) => {}
                }
            };
            bounds.wait(over).await?;
        }
    }
}

/// The one call of several that are the same. When it is dropped the others go on.
struct Flight {
    cache: Arc<Cache>,
    key: RequestKey,
    over: CancellationToken,
    deltas: Vec<LlmEvent>,
    bytes: usize,
}

impl Flight {
    fn keep(&mut self, delta: &LlmEvent, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(EVENT_BYTES);
        if self.bytes <= self.cache.options.bytes_max {
            self.deltas.push(delta.clone());
        } else {
            self.deltas = Vec::new();
        }
    }

    fn finish(&mut self, finished: &LlmFinished) {
        let good = matches!(
            finished.stop,
            StopReason::EndTurn | StopReason::ToolCalls | StopReason::StopSequence
        );
        if !good {
            return;
        }
        let size = serde_json::to_string(finished).map_or(usize::MAX, |json| json.len());
        let until = time::later(self.cache.options.clock.now(), self.cache.options.ttl);
        let kept = Kept { deltas: std::mem::take(&mut self.deltas), finished: finished.clone() };
        let mut state = lock(&self.cache.state);
        state.shelf.put(self.key.clone(), kept, (self.bytes.saturating_add(size), until));
    }
}

impl Observer for Flight {
    fn event(&mut self, event: &mut LlmEvent) {
        match event {
            LlmEvent::TextDelta { text } | LlmEvent::ReasoningDelta { text } => {
                let bytes = text.len();
                self.keep(event, bytes);
            }
            LlmEvent::ToolCallDelta { name, json } => {
                let bytes = name.len() + json.len();
                self.keep(event, bytes);
            }
            LlmEvent::Finished(finished) => self.finish(finished),
            _ => {}
        }
    }

    fn error(&mut self, _error: &ProviderError) {}
}

impl Drop for Flight {
    fn drop(&mut self) {
        lock(&self.cache.state).flights.remove(&self.key);
        self.over.cancel();
    }
}

/// A kept reply as a stream.
fn replay(model: &str, kept: &Kept, bounds: Bounds) -> Items {
    let mut finished = kept.finished.clone();
    finished.usage = Usage { input: Some(0), output: Some(0), ..Usage::default() };
    // They are those of the call that was made.
    finished.cost = None;
    finished.request_id = None;
    finished.notices.push(NOTICE.to_owned());
    let started = LlmEvent::Started { model: Some(model.to_owned()) };
    let mut items = vec![(Duration::ZERO, Ok(started))];
    items.extend(kept.deltas.iter().map(|delta| (Duration::ZERO, Ok(delta.clone()))));
    items.push((Duration::ZERO, Ok(finished.into())));
    play(items, bounds)
}
