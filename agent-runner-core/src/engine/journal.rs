//! Turns events into batches and journals into states: the one place that knows how the two meet.

use std::{collections::BTreeMap, ops::ControlFlow};

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{EngineError, EngineErrorKind};
use crate::{
    approval::ApprovalStatus,
    event::{Event, EventBody, NewEvent},
    id::{RunId, StepKey},
    limits,
    machine::{RunState, Told},
    store::{
        ApprovalRow, ArtifactRow, Batch, Beginning, Blob, EventQuery, Ready, SignalRow, StepRow,
        Store,
    },
};

/// SHA-256 of `parts`, each followed by a NUL, as lower-case hex.
pub(super) fn sha256_hex(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        if parts.len() > 1 {
            hasher.update([0]);
        }
    }
    hex(&hasher.finalize())
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The key that every attempt of a step sends along: `H(run_id, step_key)`.
pub(super) fn idempotency_key(run: RunId, step: &StepKey) -> String {
    sha256_hex(&[run.to_string().as_bytes(), step.as_str().as_bytes()])
}

/// Puts an event into a batch, and the rows that tell the same; a payload that is too large goes into a
/// blob.
pub(super) fn push(batch: &mut Batch, body: &EventBody, at: Timestamp) {
    let place = batch.events.len();
    batch.artifacts.extend(artifact_row(place, body, at));
    batch.approvals.extend(approval_row(place, body, at));
    let event = stored(body, at, &mut batch.blobs);
    batch.events.push(event);
}

/// The event for a store; a payload that is too large goes to `blobs`.
pub(super) fn stored(body: &EventBody, at: Timestamp, blobs: &mut Vec<Blob>) -> NewEvent {
    let mut event = body.to_new(at);
    offload(&mut event, blobs);
    event
}

/// What a run begins with that has a past: `bodies`, and the rows of their steps.
pub(super) fn beginning(
    steps: StepRows,
    bodies: &[EventBody],
    at: &[Timestamp],
    ready: Ready,
) -> Beginning {
    let signals = bodies.iter().enumerate().filter_map(|(event, body)| signal_row(event, body));
    let mut first = Beginning {
        steps: steps.into_rows(),
        signals: signals.collect(),
        ..Beginning::new(Vec::new(), ready)
    };
    for (place, (body, at)) in bodies.iter().zip(at).enumerate() {
        first.artifacts.extend(artifact_row(place, body, *at));
        let event = stored(body, *at, &mut first.blobs);
        first.events.push(event);
    }
    first
}

/// The row of the signal or message that the event of that place tells of, if it tells of one.
pub(super) fn signal_row(event: usize, body: &EventBody) -> Option<SignalRow> {
    let (id, name) = match body {
        EventBody::SignalReceived { id, name, .. } => (id.clone(), name.clone()),
        EventBody::DirectiveReceived { id, .. } => (id.clone(), String::new()),
        _ => return None,
    };
    Some(SignalRow { id, name, event })
}

/// Puts a payload that is too large for its event into `blobs`.
pub(super) fn offload(event: &mut NewEvent, blobs: &mut Vec<Blob>) {
    let text = event.payload.as_str();
    if text.len() <= limits::EVENT_INLINE_BYTES_MAX {
        return;
    }
    let bytes = text.as_bytes().to_vec();
    let sha256 = sha256_hex(&[&bytes]);
    let small = event.payload.to_value().unwrap_or_default();
    event.payload = stub(&small, &sha256, bytes.len()).into();
    event.blob = Some(sha256.clone());
    blobs.push(Blob { sha256, bytes });
}

/// What stands in an event instead of a large payload: its small fields and where the rest is.
fn stub(payload: &Value, sha256: &str, size: usize) -> Value {
    const SMALL: usize = 1024;
    let mut stub = json!({"blob": {"sha256": sha256, "size": size}});
    if let (Value::Object(all), Some(stub)) = (payload, stub.as_object_mut()) {
        for (key, value) in all {
            if value.to_string().len() <= SMALL {
                stub.insert(key.clone(), value.clone());
            }
        }
    }
    stub
}

/// An event with its whole payload.
pub(super) async fn whole(store: &dyn Store, mut event: Event) -> Result<Event, EngineError> {
    if let Some(sha256) = &event.blob {
        let bytes = store.blob(sha256).await?;
        event.payload = serde_json::from_slice(&bytes).map_err(|error| {
            EngineError::new(
                EngineErrorKind::Internal,
                format!(
                    "the payload of event {} of run {} is damaged: {error}",
                    event.seq, event.run_id
                ),
            )
        })?;
    }
    Ok(event)
}

