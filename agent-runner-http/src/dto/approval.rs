//! Approvals as clients see and decide them.

use agent_runner_core::{
    approval::{ApprovalDecision, ApprovalKind},
    engine::{ApprovalDetail, NewDecision},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A call, or a question of an agent, that waits for a person's word.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Approval {
    /// Its id.
    #[schema(format = Uuid)]
    pub(crate) id: String,
    /// The run that waits.
    #[schema(format = Uuid)]
    run_id: String,
    /// The run's project.
    #[schema(format = Uuid)]
    project_id: String,
    /// The step that waits.
    step_id: String,
    /// `call`: whether a tool may be called; `question`: the agent asks a person.
    kind: &'static str,
    /// `pending`, `approved`, `rejected`, `answered`, `expired` or `withdrawn` (the run ended).
    status: &'static str,
    /// Which tool.
    tool: String,
    /// With what.
    #[schema(value_type = Object)]
    arguments: Value,
    /// What the approval is bound to: SHA-256 of tool and arguments, lower-case hex.
    arguments_sha256: String,
    /// The harm that the call can do: `read`, `write`, `destructive` or `outward`.
    risk: &'static str,
    /// Why a person is asked.
    reason: String,
    /// `approve`, `edit`, `reject` or `answer`.
    decision: Option<&'static str>,
    /// The arguments of `edit`, the output of `answer`.
    payload: Option<Value>,
    /// What the person added.
    comment: Option<String>,
    /// Who it was, as they say.
    by: Option<String>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    requested_at: Timestamp,
    /// When it is too late.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
}

impl From<ApprovalDetail> for Approval {
    fn from(detail: ApprovalDetail) -> Self {
        let approval = detail.approval;
        let (decision, payload) = match detail.decision {
            None => (None, None),
            Some(ApprovalDecision::Approve) => (Some("approve"), None),
            Some(ApprovalDecision::Reject) => (Some("reject"), None),
            Some(ApprovalDecision::Edit { arguments }) => (Some("edit"), Some(arguments)),
            Some(ApprovalDecision::Answer { output }) => (Some("answer"), Some(output)),
        };
        Self {
            id: approval.id.to_string(),
            run_id: approval.run_id.to_string(),
            project_id: approval.project_id.to_string(),
            step_id: approval.step.to_string(),
            kind: match detail.kind {
                ApprovalKind::Call => "call",
                ApprovalKind::Question => "question",
            },
            status: approval.status.as_str(),
            tool: detail.tool,
            arguments: detail.arguments,
            arguments_sha256: detail.arguments_sha256,
            risk: detail.risk.as_str(),
            reason: detail.reason,
            decision,
            payload,
            comment: detail.comment,
            by: detail.by,
            requested_at: approval.requested_at,
            expires_at: approval.expires_at,
            resolved_at: approval.resolved_at,
        }
    }
}

/// What a person says.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Decision {
    /// Make the call.
    Approve,
    /// Do not make it.
    Reject,
    /// Make it with the arguments in `payload` instead.
    Edit,
    /// `payload` is the output of the call, or the answer to the question.
    Answer,
}

/// A person's word on an approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"decision": "approve", "by": "ada"})))]
pub(crate) struct Resolve {
    /// The word.
    decision: Decision,
    /// The arguments of `edit`, the output of `answer`; nothing for the others.
    #[schema(value_type = Option<Object>)]
    payload: Option<Value>,
    /// What the person adds; the model reads it when the call is rejected.
    comment: Option<String>,
    /// Who it is.
    by: Option<String>,
    /// What the person saw: refused when the approval is bound to something else.
    arguments_sha256: Option<String>,
}

impl TryFrom<Resolve> for NewDecision {
    type Error = &'static str;

    fn try_from(resolve: Resolve) -> Result<Self, Self::Error> {
        let decision = match (resolve.decision, resolve.payload) {
            (Decision::Approve, None) => ApprovalDecision::Approve,
            (Decision::Reject, None) => ApprovalDecision::Reject,
            (Decision::Edit, Some(arguments)) => ApprovalDecision::Edit { arguments },
            (Decision::Answer, Some(output)) => ApprovalDecision::Answer { output },
            (Decision::Edit, None) => return Err("`edit` takes the new arguments in `payload`"),
            (Decision::Answer, None) => return Err("`answer` takes the answer in `payload`"),
            (Decision::Approve | Decision::Reject, Some(_)) => {
                return Err("`approve` and `reject` take no `payload`; use `edit` or `answer`");
            }
        };
        Ok(Self {
            decision,
            comment: resolve.comment,
            by: resolve.by,
            arguments_sha256: resolve.arguments_sha256,
        })
    }
}
