//! How two runs differ.

use agent_runner_core::{engine, run, step};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{budget::TotalCost, event::Event, run::RunFailure, usage::Usage};

/// One of the two runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DiffSide {
    /// The run.
    #[schema(format = Uuid)]
    run_id: String,
    /// `QUEUED`, `RUNNING`, `COMPLETED`, `FAILED` or `CANCELED`.
    status: &'static str,
    /// What it produced, when COMPLETED; the beginning of it when it is long.
    output: Option<Value>,
    /// Why it FAILED.
    error: Option<RunFailure>,
    /// Number of its last event.
    last_event_id: u64,
    /// Its event at which the two journals part; `null` when it had ended before, or when both tell
    /// the same.
    parts_at: Option<Event>,
    /// Tokens of all its own calls.
    usage: Usage,
    /// Money; `null` when nobody knows the prices.
    cost: Option<TotalCost>,
}

/// A part of what was asked for that differs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldDiff {
    /// Its place as a JSON Pointer.
    #[schema(examples("/agent/model"))]
    pointer: String,
    /// In the first; `null` for nothing. The beginning of it when it is long.
    left: Option<Value>,
    /// In the second; `null` for nothing. The beginning of it when it is long.
    right: Option<Value>,
}

/// A step as one of the runs has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepSide {
    /// The model's or the tool's name.
    name: String,
    /// `PENDING`, `STARTED`, `SUCCEEDED`, `FAILED`, `SKIPPED`, `CANCELED` or `INDETERMINATE`.
    status: &'static str,
    /// Attempts begun.
    attempts: u32,
    /// Why it failed.
    error: Option<String>,
    /// The event that ended it.
    done_event: Option<u64>,
}

/// A step that only one has, or that came to something else.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepDiff {
    /// Its key.
    #[schema(examples("turn.2.tool.1"))]
    key: String,
    /// In the first, if it has it.
    left: Option<StepSide>,
    /// In the second, if it has it.
    right: Option<StepSide>,
}

/// How two runs differ.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunDiff {
    /// Whether both journals tell the same. Who did it, when, and ids that are never the same twice
    /// do not count.
    same_story: bool,
    /// The first run.
    left: DiffSide,
    /// The second run.
    right: DiffSide,
    /// What was asked for differently; the first 500.
    spec: Vec<FieldDiff>,
    /// Steps that only one has, or that came to something else; the first 500.
    steps: Vec<StepDiff>,
    /// How many more fields and steps differ.
    left_out: usize,
}

impl From<step::Step> for StepSide {
    fn from(step: step::Step) -> Self {
        Self {
            name: step.name,
            status: step.status.as_str(),
            attempts: step.attempts,
            error: step.error.map(|error| error.message),
            done_event: step.done_seq,
        }
    }
}

fn side(run: run::Run, parts_at: Option<agent_runner_core::event::Event>) -> DiffSide {
    DiffSide {
        run_id: run.id.to_string(),
        status: run.status.as_str(),
        output: run.output,
        error: run.error.map(RunFailure::from),
        last_event_id: run.last_seq,
        parts_at: parts_at.map(Event::from),
        usage: run.usage.into(),
        cost: TotalCost::of(run.spend),
    }
}

impl From<engine::RunDiff> for RunDiff {
    fn from(diff: engine::RunDiff) -> Self {
        let same_story = diff.parting.is_none();
        let (left, right) = diff.parting.map_or((None, None), |at| (at.left, at.right));
        let spec = diff.spec.into_iter().map(|field| FieldDiff {
            pointer: field.pointer,
            left: field.left,
            right: field.right,
        });
        let steps = diff.steps.into_iter().filter_map(|step| {
            let key = step.left.as_ref().or(step.right.as_ref())?.key.to_string();
            Some(StepDiff {
                key,
                left: step.left.map(Into::into),
                right: step.right.map(Into::into),
            })
        });
        Self {
            same_story,
            left: side(diff.left, left),
            right: side(diff.right, right),
            spec: spec.collect(),
            steps: steps.collect(),
            left_out: diff.left_out,
        }
    }
}
