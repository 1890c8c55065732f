//! What people say about calls that wait for them.

use serde_json::Value;

use super::{
    Engine, EngineError, EngineErrorKind, ask::ASK_TOOL, control::busy, journal, new_run::Wrong,
};
use crate::{
    approval::{Approval, ApprovalDecision, ApprovalKind, ApprovalStatus},
    event::{Event, EventBody},
    id::{ApprovalId, ProjectId, RunId},
    limits,
    message::{clean_text, clean_value},
    policy::{Asked, ToolPolicy, Verdict},
    run::{ParkReason, Run},
    schema::Schema,
    store::{ApprovalQuery, EventQuery, Ready},
    tool::Risk,
};

/// Which approvals to list. Every condition that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// With this status.
    pub status: Option<ApprovalStatus>,
    /// Of this run.
    pub run_id: Option<RunId>,
    /// Of this project.
    pub project_id: Option<ProjectId>,
    /// With a greater id.
    pub after: Option<ApprovalId>,
}

/// An approval with what is asked and what was answered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ApprovalDetail {
    /// Where it stands.
    pub approval: Approval,
    /// What is asked.
    pub kind: ApprovalKind,
    /// Which tool.
    pub tool: String,
    /// With what.
    pub arguments: Value,
    /// What the approval is bound to.
    pub arguments_sha256: String,
    /// The harm that the call can do.
    pub risk: Risk,
    /// Why a person is asked.
    pub reason: String,
    /// The person's word.
    pub decision: Option<ApprovalDecision>,
    /// What the person added.
    pub comment: Option<String>,
    /// Who it was, as they say.
    pub by: Option<String>,
}

/// A person's word on an approval.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDecision {
    /// The word.
    pub decision: ApprovalDecision,
    /// What the person adds; the model reads it.
    pub comment: Option<String>,
    /// Who it is, as they say.
    pub by: Option<String>,
    /// What the person saw: refused when the approval is bound to something else.
    pub arguments_sha256: Option<String>,
}

fn gone(what: impl Into<String>) -> EngineError {
    EngineError::new(EngineErrorKind::Gone, what)
}

fn conflict(what: impl Into<String>) -> EngineError {
    EngineError::new(EngineErrorKind::Conflict, what)
}

