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
