//! The agent machine: ask the model, run the tools it asks for, ask again, until it answers.

pub mod compact;
pub mod constrained;
pub mod final_tool;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use self::{
    reply::{ReplyRules, interpret},
    request::{RequestRules, build_request, shown_to_model},
};
use serde::{Deserialize, Serialize};

use super::MachineCommand;
use crate::{
    budget::OnExceeded,
    event::{EventBody, Reply},
    id::StepKey,
    limits,
    llm::Usage,
    message::{Message, Part, Role, ToolCall},
    run::{FailureReason, RunError, RunSpec},
    tool::ToolErrorKind,
};

/// Code of a step that failed because this program lacks what the run asks for.
pub const CONFIGURATION: &str = "configuration";

/// Where the loop stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// No spec yet.
    Empty,
    /// The model has to be asked.
    Ask,
    /// The model is being asked.
    Asking(StepKey),
    /// The conversation has to be made shorter, by this step.
    Compacting(Compaction),
    /// Tools are being run.
    Tools(Vec<PendingCall>),
    /// The model answered.
    Answered(serde_json::Value),
    /// It cannot go on.
    Failed(RunError),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PendingCall {
    step: StepKey,
    call: ToolCall,
    result: Option<Part>,
    denied: bool,
}

/// A conversation on its way to be shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// The step that does it.
    pub step: StepKey,
    /// Messages after the goal that are replaced.
    pub replaced: usize,
    /// Tokens that the conversation should have at most.
    pub limit: u64,
}

impl Compaction {
    /// The event that begins it, before this model call.
    #[must_use]
    pub fn context_full(self, step: &StepKey, tokens: u64, limit: u64) -> EventBody {
        EventBody::ContextFull {
            step: step.clone(),
            tokens,
            limit,
            compaction: self.step,
            replaced: u64::try_from(self.replaced).unwrap_or(u64::MAX),
        }
    }
}

/// A message to the run that the model has not read yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unread {
    seq: u64,
    text: String,
}

/// The agent's loop as a fold of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentMachine {
    spec: Option<RunSpec>,
    phase: Phase,
    /// Model calls begun.
    turn: u32,
    /// Replies in a row that were not usable.
    repairs: u32,
    /// Replies in a row that were pauses.
    pauses: u32,
    /// Replies in a row of which every call was denied.
    denials: u32,
    /// Compactions since the model last said something.
    compactions: u32,
    /// The estimate of the prompt of the call in progress.
    estimated: u64,
    /// How many tokens the service counts for 1,000 estimated ones.
    per_mille: u64,
    conversation: Vec<Message>,
    unread: Vec<Unread>,
    /// What people told the run, as far as the model has read it.
    told: Vec<String>,
}

impl Default for AgentMachine {
    fn default() -> Self {
        Self {
            spec: None,
            phase: Phase::Empty,
            turn: 0,
            repairs: 0,
            pauses: 0,
            denials: 0,
            compactions: 0,
            estimated: 0,
            per_mille: 1_000,
            conversation: Vec::new(),
            unread: Vec::new(),
            told: Vec::new(),
        }
    }
}

impl AgentMachine {
    /// Whether an event begins a turn, so that nothing looks back at the steps of those before.
    pub(super) const fn begins_turn(event: &EventBody) -> bool {
        matches!(event, EventBody::LlmStarted { attempt: 1, .. })
    }

