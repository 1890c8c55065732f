//! Approvals: a call, or a question of an agent, that waits for a person's word.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::id::{ApprovalId, ProjectId, RunId, StepKey};

/// Where an approval stands. Leaves `pending` once and for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the database checks the same list")]
pub enum ApprovalStatus {
    /// Nobody has said anything yet.
    Pending,
    /// The call may be made, perhaps with other arguments.
    Approved,
    /// The call may not be made.
    Rejected,
    /// A person answered in the tool's place.
    Answered,
    /// Nobody said anything in time: the call may not be made.
    Expired,
    /// The run ended first.
    Withdrawn,
}

impl ApprovalStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Approved,
        Self::Rejected,
        Self::Answered,
        Self::Expired,
        Self::Withdrawn,
    ];

    /// The spelling used in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The status of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What is asked of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "each kind has its own decisions")]
pub enum ApprovalKind {
    /// Whether a call may be made.
    Call,
    /// A question of the agent.
    Question,
}

/// A person's word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the engine has to do what each says")]
pub enum ApprovalDecision {
    /// Make the call.
    Approve,
    /// Make the call with these arguments instead.
    Edit {
        /// The arguments.
        arguments: Value,
    },
    /// Do not make the call.
    Reject,
    /// This is the output of the call, or the answer to the question.
    Answer {
        /// What the agent gets.
        output: Value,
    },
}

impl ApprovalDecision {
    /// Where it leaves the approval.
    #[must_use]
    pub const fn status(&self) -> ApprovalStatus {
        match self {
            Self::Approve | Self::Edit { .. } => ApprovalStatus::Approved,
            Self::Reject => ApprovalStatus::Rejected,
            Self::Answer { .. } => ApprovalStatus::Answered,
        }
    }
}

/// An approval as a store keeps it. What is asked, and the answer, stand in the run's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store has to fill in all of it")]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The run that waits.
    pub run_id: RunId,
    /// The run's project.
    pub project_id: ProjectId,
    /// The step that waits.
    pub step: StepKey,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// Number of the event that asks.
    pub requested_seq: u64,
    /// Number of the event that answers.
    pub resolved_seq: Option<u64>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When it is too late.
    pub expires_at: Timestamp,
    /// When it was answered.
    pub resolved_at: Option<Timestamp>,
}

/// SHA-256 (lower-case hex) of a call: what an approval is bound to.
#[must_use]
pub fn call_sha256(tool: &str, arguments: &Value) -> String {
    // Keys of objects are sorted, so equal arguments have one text.
    sha256_of(&json!({"tool": tool, "arguments": arguments}).to_string())
}

/// SHA-256 of a text, lower-case hex.
pub(crate) fn sha256_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_round_trips() {
        for status in ApprovalStatus::ALL {
            assert_eq!(ApprovalStatus::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }

    #[test]
    fn an_approval_is_bound_to_the_tool_and_every_argument() {
        let hash = |tool: &str, arguments: &str| {
            call_sha256(tool, &serde_json::from_str(arguments).unwrap())
        };
        let one = hash("a", r#"{"x": 1, "y": {"z": [2]}}"#);
        assert_eq!(one, hash("a", r#"{"y": {"z": [2]}, "x": 1}"#));
        assert_ne!(one, hash("b", r#"{"x": 1, "y": {"z": [2]}}"#));
        assert_ne!(one, hash("a", r#"{"x": 1, "y": {"z": [3]}}"#));
        assert_ne!(hash("a", r#"{"x": 1}"#), hash("a", r#"{"x": "1"}"#));
    }
}
