//! What a model says, as it comes in and when it is complete.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cost, Usage};
use crate::{agent::ModelName, message::Message};

/// One item of a model's reply as it comes in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LlmEvent {
    /// The provider began to answer.
    Started {
        /// The model that answers, which may differ from the one asked.
        model: Option<String>,
    },
    /// More text.
    TextDelta {
        /// The text.
        text: String,
    },
    /// More reasoning.
    ReasoningDelta {
        /// The text.
        text: String,
    },
    /// More of a tool call's arguments.
    ToolCallDelta {
        /// The tool's name, when it is known.
        name: String,
        /// A piece of JSON.
        json: String,
    },
    /// The connection is alive; nothing to show.
    Keepalive,
    /// What the call has used until now. The last one counts; `Finished` says it again.
    Usage {
        /// In all, not since the last time.
        usage: Usage,
    },
    /// What the service still allows, from the head of its answer.
    Limits(RateLimits),
    /// The reply is complete. Always the last item of a good stream.
    Finished(Box<LlmFinished>),
}

/// A complete reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmFinished {
    /// What the model said, an assistant's message.
    pub message: Message,
    /// Why it stopped.
    pub stop: StopReason,
    /// What it used.
    pub usage: Usage,
    /// The provider's id of the request, for its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the service says that the call cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The model that answered, when a layer sent the request to another one than was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<ModelName>,
    /// What the service says about why it stopped, such as the category of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_detail: Option<String>,
    /// What was done otherwise than asked, such as a temperature that the model does not take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl LlmFinished {
    /// A reply of which nothing but this is known.
    #[must_use]
    pub const fn new(message: Message, stop: StopReason, usage: Usage) -> Self {
        Self {
            message,
            stop,
            usage,
            request_id: None,
            cost: None,
            answered_by: None,
            stop_detail: None,
            notices: Vec::new(),
        }
    }
}

impl From<LlmFinished> for LlmEvent {
    fn from(finished: LlmFinished) -> Self {
        Self::Finished(Box::new(finished))
    }
}

/// What a service still allows within its window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimits {
    /// Requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RateWindow>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<RateWindow>,
}

/// One limit of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateWindow {
    /// Most in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Left in this window.
    pub remaining: u64,
    /// Until the window begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_in: Option<Duration>,
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// It said what it had to say.
    EndTurn,
    /// It waits for tools.
    ToolCalls,
    /// It said one of the words that were to stop it.
    StopSequence,
    /// It wants to go on: send the conversation with this reply as it is.
    Pause,
    /// It hit the output limit.
    MaxTokens,
    /// The conversation and the reply fill the model's context.
    ContextFull,
    /// A filter cut it off.
    ContentFilter,
    /// It refused.
    Refusal,
    /// Something this library does not know.
    Other(String),
}
