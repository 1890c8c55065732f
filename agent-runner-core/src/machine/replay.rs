//! Replays a journal: each decision in it must be the one that the machine takes from what stands
//! before it.

use std::fmt;

use super::{ApplyError, MachineCommand, RunState};
use crate::{
    event::{EventBody, quote},
    id::StepKey,
    run::{FailureReason, RunStatus},
    step::StepKind,
};

/// A journal that is being replayed. No model, tool or clock takes part: what they said is in the
/// journal, and what is left, the machine's own decisions, must come out again.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    state: RunState,
    events: u64,
    decisions: u64,
    cancel_requested: bool,
}

/// The first event of a journal that this program would not have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} (`{kind}`) differs: the journal says {journal}; this program {machine}")]
#[non_exhaustive]
pub struct Divergence {
    /// Its number.
    pub seq: u64,
    /// Its type.
    pub kind: &'static str,
    /// What was decided then.
    pub journal: String,
    /// What is decided now.
    pub machine: String,
}

impl Divergence {
    pub(crate) const fn new(
        seq: u64,
        kind: &'static str,
        journal: String,
        machine: String,
    ) -> Self {
        Self { seq, kind, journal, machine }
    }
}

impl Replay {
    /// Takes the next event in.
    ///
    /// # Errors
    /// [`Divergence`] for a decision that is not taken again, and for an event that cannot be here.
    pub fn take(&mut self, seq: u64, event: &EventBody) -> Result<(), Divergence> {
        let differs = |journal: String, machine: String| Divergence {
            seq,
            kind: event.kind(),
            journal,
            machine,
        };
        if let Some(decided) = Decided::of(event) {
            let now = self.state.next();
            if !self.agrees(&decided, &now) {
                return Err(differs(decided.to_string(), said(&now)));
            }
            self.decisions += 1;
        }
        self.cancel_requested |= matches!(event, EventBody::RunCancelRequested { .. });
        self.events += 1;
        let refused = |error: ApplyError| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            differs("that it happened".to_owned(), format!("cannot take it in: {error}{cause}"))
        };
        self.state.apply(seq, event).map_err(refused)
    }

    fn agrees(&self, decided: &Decided<'_>, now: &[MachineCommand]) -> bool {
        match decided {
            Decided::Model { step } => now.iter().any(|command| match command {
                MachineCommand::CallModel { step: now } => now == *step,
                MachineCommand::Compact { compaction } => compaction.step == **step,
                _ => false,
            }),
            Decided::Tool { step, call_id, tool, arguments } => now.iter().any(|command| {
                let MachineCommand::CallTool { step: now, call } = command else { return false };
                let wanted = self.state.hands().edited(step).unwrap_or(&call.arguments);
                now == *step && call.id == *call_id && call.name == *tool && wanted == *arguments
            }),
            Decided::Function { step } => now.iter().any(|command| {
                matches!(command, MachineCommand::CallFunction { step: now, .. } if now == *step)
            }),
            Decided::Complete { output } => {
                matches!(now.first(), Some(MachineCommand::Complete { output: now }) if now == *output)
            }
            // Time that ran out is no decision of the machine.
            Decided::Fail { reason: FailureReason::Deadline, .. } => true,
            Decided::Fail { reason, message } => {
                matches!(now.first(), Some(MachineCommand::Fail { error })
                    if error.reason == *reason && error.message == *message)
            }
            Decided::Cancel => self.cancel_requested,
        }
    }

    /// The run as it is after the events so far.
    #[must_use]
    pub const fn state(&self) -> &RunState {
        &self.state
    }

    /// Events taken in.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Decisions among them that were taken again.
    #[must_use]
    pub const fn decisions(&self) -> u64 {
        self.decisions
    }

    /// Whether the run has ended.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        self.state.status()
    }
}

