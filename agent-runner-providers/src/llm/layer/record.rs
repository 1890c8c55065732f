//! Writes calls down.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmLayer, LlmProvider, LlmRequest,
        ModelInfo, ProviderError,
    },
    time::{self, Clock, SystemClock},
};
use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    call::{Observer, lock, watch},
    canonical::RequestKey,
    cassette::{
        Cassette, Interaction, RecordedError, RecordedEvent, Redactor, Scope, line, millis,
    },
};

/// What an event takes besides its text.
const EVENT_BYTES: usize = 64;

/// Where calls are written down: in memory, for the program to put where it wants. Clones are the
/// same tape.
#[derive(Clone)]
pub struct Tape(Arc<Mutex<Reel>>);

struct Reel {
    cassette: Cassette,
    bytes: usize,
    bytes_max: usize,
    left_out: u64,
}

impl Tape {
    /// A tape that holds that many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let cassette = Cassette::default();
        Self(Arc::new(Mutex::new(Reel { cassette, bytes: 0, bytes_max, left_out: 0 })))
    }

    /// A copy of what is recorded.
    #[must_use]
    pub fn cassette(&self) -> Cassette {
        lock(&self.0).cassette.clone()
    }

    /// Takes what is recorded, which makes room for more.
    #[must_use]
    pub fn take(&self) -> Cassette {
        let mut reel = lock(&self.0);
        reel.bytes = 0;
        std::mem::take(&mut reel.cassette)
    }

    /// Calls that are missing: the tape was full, or a secret could not be taken out of them.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        lock(&self.0).left_out
    }

    /// Writes a call down, or counts it as missing.
    fn put(&self, interaction: Option<Interaction>) {
        let sized = interaction.map(|it| (line(&it).len(), it));
        let mut reel = lock(&self.0);
        match sized {
            Some((bytes, interaction)) if bytes <= reel.bytes_max.saturating_sub(reel.bytes) => {
                reel.bytes += bytes;
                reel.cassette.interactions.push(interaction);
            }
            _ => reel.left_out = reel.left_out.saturating_add(1),
        }
    }

    fn bytes_max(&self) -> usize {
        lock(&self.0).bytes_max
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reel = lock(&self.0);
        f.debug_struct("Tape")
            .field("interactions", &reel.cassette.interactions.len())
            .field("bytes", &reel.bytes)
            .field("left_out", &reel.left_out)
            .finish_non_exhaustive()
    }
}

impl Default for Tape {
    /// A tape that holds 64 MiB.
    fn default() -> Self {
        Self::new(64 * 1024 * 1024)
    }
}

/// What a recording must not contain, and where it goes.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// Taken out wherever they stand: in requests, replies and errors. Default: none.
    pub secrets: Vec<SecretString>,
    /// Where calls are written down. Default: a tape of 64 MiB.
    pub tape: Tape,
    /// Default: the machine's.
    pub clock: Arc<dyn Clock>,
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self { secrets: Vec::new(), tape: Tape::default(), clock: Arc::new(SystemClock) }
    }
}

impl LlmLayer for RecordOptions {
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(RecordingProvider::new(inner, self.clone()))
    }
}

/// Writes down each call with what came of it and when.
///
/// Only calls with an end are written down: complete replies, and errors that are not the caller's
/// own cancellation. HTTP headers do not exist at this level. A secret becomes `[redacted]` wherever
/// it stands, also across the pieces of a stream; a call out of which it cannot be taken is left
/// out and counted in [`Tape::left_out`].
#[derive(Debug, Clone)]
pub struct RecordingProvider {
    inner: Arc<dyn LlmProvider>,
    redactor: Arc<Redactor>,
    tape: Tape,
    clock: Arc<dyn Clock>,
}

impl RecordingProvider {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn LlmProvider>, options: RecordOptions) -> Self {
        let redactor = Arc::new(Redactor::new(&options.secrets));
        Self { inner, redactor, tape: options.tape, clock: options.clock }
    }

    /// What is recorded.
    #[must_use]
    pub fn tape(&self) -> &Tape {
        &self.tape
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for RecordingProvider {
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
        let recording = Recording {
            provider: self.clone(),
            request: Scope::Request.normal(request),
            model: request.model.clone(),
            began: self.clock.now(),
            events: Vec::new(),
            room: self.tape.bytes_max(),
        };
        watch(self.id(), self.inner.stream(request, cx).await, recording)
    }
}

/// A call that is being written down.
struct Recording {
    provider: RecordingProvider,
    request: Value,
    model: String,
    began: Timestamp,
    events: Vec<RecordedEvent>,
    /// Bytes that its events may still take.
    room: usize,
}

impl Recording {
    fn at_ms(&self) -> u64 {
        millis(time::until(self.began, self.provider.clock.now()))
    }

    fn end(&mut self, error: Option<RecordedError>) {
        let provider = &self.provider;
        let request = self.request.take();
        let interaction = Interaction {
            scope: Scope::Request,
            key: RequestKey::of_normal(&request),
            provider: provider.inner.id().to_owned(),
            // Asked only now: a provider may have learned it from its service during the call.
            capabilities: provider.inner.capabilities(&self.model),
            request,
            events: std::mem::take(&mut self.events),
            error,
        };
        let fits = self.room > 0;
        let interaction = Some(interaction).filter(|_| fits);
        provider.tape.put(interaction.and_then(|it| provider.redactor.interaction(it)));
    }
}

impl Observer for Recording {
    fn event(&mut self, event: &mut LlmEvent) {
        let bytes = match event {
            LlmEvent::Keepalive => return,
            LlmEvent::TextDelta { text } | LlmEvent::ReasoningDelta { text } => text.len(),
            LlmEvent::ToolCallDelta { name, json } => name.len() + json.len(),
            _ => 0,
        };
        self.room = self.room.saturating_sub(bytes).saturating_sub(EVENT_BYTES);
        if self.room > 0 {
            self.events.push(RecordedEvent { at_ms: self.at_ms(), event: event.clone() });
        } else {
            self.events = Vec::new();
        }
        if matches!(event, LlmEvent::Finished(_)) {
            self.end(None);
        }
    }

    fn error(&mut self, error: &ProviderError) {
        if error.kind() != ErrorKind::Cancelled {
            let recorded = RecordedError::of(error, self.at_ms());
            self.end(Some(recorded));
        }
    }
}
