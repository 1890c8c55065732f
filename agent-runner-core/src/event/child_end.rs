//! How a run that another run started ended.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::EventBody,
    run::{RunError, RunStatus},
};

/// What a run learns of the end of a run that it started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChildEnd {
    /// COMPLETED, FAILED or CANCELED.
    pub status: RunStatus,
    /// What it produced, when COMPLETED; a left-out one is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it FAILED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// It had read what nobody in charge wrote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
}

impl ChildEnd {
    /// What the last event of a run says; `None` for an event that ends no run.
    #[must_use]
    pub fn of(last: &EventBody, untrusted: bool) -> Option<Self> {
        let (status, output, error) = match last {
            EventBody::RunCompleted { output } => {
                (RunStatus::Completed, Some(output.clone()), None)
            }
            EventBody::RunFailed { error } => (RunStatus::Failed, None, Some(error.clone())),
            EventBody::RunCanceled { .. } => (RunStatus::Canceled, None, None),
            _ => return None,
        };
        Some(Self { status, output, error, untrusted })
    }
}
