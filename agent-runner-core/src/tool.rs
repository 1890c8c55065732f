//! Tools: what agents can do. The [`Tool`] trait, its call, outcome and errors.

mod error;
mod registry;
mod typed;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::{
    error::{ToolError, ToolErrorKind},
    registry::{RegisterToolError, ToolRegistry},
    typed::{Typed, TypedTool},
};
use crate::{
    id::{ProjectId, RunId, StepKey},
    limits,
};
pub use crate::{llm::ToolSpec, step::EffectPolicy};

/// What a tool says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolInfo {
    /// As a model sees it.
    pub spec: ToolSpec,
    /// What the engine does when a call's outcome is unknown.
    pub policy: EffectPolicy,
    /// How long a call may take.
    pub timeout: Duration,
    /// Most of its output that is shown to the model, in bytes.
    pub model_bytes_max: usize,
}

impl ToolInfo {
    /// A tool with a timeout of 60 s and the default output limit.
    #[must_use]
    pub fn new(spec: ToolSpec, policy: EffectPolicy) -> Self {
        Self {
            spec,
            policy,
            timeout: Duration::from_secs(60),
            model_bytes_max: limits::TOOL_OUTPUT_MODEL_BYTES,
        }
    }
}

/// The circumstances of one call. A tool sees its call, never the run's state.
#[derive(Debug, Clone)]
pub struct ToolCx {
    /// The run that calls.
    pub run_id: RunId,
    /// The project whose things the tool may touch.
    pub project_id: ProjectId,
    /// The step that calls.
    pub step: StepKey,
    /// 1 for the first try.
    pub attempt: u32,
    /// The same for every try of the same step, different for every other step:
    /// SHA-256 (hex) of run id and step key.
    pub idempotency_key: String,
    /// Fires when the call is no longer wanted.
    pub cancel: CancellationToken,
}

/// What a call produced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolOutput {
    /// The output: a string is shown to the model as it is, anything else as JSON.
    pub value: Value,
}

impl ToolOutput {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<Value>) -> Self {
        Self { value: value.into() }
    }
}

/// What a tool's probe found out about a call whose outcome is unknown.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "each answer is a branch of recovery that must exist")]
pub enum Reconciled {
    /// It happened, with this output.
    Done(ToolOutput),
    /// It did not happen.
    NotDone,
    /// The probe cannot tell.
    Unknown,
}

/// Something an agent can do.
///
/// # Contract
/// 1. `info` is the same for the life of the value.
/// 2. `call` gets arguments that fit `info().spec.input_schema`; it still treats them as hostile.
/// 3. A tool whose policy is `Idempotent` has, for the same `idempotency_key`, the effect of one
///    call however often it is called.
/// 4. An error says in `may_have_run` whether the effect may have happened.
/// 5. What `for_model` says contains no secret and nothing of the host (paths, addresses).
/// 6. A call ends soon after `cx.cancel` fires.
///
/// # Cancellation
/// The future of `call` may be dropped at any await. Whatever was not done then is not done later.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync + 'static {
    /// Name, schema, policy and bounds.
    fn info(&self) -> &ToolInfo;

    /// Does it.
    ///
    /// # Errors
    /// [`ToolError`], which the engine answers to the model or handles by policy.
    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError>;

    /// Finds out what became of a call whose outcome is unknown. Only asked when the policy is
    /// [`EffectPolicy::Reconcile`].
    ///
    /// # Errors
    /// [`ToolError`]; the engine then asks a person.
    async fn reconcile(&self, _arguments: &Value, _cx: &ToolCx) -> Result<Reconciled, ToolError> {
        Ok(Reconciled::Unknown)
    }
}
