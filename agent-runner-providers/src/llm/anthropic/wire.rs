//! The parts of the API's answers that matter here. The service promises to add fields, kinds of
//! events and kinds of blocks without a new version, so everything is optional and of any type
//! until it is looked at.
//!
//! Source: the API reference of version 2026-10-21.

use serde::Deserialize;
use serde_json::Value;

/// One event of a stream.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// Which block.
    pub(super) index: Option<Value>,
    pub(super) message: Option<Value>,
    pub(super) content_block: Option<Value>,
    /// More of a block, or of the message.
    pub(super) delta: Option<Value>,
    pub(super) usage: Option<Value>,
    pub(super) error: Option<Value>,
    pub(super) request_id: Option<Value>,
}

/// The event that a stream mostly consists of, read in one go. What does not fit is read again as
/// an [`Event`].
#[derive(Debug, Deserialize)]
pub(super) struct BlockDelta {
    #[serde(rename = "type")]
    _kind: BlockDeltaKind,
    pub(super) index: Option<u64>,
    pub(super) delta: Delta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BlockDeltaKind {
    ContentBlockDelta,
}

#[derive(Debug, Deserialize)]
pub(super) struct Delta {
    #[serde(rename = "type")]
    pub(super) kind: DeltaKind,
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) partial_json: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) enum DeltaKind {
    #[serde(rename = "text_delta")]
    Text,
    #[serde(rename = "thinking_delta")]
    Thinking,
    #[serde(rename = "signature_delta")]
    Signature,
    #[serde(rename = "input_json_delta")]
    Input,
}

/// A message: without content at the beginning of a stream, whole when nothing was streamed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message {
    pub(super) model: Option<Value>,
    pub(super) content: Option<Value>,
    pub(super) stop_reason: Option<Value>,
    pub(super) stop_details: Option<Value>,
    pub(super) usage: Option<Value>,
}

/// A piece of the list of models.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Model>,
    #[serde(default)]
    pub(super) has_more: Option<bool>,
    #[serde(default)]
    pub(super) last_id: Option<String>,
}

/// A model as the service describes it.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) id: String,
    /// `active`, `deprecated` or `retired`.
    #[serde(default)]
    pub(super) lifecycle: Option<Value>,
    #[serde(default)]
    pub(super) max_input_tokens: Option<Value>,
    #[serde(default)]
    pub(super) max_tokens: Option<Value>,
    #[serde(default)]
    pub(super) capabilities: Option<Value>,
}
