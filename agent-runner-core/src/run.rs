//! A run: one execution of an agent, its status and the rules of its life.

mod spec;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::spec::{ChildOf, ForkedFrom, ImportedFrom, Lineage, RunSpec, WorkflowSpec};
use crate::{
    budget::Spend,
    id::{ProjectId, RunId, WorkerId},
    llm::Usage,
};

/// Where a run stands. Never goes back: `QUEUED → RUNNING → COMPLETED | FAILED | CANCELED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(clippy::exhaustive_enums, reason = "the roadmap fixes the five statuses")]
pub enum RunStatus {
    /// Accepted and durable, not started.
    Queued,
    /// Started; also while paused, parked or between two workers.
    Running,
    /// Ended with an output.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended on request.
    Canceled,
}

/// What may happen to a run's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the transition table is closed")]
pub enum RunTransition {
    /// A worker's first append.
    Start,
    /// The machine finished with an output.
    Complete,
    /// The machine, the deadline or an operator's limit ended it.
    Fail,
    /// Somebody asked for it.
    Cancel,
}

/// A transition that the run's status does not allow. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {from} cannot {transition:?}")]
pub struct IllegalRunTransition {
    /// The status it has.
    pub from: RunStatus,
    /// What was asked.
    pub transition: RunTransition,
}

impl RunStatus {
    /// Every status, in rank order.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Canceled];

    /// The only function that changes a status.
    ///
    /// # Errors
    /// [`IllegalRunTransition`] for every pair outside the table in `docs/STATE_MACHINES.md`.
    pub const fn apply(self, transition: RunTransition) -> Result<Self, IllegalRunTransition> {
        use RunTransition as T;
        match (self, transition) {
            (Self::Queued, T::Start) => Ok(Self::Running),
            (Self::Running, T::Complete) => Ok(Self::Completed),
            (Self::Queued | Self::Running, T::Fail) => Ok(Self::Failed),
            (Self::Queued | Self::Running, T::Cancel) => Ok(Self::Canceled),
            (from, transition) => Err(IllegalRunTransition { from, transition }),
        }
    }

    /// QUEUED 0, RUNNING 1, terminal 2. Never decreases.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Queued => 0,
            Self::Running => 1,
            Self::Completed | Self::Failed | Self::Canceled => 2,
        }
    }

    /// Whether nothing can happen any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        self.rank() == 2
    }

    /// The spelling used everywhere: Rust, SQL, JSON, docs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    /// The status of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl RunTransition {
    /// Every transition.
    pub const ALL: [Self; 4] = [Self::Start, Self::Complete, Self::Fail, Self::Cancel];
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a RUNNING run has no worker. Orthogonal to the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ParkReason {
    /// Somebody paused it.
    Paused,
    /// It waits for a moment.
    Timer,
    /// It waits for a signal.
    Signal,
    /// A step's outcome is unknown and a person has to say what happened.
    Ask,
    /// It lost its worker too often in a row.
    Poison,
    /// A budget is spent.
    Budget,
    /// A person has to approve a call or answer a question.
    Approval,
    /// The code of its workflow does not do what its journal says that it did.
    Nondet,
    /// It waits for runs that it started.
    Child,
}

impl ParkReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Paused,
        Self::Timer,
        Self::Signal,
        Self::Ask,
        Self::Poison,
        Self::Budget,
        Self::Approval,
        Self::Nondet,
        Self::Child,
    ];

    /// The spelling used in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Timer => "timer",
            Self::Signal => "signal",
            Self::Ask => "ask",
            Self::Poison => "poison",
            Self::Budget => "budget",
            Self::Approval => "approval",
            Self::Nondet => "nondet",
            Self::Child => "child",
        }
    }

    /// The reason of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// What a parked run waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Park {
    /// Why.
    pub reason: ParkReason,
    /// When it wakes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// What would wake it: `{"step": …}` or `{"signal": …}`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub waiting_on: Value,
}

/// What a person sees besides the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunPhase {
    /// Waits for a worker for the first time.
    Queued,
    /// A worker has it, or will have it at once.
    Executing,
    /// It waits for something, without a worker.
    Parked,
    /// It will pause at the next step boundary.
    Pausing,
    /// It is paused.
    Paused,
    /// It will be canceled by its worker.
    Canceling,
    /// It ended.
    Done,
}

impl RunPhase {
    /// The spelling used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Executing => "executing",
            Self::Parked => "parked",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Canceling => "canceling",
            Self::Done => "done",
        }
    }
}

