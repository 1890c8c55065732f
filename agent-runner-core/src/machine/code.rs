//! The code machine: what the code of a workflow decided, and what came back for it. It runs no
//! code: the engine polls the code and writes its decisions down; from them the machine knows which
//! calls are open.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MachineCommand;
use crate::{
    budget::OnExceeded,
    code::{AgentTask, CallError, CallErrorKind, CallKind, Called, Decision, Prompt},
    event::{EventBody, Reply},
    id::StepKey,
    message::ToolCall,
    run::{FailureReason, RunError, RunSpec},
    step::EffectPolicy,
    tool::{AGENT_TOOL, ASK_TOOL, WAIT_TOOL},
};

/// What came back for a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The step of the call.
    pub step: StepKey,
    /// What the code gets.
    pub outcome: Result<Value, CallError>,
}

/// A call that is not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    /// Its place among the calls.
    number: u64,
    call: CallKind,
    name: String,
    policy: Option<EffectPolicy>,
    input: Value,
    /// The code has its answer.
    answered: bool,
    /// The code does not want it.
    dropped: bool,
    /// Its step began …
    begun: bool,
    /// … and ended.
    ended: bool,
    /// A person was asked and has not said anything.
    asked: bool,
}

impl Open {
    /// Whether something is left to be done about it.
    const fn lingers(&self) -> bool {
        (self.begun && !self.ended) || self.asked
    }

    fn is_over(&self) -> bool {
        (self.answered || self.dropped) && !self.lingers()
    }

    fn command(&self, step: &StepKey) -> MachineCommand {
        let call = |name: &str| ToolCall {
            id: step.to_string(),
            name: name.to_owned(),
            arguments: self.input.clone(),
            provider_state: None,
        };
        let step = step.clone();
        match self.call {
            CallKind::Function => MachineCommand::CallFunction { step, call: call(&self.name) },
            CallKind::Model => MachineCommand::CallModel { step },
            CallKind::Tool | CallKind::Child => {
                MachineCommand::CallTool { step, call: call(&self.name) }
            }
            CallKind::Sleep | CallKind::Signal => {
                MachineCommand::CallTool { step, call: call(WAIT_TOOL) }
            }
            CallKind::Question => MachineCommand::CallTool { step, call: call(ASK_TOOL) },
            CallKind::Agent => MachineCommand::CallTool { step, call: call(AGENT_TOOL) },
        }
    }
}

/// The fold of a code workflow's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeMachine {
    spec: RunSpec,
    decisions: Vec<Decision>,
    answers: Vec<Answer>,
    calls: u64,
    open: BTreeMap<StepKey, Open>,
    ended: Option<Result<Value, RunError>>,
}

impl CodeMachine {
    pub(super) const fn new(spec: RunSpec) -> Self {
        Self {
            spec,
            decisions: Vec::new(),
            answers: Vec::new(),
            calls: 0,
            open: BTreeMap::new(),
            ended: None,
        }
    }

    /// Takes one event in; events of others are ignored.
    pub(super) fn apply(&mut self, event: &EventBody) {
        use EventBody as E;
        if let Some(decision) = decision(event) {
            self.decisions.push(decision);
        }
        match event {
            E::CodeCalled { step, call, name, policy, input, .. } => {
                self.calls += 1;
                let open = Open {
                    number: self.calls,
                    call: *call,
                    name: name.clone(),
                    policy: *policy,
                    input: input.clone(),
                    answered: false,
                    dropped: false,
                    begun: false,
                    ended: false,
                    asked: false,
                };
                self.open.insert(step.clone(), open);
            }
            E::CodeDropped { step } => self.change(step, |open| open.dropped = true),
            E::CodeFinished { output, error } => {
                self.ended = Some(match error {
                    None => Ok(output.clone().unwrap_or_default()),
                    Some(error) => {
                        Err(RunError { reason: FailureReason::Workflow, message: error.clone() })
                    }
                });
            }
            E::BudgetExceeded { message, on_exceeded: OnExceeded::Fail, .. } => {
                let message = message.clone();
                self.ended = Some(Err(RunError { reason: FailureReason::Budget, message }));
            }
            E::StepStarted { step, .. } => self.change(step, |open| open.begun = true),
            E::ApprovalRequested { step, .. } => self.change(step, |open| open.asked = true),
            E::ApprovalResolved { step, .. } | E::ApprovalExpired { step, .. } => {
                self.change(step, |open| open.asked = false);
            }
            E::CodeReturned { step, output, error, .. } => {
                let output = output.clone().unwrap_or_default();
                self.answer(step, error.clone().map_or(Ok(output), Err));
            }
            E::LlmCompleted { step, reply, .. } => self.answer(step, said(reply)),
            E::ToolCompleted { step, output, .. } => self.answer(step, Ok(output.clone())),
            E::ToolFailed { step, error, for_model, .. } => {
                self.answer(step, Err(CallError::of_tool(*error, for_model)));
            }
            // A model call that fails has no other event.
            E::StepFailed { step, error } if self.is(step, CallKind::Model) => {
                self.answer(step, Err(CallError::failed(&error.code, &error.message)));
                self.change(step, |open| open.ended = true);
            }
            E::StepSucceeded { step }
            | E::StepFailed { step, .. }
            | E::StepSkipped { step }
            | E::StepCanceled { step, .. }
            | E::StepIndeterminate { step, .. } => self.change(step, |open| open.ended = true),
            _ => {}
        }
    }

    fn change(&mut self, step: &StepKey, change: impl FnOnce(&mut Open)) {
        let Some(open) = self.open.get_mut(step) else { return };
        change(open);
        if open.is_over() {
            self.open.remove(step);
        }
    }

