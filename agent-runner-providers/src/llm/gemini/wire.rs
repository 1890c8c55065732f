//! The parts of the API's replies that matter here. Everything is optional, `null` is nothing and
//! unknown fields are ignored: the API adds fields and enum values at any time.
//!
//! Source: the API reference of `generateContent` and the types of Google's own SDK.

use serde::Deserialize;
use serde_json::Value;

/// One event of a stream: a whole reply as far as it goes beyond the one before.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame {
    pub(super) candidates: Option<Vec<Candidate>>,
    pub(super) prompt_feedback: Option<PromptFeedback>,
    pub(super) usage_metadata: Option<Value>,
    pub(super) model_version: Option<String>,
    pub(super) response_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) index: Option<u64>,
    pub(super) content: Option<Content>,
    pub(super) finish_reason: Option<String>,
    pub(super) finish_message: Option<String>,
    /// With what a reply that stopped halfway goes on.
    pub(super) continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Content {
    pub(super) parts: Option<Vec<Part>>,
}

/// A piece of the reply. It has a text or a call; of other kinds there is nothing here to read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) text: Option<String>,
    pub(super) function_call: Option<FunctionCall>,
    pub(super) thought: Option<bool>,
    /// Base64 that goes back as it came; never decoded, for there are two alphabets.
    pub(super) thought_signature: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionCall {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) args: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
    pub(super) block_reason_message: Option<String>,
}

/// A page of the list of models.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) models: Option<Vec<Model>>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Model {
    pub(super) name: Option<String>,
    pub(super) input_token_limit: Option<u64>,
    pub(super) output_token_limit: Option<u64>,
    pub(super) supported_generation_methods: Option<Vec<String>>,
    pub(super) thinking: Option<bool>,
}

/// The answer to `countTokens`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Count {
    pub(super) total_tokens: Option<u64>,
}

/// The answer to `batchEmbedContents`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Embedded {
    pub(super) embeddings: Option<Vec<Embedding>>,
    pub(super) usage_metadata: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Embedding {
    pub(super) values: Option<Vec<f32>>,
}
