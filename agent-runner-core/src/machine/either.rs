//! The machine of a run: an agent's or a code workflow's.

use serde::{Deserialize, Serialize};

use super::{MachineCommand, agent::AgentMachine, code::CodeMachine};
use crate::{event::EventBody, message::Message, run::RunSpec};

/// What decides about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "whoever performs a run has to know each")]
pub enum Machine {
    /// An agent's loop of model and tools.
    Agent(Box<AgentMachine>),
    /// The code of a workflow.
    Code(Box<CodeMachine>),
}

impl Default for Machine {
    fn default() -> Self {
        Self::Agent(Box::default())
    }
}

impl Machine {
    pub(super) fn apply(&mut self, seq: u64, event: &EventBody) {
        if let EventBody::RunQueued { spec } = event
            && spec.workflow.is_some()
        {
            *self = Self::Code(Box::new(CodeMachine::new((**spec).clone())));
        }
        match self {
            Self::Agent(agent) => agent.apply(seq, event),
            Self::Code(code) => code.apply(event),
        }
    }

    pub(super) fn next(&self) -> Vec<MachineCommand> {
        match self {
            Self::Agent(agent) => agent.next(),
            Self::Code(code) => code.next(),
        }
    }

    /// The agent's machine, if it is one.
    #[must_use]
    pub fn agent(&self) -> Option<&AgentMachine> {
        match self {
            Self::Agent(agent) => Some(agent),
            Self::Code(_) => None,
        }
    }

    /// The code's machine, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<&CodeMachine> {
        match self {
            Self::Agent(_) => None,
            Self::Code(code) => Some(code),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> Option<&RunSpec> {
        match self {
            Self::Agent(agent) => agent.spec(),
            Self::Code(code) => Some(code.spec()),
        }
    }

    /// The conversation so far, without instructions; code has none.
    #[must_use]
    pub fn conversation(&self) -> &[Message] {
        self.agent().map(AgentMachine::conversation).unwrap_or_default()
    }

    /// The conversation as it will be once all messages that came until now are read.
    #[must_use]
    pub fn conversation_with_unread(&self) -> Vec<Message> {
        self.agent().map(AgentMachine::conversation_with_unread).unwrap_or_default()
    }

    /// The number of the last message that came, 0 when all are read.
    #[must_use]
    pub fn unread_upto(&self) -> u64 {
        self.agent().map_or(0, AgentMachine::unread_upto)
    }

    /// The tokens of a prompt as the service will count them, if it counts as it did until now.
    #[must_use]
    pub fn corrected(&self, estimated: u64) -> u64 {
        self.agent().map_or(estimated, |agent| agent.corrected(estimated))
    }
}
