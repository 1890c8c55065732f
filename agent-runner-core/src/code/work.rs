//! What a step of the code does: a function of the embedder's program.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::id::{RunId, StepKey};

/// The circumstances of one attempt of a step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepCx {
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step: StepKey,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The same for every attempt of the same step, different for every other step: SHA-256 (hex) of run
    /// id and step key. Give it to the service that you call.
    pub idempotency_key: String,
    /// Fires when the step is no longer wanted.
    pub cancel: CancellationToken,
}

/// Why an attempt of a step failed. Made from any error with `?`; then it is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) transient: bool,
    pub(crate) may_have_run: bool,
}

impl StepFailure {
    /// A failure that another attempt would not cure, and whose effect certainly did not happen.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            code: "failed".to_owned(),
            message: message.to_string(),
            transient: false,
            may_have_run: false,
        }
    }

    /// Another attempt may cure it: the engine makes up to three, with growing pauses.
    #[must_use]
    pub const fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// The effect may have happened: what then follows is the step's policy.
    #[must_use]
    pub const fn may_have_run(mut self) -> Self {
        self.may_have_run = true;
        self
    }

    /// What exactly it was, for programs: the code reads it as [`CallError::code`](super::CallError::code).
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }
}

impl<E: std::error::Error> From<E> for StepFailure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// One attempt, from its input.
pub(crate) type Work =
    Arc<dyn Fn(Value, StepCx) -> BoxFuture<'static, Result<Value, StepFailure>> + Send + Sync>;

/// A function as the engine performs it.
pub(super) fn work<I, O, F, Fut>(function: F) -> Work
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize,
    F: Fn(I, StepCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, StepFailure>> + Send + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |input, cx| {
        let function = Arc::clone(&function);
        Box::pin(async move {
            let input = serde_json::from_value(input).map_err(|error| {
                StepFailure::new(format!("the step's input cannot be read back: {error}"))
                    .with_code("input")
            })?;
            let output = function(input, cx).await?;
            serde_json::to_value(output).map_err(|error| {
                StepFailure::new(format!("the step's output is no JSON: {error}"))
                    .with_code("output")
                    .may_have_run()
            })
        })
    })
}
