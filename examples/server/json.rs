//! The shapes of `--json`, those of the REST service.

use agent_runner::{
    event::{Event, EventBody},
    run::Run,
    step::Step,
};
use serde_json::{Value, json};

/// An event, as `GET /runs/{id}/events` lists it.
pub(crate) fn event(event: &Event) -> Value {
    let mut payload = event.payload.clone();
    let sentence = EventBody::from_event(event).ok().flatten().map(|body| body.sentence());
    if let (Some(sentence), Some(fields)) = (sentence, payload.as_object_mut()) {
        fields.insert("message".to_owned(), Value::String(sentence));
    }
    json!({
        "id": event.seq,
        "run_id": event.run_id,
        "type": event.kind,
        "step": event.step,
        "payload": payload,
        "created_at": event.at,
    })
}

/// A run.
pub(crate) fn run(run: &Run) -> Value {
    json!({
        "id": run.id,
        "project_id": run.project_id,
        "name": run.name,
        "goal": run.spec.goal,
        "agent": run.spec.agent,
        "status": run.status,
        "phase": run.phase(),
        "status_reason": run.error.as_ref().map(|error| error.reason),
        "waiting_on": run.park,
        "output": run.output,
        "error": run.error,
        "usage": run.usage,
        "notices": run.spec.notices,
        "tags": run.tags,
        "metadata": run.metadata,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "last_event_id": run.last_seq,
    })
}

/// A step.
pub(crate) fn step(step: &Step) -> Value {
    json!({
        "key": step.key,
        "kind": step.kind,
        "name": step.name,
        "policy": step.policy,
        "status": step.status,
        "attempts": step.attempts,
        "error": step.error,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
    })
}
