//! What the journal says of a run's tool calls: approvals, calls made, and whom it listened to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    approval::{ApprovalDecision, ApprovalKind},
    event::EventBody,
    id::{ApprovalId, StepKey},
    step::StepKind,
    tool::ToolErrorKind,
};

/// What became of an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "the engine has to do what each says")]
pub enum Decided {
    /// Make the call, with other arguments if there are any.
    Approved(Option<Value>),
    /// Do not; the person's comment.
    Rejected(Option<String>),
    /// This is the output.
    Answered(Value),
    /// Nobody said anything in time.
    Expired,
}

/// An approval as the journal tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalState {
    /// Its id.
    pub id: ApprovalId,
    /// What was asked.
    pub kind: ApprovalKind,
    /// What it is bound to.
    pub arguments_sha256: String,
    /// When it is too late.
    pub expires_at: Timestamp,
    /// What became of it.
    pub decided: Option<Decided>,
}

/// The fold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hands {
    approvals: BTreeMap<StepKey, ApprovalState>,
    /// Calls that were made or are being made, by tool.
    calls: BTreeMap<String, u32>,
    untrusted: bool,
}

impl Hands {
    pub(super) fn apply(&mut self, event: &EventBody) {
        use EventBody as E;
        if let E::ToolCompleted { untrusted: Some(_), .. }
        | E::ToolFailed { untrusted: Some(_), .. } = event
        {
            self.untrusted = true;
        }
        if let E::RunQueued { spec } = event {
            self.untrusted = spec.lineage.as_ref().is_some_and(|lineage| lineage.untrusted);
        }
        match event {
            E::StepStarted {
                step_kind: StepKind::Tool | StepKind::Child,
                name,
                attempt: 1,
                ..
            } => {
                *self.calls.entry(name.clone()).or_default() += 1;
            }
            E::ToolFailed {
                tool,
                error:
                    ToolErrorKind::Denied | ToolErrorKind::UnknownTool | ToolErrorKind::InvalidArgs,
                ..
            } => {
                if let Some(calls) = self.calls.get_mut(tool) {
                    *calls = calls.saturating_sub(1);
                }
                // A model may make up any number of names.
                self.calls.retain(|_, calls| *calls > 0);
            }
            E::ApprovalRequested { approval, step, kind, arguments_sha256, expires_at, .. } => {
                let state = ApprovalState {
                    id: *approval,
                    kind: *kind,
                    arguments_sha256: arguments_sha256.clone(),
                    expires_at: *expires_at,
                    decided: None,
                };
                self.approvals.insert(step.clone(), state);
            }
            E::ApprovalResolved { step, decision, comment, .. } => {
                let decided = match decision {
                    ApprovalDecision::Approve => Decided::Approved(None),
                    ApprovalDecision::Edit { arguments } => {
                        Decided::Approved(Some(arguments.clone()))
                    }
                    ApprovalDecision::Reject => Decided::Rejected(comment.clone()),
                    ApprovalDecision::Answer { output } => Decided::Answered(output.clone()),
                };
                self.decide(step, decided);
            }
            E::ApprovalExpired { step, .. } => self.decide(step, Decided::Expired),
            _ => {}
        }
    }

    fn decide(&mut self, step: &StepKey, decided: Decided) {
        if let Some(approval) = self.approvals.get_mut(step) {
            approval.decided.get_or_insert(decided);
        }
    }

    /// Forgets what was decided about calls that are over.
    pub(super) fn forget_decided(&mut self, open: impl Fn(&StepKey) -> bool) {
        self.approvals.retain(|step, approval| approval.decided.is_none() || open(step));
    }

    /// The approval that a step of the present turn asked for.
    #[must_use]
    pub fn approval(&self, step: &StepKey) -> Option<&ApprovalState> {
        self.approvals.get(step)
    }

    /// Approvals that nobody has decided, with the steps that wait, by step.
    pub fn pending(&self) -> impl Iterator<Item = (&StepKey, &ApprovalState)> {
        self.approvals.iter().filter(|(_, approval)| approval.decided.is_none())
    }

    /// The arguments that a person put in the place of those that the model chose.
    #[must_use]
    pub fn edited(&self, step: &StepKey) -> Option<&Value> {
        match &self.approvals.get(step)?.decided {
            Some(Decided::Approved(arguments)) => arguments.as_ref(),
            _ => None,
        }
    }

    /// Tool calls that were made or are being made.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls.values().sum()
    }

    /// Calls of one tool.
    #[must_use]
    pub fn calls_of(&self, tool: &str) -> u32 {
        self.calls.get(tool).copied().unwrap_or(0)
    }

    /// Whether the run has read what nobody in charge wrote.
    #[must_use]
    pub const fn is_untrusted(&self) -> bool {
        self.untrusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_read_strangers_words_in_an_error_is_marked_too() {
        let failed = |untrusted: Option<&str>| EventBody::ToolFailed {
            step: StepKey::new("turn.1.tool.1"),
            call_id: "c".to_owned(),
            tool: "tickets.read".to_owned(),
            error: ToolErrorKind::InvalidArgs,
            for_model: "no".to_owned(),
            untrusted: untrusted.map(str::to_owned),
        };
        let mut hands = Hands::default();
        hands.apply(&failed(None));
        assert!(!hands.is_untrusted());
        hands.apply(&failed(Some("mcp:tickets")));
        assert!(hands.is_untrusted());
    }

    #[test]
    fn what_was_asked_about_a_step_that_is_over_is_forgotten() {
        let asked = |step: &str| EventBody::ApprovalRequested {
            approval: ApprovalId::from_uuid(uuid::Uuid::nil()),
            step: StepKey::new(step),
            kind: ApprovalKind::Call,
            tool: "t".to_owned(),
            arguments: Value::Null,
            arguments_sha256: String::new(),
            risk: crate::tool::Risk::Read,
            reason: String::new(),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let mut hands = Hands::default();
        hands.apply(&asked("a"));
        hands.apply(&asked("b"));
        let (approval, step) = (ApprovalId::from_uuid(uuid::Uuid::nil()), StepKey::new("a"));
        hands.apply(&EventBody::ApprovalExpired { approval, step });
        hands.forget_decided(|_| false);
        assert_eq!(hands.approval(&StepKey::new("a")), None);
        assert!(hands.approval(&StepKey::new("b")).is_some());
    }
}
