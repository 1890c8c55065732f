//! The parts of the API's replies that matter here, read as leniently as the many servers that
//! imitate it require: everything is optional, `null` is nothing, unknown fields are ignored.
//!
//! Source: the API reference of chat completions, and vLLM, llama.cpp, `OpenRouter`, Groq, Mistral.

use serde::Deserialize;
use serde_json::Value;

/// One event of a stream, or a whole reply of a server that does not stream.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    pub(super) model: Option<String>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Value>,
    /// Groq's place for the usage.
    pub(super) x_groq: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    pub(super) index: Option<u64>,
    pub(super) delta: Option<Delta>,
    /// In place of `delta` in a whole reply, beside it in Perplexity's streams.
    /// Boxed, because a choice is moved about for every delta.
    pub(super) message: Option<Box<Delta>>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Delta {
    /// A string; a list of typed parts from Mistral's reasoning models.
    pub(super) content: Option<Value>,
    pub(super) refusal: Option<String>,
    /// `DeepSeek`'s and llama.cpp's name for the reasoning.
    pub(super) reasoning_content: Option<Value>,
    /// vLLM's, `OpenRouter`'s and Groq's name for it.
    pub(super) reasoning: Option<Value>,
    pub(super) tool_calls: Option<Vec<ToolCallDelta>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ToolCallDelta {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<FunctionDelta>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionDelta {
    pub(super) name: Option<String>,
    /// A piece of JSON text; an object from some servers.
    pub(super) arguments: Option<Value>,
}
