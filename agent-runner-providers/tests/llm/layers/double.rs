//! A provider that does what a test says, call by call.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_runner_core::{
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmProvider, LlmRequest,
        ModelInfo, ProviderError, SendState, StopReason, Usage,
    },
    message::{Message, Part, Role},
    testing::{Gate, ManualClock},
};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

/// What a double does next within a reply.
#[derive(Debug, Clone)]
pub enum Step {
    Say(LlmEvent),
    Fail(Fault),
    Wait(Gate),
    Hang,
    /// Ends without a word.
    Stop,
}

/// What a double does with a request.
#[derive(Debug, Clone)]
pub enum Play {
    Refuse(Fault),
    Stream(Vec<Step>),
    /// Does not even return.
    Silent,
}

#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: ErrorKind,
    pub retry_after: Option<Duration>,
    pub sent: SendState,
    pub context: String,
    pub status: Option<u16>,
}

pub fn fault(kind: ErrorKind) -> Fault {
    Fault {
        kind,
        retry_after: None,
        sent: SendState::Sent,
        context: "scripted".into(),
        status: None,
    }
}

impl Fault {
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(Duration::from_secs(seconds)), ..self }
    }

    fn error(&self, id: &str) -> ProviderError {
        let mut error = ProviderError::new(self.kind, id.to_owned(), self.context.as_str())
            .with_sent(self.sent);
        if let Some(wait) = self.retry_after {
            error = error.with_retry_after(wait);
        }
        if let Some(status) = self.status {
            error = error.with_http_status(status);
        }
        error
    }
}

#[derive(Debug)]
pub struct Call {
    pub request: LlmRequest,
    pub attempt: u32,
    pub timeout: Option<Duration>,
}

#[derive(Debug)]
pub struct Double {
    id: String,
    capabilities: Capabilities,
    plays: Mutex<Vec<Play>>,
    calls: Mutex<Vec<Call>>,
    open: Arc<AtomicUsize>,
}

impl Double {
    /// Plays one after the other; the last one again and again.
    pub fn new(plays: impl IntoIterator<Item = Play>) -> Self {
        let mut plays: Vec<Play> = plays.into_iter().collect();
        plays.reverse();
        Self {
            id: "double".to_owned(),
            capabilities: Capabilities::default(),
            plays: Mutex::new(plays),
            calls: Mutex::default(),
            open: Arc::default(),
        }
    }

    pub fn with_id(self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self }
    }

    pub fn with_capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    pub fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    pub fn attempts(&self) -> Vec<u32> {
        self.calls.lock().unwrap().iter().map(|call| call.attempt).collect()
    }

    pub fn timeouts(&self) -> Vec<Option<Duration>> {
        self.calls.lock().unwrap().iter().map(|call| call.timeout).collect()
    }

    pub fn models_asked(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|call| call.request.model.clone()).collect()
    }

    /// Replies, and requests without one, that somebody still holds.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl LlmProvider for Double {
    fn id(&self) -> &str {
        &self.id
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        self.capabilities
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        match self.plays.lock().unwrap().last() {
            Some(Play::Refuse(fault)) => Err(fault.error(&self.id)),
            _ => Ok(vec![ModelInfo { id: "model".into(), capabilities: self.capabilities }]),
        }
    }

    async fn count_tokens(
        &self,
        request: &LlmRequest,
        _cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        Ok(Some(u64::try_from(request.messages.len()).unwrap()))
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let play = {
            let mut plays = self.plays.lock().unwrap();
            if plays.len() > 1 { plays.pop().unwrap() } else { plays[0].clone() }
        };
        self.calls.lock().unwrap().push(Call {
            request: request.clone(),
            attempt: cx.attempt,
            timeout: cx.timeout,
        });
        self.open.fetch_add(1, Ordering::SeqCst);
        let held = Held(Arc::clone(&self.open));
        let cancelled = fault(ErrorKind::Cancelled).error(&self.id);
        let steps = match play {
            Play::Refuse(fault) => return Err(fault.error(&self.id)),
            Play::Silent => {
                cx.cancel.cancelled().await;
                return Err(cancelled);
            }
            Play::Stream(steps) => steps,
        };
        let state = (steps.into_iter(), cx.cancel.clone(), held, self.id.clone());
        Ok(stream::unfold(state, |(mut steps, cancel, held, id)| async move {
            let next = async {
                loop {
                    match steps.next() {
                        None | Some(Step::Stop) => return None,
                        Some(Step::Say(event)) => return Some(Ok(event)),
                        Some(Step::Fail(fault)) => return Some(Err(fault.error(&id))),
                        Some(Step::Wait(gate)) => gate.pass().await,
                        Some(Step::Hang) => std::future::pending().await,
                    }
                }
            };
            let item = tokio::select! {
                biased;
                () = cancel.cancelled() => Some(Err(fault(ErrorKind::Cancelled).error(&id))),
                item = next => item,
            }?;
            if item.is_err() {
                steps = Vec::new().into_iter();
            }
            // Like a connection, it is held until somebody lets go of it.
            Some((item, (steps, cancel, held, id)))
        })
        .boxed())
    }
}

pub fn text(text: &str) -> Step {
    Step::Say(LlmEvent::TextDelta { text: text.to_owned() })
}

pub fn started() -> Step {
    Step::Say(LlmEvent::Started { model: None })
}

pub fn used(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

pub fn finished(text: &str, usage: Usage) -> LlmFinished {
    LlmFinished::new(Message::text(Role::Assistant, text), StopReason::EndTurn, usage)
}

/// A good reply in two pieces that used 10 and 5 tokens.
pub fn says(first: &str, second: &str) -> Play {
    let end = finished(&format!("{first}{second}"), used(10, 5));
    Play::Stream(vec![started(), text(first), text(second), Step::Say(end.into())])
}

pub fn refuses(kind: ErrorKind) -> Play {
    Play::Refuse(fault(kind))
}

pub fn request() -> LlmRequest {
    LlmRequest::new("model", vec![Message::text(Role::User, "go")])
}

pub fn cx() -> CallCx {
    CallCx::new("1")
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))
}

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The items of a call until it ends.
pub async fn hear(
    provider: &dyn LlmProvider,
    request: &LlmRequest,
    cx: &CallCx,
) -> (Vec<LlmEvent>, Option<ProviderError>) {
    let mut stream = match provider.stream(request, cx).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

/// The finished reply of a call that goes well.
pub async fn reply(provider: &dyn LlmProvider, request: &LlmRequest) -> LlmFinished {
    let (mut events, error) = hear(provider, request, &cx()).await;
    assert!(error.is_none(), "{error:?}");
    match events.pop() {
        Some(LlmEvent::Finished(finished)) => *finished,
        other => panic!("not finished: {other:?}"),
    }
}

/// The error of a call that goes wrong.
pub async fn failure(provider: &dyn LlmProvider, request: &LlmRequest) -> ProviderError {
    hear(provider, request, &cx()).await.1.expect("the call fails")
}

pub fn deltas(events: &[LlmEvent]) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            LlmEvent::TextDelta { text } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

pub fn said(finished: &LlmFinished) -> String {
    finished
        .message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}
