//! An event as clients see it.

use agent_runner_core::{
    engine::LiveFrame,
    event::{self, EventBody},
    id::RunId,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The type of a live frame.
pub(crate) const DELTA: &str = "llm.delta";

/// One fact of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// Its number in the run, from 1, without gaps.
    pub(crate) id: u64,
    /// The run it belongs to.
    #[schema(format = Uuid)]
    run_id: String,
    /// Its type, dotted lower case.
    #[serde(rename = "type")]
    #[schema(examples("tool.completed"))]
    pub(crate) kind: String,
    /// What happened. `message` says it in one sentence; the rest depends on the type. A payload
    /// above 256 KiB stands here as a stub with `blob`; the event's own address has it whole.
    #[schema(value_type = Object)]
    payload: Value,
    /// The step it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<event::Event> for Event {
    fn from(event: event::Event) -> Self {
        let message = match EventBody::from_event(&event) {
            Ok(Some(body)) => body.sentence(),
            // A type of another version, or a stub.
            Ok(None) | Err(_) => event.kind.clone(),
        };
        let mut payload = match event.payload {
            Value::Object(map) => map,
            Value::Null => serde_json::Map::new(),
            other => serde_json::Map::from_iter([("value".to_owned(), other)]),
        };
        payload.entry("message").or_insert(Value::String(message));
        Self {
            id: event.seq,
            run_id: event.run_id.to_string(),
            kind: event.kind,
            payload: Value::Object(payload),
            step: event.step.map(|step| step.to_string()),
            created_at: event.at,
        }
    }
}

/// A piece of a model's output while it is written. It has no id: it is gone when it was seen.
pub(crate) fn delta(run: RunId, frame: &LiveFrame) -> Value {
    json!({
        "run_id": run,
        "type": DELTA,
        "step": frame.step,
        "payload": {
            "kind": frame.kind,
            "attempt": frame.attempt,
            "offset": frame.offset,
            "text": frame.text,
        },
    })
}
