//! A step: one command of a run as its journal sees it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{RunId, StepKey};

/// Where a step stands. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(clippy::exhaustive_enums, reason = "the design fixes the statuses")]
pub enum StepStatus {
    /// Known, not begun.
    Pending,
    /// Begun; also between two attempts.
    Started,
    /// Its output is in the journal and never changes.
    Succeeded,
    /// It failed for good.
    Failed,
    /// It was not needed.
    Skipped,
    /// The run was canceled, or a directive interrupted it.
    Canceled,
    /// Its effect may or may not have happened, and its policy forbids a second try.
    Indeterminate,
}

/// What may happen to a step's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the transition table is closed")]
pub enum StepTransition {
    /// An attempt begins.
    Start,
    /// An attempt ended well.
    Succeed,
    /// The last attempt failed, or the step was refused before it began.
    Fail,
    /// It is not needed.
    Skip,
    /// It was stopped.
    Cancel,
    /// Nobody can know what happened.
    LoseTrack,
}

/// A transition that the step's status does not allow. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a step that is {from} cannot {transition:?}")]
pub struct IllegalStepTransition {
    /// The status it has.
    pub from: StepStatus,
    /// What was asked.
    pub transition: StepTransition,
}

impl StepStatus {
    /// Every status, in rank order.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Canceled,
        Self::Indeterminate,
    ];

    /// The only function that changes a step's status. A retry keeps a step STARTED.
    ///
    /// # Errors
    /// [`IllegalStepTransition`] for every pair outside the table in `docs/STATE_MACHINES.md`.
    pub const fn apply(self, transition: StepTransition) -> Result<Self, IllegalStepTransition> {
        use StepTransition as T;
        match (self, transition) {
            (Self::Pending | Self::Started, T::Start) => Ok(Self::Started),
            (Self::Started, T::Succeed) => Ok(Self::Succeeded),
            (Self::Pending | Self::Started, T::Fail) => Ok(Self::Failed),
            (Self::Pending, T::Skip) => Ok(Self::Skipped),
            (Self::Pending | Self::Started, T::Cancel) => Ok(Self::Canceled),
            (Self::Started, T::LoseTrack) => Ok(Self::Indeterminate),
            (from, transition) => Err(IllegalStepTransition { from, transition }),
        }
    }

    /// PENDING 0, STARTED 1, ended 2. Never decreases.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Started => 1,
            Self::Succeeded
            | Self::Failed
            | Self::Skipped
            | Self::Canceled
            | Self::Indeterminate => 2,
        }
    }

    /// Whether nothing can happen to the step any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        self.rank() == 2
    }

    /// The spelling used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Started => "STARTED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
            Self::Canceled => "CANCELED",
            Self::Indeterminate => "INDETERMINATE",
        }
    }

    /// The status of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl StepTransition {
    /// Every transition.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Succeed, Self::Fail, Self::Skip, Self::Cancel, Self::LoseTrack];
}

impl fmt::Display for StepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepKind {
    /// Calls a model.
    Model,
    /// Calls a tool.
    Tool,
    /// Waits for a moment or a signal.
    Wait,
    /// Runs a function of a code workflow.
    Function,
    /// Starts another run and waits for its end.
    Child,
}

impl StepKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Model, Self::Tool, Self::Wait, Self::Function, Self::Child];

    /// The spelling used in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Wait => "wait",
            Self::Function => "function",
            Self::Child => "child",
        }
    }

    /// The kind of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the engine does with a step whose outcome is unknown: the process died, or the
/// connection broke, between the effect and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "each policy is a branch of recovery that must exist")]
pub enum EffectPolicy {
    /// No effect outside. Runs again.
    Pure,
    /// Runs again with the same idempotency key.
    Idempotent,
    /// Never runs again: the step becomes INDETERMINATE and the model is told so.
    AtMostOnce,
    /// The run parks until a person says what happened.
    Ask,
    /// The tool's own probe decides; if it cannot tell, a person does.
    Reconcile,
}

impl EffectPolicy {
    /// Every policy.
    pub const ALL: [Self; 5] =
        [Self::Pure, Self::Idempotent, Self::AtMostOnce, Self::Ask, Self::Reconcile];

    /// Whether the engine may run the step again without asking anybody.
    #[must_use]
    pub const fn repeatable(self) -> bool {
        matches!(self, Self::Pure | Self::Idempotent)
    }

    /// The spelling used in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Idempotent => "idempotent",
            Self::AtMostOnce => "at_most_once",
            Self::Ask => "ask",
            Self::Reconcile => "reconcile",
        }
    }

    /// The policy of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// A stable code such as `rate_limited` or `invalid_args`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A step as the store keeps it. Its input and output are in the events it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The run it belongs to.
    pub run_id: RunId,
    /// Its stable name within the run.
    pub key: StepKey,
    /// What it does.
    pub kind: StepKind,
    /// The model's or the tool's name.
    pub name: String,
    /// What happens when its outcome is unknown.
    pub policy: EffectPolicy,
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// Why it failed, or why its last attempt did.
    pub error: Option<StepError>,
    /// `seq` of the event that began its last attempt.
    pub started_seq: Option<u64>,
    /// `seq` of the event that ended it.
    pub done_seq: Option<u64>,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_exactly_this() {
        use {StepStatus as S, StepTransition as T};
        let legal = [
            (S::Pending, T::Start, S::Started),
            (S::Pending, T::Fail, S::Failed),
            (S::Pending, T::Skip, S::Skipped),
            (S::Pending, T::Cancel, S::Canceled),
            (S::Started, T::Start, S::Started),
            (S::Started, T::Succeed, S::Succeeded),
            (S::Started, T::Fail, S::Failed),
            (S::Started, T::Cancel, S::Canceled),
            (S::Started, T::LoseTrack, S::Indeterminate),
        ];
        for from in S::ALL {
            for transition in T::ALL {
                let want = legal.iter().find(|l| l.0 == from && l.1 == transition).map(|l| l.2);
                assert_eq!(from.apply(transition).ok(), want, "{from} {transition:?}");
            }
        }
    }

    #[test]
    fn rank_never_decreases_and_terminal_means_no_exit() {
        for from in StepStatus::ALL {
            let exits: Vec<_> =
                StepTransition::ALL.into_iter().filter_map(|t| from.apply(t).ok()).collect();
            assert!(exits.iter().all(|to| to.rank() >= from.rank()));
            assert_eq!(exits.is_empty(), from.is_terminal());
        }
    }

    #[test]
    fn spelling_round_trips() {
        for status in StepStatus::ALL {
            assert_eq!(StepStatus::parse(status.as_str()), Some(status));
        }
        for kind in StepKind::ALL {
            assert_eq!(StepKind::parse(kind.as_str()), Some(kind));
        }
        for policy in EffectPolicy::ALL {
            assert_eq!(EffectPolicy::parse(policy.as_str()), Some(policy));
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
    }
}
