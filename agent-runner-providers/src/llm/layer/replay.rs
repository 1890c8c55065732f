//! Answers from a cassette.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmLayer, LlmProvider, LlmRequest,
        ModelInfo, ProviderError,
    },
    time::{Clock, SystemClock},
};
use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    call::{Bounds, lock, play},
    canonical::RequestKey,
    cassette::{Cassette, Interaction, Redactor, Scope, difference},
};

/// Which recorded call answers a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third order")]
pub enum ReplayMode {
    /// One with the same request; of several the next, and the last again and again. A request
    /// that was not recorded is an error.
    #[default]
    Strict,
    /// The next one, whatever is asked. After the last there is an error.
    InOrder,
}

/// How fast a recorded call comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third pace")]
pub enum ReplayPace {
    /// At once.
    #[default]
    AtOnce,
    /// As it came then.
    AsRecorded,
}

/// What to replay, and how.
#[derive(Clone)]
pub struct ReplayOptions {
    /// The calls.
    pub cassette: Arc<Cassette>,
    /// Default: strict.
    pub mode: ReplayMode,
    /// Default: at once.
    pub pace: ReplayPace,
    /// What was taken out when the calls were recorded: requests are compared without it.
    pub secrets: Vec<SecretString>,
    /// Default: the machine's.
    pub clock: Arc<dyn Clock>,
}

impl ReplayOptions {
    /// Replays these calls, strictly and at once.
    #[must_use]
    pub fn new(cassette: Cassette) -> Self {
        Self {
            cassette: Arc::new(cassette),
            mode: ReplayMode::default(),
            pace: ReplayPace::default(),
            secrets: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for ReplayOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayOptions")
            .field("interactions", &self.cassette.interactions.len())
            .field("mode", &self.mode)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl LlmLayer for ReplayOptions {
    /// Takes the place of `inner`, which is never asked.
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(ReplayProvider::new(inner.id(), self.clone()))
    }
}

/// Answers with what was recorded, event by event; there is no service behind it.
pub struct ReplayProvider {
    id: String,
    options: ReplayOptions,
    redactor: Redactor,
    /// Where each request's calls stand, in their order.
    by_key: HashMap<RequestKey, Vec<usize>>,
    place: Mutex<Place>,
}

impl fmt::Debug for ReplayProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayProvider")
            .field("id", &self.id)
            .field("options", &self.options)
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

/// What was played so far.
#[derive(Default)]
struct Place {
    calls: usize,
    by_key: HashMap<RequestKey, usize>,
}

impl ReplayProvider {
    /// A provider of that id. Whose calls were recorded does not matter.
    #[must_use]
    pub fn new(id: impl Into<String>, options: ReplayOptions) -> Self {
        let mut by_key: HashMap<RequestKey, Vec<usize>> = HashMap::new();
        for (n, interaction) in options.cassette.interactions.iter().enumerate() {
            by_key.entry(interaction.key.clone()).or_default().push(n);
        }
        let redactor = Redactor::new(&options.secrets);
        Self { id: id.into(), options, redactor, by_key, place: Mutex::default() }
    }

    /// Calls that were answered.
    #[must_use]
    pub fn calls(&self) -> usize {
        lock(&self.place).calls
    }

    fn interactions(&self) -> &[Interaction] {
        &self.options.cassette.interactions
    }

    fn normal(&self, scope: Scope, request: &LlmRequest) -> Value {
        let mut normal = scope.normal(request);
        self.redactor.value(&mut normal);
        normal
    }

    /// The call that answers the request.
    fn find(&self, request: &LlmRequest) -> Option<&Interaction> {
        let mut place = lock(&self.place);
        let n = match self.options.mode {
            ReplayMode::InOrder => place.calls,
            ReplayMode::Strict => {
                let keys = [Scope::Request, Scope::Conversation]
                    .map(|scope| RequestKey::of_normal(&self.normal(scope, request)));
                let key = keys.into_iter().find(|key| self.by_key.contains_key(key))?;
                let recorded = self.by_key.get(&key)?;
                let played = place.by_key.entry(key).or_default();
                let n = recorded.get(*played).or_else(|| recorded.last())?;
                *played += 1;
                *n
            }
        };
        let found = self.interactions().get(n)?;
        place.calls += 1;
        Some(found)
    }

    fn unknown(&self, request: &LlmRequest) -> String {
        match self.options.mode {
            ReplayMode::InOrder => format!(
                "the cassette is at its end: {} calls were recorded",
                self.interactions().len()
            ),
            ReplayMode::Strict => {
                let near = difference(self.interactions(), |it| self.normal(it.scope, request));
                format!("this request was not recorded; {near}")
            }
        }
    }

    /// The items of a recorded call, each with the wait before it.
    fn items(&self, recorded: &Interaction) -> Vec<(Duration, Result<LlmEvent, ProviderError>)> {
        let mut before = 0;
        let mut wait = |at_ms: u64| {
            let wait = Duration::from_millis(at_ms.saturating_sub(before));
            before = before.max(at_ms);
            match self.options.pace {
                ReplayPace::AtOnce => Duration::ZERO,
                ReplayPace::AsRecorded => wait,
            }
        };
        let mut items: Vec<_> =
            recorded.events.iter().map(|it| (wait(it.at_ms), Ok(it.event.clone()))).collect();
        if let Some(error) = &recorded.error {
            items.push((wait(error.at_ms), Err(error.to_error(&self.id))));
        }
        items
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for ReplayProvider {
    fn id(&self) -> &str {
        &self.id
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        let known = self.interactions().iter().find(|it| it.model() == model);
        known.map(|it| it.capabilities).unwrap_or_default()
    }

    /// The models that were asked.
    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        let mut names: Vec<&str> = self.interactions().iter().map(Interaction::model).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names
            .into_iter()
            .map(|id| ModelInfo { id: id.to_owned(), capabilities: self.capabilities(id) })
            .collect())
    }

    /// Nobody is there to count.
    async fn count_tokens(
        &self,
        _request: &LlmRequest,
        _cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        Ok(None)
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let bounds = Bounds::of(&self.id, cx, &self.options.clock);
        bounds.wait(std::future::ready(())).await?;
        let Some(recorded) = self.find(request) else {
            let context = self.unknown(request);
            return Err(bounds.error(ErrorKind::InvalidRequest, context).with_code("not_recorded"));
        };
        let mut items = self.items(recorded);
        if let [(wait, Err(_))] = items.as_slice() {
            // The service refused the request, and so does this.
            bounds.wait(self.options.clock.sleep(*wait)).await?;
            if let Some((_, Err(error))) = items.pop() {
                return Err(error);
            }
        }
        Ok(play(items, bounds))
    }
}
