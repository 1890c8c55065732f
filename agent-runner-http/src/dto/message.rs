//! A run's conversation as clients see it. What providers want back verbatim (signatures,
//! encrypted reasoning) is left out: it means nothing to anybody else.

use agent_runner_core::message::{self, Part as CorePart};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A piece of a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// The model's reasoning.
    Reasoning {
        /// The text.
        text: String,
    },
    /// The model asks for a tool.
    ToolCall {
        /// Names the call.
        id: String,
        /// The tool.
        name: String,
        /// What it is called with.
        arguments: Value,
    },
    /// What a tool answered.
    ToolResult {
        /// The call this answers.
        call_id: String,
        /// The tool.
        name: String,
        /// The answer as the model reads it.
        text: String,
        /// Whether the call failed.
        is_error: bool,
    },
}

/// One turn of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    #[schema(value_type = String)]
    role: message::Role,
    /// Its text parts joined.
    text: String,
    /// What is said, in order.
    parts: Vec<Part>,
}

impl From<message::Message> for Message {
    fn from(message: message::Message) -> Self {
        let text = message.plain_text();
        let parts = message.parts.into_iter().filter_map(|part| match part {
            CorePart::Text { text, .. } => Some(Part::Text { text }),
            CorePart::Reasoning { text, .. } => Some(Part::Reasoning { text }),
            CorePart::ToolCall(call) => {
                Some(Part::ToolCall { id: call.id, name: call.name, arguments: call.arguments })
            }
            CorePart::ToolResult { call_id, name, text, is_error } => {
                Some(Part::ToolResult { call_id, name, text, is_error })
            }
            // A kind of a later version of core, which has no wire form yet.
            _ => None,
        });
        Self { role: message.role, text, parts: parts.collect() }
    }
}

/// The conversation of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Transcript {
    /// The run.
    #[schema(format = Uuid)]
    pub(crate) run_id: String,
    /// Its messages, instructions first.
    pub(crate) messages: Vec<Message>,
}
