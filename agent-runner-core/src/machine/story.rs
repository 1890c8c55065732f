//! What a journal tells, so that two can be compared: what was said, decided and done, without the
//! moments, workers and ids that are never the same twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    event::{EventBody, Reply},
    id::StepKey,
    message::{Message, Part, ToolCall},
};

/// A hash of what an event tells.
type Told = [u8; 32];

/// What a journal tells, event by event: 40 bytes of each that tells something.
#[derive(Debug, Clone, Default)]
pub struct Story {
    told: Vec<(u64, Told)>,
    results: BTreeMap<StepKey, Told>,
}

/// Where two journals part: the number of the first event in each that the other does not tell
/// likewise. `None` in one that ended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two journals, two numbers")]
pub struct Parting {
    /// In the first.
    pub left: Option<u64>,
    /// In the second.
    pub right: Option<u64>,
}

impl Story {
    /// Takes the next event in.
    pub fn take(&mut self, seq: u64, event: &EventBody) {
        let Some(told) = told(event) else { return };
        // A map of `Value` is sorted, so the same content is the same text.
        let hash: Told = Sha256::digest(told.to_string()).into();
        self.told.push((seq, hash));
        if let Some(step) = event.step().filter(|_| is_result(event)) {
            self.results.insert(step.clone(), hash);
        }
    }

    /// Where two stories part; `None` when they tell the same.
    #[must_use]
    pub fn parting(&self, other: &Self) -> Option<Parting> {
        let alike = self.told.iter().zip(&other.told).take_while(|(a, b)| a.1 == b.1).count();
        let at = |story: &Self| story.told.get(alike).map(|(seq, _)| *seq);
        let parting = Parting { left: at(self), right: at(other) };
        (parting != Parting { left: None, right: None }).then_some(parting)
    }

    /// Whether a step came to the same in both, as far as it came to anything.
    #[must_use]
    pub fn same_result(&self, other: &Self, step: &StepKey) -> bool {
        self.results.get(step) == other.results.get(step)
    }
}

/// Whether it is what a step came to.
const fn is_result(event: &EventBody) -> bool {
    use EventBody as E;
    matches!(
        event,
        E::LlmCompleted { .. }
            | E::ContextCompacted { .. }
            | E::ToolCompleted { .. }
            | E::ToolFailed { .. }
            | E::CodeReturned { .. }
            | E::ChildFinished { .. }
            | E::StepFailed { .. }
            | E::StepIndeterminate { .. }
    )
}

/// What an event tells; `None` for those that only say who did it, when, and what it took.
fn told(event: &EventBody) -> Option<Value> {
    use EventBody as E;
    let kind = event.kind();
    Some(match event {
        E::LlmCompleted { step, reply_message, reply, .. } => {
            json!([kind, step, said(reply_message), meant(reply)])
        }
        E::ContextCompacted { step, summary, .. } => json!([kind, step, summary]),
        E::ToolStarted { step, tool, arguments, attempt: 1, .. } => {
            json!([kind, step, tool, arguments])
        }
        E::ToolCompleted { step, output, .. } => json!([kind, step, output]),
        E::ToolFailed { step, error, for_model, .. } => json!([kind, step, error, for_model]),
        E::StepFailed { step, error } => json!([kind, step, error]),
        E::StepSkipped { step }
        | E::StepCanceled { step, .. }
        | E::StepIndeterminate { step, .. } => {
            json!([kind, step])
        }
        E::CodeCalled { step, call, name, input, .. } => json!([kind, step, call, name, input]),
        E::ChildStarted { step, name, detached, .. } => json!([kind, step, name, detached]),
        E::ChildFinished { step, end, .. } => json!([kind, step, end]),
        E::CodeReturned { step, output, error, .. } => json!([kind, step, output, error]),
        E::CodeFinished { output, error } => json!([kind, output, error]),
        E::StepResolved { step, resolution } => json!([kind, step, resolution]),
        E::ApprovalResolved { step, decision, comment, .. } => {
            json!([kind, step, decision, comment])
        }
        E::ApprovalExpired { step, .. } | E::CodeDropped { step } => json!([kind, step]),
        E::DirectiveReceived { text, mode, .. } => json!([kind, text, mode]),
        E::SignalReceived { name, data, .. } => json!([kind, name, data]),
        E::RunCompleted { output } => json!([kind, output]),
        E::RunFailed { error } => json!([kind, error]),
        E::RunCanceled { .. } => json!([kind]),
        E::RunQueued { .. }
        | E::RunClaimed { .. }
        | E::RunReleased { .. }
        | E::RunForked { .. }
        | E::RunPauseRequested {}
        | E::RunPaused {}
        | E::RunResumed {}
        | E::RunParked { .. }
        | E::RunCancelRequested { .. }
        | E::StepStarted { .. }
        | E::StepSucceeded { .. }
        | E::StepRetrying { .. }
        | E::StepUnknown { .. }
        | E::LlmStarted { .. }
        | E::LlmHeartbeat { .. }
        | E::LlmCharged { .. }
        | E::LlmAttemptRestarted { .. }
        | E::ContextFull { .. }
        | E::BudgetWarning { .. }
        | E::BudgetExceeded { .. }
        | E::BudgetChanged { .. }
        | E::CodeRecorded { .. }
        | E::ToolStarted { .. }
        | E::FileWritten { .. }
        | E::FileRemoved { .. }
        | E::GitChanged { .. }
        | E::ArtifactCreated { .. }
        | E::ApprovalRequested { .. }
        | E::TimerSet { .. }
        | E::TimerFired { .. } => return None,
    })
}