    /// Takes one event in; events of others are ignored.
    pub fn apply(&mut self, seq: u64, event: &EventBody) {
        match event {
            EventBody::RunQueued { spec } => {
                self.conversation = vec![Message::text(Role::User, spec.goal.clone())];
                self.spec = Some((**spec).clone());
                self.phase = Phase::Ask;
            }
            EventBody::DirectiveReceived { text, .. } => {
                self.unread.push(Unread { seq, text: text.clone() });
            }
            EventBody::LlmStarted { step, .. } if self.compacts(step) => {}
            EventBody::LlmStarted { step, attempt, directives_upto, estimated_tokens, .. } => {
                if *attempt == 1 {
                    self.turn += 1;
                }
                self.estimated = *estimated_tokens;
                self.read(*directives_upto);
                self.phase = Phase::Asking(step.clone());
            }
            EventBody::LlmCompleted { reply: Reply::Summary { .. }, .. } => {}
            EventBody::LlmCompleted { step, reply_message, reply, usage, .. } => {
                self.calibrate(usage);
                if *reply != (Reply::ContextFull {}) {
                    self.compactions = 0;
                    self.conversation.push(reply_message.clone());
                }
                self.take_reply(step, reply);
            }
            EventBody::ContextFull { limit, compaction, replaced, .. } => {
                self.compactions += 1;
                self.phase = Phase::Compacting(Compaction {
                    step: compaction.clone(),
                    replaced: usize::try_from(*replaced).unwrap_or(usize::MAX),
                    limit: self.uncorrected(*limit),
                });
            }
            EventBody::ContextCompacted { replaced, summary, .. } => {
                let replaced = usize::try_from(*replaced).unwrap_or(usize::MAX);
                self.conversation = compact::compacted(&self.conversation, replaced, summary);
                self.phase = Phase::Ask;
            }
            EventBody::BudgetExceeded { message, on_exceeded: OnExceeded::Fail, .. } => {
                self.fail(FailureReason::Budget, message.clone());
            }
            EventBody::ToolCompleted { step, call_id, tool, output, model_bytes_max, .. } => {
                let text = shown_to_model(output, *model_bytes_max);
                self.take_result(step, call_id, tool, text, None);
            }
            EventBody::ToolFailed { step, call_id, tool, for_model, error, .. } => {
                self.take_result(step, call_id, tool, for_model.clone(), Some(*error));
            }
            EventBody::StepCanceled { step, .. } if self.asks(step) => self.phase = Phase::Ask,
            EventBody::StepCanceled { step, .. } if self.compacts(step) => self.phase = Phase::Ask,
            EventBody::StepFailed { step, error }
                if self.asks(step) || self.compacts(step) || self.would_ask(step) =>
            {
                let reason = if error.code == CONFIGURATION {
                    FailureReason::Configuration
                } else {
                    FailureReason::Provider
                };
                self.fail(reason, error.message.clone());
            }
            _ => {}
        }
    }

    fn fail(&mut self, reason: FailureReason, message: String) {
        self.phase = Phase::Failed(RunError { reason, message });
    }

    fn compacts(&self, step: &StepKey) -> bool {
        matches!(&self.phase, Phase::Compacting(compaction) if compaction.step == *step)
    }

    /// Learns how the service counts.
    fn calibrate(&mut self, usage: &Usage) {
        if let (Some(prompt), 1..) = (usage.prompt(), self.estimated) {
            self.per_mille = (prompt.saturating_mul(1_000) / self.estimated).clamp(250, 4_000);
        }
    }

    /// The tokens of a prompt as the service will count them, if it counts as it did until now.
    #[must_use]
    pub const fn corrected(&self, estimated: u64) -> u64 {
        estimated.saturating_mul(self.per_mille) / 1_000
    }

    /// How to make the conversation so much shorter that it fits `limit` tokens, as the service
    /// counts; `None` when that is not possible.
    #[must_use]
    pub fn plan_compaction(&self, limit: u64) -> Option<Compaction> {
        if self.compactions >= limits::COMPACTIONS_MAX {
            return None;
        }
        let limit = self.uncorrected(limit);
        let replaced = compact::replaced(&self.conversation, limit)?;
        let number = match self.compactions {
            0 => String::new(),
            n => format!(".{}", n + 1),
        };
        let step = StepKey::new(format!("turn.{}.compact{number}", self.turn + 1));
        Some(Compaction { step, replaced, limit })
    }

    /// A summary with what people told the run in the messages that it replaces: that is never
    /// left to a model.
    #[must_use]
    pub fn with_words_of_people(&self, compaction: &Compaction, summary: &str) -> String {
        let kept = self.conversation.get(1 + compaction.replaced..).unwrap_or_default();
        compact::with_words_of_people(summary, &self.told, kept, compaction.limit)
    }

    const fn uncorrected(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(1_000) / self.per_mille
    }

    /// Whether it is the call that comes next.
    fn would_ask(&self, step: &StepKey) -> bool {
        matches!(self.phase, Phase::Ask | Phase::Answered(_)) && *step == self.next_turn()
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
        self.told.extend(read.iter().map(|m| m.text.clone()));
        self.forget_old_words();
        self.conversation.extend(read.into_iter().map(|m| Message::text(Role::User, m.text)));
    }

