//! What is asked of a model, and the circumstances of asking.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::message::Message;

/// A tool as a model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name; letters, digits, `_`, `-`, `.`. Providers that refuse the dot rewrite it.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema (2020-12) of its arguments, an object.
    pub input_schema: Value,
}

/// How much a model reasons before it answers. Each provider maps it to what its model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "every provider has to map each")]
pub enum ReasoningEffort {
    /// Not at all, or as little as the model allows.
    Off,
    /// A little.
    Low,
    /// As usual.
    Medium,
    /// Much.
    High,
    /// As much as it can.
    Max,
}

/// What to ask a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmRequest {
    /// The model's id as the provider knows it.
    pub model: String,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// The tools it may call.
    pub tools: Vec<ToolSpec>,
    /// JSON Schema that the reply's text must fit.
    pub output_schema: Option<Value>,
    /// Most tokens of the reply.
    pub max_output_tokens: Option<u32>,
    /// Sampling temperature. A provider whose model takes none leaves it out and says so in
    /// [`LlmFinished::notices`](super::LlmFinished::notices).
    pub temperature: Option<f32>,
    /// How much it reasons, where it can.
    pub reasoning: Option<ReasoningEffort>,
    /// Fields passed to the wire as they are, for what this type does not name.
    pub extra: BTreeMap<String, Value>,
}

impl LlmRequest {
    /// A request with nothing but a conversation.
    #[must_use]
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            model: model.into(),
            messages,
            tools: Vec::new(),
            output_schema: None,
            max_output_tokens: None,
            temperature: None,
            reasoning: None,
            extra: BTreeMap::new(),
        }
    }
}

/// The circumstances of one call.
#[derive(Debug, Clone)]
pub struct CallCx {
    /// Fires when the call is no longer wanted. Dropping the stream has the same effect.
    pub cancel: CancellationToken,
    /// How long the call may take in all.
    pub timeout: Option<Duration>,
    /// 1 for the first try.
    pub attempt: u32,
    /// The same for every try of the same step.
    pub idempotency_key: String,
}

impl CallCx {
    /// A first try that nothing bounds.
    #[must_use]
    pub fn new(idempotency_key: impl Into<String>) -> Self {
        Self {
            cancel: CancellationToken::new(),
            timeout: None,
            attempt: 1,
            idempotency_key: idempotency_key.into(),
        }
    }
}