/// A message without the ids and states of its provider.
fn said(message: &Message) -> Vec<Value> {
    let parts = message.parts.iter().map(|part| match part {
        Part::Text { text, .. } => json!(["text", text]),
        Part::Reasoning { text, .. } => json!(["reasoning", text]),
        Part::ToolCall(call) => asked(call),
        Part::ToolResult { name, text, is_error, .. } => json!(["result", name, text, is_error]),
    });
    parts.collect()
}

fn asked(call: &ToolCall) -> Value {
    json!(["call", call.name, call.arguments])
}

fn meant(reply: &Reply) -> Value {
    match reply {
        Reply::ToolCalls { calls } => json!(calls.iter().map(asked).collect::<Vec<_>>()),
        Reply::Answer { output } => json!({ "answer": output }),
        Reply::Continue {} => json!("continue"),
        Reply::ContextFull {} => json!("context_full"),
        Reply::Summary { text } => json!({ "summary": text }),
        Reply::Invalid { problem } => json!({ "invalid": problem }),
        Reply::Failure { error } => json!({ "failure": error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directive::DirectiveMode,
        id::WorkerId,
        llm::{StopReason, Usage},
        message::Role,
        tool::ToolErrorKind,
    };

    fn step() -> StepKey {
        StepKey::new("turn.1.tool.1")
    }

    fn reply(id: &str, n: i64, elapsed_ms: u64) -> EventBody {
        let call = ToolCall {
            id: id.to_owned(),
            name: "t".to_owned(),
            arguments: json!({ "n": n }),
            provider_state: None,
        };
        let message = Message { role: Role::Assistant, parts: vec![Part::ToolCall(call.clone())] };
        EventBody::LlmCompleted {
            step: StepKey::new("turn.1.model"),
            reply_message: message,
            reply: Reply::ToolCalls { calls: vec![call] },
            stop: StopReason::EndTurn,
            usage: Usage::default(),
            elapsed_ms,
            cost: None,
            answered_by: None,
            request_id: Some(id.to_owned()),
            notices: Vec::new(),
        }
    }

    fn output(output: &str, elapsed_ms: u64) -> EventBody {
        EventBody::ToolCompleted {
            step: step(),
            call_id: elapsed_ms.to_string(),
            tool: "t".to_owned(),
            output: json!(output),
            model_bytes_max: 9,
            elapsed_ms,
            untrusted: None,
        }
    }

    fn refused(for_model: &str) -> EventBody {
        EventBody::ToolFailed {
            step: step(),
            call_id: "c".to_owned(),
            tool: "t".to_owned(),
            error: ToolErrorKind::InvalidArgs,
            for_model: for_model.to_owned(),
            untrusted: None,
        }
    }

    fn message(id: &str, text: &str) -> EventBody {
        let mode = DirectiveMode::NextStep;
        EventBody::DirectiveReceived { id: id.to_owned(), text: text.to_owned(), mode }
    }

    fn claimed() -> EventBody {
        let worker = WorkerId::from_uuid(uuid::Uuid::nil());
        EventBody::RunClaimed { worker, epoch: 1, recovered: false }
    }

    fn story(events: &[EventBody]) -> Story {
        let mut story = Story::default();
        for (seq, event) in (1..).zip(events) {
            story.take(seq, event);
        }
        story
    }

    #[test]
    fn journals_part_where_they_tell_something_else() {
        let end = |output: &str| EventBody::RunCompleted { output: json!(output) };
        let parting = |left, right| Some(Parting { left, right });
        let empty: [EventBody; 0] = [];
        for (left, right, want) in [
            (&empty[..], &empty[..], None),
            (&[claimed()], &empty, None),
            // Ids, times and who did it do not count.
            (
                &[reply("a", 1, 5), output("x", 1)],
                &[claimed(), reply("b", 1, 9), output("x", 2)],
                None,
            ),
            (&[message("a", "hi")], &[message("b", "hi")], None),
            (&[message("a", "hi")], &[message("a", "ho")], parting(Some(1), Some(1))),
            (&[reply("a", 1, 5)], &[claimed(), reply("a", 2, 5)], parting(Some(1), Some(2))),
            (&[output("x", 1)], &[output("y", 1)], parting(Some(1), Some(1))),
            (&[refused("no")], &[refused("never")], parting(Some(1), Some(1))),
            (&[output("x", 1)], &[refused("no")], parting(Some(1), Some(1))),
            (&[output("x", 1), end("e")], &[claimed(), output("x", 1)], parting(Some(2), None)),
            (&[output("x", 1)], &[output("x", 1), claimed(), end("e")], parting(None, Some(3))),
            (&[end("e")], &[EventBody::RunCanceled { reason: None }], parting(Some(1), Some(1))),
        ] {
            let (one, two) = (story(left), story(right));
            assert_eq!(one.parting(&two), want, "{left:?} {right:?}");
            let mirrored = want.map(|p| Parting { left: p.right, right: p.left });
            assert_eq!(two.parting(&one), mirrored);
        }
    }

    #[test]
    fn a_step_came_to_the_same_when_its_result_is() {
        let same = |left: &[EventBody], right: &[EventBody]| {
            story(left).same_result(&story(right), &step())
        };
        assert!(same(&[], &[claimed()]));
        assert!(same(&[output("x", 1)], &[claimed(), output("x", 2)]));
        assert!(!same(&[output("x", 1)], &[output("y", 1)]));
        assert!(!same(&[output("x", 1)], &[refused("no")]));
        assert!(!same(&[output("x", 1)], &[]));
        // What it came to last counts.
        assert!(same(&[refused("no"), output("x", 1)], &[output("x", 1)]));
    }
}
