//! A call that the code makes, and what can come of it.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Desk;
use crate::{id::StepKey, tool::ToolErrorKind};

/// What the code calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallKind {
    /// A function of the program.
    Function,
    /// A tool.
    Tool,
    /// A model.
    Model,
    /// A pause.
    Sleep,
    /// A signal from outside.
    Signal,
    /// A person's answer.
    Question,
    /// An agent, as a run of its own.
    Agent,
    /// Another workflow, as a run of its own.
    Child,
}

impl CallKind {
    /// The spelling used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Tool => "tool",
            Self::Model => "model",
            Self::Sleep => "sleep",
            Self::Signal => "signal",
            Self::Question => "question",
            Self::Agent => "agent",
            Self::Child => "child",
        }
    }
}

/// What became of a call that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallErrorKind {
    /// It failed; its effect did not happen, or could not be used.
    Failed,
    /// A policy or a person does not allow it, or nobody answered in time.
    Denied,
    /// Whether its effect happened is not known, and it must not be repeated.
    OutcomeUnknown,
    /// It was stopped.
    Canceled,
}

/// Why a call did not end well. The same live and replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    kind: CallErrorKind,
    code: String,
    message: String,
}

impl CallError {
    pub(crate) fn new(
        kind: CallErrorKind,
        code: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self { kind, code: code.into(), message: text.into() }
    }

    pub(crate) fn failed(code: &str, text: impl Into<String>) -> Self {
        Self::new(CallErrorKind::Failed, code, text)
    }

    /// What a tool's error is for the code.
    pub(crate) fn of_tool(kind: ToolErrorKind, text: &str) -> Self {
        let what = match kind {
            ToolErrorKind::Denied => CallErrorKind::Denied,
            ToolErrorKind::Indeterminate => CallErrorKind::OutcomeUnknown,
            ToolErrorKind::Cancelled => CallErrorKind::Canceled,
            ToolErrorKind::InvalidArgs
            | ToolErrorKind::UnknownTool
            | ToolErrorKind::NotFound
            | ToolErrorKind::Conflict
            | ToolErrorKind::RateLimited
            | ToolErrorKind::Network
            | ToolErrorKind::Timeout
            | ToolErrorKind::TooLarge
            | ToolErrorKind::NoSpace
            | ToolErrorKind::Internal => CallErrorKind::Failed,
        };
        Self::new(what, kind.as_str(), text)
    }

    /// What became of the call.
    #[must_use]
    pub const fn kind(&self) -> CallErrorKind {
        self.kind
    }

    /// What exactly it was, for programs: a tool's kind of error, or what the step's failure says.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// How what came back is read.
pub(super) type Read<T> = fn(Value) -> Result<T, CallError>;

/// Reads a value as its type.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CallError> {
    serde_json::from_value(value).map_err(|error| {
        CallError::failed("decode", format!("what came back does not fit its type: {error}"))
    })
}

enum State {
    Waiting(StepKey),
    Refused(CallError),
    /// It is over, or nobody will ever answer it.
    Over,
}

/// A call that was made. It is in the run's journal from the moment on that the method returned, also when
/// nobody awaits it yet, and calls made before the first is awaited go on side by side. Dropped
/// before its end it is stopped.
#[must_use = "a call that is dropped is stopped: await it"]
pub struct Call<T> {
    desk: Arc<Desk>,
    state: State,
    read: Read<T>,
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match &self.state {
            State::Waiting(step) => Some(step),
            State::Refused(_) | State::Over => None,
        };
        f.debug_struct("Call").field("step", &step).finish_non_exhaustive()
    }
}

impl<T> Call<T> {
    pub(super) fn made(
        desk: Arc<Desk>,
        made: Result<Option<StepKey>, CallError>,
        read: Read<T>,
    ) -> Self {
        let state = match made {
            Ok(Some(step)) => State::Waiting(step),
            Ok(None) => State::Over,
            Err(error) => State::Refused(error),
        };
        Self { desk, state, read }
    }

    /// The key of its step, if it was made.
    #[must_use]
    pub const fn step(&self) -> Option<&StepKey> {
        match &self.state {
            State::Waiting(step) => Some(step),
            State::Refused(_) | State::Over => None,
        }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(step) => match self.desk.answer(&step, cx.waker()) {
                Some(outcome) => Poll::Ready(outcome.and_then(self.read)),
                None => {
                    self.state = State::Waiting(step);
                    Poll::Pending
                }
            },
            State::Refused(error) => Poll::Ready(Err(error)),
            State::Over => Poll::Pending,
        }
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        if let State::Waiting(step) = &self.state {
            self.desk.give_up(step);
        }
    }
}