    /// Keeps of people's words what a summary can still have room for.
    fn forget_old_words(&mut self) {
        let mut bytes: usize = self.told.iter().map(String::len).sum();
        let first = self.told.iter().position(|words| {
            let fits = bytes <= limits::TOLD_BYTES_MAX;
            bytes = bytes.saturating_sub(words.len());
            fits
        });
        self.told.drain(..first.unwrap_or(self.told.len()));
    }

    fn take_reply(&mut self, step: &StepKey, reply: &Reply) {
        match reply {
            Reply::ToolCalls { calls } => {
                (self.repairs, self.pauses) = (0, 0);
                let turn = self.turn;
                self.phase = Phase::Tools(
                    calls
                        .iter()
                        .enumerate()
                        .map(|(n, call)| PendingCall {
                            step: StepKey::new(format!("turn.{turn}.tool.{}", n + 1)),
                            call: call.clone(),
                            result: None,
                            denied: false,
                        })
                        .collect(),
                );
            }
            Reply::Answer { output } => {
                self.answer_calls("Accepted.", false);
                self.phase = Phase::Answered(output.clone());
            }
            Reply::Continue {} => self.go_on(),
            Reply::Invalid { problem } => self.correct(step, problem),
            Reply::Failure { error } => self.phase = Phase::Failed(error.clone()),
            // What makes the conversation shorter comes as an event of its own.
            Reply::ContextFull {} => self.fail(
                FailureReason::Provider,
                "the conversation does not fit the model and cannot be made shorter; use a model \
                 with a larger context, or a smaller goal"
                    .to_owned(),
            ),
            Reply::Summary { .. } => {}
        }
    }

    fn go_on(&mut self) {
        self.pauses += 1;
        if self.pauses > limits::PAUSES_MAX {
            let message = format!("the model paused {} times in a row", limits::PAUSES_MAX);
            self.fail(FailureReason::InvalidOutput, message);
        } else {
            self.phase = Phase::Ask;
        }
    }

    /// Tells the model what is wrong with its reply, as often as that is sensible.
    fn correct(&mut self, step: &StepKey, problem: &str) {
        self.repairs += 1;
        if self.repairs > limits::REPAIRS_MAX {
            let message = format!(
                "the model's replies stayed unusable after {} corrections, last in {step}: {problem}",
                limits::REPAIRS_MAX
            );
            self.fail(FailureReason::InvalidOutput, message);
            return;
        }
        if !self.answer_calls(problem, true) {
            self.conversation.push(Message::text(Role::User, problem));
        }
        self.phase = Phase::Ask;
    }

    /// Answers the calls of the last reply that no tool answers, because services refuse a
    /// conversation with a call that was never answered; whether there were any.
    fn answer_calls(&mut self, text: &str, is_error: bool) -> bool {
        let calls = self.conversation.last().into_iter().flat_map(Message::tool_calls);
        let parts: Vec<Part> = calls
            .map(|call| Part::ToolResult {
                call_id: call.id.clone(),
                name: call.name.clone(),
                text: text.to_owned(),
                is_error,
            })
            .collect();
        let any = !parts.is_empty();
        if any {
            self.conversation.push(Message { role: Role::Tool, parts });
        }
        any
    }

    fn take_result(
        &mut self,
        step: &StepKey,
        call_id: &str,
        name: &str,
        text: String,
        error: Option<ToolErrorKind>,
    ) {
        let Phase::Tools(calls) = &mut self.phase else { return };
        let Some(pending) = calls.iter_mut().find(|pending| pending.step == *step) else { return };
        pending.result = Some(Part::ToolResult {
            call_id: call_id.to_owned(),
            name: name.to_owned(),
            text,
            is_error: error.is_some(),
        });
        pending.denied = error == Some(ToolErrorKind::Denied);
        if calls.iter().all(|pending| pending.result.is_some()) {
            // In the order of the calls, whatever the order in which they ended.
            let parts = calls.iter_mut().filter_map(|pending| pending.result.take()).collect();
            let denied = calls.iter().all(|pending| pending.denied);
            self.conversation.push(Message { role: Role::Tool, parts });
            self.denials = if denied { self.denials + 1 } else { 0 };
            if self.denials > limits::DENIALS_MAX {
                let message = format!(
                    "the agent asked for calls that are denied in {} replies in a row; allow them in \
                     the tool policy, or ask for something else",
                    self.denials
                );
                self.fail(FailureReason::Denied, message);
            } else {
                self.phase = Phase::Ask;
            }
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
            Phase::Compacting(compaction) => {
                vec![MachineCommand::Compact { compaction: compaction.clone() }]
            }
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
