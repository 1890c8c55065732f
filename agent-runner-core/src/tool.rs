//! Tools: what agents can do. The [`Tool`] trait, its call, outcome and errors.

mod error;
mod footprint;
mod function;
mod host;
mod output;
mod registry;
mod source;
mod typed;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::{
    error::{ToolError, ToolErrorKind},
    footprint::{Footprint, Risk},
    function::{FnTool, tool_fn},
    host::{ByteStream, NoHost, ToolHost},
    output::{Fact, IntoToolOutput, KeptArtifact, NewArtifact, ToolOutput},
    registry::{RegisterToolError, ToolRegistry},
    source::{SourceStatus, ToolSource},
    typed::{Typed, TypedTool},
};
use crate::{
    id::{ProjectId, RunId, StepKey},
    limits,
    project::ProjectSettings,
};
pub use crate::{llm::ToolSpec, step::EffectPolicy};

/// Name of the tool that waits.
pub const WAIT_TOOL: &str = "run.wait";

/// Name of the tool that starts an agent.
pub const AGENT_TOOL: &str = "agent.run";

/// Name of the tool that asks.
pub const ASK_TOOL: &str = "run.ask";

/// What a tool says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolInfo {
    /// As a model sees it.
    pub spec: ToolSpec,
    /// What the engine does when a call's outcome is unknown.
    pub policy: EffectPolicy,
    /// The most harm that a call can do.
    pub risk: Risk,
    /// Only runs that name it get it, or whose pattern is another one than `*`.
    #[serde(default)]
    pub on_request: bool,
    /// How long a call may take.
    pub timeout: Duration,
    /// Most of its output that is shown to the model, in bytes.
    pub model_bytes_max: usize,
}

impl ToolInfo {
    /// A tool with a timeout of 60 s, the default output limit, and [`Self::usual_risk`].
    #[must_use]
    pub fn new(spec: ToolSpec, policy: EffectPolicy) -> Self {
        Self {
            spec,
            policy,
            risk: Self::usual_risk(policy),
            on_request: false,
            timeout: Duration::from_secs(60),
            model_bytes_max: limits::TOOL_OUTPUT_MODEL_BYTES,
        }
    }

    /// The risk of a tool that does not say more: what is pure reads, anything else is taken to
    /// act outside.
    #[must_use]
    pub const fn usual_risk(policy: EffectPolicy) -> Risk {
        match policy {
            EffectPolicy::Pure => Risk::Read,
            _ => Risk::Outward,
        }
    }

    /// The same tool, for runs that name it only.
    #[must_use]
    pub const fn on_request(mut self) -> Self {
        self.on_request = true;
        self
    }

    /// The same tool with this risk.
    #[must_use]
    pub const fn with_risk(mut self, risk: Risk) -> Self {
        self.risk = risk;
        self
    }
}

/// The circumstances of one call. A tool sees its call, never the run's state.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolCx {
    /// The run that calls; `None` when a person calls.
    pub run_id: Option<RunId>,
    /// The project whose things the tool may touch.
    pub project_id: ProjectId,
    /// What the project's owner has set.
    pub settings: Arc<ProjectSettings>,
    /// The step that calls.
    pub step: StepKey,
    /// 1 for the first try.
    pub attempt: u32,
    /// The same for every try of the same step, different for every other step:
    /// SHA-256 (hex) of run id and step key.
    pub idempotency_key: String,
    /// Fires when the call is no longer wanted.
    pub cancel: CancellationToken,
    /// What the engine does for the call.
    pub host: Arc<dyn ToolHost>,
}

impl ToolCx {
    /// The first try of a call that no run makes, in a project without settings, which nobody
    /// watches and which keeps nothing.
    #[must_use]
    pub fn new(project_id: ProjectId, step: StepKey, idempotency_key: impl Into<String>) -> Self {
        Self {
            run_id: None,
            project_id,
            settings: Arc::default(),
            step,
            attempt: 1,
            idempotency_key: idempotency_key.into(),
            cancel: CancellationToken::new(),
            host: Arc::new(NoHost),
        }
    }

    /// The same call of a run.
    #[must_use]
    pub const fn of_run(mut self, run_id: RunId, attempt: u32) -> Self {
        self.run_id = Some(run_id);
        self.attempt = attempt;
        self
    }

    /// The same call under these settings.
    #[must_use]
    pub fn with_settings(mut self, settings: Arc<ProjectSettings>) -> Self {
        self.settings = settings;
        self
    }

    /// The same call with this token.
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// The same call with this host.
    #[must_use]
    pub fn with_host(mut self, host: Arc<dyn ToolHost>) -> Self {
        self.host = host;
        self
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

    /// The harm that this call can do; never more than `info().risk`.
    fn risk(&self, _arguments: &Value) -> Risk {
        self.info().risk
    }

    /// What this call touches; see [`Footprint`].
    fn footprint(&self, _arguments: &Value) -> Footprint {
        Footprint::none()
    }

    /// Whether runs of a project with these settings may have the tool. A tool that a project has
    /// to allow first says no until it did.
    fn available(&self, _settings: &ProjectSettings) -> bool {
        true
    }

    /// Finds out what became of a call whose outcome is unknown. Only asked when the policy is
    /// [`EffectPolicy::Reconcile`].
    ///
    /// # Errors
    /// [`ToolError`]; the engine then asks a person.
    async fn reconcile(&self, _arguments: &Value, _cx: &ToolCx) -> Result<Reconciled, ToolError> {
        Ok(Reconciled::Unknown)
    }
}
