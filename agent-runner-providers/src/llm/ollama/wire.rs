//! The parts of Ollama's replies that matter here. Counters are left out when they are zero.
//!
//! Source: `api/types.go` of ollama/ollama.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// One line of the stream of `/api/chat`.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) model: Option<String>,
    pub(super) message: Option<Turn>,
    #[serde(default)]
    pub(super) done: bool,
    pub(super) done_reason: Option<String>,
    pub(super) prompt_eval_count: Option<u64>,
    pub(super) eval_count: Option<u64>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Turn {
    pub(super) content: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) function: Function,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: String,
    /// An object, raw, because its numbers may have more digits than a [`Value`] keeps.
    pub(super) arguments: Option<Box<RawValue>>,
}

/// The reply of `/api/tags`.
#[derive(Debug, Deserialize)]
pub(super) struct Tags {
    pub(super) models: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub(super) name: String,
}

/// The reply of `/api/show`.
#[derive(Debug, Deserialize)]
pub(super) struct Show {
    /// Missing from servers before 0.6.4.
    pub(super) capabilities: Option<Vec<String>>,
    /// Has the context length under `<architecture>.context_length`.
    pub(super) model_info: Option<BTreeMap<String, Value>>,
}

/// The reply of `/api/embed`.
#[derive(Debug, Deserialize)]
pub(super) struct Vectors {
    pub(super) embeddings: Vec<Vec<f32>>,
    pub(super) prompt_eval_count: Option<u64>,
}