    fn answer(&mut self, step: &StepKey, outcome: Result<Value, CallError>) {
        let waits = self.open.get(step).is_some_and(|open| !open.answered);
        if waits {
            self.answers.push(Answer { step: step.clone(), outcome });
            self.change(step, |open| open.answered = true);
        }
    }

    /// What has to be done now.
    pub(super) fn next(&self) -> Vec<MachineCommand> {
        let mut open: Vec<(&StepKey, &Open)> = self.open.iter().collect();
        open.sort_by_key(|(_, open)| open.number);
        let mut commands = Vec::with_capacity(open.len() + 1);
        if self.ended.is_none() {
            commands.push(MachineCommand::GoOn);
        }
        for (step, open) in open {
            let unwanted = open.dropped || self.ended.is_some();
            if !unwanted && !open.answered {
                commands.push(open.command(step));
            } else if unwanted && open.lingers() {
                commands.push(MachineCommand::Abandon { step: step.clone() });
            }
        }
        match &self.ended {
            Some(ended) if commands.is_empty() => commands.push(match ended {
                Ok(output) => MachineCommand::Complete { output: output.clone() },
                Err(error) => MachineCommand::Fail { error: error.clone() },
            }),
            Some(_) | None => {}
        }
        commands
    }

    /// What was asked for.
    #[must_use]
    pub const fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// What the code decided, in order.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// What came back for it, in the order in which it hears it.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Whether the step belongs to a function of the code.
    #[must_use]
    pub fn is_function(&self, step: &StepKey) -> bool {
        self.is(step, CallKind::Function)
    }

    /// Whether the call of a step is not over.
    #[must_use]
    pub fn is_open(&self, step: &StepKey) -> bool {
        self.open.contains_key(step)
    }

    /// The workflow that a step runs.
    #[must_use]
    pub fn child(&self, step: &StepKey) -> Option<&str> {
        let open = self.open.get(step).filter(|open| open.call == CallKind::Child)?;
        Some(&open.name)
    }

    /// What a step hands to an agent.
    #[must_use]
    pub fn task(&self, step: &StepKey) -> Option<AgentTask> {
        let open = self.open.get(step).filter(|open| open.call == CallKind::Agent)?;
        serde_json::from_value(open.input.clone()).ok()
    }

    fn is(&self, step: &StepKey, call: CallKind) -> bool {
        self.open.get(step).is_some_and(|open| open.call == call)
    }

    /// What a step asks a model.
    #[must_use]
    pub fn prompt(&self, step: &StepKey) -> Option<Prompt> {
        let open = self.open.get(step).filter(|open| open.call == CallKind::Model)?;
        serde_json::from_value(open.input.clone()).ok()
    }

    /// Whether the step is one of the engine's own calls, which no list of tools has to allow.
    #[must_use]
    pub fn is_own(&self, step: &StepKey) -> bool {
        self.open.get(step).is_some_and(|open| match open.call {
            CallKind::Sleep
            | CallKind::Signal
            | CallKind::Question
            | CallKind::Agent
            | CallKind::Child => true,
            CallKind::Function | CallKind::Tool | CallKind::Model => false,
        })
    }

    /// The policy of a function that is open.
    #[must_use]
    pub fn policy(&self, step: &StepKey) -> Option<EffectPolicy> {
        self.open.get(step)?.policy
    }
}

/// What a model's reply is to the code.
fn said(reply: &Reply) -> Result<Value, CallError> {
    match reply {
        Reply::Answer { output } => Ok(output.clone()),
        Reply::Invalid { problem } => Err(CallError::failed("invalid_output", problem)),
        Reply::Failure { error } => Err(CallError::failed("refused", &error.message)),
        Reply::ContextFull {} => {
            Err(CallError::failed("context_full", "the prompt does not fit the model"))
        }
        Reply::ToolCalls { .. } | Reply::Continue {} | Reply::Summary { .. } => {
            Err(CallError::failed("invalid_output", "the model did not answer"))
        }
    }
}

/// The decision that an event tells of.
pub(crate) fn decision(event: &EventBody) -> Option<Decision> {
    use EventBody as E;
    Some(match event {
        E::CodeCalled { step, call, name, policy, input, input_sha256 } => {
            let sha256 = input_sha256.clone();
            let what = (*call, name.clone());
            Decision::Called(Called::new(step.clone(), what, *policy, (input, sha256)))
        }
        E::CodeRecorded { what, name, value } => {
            Decision::Recorded { what: *what, name: name.clone(), value: value.clone() }
        }
        E::CodeDropped { step } => Decision::Dropped { step: step.clone() },
        E::CodeFinished { output, error } => {
            Decision::Finished { output: output.clone(), error: error.clone() }
        }
        _ => return None,
    })
}

/// The event that tells of a decision.
pub(crate) fn event(decision: Decision, input: Value) -> EventBody {
    match decision {
        Decision::Called(Called { step, call, name, policy, input_sha256, .. }) => {
            EventBody::CodeCalled { step, call, name, policy, input, input_sha256 }
        }
        Decision::Recorded { what, name, value } => EventBody::CodeRecorded { what, name, value },
        Decision::Dropped { step } => EventBody::CodeDropped { step },
        Decision::Finished { output, error } => EventBody::CodeFinished { output, error },
    }
}

/// What the code is told of a call that nobody may repeat.
pub(crate) fn outcome_unknown(why: &str) -> CallError {
    let text = format!(
        "whether this step took effect is not known ({why}), and its policy forbids to repeat it"
    );
    CallError::new(CallErrorKind::OutcomeUnknown, "indeterminate", text)
}