/// A decision as an event tells it.
#[derive(Debug)]
enum Decided<'a> {
    Model { step: &'a StepKey },
    Function { step: &'a StepKey },
    Tool { step: &'a StepKey, call_id: &'a str, tool: &'a str, arguments: &'a serde_json::Value },
    Complete { output: &'a serde_json::Value },
    Fail { reason: FailureReason, message: &'a str },
    Cancel,
}

impl<'a> Decided<'a> {
    fn of(event: &'a EventBody) -> Option<Self> {
        Some(match event {
            EventBody::StepStarted { step, step_kind: StepKind::Model, .. } => Self::Model { step },
            EventBody::StepStarted { step, step_kind: StepKind::Function, .. } => {
                Self::Function { step }
            }
            EventBody::ToolStarted { step, call_id, tool, arguments, .. } => {
                Self::Tool { step, call_id, tool, arguments }
            }
            EventBody::RunCompleted { output } => Self::Complete { output },
            EventBody::RunFailed { error } => {
                Self::Fail { reason: error.reason, message: &error.message }
            }
            EventBody::RunCanceled { .. } => Self::Cancel,
            _ => return None,
        })
    }
}

impl fmt::Display for Decided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { step } => write!(f, "that {step} asked the model"),
            Self::Function { step } => write!(f, "that {step} ran a function of the code"),
            Self::Tool { step, tool, arguments, .. } => {
                write!(f, "that {step} called {tool} with {}", quote(&arguments.to_string()))
            }
            Self::Complete { output } => {
                write!(f, "that the run ended with {}", quote(&output.to_string()))
            }
            Self::Fail { message, .. } => write!(f, "that the run failed: {}", quote(message)),
            Self::Cancel => f.write_str("that the run was canceled"),
        }
    }
}

