//! The parts of the API's events that matter here. Everything is optional, because compatible
//! servers leave out what their clients did not miss.
//!
//! Source: the API reference of responses and its streaming events.

use serde::Deserialize;
use serde_json::Value;

/// One event of a stream.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Event {
    /// The event's name, which the frame has as well.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// Which item of the output this is about.
    pub(super) output_index: Option<u64>,
    /// Which paragraph of a summary of reasoning.
    pub(super) summary_index: Option<u64>,
    /// More of an item.
    pub(super) delta: Option<String>,
    /// An item when it begins and when it is complete.
    pub(super) item: Option<Value>,
    /// The response when it begins and when it ends.
    pub(super) response: Option<Response>,
    pub(super) error: Option<Value>,
}

/// A response, whole or as far as it has come.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Response {
    pub(super) model: Option<String>,
    pub(super) status: Option<String>,
    pub(super) output: Option<Vec<Value>>,
    pub(super) usage: Option<Value>,
    pub(super) incomplete_details: Option<IncompleteDetails>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct IncompleteDetails {
    pub(super) reason: Option<String>,
}
