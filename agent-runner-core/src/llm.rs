//! Models: the [`LlmProvider`] trait, its request, its stream and its errors.

mod error;
mod registry;

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::{
    error::{ErrorKind, ProviderError, Recovery, SendState},
    registry::ProviderRegistry,
};
use crate::message::Message;

/// A boxed stream.
pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;

/// Tokens of one or more model calls. `None` means that nobody said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens that were not read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// Tokens written by the model, reasoning included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Prompt tokens read from the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Prompt tokens written to the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// The part of `output` that was reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

impl Usage {
    /// The sum; a number that only one side knows is kept.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        const fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.saturating_add(b)),
                (Some(a), None) => Some(a),
                (None, b) => b,
            }
        }
        Self {
            input: add(self.input, other.input),
            output: add(self.output, other.output),
            cache_read: add(self.cache_read, other.cache_read),
            cache_write: add(self.cache_write, other.cache_write),
            reasoning: add(self.reasoning, other.reasoning),
        }
    }

    /// All tokens, or `None` when nothing is known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        let known = [self.input, self.output, self.cache_read, self.cache_write];
        known.iter().any(Option::is_some).then(|| known.iter().flatten().sum())
    }
}

/// What a model can do, as far as somebody said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Takes tools and answers with tool calls.
    pub tools: bool,
    /// Can constrain its output to a JSON Schema.
    pub json_schema: bool,
    /// Can do both in one request.
    pub schema_with_tools: bool,
    /// Reads images.
    pub vision: bool,
    /// Reasons before it answers.
    pub reasoning: bool,
    /// Most tokens of prompt and reply together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Most tokens of one reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
}

/// A model that a provider offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its id as the provider knows it.
    pub id: String,
    /// What it can do.
    pub capabilities: Capabilities,
}

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
    /// Sampling temperature.
    pub temperature: Option<f32>,
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
    /// The reply is complete. Always the last item of a good stream.
    Finished(LlmFinished),
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
    /// It hit the output limit.
    MaxTokens,
    /// A filter cut it off.
    ContentFilter,
    /// It refused.
    Refusal,
    /// Something this library does not know.
    Other(String),
}

/// Talks to models.
///
/// # Contract
/// 1. A good stream ends with exactly one [`LlmEvent::Finished`] and nothing after it.
/// 2. A reply that the server cut short is an error of kind [`ErrorKind::StreamTruncated`],
///    never a shorter reply.
/// 3. The deltas of text, joined, are the text of the finished message.
/// 4. Arguments of a tool call that are not valid JSON arrive as `Value::String`, verbatim.
/// 5. Tool-call ids are unique within a reply and never empty.
/// 6. An error names what happened ([`ProviderError::kind`]) and never contains a key.
/// 7. `stream` returns an error before the first item when the server refused the request.
///
/// # Cancellation
/// Dropping the future or the stream closes the connection; no task lives on. When
/// [`CallCx::cancel`] fires the stream ends with [`ErrorKind::Cancelled`].
#[async_trait]
pub trait LlmProvider: fmt::Debug + Send + Sync + 'static {
    /// The first part of a model's name, such as `ollama`.
    fn id(&self) -> &str;

    /// What the model can do, from what is known without asking the server.
    fn capabilities(&self, model: &str) -> Capabilities;

    /// Asks the server which models it offers, and thereby whether it is there.
    ///
    /// # Errors
    /// Any [`ErrorKind`].
    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError>;

    /// Asks the model and streams its reply.
    ///
    /// # Errors
    /// Any [`ErrorKind`], before the stream or as its last item.
    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError>;
}

/// What every provider can do because it can stream.
#[async_trait]
pub trait LlmProviderExt: LlmProvider {
    /// Asks the model and waits for the whole reply.
    ///
    /// # Errors
    /// As [`LlmProvider::stream`]; a stream without end is [`ErrorKind::StreamTruncated`].
    async fn complete(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<LlmFinished, ProviderError> {
        let mut stream = self.stream(request, cx).await?;
        while let Some(event) = stream.next().await {
            if let LlmEvent::Finished(finished) = event? {
                return Ok(finished);
            }
        }
        Err(ProviderError::new(
            ErrorKind::StreamTruncated,
            self.id().to_owned(),
            "the reply ended before it was complete",
        ))
    }
}

impl<T: LlmProvider + ?Sized> LlmProviderExt for T {}

/// Wraps a provider: provider in, provider out, streaming included.
pub trait LlmLayer: fmt::Debug + Send + Sync {
    /// The provider with this layer around it.
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_adds_what_is_known() {
        let a = Usage { input: Some(3), output: None, ..Usage::default() };
        let b = Usage { input: Some(4), output: Some(5), ..Usage::default() };
        let sum = a.plus(b);
        assert_eq!((sum.input, sum.output, sum.reasoning), (Some(7), Some(5), None));
        assert_eq!(sum.total(), Some(12));
        assert_eq!(Usage::default().total(), None);
    }
}