impl Engine {
    /// Approvals that fit, oldest first, at most `limit`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn approvals(
        &self,
        filter: &ApprovalFilter,
        limit: usize,
    ) -> Result<Vec<ApprovalDetail>, EngineError> {
        let query = ApprovalQuery {
            status: filter.status,
            run_id: filter.run_id,
            project_id: filter.project_id,
            after: filter.after,
            limit,
        };
        let mut details = Vec::new();
        for approval in self.inner.store.approvals(&query).await? {
            details.push(self.detail(approval).await?);
        }
        Ok(details)
    }

    /// One approval.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn approval(&self, id: ApprovalId) -> Result<ApprovalDetail, EngineError> {
        let approval = self.inner.store.approval(id).await?;
        self.detail(approval).await
    }

    /// Decides about an approval. The run goes on at once.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for one that was decided, or for another call than the person saw;
    /// `Gone` for one that expired or whose run ended; `Validation` for arguments or an answer
    /// that do not fit.
    pub async fn resolve_approval(
        &self,
        id: ApprovalId,
        new: NewDecision,
    ) -> Result<ApprovalDetail, EngineError> {
        let new = cleaned(new);
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            let inner = &self.inner;
            let detail = self.approval(id).await?;
            let run = inner.store.run(detail.approval.run_id).await?;
            self.check_open(&detail, &run)?;
            self.check_decision(&detail, &run, &new).await?;
            let mut batch = inner.command(&run);
            let body = EventBody::ApprovalResolved {
                approval: id,
                step: detail.approval.step.clone(),
                decision: new.decision.clone(),
                comment: new.comment.clone(),
                by: new.by.clone(),
            };
            let now = inner.clock.now();
            journal::push(&mut batch, &body, now);
            let parked = run.park.as_ref().is_some_and(|park| {
                use ParkReason::{Approval, Ask, Signal, Timer};
                matches!(park.reason, Approval | Ask | Signal | Timer)
            });
            if parked && run.owner.is_none() && !run.pause_requested {
                batch.patch.park = Some(None);
                batch.ready = Ready::At(now);
            }
            if inner.write(&run, batch).await? {
                return self.approval(id).await;
            }
        }
        Err(busy(self.inner.store.approval(id).await?.run_id))
    }

    fn check_open(&self, detail: &ApprovalDetail, run: &Run) -> Result<(), EngineError> {
        let Approval { id, status, expires_at, .. } = detail.approval;
        match status {
            ApprovalStatus::Pending => {}
            ApprovalStatus::Expired => return Err(gone(format!("approval {id} has expired"))),
            ApprovalStatus::Withdrawn => {
                return Err(gone(format!("approval {id} is not needed any more: its run ended")));
            }
            decided => {
                let word = decided.as_str();
                return Err(conflict(format!("approval {id} is {word} already")));
            }
        }
        if expires_at <= self.inner.clock.now() {
            return Err(gone(format!("approval {id} has expired")));
        }
        if run.status.is_terminal() || run.cancel_requested {
            return Err(gone(format!("approval {id} is not needed any more: its run ends")));
        }
        Ok(())
    }

    async fn check_decision(
        &self,
        detail: &ApprovalDetail,
        run: &Run,
        new: &NewDecision,
    ) -> Result<(), EngineError> {
        if new.arguments_sha256.as_ref().is_some_and(|seen| *seen != detail.arguments_sha256) {
            return Err(conflict("the approval is for other arguments than these: read it again"));
        }
        let mut wrong = Wrong::default();
        if new.comment.as_ref().is_some_and(|comment| comment.len() > limits::TEXT_BYTES_MAX) {
            wrong.add("/comment", format!("longer than {} bytes", limits::TEXT_BYTES_MAX));
        }
        if new.by.as_ref().is_some_and(|by| by.is_empty() || by.len() > 200) {
            wrong.add("/by", "must have 1 to 200 bytes");
        }
        match (&new.decision, detail.kind) {
            (ApprovalDecision::Approve | ApprovalDecision::Edit { .. }, ApprovalKind::Question) => {
                wrong.add("/decision", "a question is answered or rejected");
            }
            (ApprovalDecision::Edit { arguments }, ApprovalKind::Call) => {
                self.check_arguments(&detail.tool, arguments, run, &mut wrong).await?;
            }
            (ApprovalDecision::Answer { output }, _) => check_answer(detail, output, &mut wrong),
            (ApprovalDecision::Approve, ApprovalKind::Call) | (ApprovalDecision::Reject, _) => {}
        }
        wrong.into_result()
    }

    /// Arguments of a person have to fit the tool and what the policies deny, like a model's.
    async fn check_arguments(
        &self,
        name: &str,
        arguments: &Value,
        run: &Run,
        wrong: &mut Wrong,
    ) -> Result<(), EngineError> {
        let Some(registered) = self.inner.tools.registered(name) else {
            wrong.add("/decision", format!("this program has no tool `{name}` any more"));
            return Ok(());
        };
        for violation in registered.schema.check(arguments).err().into_iter().flatten() {
            wrong.add("/payload", violation);
        }
        let project = self.inner.project(run.project_id).await?;
        let of_project = project.as_ref().map(|project| &project.settings.tools);
        let asked = Asked {
            tool: name,
            arguments,
            risk: registered.tool.risk(arguments),
            untrusted: false,
            calls: 0,
            calls_of_tool: 0,
        };
        let policies = of_project.into_iter().chain(&run.spec.tool_policy);
        let attended: Vec<ToolPolicy> =
            policies.map(|policy| ToolPolicy { unattended: false, ..policy.clone() }).collect();
        if let Verdict::Deny(why) = ToolPolicy::decide_all(&attended, &asked) {
            wrong.add("/payload", why);
        }
        Ok(())
    }

    async fn detail(&self, approval: Approval) -> Result<ApprovalDetail, EngineError> {
        let asked = self.body(&approval, approval.requested_seq).await?;
        let Some(EventBody::ApprovalRequested {
            kind,
            tool,
            arguments,
            arguments_sha256,
            risk,
            reason,
            ..
        }) = asked
        else {
            return Err(EngineError::new(
                EngineErrorKind::Internal,
                format!("the event of approval {} is not in its run's journal", approval.id),
            ));
        };
        let answered = match approval.resolved_seq {
            Some(seq) => self.body(&approval, seq).await?,
            None => None,
        };
        let (decision, comment, by) = match answered {
            Some(EventBody::ApprovalResolved { decision, comment, by, .. }) => {
                (Some(decision), comment, by)
            }
            _ => (None, None, None),
        };
        Ok(ApprovalDetail {
            approval,
            kind,
            tool,
            arguments,
            arguments_sha256,
            risk,
            reason,
            decision,
            comment,
            by,
        })
    }

    async fn body(&self, approval: &Approval, seq: u64) -> Result<Option<EventBody>, EngineError> {
        let mut query = EventQuery::after(seq.saturating_sub(1));
        query.limit = 1;
        let events: Vec<Event> = self.inner.store.events(approval.run_id, &query).await?;
        let Some(event) = events.into_iter().next() else { return Ok(None) };
        let event = journal::whole(&*self.inner.store, event).await?;
        EventBody::from_event(&event)
            .map_err(|error| EngineError::new(EngineErrorKind::Internal, error.to_string()))
    }
}

fn cleaned(mut new: NewDecision) -> NewDecision {
    match &mut new.decision {
        ApprovalDecision::Edit { arguments: value }
        | ApprovalDecision::Answer { output: value } => clean_value(value),
        ApprovalDecision::Approve | ApprovalDecision::Reject => {}
    }
    for text in [&mut new.comment, &mut new.by].into_iter().flatten() {
        clean_text(text);
    }
    new
}

/// An answer to a question fits the schema that the agent gave; without one it is a text.
fn check_answer(detail: &ApprovalDetail, output: &Value, wrong: &mut Wrong) {
    if output.to_string().len() > limits::TEXT_BYTES_MAX {
        wrong.add("/payload", format!("larger than {} bytes", limits::TEXT_BYTES_MAX));
    }
    if detail.tool != ASK_TOOL {
        return;
    }
    match detail.arguments.get("schema").map(Schema::compile) {
        // A schema that is none binds nobody.
        Some(Err(_)) => {}
        Some(Ok(schema)) => {
            for violation in schema.check(output).err().into_iter().flatten() {
                wrong.add("/payload", violation);
            }
        }
        None if output.is_string() => {}
        None => wrong.add("/payload", "the answer is a text"),
    }
}
