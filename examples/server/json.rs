//! The shapes of `--json`: those of the REST service, as far as they concern the command line.

use agent_runner::{
    event::{Event, EventBody},
    llm::MicroUsd,
    run::Run,
    step::Step,
};
use serde_json::{Value, json};

/// An event.
pub(crate) fn event(event: &Event) -> Value {
    let sentence = match EventBody::from_event(event) {
        Ok(Some(body)) => body.sentence(),
        Ok(None) | Err(_) => event.kind.clone(),
    };
    let mut payload = event.payload.clone();
    if let Some(fields) = payload.as_object_mut() {
        fields.entry("message").or_insert(Value::String(sentence));
    }
    let mut shown = json!({
        "id": event.seq,
        "run_id": event.run_id,
        "type": event.kind,
        "payload": payload,
        "created_at": event.at,
    });
    if let (Some(step), Some(fields)) = (&event.step, shown.as_object_mut()) {
        fields.insert("step".to_owned(), json!(step));
    }
    shown
}

/// Micro-USD as US dollars.
#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn usd(money: MicroUsd) -> f64 {
    money.0 as f64 / 1e6
}

/// A run.
pub(crate) fn run(run: &Run) -> Value {
    let agent = &run.spec.agent;
    json!({
        "id": run.id,
        "project_id": run.project_id,
        "name": run.name,
        "goal": run.spec.goal,
        "agent": agent.name,
        "model": agent.model,
        "tools": agent.tools,
        "tool_mode": agent.tool_mode,
        "status": run.status,
        "phase": run.phase(),
        "waiting_on": run.park.as_ref().map(|park| {
            json!({"reason": park.reason, "wake_at": park.wake_at, "on": park.waiting_on})
        }),
        "output": run.output,
        "error": run.error,
        "usage": {
            "input": run.usage.input,
            "output": run.usage.output,
            "cache_read": run.usage.cache_read,
            "cache_write": run.usage.cache_write,
            "cache_write_1h": run.usage.cache_write_1h,
            "reasoning": run.usage.reasoning,
            "total": run.usage.total(),
        },
        "spend": {
            "requests": run.spend.requests,
            "tokens": run.spend.tokens,
            "busy_ms": run.spend.busy_ms,
        },
        "cost": run.spend.known_cost().map(|money| json!({
            "usd": usd(money),
            "micro_usd": money,
            "unpriced_requests": run.spend.unpriced,
        })),
        "notices": run.spec.notices,
        "tags": run.tags,
        "metadata": run.metadata,
        "pause_requested": run.pause_requested,
        "cancel_requested": run.cancel_requested,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "deadline_at": run.deadline_at,
        "imported_from": run.spec.imported_from.as_ref().map(|from| {
            json!({"run_id": from.run, "sha256": from.sha256})
        }),
        "last_event_id": run.last_seq,
    })
}

/// A step.
pub(crate) fn step(step: &Step) -> Value {
    json!({
        "id": step.key,
        "run_id": step.run_id,
        "kind": step.kind,
        "name": step.name,
        "policy": step.policy,
        "status": step.status,
        "attempts": step.attempts,
        "error": step.error,
        "started_event_id": step.started_seq,
        "finished_event_id": step.done_seq,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
    })
}
