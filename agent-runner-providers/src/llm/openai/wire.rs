//! The parts of the API's replies that matter here, read as leniently as the many servers that
//! imitate it require: everything is optional, `null` is nothing, unknown fields are ignored.
//!
//! Source: the API reference of chat completions, and vLLM, llama.cpp, `OpenRouter`, Groq, Mistral.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::profile::ReasoningField;

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
    reasoning_content: Option<Value>,
    /// vLLM's, `OpenRouter`'s and Groq's name for it.
    reasoning: Option<Value>,
    /// What `OpenRouter` wants back.
    pub(super) reasoning_details: Option<Vec<Value>>,
    pub(super) tool_calls: Option<Vec<ToolCallDelta>>,
}

impl Delta {
    /// Takes the reasoning in that field.
    pub(super) fn reasoning(&mut self, field: ReasoningField) -> Option<Value> {
        match field {
            ReasoningField::ReasoningContent => self.reasoning_content.take(),
            ReasoningField::Reasoning => self.reasoning.take(),
        }
    }
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
    /// A string with a piece of JSON; an object from some servers. Raw, because its numbers may
    /// have more digits than a [`Value`] keeps.
    pub(super) arguments: Option<Box<RawValue>>,
}
