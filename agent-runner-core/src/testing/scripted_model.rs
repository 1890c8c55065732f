//! A model that says what a test told it to say.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Gate;
use crate::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, StopReason, Usage,
    },
    message::{Message, Part, Role, ToolCall},
};

/// One reply of a [`ScriptedModel`].
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a test names what it wants")]
pub enum Turn {
    /// Says this and is done.
    Text(String),
    /// Asks for these tools: name and arguments.
    Tools(Vec<(String, Value)>),
    /// Fails this many times, then goes on with the other turn.
    Fails(usize, ErrorKind, Box<Self>),
    /// Says this much, then waits at the gate, then goes on with the other turn.
    Held(String, Gate, Box<Self>),
    /// Says this and stops for that reason.
    Stops(String, StopReason),
    /// Says this, then fails.
    Breaks(String, ErrorKind),
    /// Panics.
    Panics,
}

impl Turn {
    /// Says this and is done.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Asks for one tool.
    #[must_use]
    pub fn tool(name: &str, arguments: Value) -> Self {
        Self::Tools(vec![(name.to_owned(), arguments)])
    }
}

/// A provider called `test` whose one model, `model`, follows a list of turns.
///
/// Which turn it takes depends only on the conversation: as many as there are messages of the
/// assistant in it. The last turn repeats. So a model that is asked again says the same again.
#[derive(Debug, Clone)]
pub struct ScriptedModel {
    turns: Arc<[Turn]>,
    failures: Arc<[AtomicUsize]>,
    requests: Arc<Mutex<Vec<LlmRequest>>>,
    capabilities: Capabilities,
    dropped: Arc<AtomicUsize>,
}

impl ScriptedModel {
    /// A model that follows these turns.
    #[must_use]
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        let turns: Arc<[Turn]> = turns.into_iter().collect();
        Self {
            failures: turns.iter().map(|_| AtomicUsize::new(0)).collect(),
            turns,
            requests: Arc::default(),
            capabilities: Capabilities {
                tools: Some(true),
                json_schema: Some(true),
                schema_with_tools: Some(true),
                ..Capabilities::default()
            },
            dropped: Arc::default(),
        }
    }

    /// The same model with other capabilities.
    #[must_use]
    pub const fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The requests it got so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<LlmRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Streams that were dropped before their end.
    #[must_use]
    pub fn streams_dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// Counts a stream that is dropped before its end.
struct Watch {
    dropped: Arc<AtomicUsize>,
    ended: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ended {
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn finished(message: Message, stop: StopReason) -> LlmEvent {
    let usage = Usage { input: Some(10), output: Some(5), ..Usage::default() };
    LlmEvent::from(LlmFinished::new(message, stop, usage))
}

fn said(text: String, stop: StopReason) -> Vec<LlmEvent> {
    let message = Message::text(Role::Assistant, text.clone());
    vec![LlmEvent::TextDelta { text }, finished(message, stop)]
}

impl ScriptedModel {
    /// The events of a turn and the gate before the last of them.
    fn events(
        &self,
        turn: &Turn,
        n: usize,
    ) -> Result<(Vec<LlmEvent>, Option<Gate>), ProviderError> {
        match turn {
            Turn::Text(text) => Ok((said(text.clone(), StopReason::EndTurn), None)),
            Turn::Stops(text, stop) => Ok((said(text.clone(), stop.clone()), None)),
            Turn::Breaks(text, _) => Ok((vec![LlmEvent::TextDelta { text: text.clone() }], None)),
            Turn::Tools(calls) => {
                let parts = calls
                    .iter()
                    .enumerate()
                    .map(|(i, (name, arguments))| {
                        Part::ToolCall(ToolCall {
                            id: format!("call_{n}_{i}"),
                            name: name.clone(),
                            arguments: arguments.clone(),
                            provider_state: None,
                        })
                    })
                    .collect();
                let message = Message { role: Role::Assistant, parts };
                Ok((vec![finished(message, StopReason::ToolCalls)], None))
            }
            Turn::Fails(times, kind, then) => {
                let so_far = self.failures.get(n).map_or(0, |f| f.fetch_add(1, Ordering::SeqCst));
                if so_far < *times {
                    return Err(ProviderError::new(*kind, "test", "scripted failure"));
                }
                self.events(then, n)
            }
            Turn::Held(before, gate, then) => {
                let (mut events, _) = self.events(then, n)?;
                events.insert(0, LlmEvent::TextDelta { text: before.clone() });
                if let Some(LlmEvent::Finished(finished)) = events.last_mut() {
                    let text = Part::Text { text: before.clone(), provider_state: None };
                    finished.message.parts.insert(0, text);
                }
                Ok((events, Some(gate.clone())))
            }
            Turn::Panics => {
                std::panic::resume_unwind(Box::new("scripted panic"));
            }
        }
    }
}

#[async_trait]
impl LlmProvider for ScriptedModel {
    fn id(&self) -> &str {
        "test"
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        self.capabilities
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Ok(vec![ModelInfo { id: "model".to_owned(), capabilities: self.capabilities }])
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let said = request.messages.iter().filter(|m| m.role == Role::Assistant).count();
        let n = said.min(self.turns.len().saturating_sub(1));
        let Some(turn) = self.turns.get(n) else {
            return Err(ProviderError::new(ErrorKind::Internal, "test", "the script is empty"));
        };
        let (events, gate) = self.events(turn, n)?;
        let broken = match turn {
            Turn::Breaks(_, kind) => Some(ProviderError::new(*kind, "test", "scripted failure")),
            _ => None,
        };
        let items = events.into_iter().map(Ok).chain(broken.map(Err)).collect();
        let watch = Watch { dropped: Arc::clone(&self.dropped), ended: false };
        Ok(play(items, gate, watch, cx.cancel.clone()))
    }
}

/// Plays a turn: the first item, the gate, the others.
fn play(
    items: VecDeque<Result<LlmEvent, ProviderError>>,
    gate: Option<Gate>,
    watch: Watch,
    cancel: CancellationToken,
) -> BoxStream<'static, Result<LlmEvent, ProviderError>> {
    let state = Some((items, gate, watch, false));
    stream::unfold((state, cancel), |(state, cancel)| async move {
        let (mut items, mut gate, mut watch, spoke) = state?;
        let pass = async {
            if spoke && let Some(gate) = gate.take() {
                gate.pass().await;
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {
                let error = ProviderError::new(ErrorKind::Cancelled, "test", "the call was cancelled");
                return Some((Err(error), (None, cancel)));
            }
            () = pass => {}
        }
        let item = items.pop_front();
        watch.ended |= matches!(item, Some(Ok(LlmEvent::Finished(_))) | None);
        item.map(|item| (item, (Some((items, gate, watch, true)), cancel)))
    })
    .boxed()
}
