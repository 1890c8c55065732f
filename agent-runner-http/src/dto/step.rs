//! A step as clients see it.

use agent_runner_core::{engine, step};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::usage::Usage;

/// Why a step failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepError {
    /// For programs, such as `rate_limited` or `invalid_args`.
    code: String,
    /// For people.
    message: String,
}

/// One command of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Step {
    /// Its stable name within the run; what `/steps/{key}` takes.
    #[schema(examples("turn.1.tool.1"))]
    pub(crate) id: String,
    /// The run it belongs to.
    #[schema(format = Uuid)]
    run_id: String,
    /// `model`, `tool` or `wait`.
    kind: &'static str,
    /// The model or the tool.
    name: String,
    /// What happens when its outcome is unknown: `pure`, `idempotent`, `at_most_once`, `ask` or
    /// `reconcile`.
    policy: &'static str,
    /// `PENDING`, `STARTED`, `SUCCEEDED`, `FAILED`, `SKIPPED`, `CANCELED` or `INDETERMINATE`.
    status: &'static str,
    /// Attempts begun.
    attempts: u32,
    /// Why it failed, or why its last attempt did.
    error: Option<StepError>,
    /// The event that began its last attempt.
    started_event_id: Option<u64>,
    /// The event that ended it.
    finished_event_id: Option<u64>,
    /// When its last attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<step::Step> for Step {
    fn from(step: step::Step) -> Self {
        Self {
            id: step.key.to_string(),
            run_id: step.run_id.to_string(),
            kind: step.kind.as_str(),
            name: step.name,
            policy: step.policy.as_str(),
            status: step.status.as_str(),
            attempts: step.attempts,
            error: step.error.map(|e| StepError { code: e.code, message: e.message }),
            started_event_id: step.started_seq,
            finished_event_id: step.done_seq,
            started_at: step.started_at,
            finished_at: step.finished_at,
        }
    }
}

/// A step with what went in and what came out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepDetail {
    /// The step.
    #[serde(flatten)]
    step: Step,
    /// A tool's arguments; `null` for a model call, whose input is the transcript.
    input: Option<Value>,
    /// A tool's output, or a model's message.
    output: Option<Value>,
    /// Tokens, for a model call.
    usage: Option<Usage>,
}

impl From<engine::StepDetail> for StepDetail {
    fn from(detail: engine::StepDetail) -> Self {
        Self {
            step: detail.step.into(),
            input: detail.input,
            output: detail.output,
            usage: detail.usage.map(Usage::from),
        }
    }
}
