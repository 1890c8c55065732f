//! What a model does, as events tell it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{message::ToolCall, run::RunError};

/// What a model's reply means to the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// It wants these tools, in order.
    ToolCalls {
        /// The calls.
        calls: Vec<ToolCall>,
    },
    /// It is done.
    Answer {
        /// Text, or JSON when the agent has an output schema.
        output: Value,
    },
    /// It wants to go on with what it says; the model is asked again with it.
    Continue {},
    /// It, and the conversation, fill the model's context; the conversation is made shorter.
    ContextFull {},
    /// What stands for a part of the conversation from now on.
    Summary {
        /// The text.
        text: String,
    },
    /// It does not fit what was demanded; the model is told and asked again.
    Invalid {
        /// What is wrong, for the model.
        problem: String,
    },
    /// It ends the run as a failure.
    Failure {
        /// Why.
        error: RunError,
    },
}

/// What a model call is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LlmPhase {
    /// Nothing has come yet.
    Waiting,
    /// Reasoning comes.
    Reasoning,
    /// Text comes.
    Writing,
    /// A tool call comes.
    ToolCall,
}
