//! The agent machine: ask the model, run the tools it asks for, ask again, until it answers.

pub mod constrained;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use self::{
    reply::{ReplyRules, interpret},
    request::{RequestRules, build_request, shown_to_model},
};
use super::MachineCommand;
use crate::{
    event::{EventBody, Reply},
    id::StepKey,
    limits,
    message::{Message, Part, Role, ToolCall},
    run::{FailureReason, RunError, RunSpec},
};

/// Code of a step that failed because this program lacks what the run asks for.
pub const CONFIGURATION: &str = "configuration";

/// Where the loop stands.
#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// No spec yet.
    Empty,
    /// The model has to be asked.
    Ask,
    /// The model is being asked.
    Asking(StepKey),
    /// Tools are being run.
    Tools(Vec<PendingCall>),
    /// The model answered.
    Answered(serde_json::Value),
    /// It cannot go on.
    Failed(RunError),
}

#[derive(Debug, Clone, PartialEq)]
struct PendingCall {
    step: StepKey,
    call: ToolCall,
    result: Option<Part>,
}

/// A message to the run that the model has not read yet.
#[derive(Debug, Clone, PartialEq)]
struct Unread {
    seq: u64,
    text: String,
}

/// The agent's loop as a fold of its journal.
#[derive(Debug, Clone)]
pub struct AgentMachine {
    spec: Option<RunSpec>,
    phase: Phase,
    /// Model calls begun.
    turn: u32,
    /// Replies in a row that were not usable.
    repairs: u32,
    conversation: Vec<Message>,
    unread: Vec<Unread>,
}

impl Default for AgentMachine {
    fn default() -> Self {
        Self {
            spec: None,
            phase: Phase::Empty,
            turn: 0,
            repairs: 0,
            conversation: Vec::new(),
            unread: Vec::new(),
        }
    }
}

impl AgentMachine {
    /// Takes one event in; events of others are ignored.
    pub fn apply(&mut self, seq: u64, event: &EventBody) {
        match event {
            EventBody::RunQueued { spec } => {
                self.conversation = vec![Message::text(Role::User, spec.goal.clone())];
                self.spec = Some(spec.clone());
                self.phase = Phase::Ask;
            }
            EventBody::DirectiveReceived { text, .. } => {
                self.unread.push(Unread { seq, text: text.clone() });
            }
            EventBody::LlmStarted { step, attempt, directives_upto, .. } => {
                if *attempt == 1 {
                    self.turn += 1;
                }
                self.read(*directives_upto);
                self.phase = Phase::Asking(step.clone());
            }
            EventBody::LlmCompleted { step, reply_message, reply, .. } => {
                self.conversation.push(reply_message.clone());
                self.take_reply(step, reply);
            }
            EventBody::ToolCompleted { step, call_id, tool, output, model_bytes_max, .. } => {
                let text = shown_to_model(output, *model_bytes_max);
                self.take_result(step, call_id, tool, text, false);
            }
            EventBody::ToolFailed { step, call_id, tool, for_model, .. } => {
                self.take_result(step, call_id, tool, for_model.clone(), true);
            }
            EventBody::StepCanceled { step, .. } if self.asks(step) => self.phase = Phase::Ask,
            EventBody::StepFailed { step, error } if self.asks(step) => {
                self.phase = Phase::Failed(RunError {
                    reason: if error.code == CONFIGURATION {
                        FailureReason::Configuration
                    } else {
                        FailureReason::Provider
                    },
                    message: error.message.clone(),
                });
            }
            _ => {}
        }
    }

    fn asks(&self, step: &StepKey) -> bool {
        matches!(&self.phase, Phase::Asking(asking) if asking == step)
    }

    /// Moves the directives up to that event into the conversation.
    fn read(&mut self, upto: u64) {
        let (read, unread) =
            std::mem::take(&mut self.unread).into_iter().partition(|m| m.seq <= upto);
        self.unread = unread;
        let read: Vec<Unread> = read;
        self.conversation.extend(read.into_iter().map(|m| Message::text(Role::User, m.text)));
    }