/// Shows the typed events of a run after `after` to `look`, in order and a page at a time, until it has
/// seen enough; the number of the last one. Events of a newer program are left out.
pub(super) async fn walk(
    store: &dyn Store,
    run: RunId,
    mut after: u64,
    mut look: impl FnMut(&Event, EventBody) -> Result<ControlFlow<()>, EngineError> + Send,
) -> Result<u64, EngineError> {
    loop {
        let page = store.events(run, &EventQuery::after(after)).await?;
        let full = page.len() >= limits::EVENT_PAGE;
        for event in page {
            let event = whole(store, event).await?;
            after = event.seq;
            if let Some(body) = read(&event)?
                && look(&event, body)?.is_break()
            {
                return Ok(after);
            }
        }
        if !full {
            return Ok(after);
        }
    }
}

/// The typed events of a run up to that number.
pub(super) async fn told(
    store: &dyn Store,
    run: RunId,
    upto: u64,
) -> Result<Vec<Told>, EngineError> {
    let mut all = Vec::new();
    walk(store, run, 0, |event, body| {
        if event.seq > upto {
            return Ok(ControlFlow::Break(()));
        }
        all.push(Told { seq: event.seq, at: event.at, body });
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(all)
}

fn damaged(event: &Event, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::new(
        EngineErrorKind::Internal,
        format!(
            "the journal of run {} cannot be folded at event {}: {error}",
            event.run_id, event.seq
        ),
    )
}

/// Takes what a stored event tells into `state`.
pub(super) fn take(
    state: &mut RunState,
    event: &Event,
    body: &EventBody,
) -> Result<(), EngineError> {
    state.apply(event.seq, body).map_err(|error| damaged(event, &error))
}

/// What a stored event tells; `None` for one of a newer program.
pub(super) fn read(event: &Event) -> Result<Option<EventBody>, EngineError> {
    EventBody::from_event(event).map_err(|error| damaged(event, &error))
}

/// The row of the artifact of which the batch's event with this place tells.
fn artifact_row(event: usize, body: &EventBody, at: Timestamp) -> Option<ArtifactRow> {
    let EventBody::ArtifactCreated { step, artifact, name, kind, media_type, size, sha256, uri } =
        body
    else {
        return None;
    };
    Some(ArtifactRow {
        id: *artifact,
        step: step.clone(),
        name: name.clone(),
        kind: kind.clone(),
        media_type: media_type.clone(),
        size: *size,
        sha256: sha256.clone(),
        uri: uri.clone(),
        event,
        at,
    })
}

/// The row of the approval that the batch's event with this place asks for or decides.
fn approval_row(event: usize, body: &EventBody, at: Timestamp) -> Option<ApprovalRow> {
    let (id, step, status, expires_at) = match body {
        EventBody::ApprovalRequested { approval, step, expires_at, .. } => {
            (approval, step, ApprovalStatus::Pending, Some(*expires_at))
        }
        EventBody::ApprovalResolved { approval, step, decision, .. } => {
            (approval, step, decision.status(), None)
        }
        EventBody::ApprovalExpired { approval, step } => {
            (approval, step, ApprovalStatus::Expired, None)
        }
        _ => return None,
    };
    Some(ApprovalRow { id: *id, step: step.clone(), status, event, at, expires_at })
}

/// The rows of the steps that a batch speaks of, gathered while its events are applied: a state
/// forgets steps that are over.
#[derive(Debug, Clone, Default)]
pub(super) struct StepRows {
    rows: Vec<StepRow>,
    places: BTreeMap<StepKey, usize>,
}

impl StepRows {
    /// Takes in what `state` says of the step of its last event, the `n`-th of the batch, from 0.
    pub(super) fn take(&mut self, n: usize, body: &EventBody, at: Timestamp, state: &RunState) {
        let Some((key, step)) = body.step().and_then(|key| Some((key, state.step(key)?))) else {
            return;
        };
        let place = *self.places.entry(key.clone()).or_insert(self.rows.len());
        if place == self.rows.len() {
            self.rows.push(StepRow {
                key: key.clone(),
                kind: step.kind,
                name: step.name.clone(),
                policy: step.policy,
                status: step.status,
                attempts: step.attempts,
                error: None,
                started: None,
                done: None,
                started_at: None,
                finished_at: None,
            });
        }
        let Some(row) = self.rows.get_mut(place) else { return };
        row.status = step.status;
        row.attempts = step.attempts;
        row.error.clone_from(&step.error);
        if matches!(body, EventBody::StepStarted { .. }) {
            row.started = Some(n);
            row.started_at = Some(at);
        }
        let ends = matches!(
            body,
            EventBody::StepSucceeded { .. }
                | EventBody::StepFailed { .. }
                | EventBody::StepSkipped { .. }
                | EventBody::StepCanceled { .. }
                | EventBody::StepIndeterminate { .. }
        );
        if ends {
            row.done = Some(n);
            row.finished_at = Some(at);
        }
    }

    /// The rows, in the order in which the events spoke of their steps first.
    pub(super) fn into_rows(self) -> Vec<StepRow> {
        self.rows
    }
}