/// What the machine wants, in words.
fn said(commands: &[MachineCommand]) -> String {
    let one = |command: &MachineCommand| match command {
        MachineCommand::CallModel { step } => format!("asks the model in {step}"),
        MachineCommand::Compact { compaction } => {
            format!("makes the conversation shorter in {}", compaction.step)
        }
        MachineCommand::CallTool { step, call } => {
            format!("calls {} in {step} with {}", call.name, quote(&call.arguments.to_string()))
        }
        MachineCommand::GoOn => "lets the code go on".to_owned(),
        MachineCommand::CallFunction { step, .. } => format!("runs a function in {step}"),
        MachineCommand::Abandon { step } => format!("stops {step}"),
        MachineCommand::Complete { output } => format!("ends with {}", quote(&output.to_string())),
        MachineCommand::Fail { error } => format!("fails: {}", quote(&error.message)),
    };
    match commands {
        [] => "does nothing more".to_owned(),
        commands => commands.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        agent::{AgentSpec, ModelName, ToolMode},
        event::Reply,
        id::WorkerId,
        llm::{StopReason, Usage},
        message::{Message, Role, ToolCall},
        run::{RunError, RunSpec},
        step::EffectPolicy,
    };

    fn step(key: &str, step_kind: StepKind) -> EventBody {
        EventBody::StepStarted {
            step: StepKey::new(key),
            step_kind,
            name: "n".to_owned(),
            policy: EffectPolicy::Idempotent,
            attempt: 1,
        }
    }

    fn done(key: &str) -> EventBody {
        EventBody::StepSucceeded { step: StepKey::new(key) }
    }

    fn asked(key: &str, reply: Reply) -> [EventBody; 4] {
        let key = StepKey::new(key);
        [
            step(key.as_str(), StepKind::Model),
            EventBody::LlmStarted {
                step: key.clone(),
                attempt: 1,
                model: ModelName::new("test", "model"),
                tool_mode: ToolMode::Native,
                directives_upto: 0,
                estimated_tokens: 0,
            },
            EventBody::LlmCompleted {
                step: key.clone(),
                reply_message: Message::text(Role::Assistant, "said"),
                reply,
                stop: StopReason::EndTurn,
                usage: Usage::default(),
                elapsed_ms: 1,
                cost: None,
                answered_by: None,
                request_id: None,
                notices: Vec::new(),
            },
            done(key.as_str()),
        ]
    }

    fn called(tool: &str, arguments: Value) -> EventBody {
        EventBody::ToolStarted {
            step: StepKey::new("turn.1.tool.1"),
            call_id: "c".to_owned(),
            tool: tool.to_owned(),
            arguments,
            attempt: 1,
        }
    }

    /// A run that calls a tool once and answers; the numbers are those of its events.
    fn journal() -> Vec<EventBody> {
        let call = ToolCall {
            id: "c".to_owned(),
            name: "t".to_owned(),
            arguments: json!({"n": 1}),
            provider_state: None,
        };
        let spec = RunSpec::new("goal", AgentSpec::new(ModelName::new("test", "model")));
        let claimed = EventBody::RunClaimed {
            worker: WorkerId::from_uuid(uuid::Uuid::nil()),
            epoch: 1,
            recovered: false,
        };
        let mut events = vec![EventBody::RunQueued { spec: Box::new(spec) }, claimed];
        events.extend(asked("turn.1.model", Reply::ToolCalls { calls: vec![call] }));
        events.extend([
            step("turn.1.tool.1", StepKind::Tool),
            called("t", json!({"n": 1})),
            EventBody::ToolCompleted {
                step: StepKey::new("turn.1.tool.1"),
                call_id: "c".to_owned(),
                tool: "t".to_owned(),
                output: json!("out"),
                model_bytes_max: 100,
                elapsed_ms: 1,
                untrusted: None,
            },
            done("turn.1.tool.1"),
        ]);
        events.extend(asked("turn.2.model", Reply::Answer { output: json!("x") }));
        events.push(EventBody::RunCompleted { output: json!("x") });
        events
    }

    fn replay(events: &[EventBody]) -> Result<Replay, Divergence> {
        let mut replay = Replay::default();
        for (seq, event) in (1..).zip(events) {
            replay.take(seq, event)?;
        }
        Ok(replay)
    }

    #[test]
    fn a_journal_leads_to_its_own_decisions() {
        let replay = replay(&journal()).unwrap();
        assert_eq!(replay.status(), RunStatus::Completed);
        assert_eq!((replay.events(), replay.decisions()), (15, 4));
    }

    #[test]
    fn the_first_decision_that_is_not_taken_again_is_named() {
        let failed = |reason| {
            let error = RunError { reason, message: "enough".to_owned() };
            EventBody::RunFailed { error }
        };
        for (seq, other, words) in [
            (3, step("turn.2.model", StepKind::Model), ["turn.2.model asked", "in turn.1.model"]),
            (8, called("t", json!({"n": 2})), [r#"{"n":2}"#, r#"{"n":1}"#]),
            (8, called("u", json!({"n": 1})), ["called u", "calls t"]),
            (11, step("turn.1.model", StepKind::Model), ["turn.1.model asked", "turn.2.model"]),
            (15, EventBody::RunCompleted { output: json!("y") }, ["\"y\"", "ends with \"x\""]),
            (15, failed(FailureReason::Provider), ["enough", "ends with \"x\""]),
            (15, EventBody::RunCanceled { reason: None }, ["canceled", "ends with \"x\""]),
            (11, EventBody::RunCompleted { output: json!("x") }, ["ended", "asks the model"]),
        ] {
            let mut events = journal();
            events[seq - 1] = other;
            let divergence = replay(&events).unwrap_err();
            assert_eq!(divergence.seq, seq as u64, "{divergence}");
            for word in words {
                assert!(divergence.to_string().contains(word), "{divergence}");
            }
        }
    }

    #[test]
    fn what_cannot_be_in_a_journal_is_named_too() {
        let mut after_the_end = journal();
        after_the_end.push(EventBody::RunCompleted { output: json!("x") });
        assert_eq!(replay(&after_the_end).unwrap_err().seq, 16);
        let mut twice = journal();
        twice.insert(6, done("turn.1.model"));
        let divergence = replay(&twice).unwrap_err();
        assert_eq!((divergence.seq, divergence.kind), (7, "step.succeeded"), "{divergence}");
    }

    #[test]
    fn time_and_people_end_a_run_without_its_machine() {
        let mut late = journal();
        late.truncate(10);
        let error = RunError { reason: FailureReason::Deadline, message: "late".to_owned() };
        late.push(EventBody::RunFailed { error });
        assert_eq!(replay(&late).unwrap().status(), RunStatus::Failed);
        let mut canceled = journal();
        canceled.truncate(10);
        canceled.push(EventBody::RunCancelRequested { reason: None });
        canceled.push(EventBody::RunCanceled { reason: None });
        assert_eq!(replay(&canceled).unwrap().status(), RunStatus::Canceled);
    }
}