    fn take_reply(&mut self, step: &StepKey, reply: &Reply) {
        match reply {
            Reply::ToolCalls { calls } => {
                self.repairs = 0;
                let turn = self.turn;
                self.phase = Phase::Tools(
                    calls
                        .iter()
                        .enumerate()
                        .map(|(n, call)| PendingCall {
                            step: StepKey::new(format!("turn.{turn}.tool.{}", n + 1)),
                            call: call.clone(),
                            result: None,
                        })
                        .collect(),
                );
            }
            Reply::Answer { output } => self.phase = Phase::Answered(output.clone()),
            Reply::Invalid { problem } => {
                self.repairs += 1;
                self.phase = if self.repairs > limits::REPAIRS_MAX {
                    Phase::Failed(RunError {
                        reason: FailureReason::InvalidOutput,
                        message: format!(
                            "the model's replies stayed unusable after {} corrections, last in {step}: {problem}",
                            limits::REPAIRS_MAX
                        ),
                    })
                } else {
                    self.conversation.push(Message::text(Role::User, problem.clone()));
                    Phase::Ask
                };
            }
            Reply::Failure { error } => self.phase = Phase::Failed(error.clone()),
        }
    }

    fn take_result(
        &mut self,
        step: &StepKey,
        call_id: &str,
        name: &str,
        text: String,
        is_error: bool,
    ) {
        let Phase::Tools(calls) = &mut self.phase else { return };
        let Some(pending) = calls.iter_mut().find(|pending| pending.step == *step) else { return };
        pending.result = Some(Part::ToolResult {
            call_id: call_id.to_owned(),
            name: name.to_owned(),
            text,
            is_error,
        });
        if calls.iter().all(|pending| pending.result.is_some()) {
            // In the order of the calls, whatever the order in which they ended.
            let parts = calls.iter_mut().filter_map(|pending| pending.result.take()).collect();
            self.conversation.push(Message { role: Role::Tool, parts });
            self.phase = Phase::Ask;
        }
    }

    /// What has to be done now.
    #[must_use]
    pub fn next(&self) -> Vec<MachineCommand> {
        let Some(spec) = &self.spec else { return Vec::new() };
        let turns_left = self.turn < spec.agent.max_steps;
        match &self.phase {
            Phase::Empty => Vec::new(),
            Phase::Ask if turns_left => vec![MachineCommand::CallModel { step: self.next_turn() }],
            Phase::Ask => vec![MachineCommand::Fail { error: self.out_of_turns(spec) }],
            Phase::Asking(step) => vec![MachineCommand::CallModel { step: step.clone() }],
            Phase::Tools(calls) => calls
                .iter()
                .filter(|pending| pending.result.is_none())
                .map(|pending| MachineCommand::CallTool {
                    step: pending.step.clone(),
                    call: pending.call.clone(),
                })
                .collect(),
            // An accepted message is read before the run ends, as long as there are turns for it.
            Phase::Answered(_) if !self.unread.is_empty() && turns_left => {
                vec![MachineCommand::CallModel { step: self.next_turn() }]
            }
            Phase::Answered(output) => vec![MachineCommand::Complete { output: output.clone() }],
            Phase::Failed(error) => vec![MachineCommand::Fail { error: error.clone() }],
        }
    }

    fn next_turn(&self) -> StepKey {
        StepKey::new(format!("turn.{}.model", self.turn + 1))
    }

    fn out_of_turns(&self, spec: &RunSpec) -> RunError {
        RunError {
            reason: FailureReason::MaxSteps,
            message: format!(
                "the agent called its model {} times without an answer; raise max_steps or make the goal smaller",
                spec.agent.max_steps
            ),
        }
    }

    /// What was asked for.
    #[must_use]
    pub const fn spec(&self) -> Option<&RunSpec> {
        self.spec.as_ref()
    }

    /// The conversation so far, without instructions.
    #[must_use]
    pub fn conversation(&self) -> &[Message] {
        &self.conversation
    }

    /// The conversation as it will be once all messages that came until now are read.
    #[must_use]
    pub fn conversation_with_unread(&self) -> Vec<Message> {
        let unread = self.unread.iter().map(|m| Message::text(Role::User, m.text.clone()));
        self.conversation.iter().cloned().chain(unread).collect()
    }

    /// The number of the last message that came, 0 when all are read.
    #[must_use]
    pub fn unread_upto(&self) -> u64 {
        self.unread.iter().map(|m| m.seq).max().unwrap_or(0)
    }
}
