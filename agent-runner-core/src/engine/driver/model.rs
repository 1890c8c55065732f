//! One call of a model.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _};

use super::charge::Heard;
use crate::{
    engine::{
        Inner,
        live::{LiveKind, Topic},
    },
    event::LlmPhase,
    id::StepKey,
    llm::{
        CallCx, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest, ProviderError, Usage,
    },
};

/// How far a model call is, for heartbeats.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pieces: AtomicU64,
    /// Events of any kind, signs of life included.
    sounds: AtomicU64,
    phase: AtomicU8,
    /// What the service reported last.
    usage: Mutex<Option<Usage>>,
}

impl Progress {
    fn note(&self, phase: LlmPhase) {
        let phase = match phase {
            LlmPhase::Waiting => 0,
            LlmPhase::Reasoning => 1,
            LlmPhase::Writing => 2,
            LlmPhase::ToolCall => 3,
        };
        self.phase.store(phase, Ordering::Relaxed);
        self.pieces.fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self, usage: Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }

    /// What was heard of a reply that broke off.
    pub(super) fn heard(&self, busy: Duration) -> Heard {
        let usage = *self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        Heard { pieces: self.read().0, usage, busy }
    }

    /// Events received; a call that stays at the same number is stalled.
    pub(super) fn sounds(&self) -> u64 {
        self.sounds.load(Ordering::Relaxed)
    }

    /// Pieces received and what the model is doing.
    pub(super) fn read(&self) -> (u64, LlmPhase) {
        let phase = match self.phase.load(Ordering::Relaxed) {
            1 => LlmPhase::Reasoning,
            2 => LlmPhase::Writing,
            3 => LlmPhase::ToolCall,
            _ => LlmPhase::Waiting,
        };
        (self.pieces.load(Ordering::Relaxed), phase)
    }
}

/// A call to make.
pub(super) struct ModelCall {
    pub(super) inner: Arc<Inner>,
    pub(super) provider: Arc<dyn LlmProvider>,
    pub(super) request: LlmRequest,
    pub(super) cx: CallCx,
    pub(super) step: StepKey,
    pub(super) topic: Arc<Topic>,
    pub(super) progress: Arc<Progress>,
}

impl ModelCall {
    /// Makes it; the reply and how long it took. A panic of the provider is an error of it.
    pub(super) async fn perform(self) -> (Result<LlmFinished, ProviderError>, Duration) {
        let clock = Arc::clone(&self.inner.clock);
        let began = clock.now();
        let provider = self.provider.id().to_owned();
        let result = AssertUnwindSafe(self.stream()).catch_unwind().await.unwrap_or_else(|_| {
            Err(ProviderError::new(
                ErrorKind::Internal,
                provider,
                "the provider's implementation has a defect (it panicked); see the log",
            ))
        });
        (result, crate::time::until(began, clock.now()))
    }

    async fn stream(self) -> Result<LlmFinished, ProviderError> {
        let mut stream = self.provider.stream(&self.request, &self.cx).await?;
        while let Some(event) = stream.next().await {
            let event = event?;
            self.progress.sounds.fetch_add(1, Ordering::Relaxed);
            match event {
                LlmEvent::TextDelta { text } => self.tell(LlmPhase::Writing, LiveKind::Text, text),
                LlmEvent::ReasoningDelta { text } => {
                    self.tell(LlmPhase::Reasoning, LiveKind::Reasoning, text);
                }
                LlmEvent::ToolCallDelta { json, .. } => {
                    self.tell(LlmPhase::ToolCall, LiveKind::ToolCall, json);
                }
                LlmEvent::Finished(finished) => return Ok(*finished),
                LlmEvent::Usage { usage } => self.progress.report(usage),
                LlmEvent::Started { .. } | LlmEvent::Keepalive | LlmEvent::Limits(_) => {}
            }
        }
        Err(ProviderError::new(
            ErrorKind::StreamTruncated,
            self.provider.id().to_owned(),
            "the reply ended before it was complete",
        ))
    }

    fn tell(&self, phase: LlmPhase, kind: LiveKind, text: String) {
        self.progress.note(phase);
        self.topic.publish(&self.step, self.cx.attempt, kind, text);
    }
}
