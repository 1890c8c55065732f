//! What clients send to runs that exist.

use agent_runner_core::directive;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Why a run is canceled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancel {
    /// For people; kept with the run.
    pub(crate) reason: Option<String>,
}

/// Nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// When a message takes effect.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DirectiveMode {
    /// With the next model call.
    #[default]
    NextStep,
    /// At once: a model call in flight is dropped and made again with the message.
    Interrupt,
}

impl From<DirectiveMode> for directive::DirectiveMode {
    fn from(mode: DirectiveMode) -> Self {
        match mode {
            DirectiveMode::NextStep => Self::NextStep,
            DirectiveMode::Interrupt => Self::Interrupt,
        }
    }
}

/// A message to a run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDirective {
    /// What the agent is to read.
    pub(crate) text: String,
    /// When.
    #[serde(default)]
    pub(crate) mode: DirectiveMode,
    /// The sender's id; the same id again is the same message again.
    pub(crate) id: Option<String>,
}

/// Something happened that a run may wait for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSignal {
    /// What comes with it.
    #[serde(default)]
    pub(crate) payload: Value,
    /// The sender's id; the same id again is the same signal again.
    pub(crate) id: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// It did not happen, or doing it again does no harm: run it again with the same key.
    Retry,
    /// It happened.
    Succeeded,
    /// It did not happen and is not to be tried again; the model is told.
    Failed,
}

/// A person's word on a step whose outcome is unknown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveStep {
    /// What became of it.
    decision: Decision,
    /// The output that the model gets, for `succeeded`.
    #[serde(default)]
    output: Value,
    /// What the model is told, for `failed`.
    message: Option<String>,
}

impl From<ResolveStep> for directive::Resolution {
    fn from(resolve: ResolveStep) -> Self {
        match resolve.decision {
            Decision::Retry => Self::Retry,
            Decision::Succeeded => Self::Succeeded { output: resolve.output },
            Decision::Failed => Self::Failed { message: resolve.message },
        }
    }
}
