//! Between typed bodies and the events of a journal.

use jiff::Timestamp;
use serde::{Deserialize as _, de::value::MapDeserializer};
use serde_json::Value;

use super::{DecodeEventError, Event, EventBody, NewEvent, Payload};
use crate::{
    id::{ArtifactId, StepKey},
    tool::{Fact, KeptArtifact},
};

impl EventBody {
    /// The step it is about.
    #[must_use]
    pub const fn step(&self) -> Option<&StepKey> {
        match self {
            Self::StepStarted { step, .. }
            | Self::StepSucceeded { step }
            | Self::StepFailed { step, .. }
            | Self::StepRetrying { step, .. }
            | Self::StepSkipped { step }
            | Self::StepCanceled { step, .. }
            | Self::StepIndeterminate { step, .. }
            | Self::StepUnknown { step, .. }
            | Self::StepResolved { step, .. }
            | Self::LlmStarted { step, .. }
            | Self::LlmHeartbeat { step, .. }
            | Self::LlmCompleted { step, .. }
            | Self::LlmAttemptRestarted { step, .. }
            | Self::LlmCharged { step, .. }
            | Self::ContextFull { step, .. }
            | Self::ContextCompacted { step, .. }
            | Self::ToolStarted { step, .. }
            | Self::ToolCompleted { step, .. }
            | Self::ToolFailed { step, .. }
            | Self::FileWritten { step, .. }
            | Self::FileRemoved { step, .. }
            | Self::GitChanged { step, .. }
            | Self::CodeCalled { step, .. }
            | Self::CodeDropped { step }
            | Self::CodeReturned { step, .. }
            | Self::ApprovalRequested { step, .. }
            | Self::ApprovalResolved { step, .. }
            | Self::ApprovalExpired { step, .. }
            | Self::ChildStarted { step, .. }
            | Self::ChildFinished { step, .. }
            | Self::TimerSet { step, .. }
            | Self::TimerFired { step } => Some(step),
            Self::RunParked { step, .. } | Self::ArtifactCreated { step, .. } => step.as_ref(),
            Self::RunQueued { .. }
            | Self::RunClaimed { .. }
            | Self::RunReleased { .. }
            | Self::RunForked { .. }
            | Self::RunPauseRequested {}
            | Self::RunPaused {}
            | Self::RunResumed {}
            | Self::RunCancelRequested { .. }
            | Self::RunCanceled { .. }
            | Self::RunCompleted { .. }
            | Self::RunFailed { .. }
            | Self::BudgetWarning { .. }
            | Self::BudgetExceeded { .. }
            | Self::BudgetChanged { .. }
            | Self::CodeRecorded { .. }
            | Self::CodeFinished { .. }
            | Self::DirectiveReceived { .. }
            | Self::SignalReceived { .. } => None,
        }
    }

    /// The event of an artifact.
    #[must_use]
    pub fn of_artifact(step: Option<StepKey>, artifact: ArtifactId, kept: KeptArtifact) -> Self {
        let KeptArtifact { name, kind, media_type, size, sha256, uri } = kept;
        Self::ArtifactCreated { step, artifact, name, kind, media_type, size, sha256, uri }
    }

    /// The event of what a tool changed.
    #[must_use]
    pub fn of_fact(step: StepKey, fact: Fact) -> Self {
        match fact {
            Fact::FileWritten { path, sha256, bytes, created } => {
                Self::FileWritten { step, path, sha256, bytes, created }
            }
            Fact::FileRemoved { path, moved_to } => Self::FileRemoved { step, path, moved_to },
            Fact::Git { action, branch, remote, from, to } => {
                Self::GitChanged { step, action, branch, remote, from, to }
            }
        }
    }

    /// The event for the journal.
    #[must_use]
    pub fn to_new(&self, at: Timestamp) -> NewEvent {
        NewEvent {
            kind: self.kind().to_owned(),
            step: self.step().cloned(),
            payload: self.payload(),
            blob: None,
            at,
        }
    }

    /// The payload alone. A body is written as its type and then its payload, so that is what stands
    /// between the two.
    fn payload(&self) -> Payload {
        let around = format!(r#"{{"type":"{}","payload":"#, self.kind());
        // Writing our own types cannot fail: no map has keys other than strings.
        let text = serde_json::to_string(self).unwrap_or_default();
        let payload = text.strip_prefix(&around).and_then(|rest| rest.strip_suffix('}'));
        debug_assert!(
            payload.is_some(),
            "a body is not written as its kind and its payload: {text}"
        );
        Payload::of_json(payload.unwrap_or("{}"))
    }

    /// The typed content of a stored event; `None` for a type this version does not know, which
    /// readers skip.
    ///
    /// # Errors
    /// A known type whose payload does not fit.
    pub fn from_event(event: &Event) -> Result<Option<Self>, DecodeEventError> {
        if !Self::KINDS.contains(&event.kind.as_str()) {
            return Ok(None);
        }
        // As `{"type": …, "payload": …}`, without a copy of the payload.
        let kind = Value::from(event.kind.as_str());
        let fields = [("type", &kind), ("payload", &event.payload)];
        let tagged = MapDeserializer::new(fields.into_iter());
        Self::deserialize(tagged).map(Some).map_err(|source| DecodeEventError {
            seq: event.seq,
            kind: event.kind.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::RunId, run::RunError};

    #[test]
    fn a_body_survives_the_journal() {
        let bodies = [
            EventBody::RunPaused {},
            EventBody::StepSucceeded { step: StepKey::new("turn.1.model") },
            EventBody::RunFailed {
                error: RunError {
                    reason: crate::run::FailureReason::MaxSteps,
                    message: "too long".into(),
                },
            },
        ];
        for body in bodies {
            let new = body.to_new(Timestamp::UNIX_EPOCH);
            let event = Event {
                run_id: RunId::from_uuid(uuid::Uuid::nil()),
                seq: 1,
                epoch: 1,
                kind: new.kind,
                step: new.step,
                payload: new.payload.to_value().unwrap(),
                blob: None,
                at: new.at,
            };
            assert_eq!(EventBody::from_event(&event).unwrap(), Some(body));
        }
    }
}