/// Why a run FAILED, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureReason {
    /// The model was called as often as the run allows and did not finish.
    MaxSteps,
    /// The run's time ran out.
    Deadline,
    /// A provider refused or stayed unavailable.
    Provider,
    /// The model's replies did not fit the demanded shape.
    InvalidOutput,
    /// The model refused or its answer was filtered.
    Refused,
    /// The reply hit the output limit of the model.
    OutputLimit,
    /// A budget is spent.
    Budget,
    /// The run asks for a model, provider or tool that this program does not have.
    Configuration,
    /// The agent went on asking for calls that its policy denies.
    Denied,
    /// The code of its workflow returned an error, or panicked.
    Workflow,
    /// A person resolved a step as failed beyond repair.
    Resolved,
    /// A defect of this library.
    Internal,
}

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunError {
    /// For programs.
    pub reason: FailureReason,
    /// For people: what was wrong and what to do.
    pub message: String,
}

/// A run as the store keeps it: the projection of its journal plus what the queue needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The project it works in.
    pub project_id: ProjectId,
    /// A name for people.
    pub name: Option<String>,
    /// What was asked for.
    pub spec: RunSpec,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it has no worker, if it is parked.
    pub park: Option<Park>,
    /// Somebody asked for a pause and nobody for a resume since.
    pub pause_requested: bool,
    /// Somebody asked for cancellation. Never taken back.
    pub cancel_requested: bool,
    /// The reason given with the cancellation.
    pub cancel_reason: Option<String>,
    /// What it produced, when COMPLETED.
    pub output: Option<Value>,
    /// Why it FAILED.
    pub error: Option<RunError>,
    /// Tokens of all model calls so far, lost attempts included where they are known.
    pub usage: Usage,
    /// What all its model calls took, failed ones included.
    #[serde(default)]
    pub spend: Spend,
    /// The run that started it.
    pub parent_id: Option<RunId>,
    /// The first ancestor; itself for a run without parent.
    pub root_id: RunId,
    /// Smaller is sooner.
    pub priority: i32,
    /// Labels for filters.
    pub tags: Vec<String>,
    /// The caller's own data.
    pub metadata: BTreeMap<String, Value>,
    /// The caller's key that makes creation idempotent.
    pub idempotency_key: Option<String>,
    /// SHA-256 (hex) of the request that came with the key.
    pub request_hash: Option<String>,
    /// When it fails for lack of time.
    pub deadline_at: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// `seq` of its last event.
    pub last_seq: u64,
    /// The worker that has it.
    pub owner: Option<WorkerId>,
    /// Grows with every claim and every revocation; the fence of every write.
    pub epoch: u64,
    /// Grows with every change that somebody other than the owner made, and with every claim,
    /// park and status change; a compare-and-set on it makes a command atomic.
    pub control: u64,
    /// Times it lost its worker since a step last ended.
    pub recoveries: u32,
}

impl Run {
    /// When a run that nobody has may start, looked at `now`.
    #[must_use]
    pub fn may_start_at(&self, now: Timestamp) -> Timestamp {
        self.spec.start_at.map_or(now, |at| at.max(now))
    }

    /// What a person sees besides the status.
    #[must_use]
    pub fn phase(&self) -> RunPhase {
        if self.status.is_terminal() {
            return RunPhase::Done;
        }
        if self.cancel_requested {
            return RunPhase::Canceling;
        }
        if self.pause_requested {
            return if self.owner.is_some() { RunPhase::Pausing } else { RunPhase::Paused };
        }
        match (&self.park, self.status) {
            (Some(_), _) => RunPhase::Parked,
            (None, RunStatus::Queued) => RunPhase::Queued,
            (None, _) => RunPhase::Executing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_exactly_this() {
        use {RunStatus as S, RunTransition as T};
        let legal = [
            (S::Queued, T::Start, S::Running),
            (S::Queued, T::Fail, S::Failed),
            (S::Queued, T::Cancel, S::Canceled),
            (S::Running, T::Complete, S::Completed),
            (S::Running, T::Fail, S::Failed),
            (S::Running, T::Cancel, S::Canceled),
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
        for from in RunStatus::ALL {
            let exits: Vec<_> =
                RunTransition::ALL.into_iter().filter_map(|t| from.apply(t).ok()).collect();
            assert!(exits.iter().all(|to| to.rank() > from.rank()));
            assert_eq!(exits.is_empty(), from.is_terminal());
        }
    }

    #[test]
    fn spelling_round_trips() {
        for status in RunStatus::ALL {
            assert_eq!(RunStatus::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        for reason in ParkReason::ALL {
            assert_eq!(ParkReason::parse(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
