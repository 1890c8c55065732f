//! Events as the store keeps them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Payload;
use crate::id::{RunId, StepKey};

/// An event as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The run it belongs to.
    pub run_id: RunId,
    /// Its number in the run, from 1, without gaps.
    pub seq: u64,
    /// The epoch of the owner that wrote it; the run's epoch for events of the API.
    pub epoch: u64,
    /// Its type, dotted lower case such as `llm.completed`.
    pub kind: String,
    /// The step it is about.
    pub step: Option<StepKey>,
    /// What happened; see `docs/EVENTS.md`.
    pub payload: Value,
    /// SHA-256 (hex) of the whole payload when it is too large to stand here;
    /// `payload` is then a stub.
    pub blob: Option<String>,
    /// When it was written.
    pub at: Timestamp,
}

/// An event on its way into a journal. The store gives it its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Its type.
    pub kind: String,
    /// The step it is about.
    pub step: Option<StepKey>,
    /// What happened.
    pub payload: Payload,
    /// Set when the payload is a stub.
    pub blob: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

/// An event whose payload this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("event {seq} of type `{kind}` has a payload that this version cannot read")]
pub struct DecodeEventError {
    pub(super) seq: u64,
    pub(super) kind: String,
    pub(super) source: serde_json::Error,
}
