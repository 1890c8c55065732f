//! What a caller hands to the writer: everything that can be serialised or refused without looking
//! into the database is done in the caller's task, so that the writer only decides and writes.

use agent_runner_core::{
    event::{NewEvent, Payload},
    id::{RunId, StepKey},
    limits::DOCUMENT_DEPTH_MAX,
    run::{Park, Run, RunStatus},
    step::StepStatus,
    store::{
        ApprovalRow, ArtifactRow, Batch, Beginning, Blob, Booking, Expect, News, NewsEffect, Ready,
        RunPatch, SignalRow, Snapshot, StepRow, StoreError, StoreErrorKind,
    },
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// A batch on its way.
#[derive(Debug)]
pub(super) struct PreparedBatch {
    pub(super) run: RunId,
    pub(super) expect: Expect,
    pub(super) events: Vec<EventText>,
    pub(super) patch: Patch,
    pub(super) steps: Vec<StepText>,
    pub(super) signals: Vec<SignalRow>,
    pub(super) blobs: Vec<Blob>,
    pub(super) artifacts: Vec<ArtifactRow>,
    pub(super) approvals: Vec<ApprovalRow>,
    pub(super) bookings: Vec<Booking>,
    pub(super) spawns: Vec<PreparedRun>,
    pub(super) news: Vec<NewsText>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) ready: Ready,
}

/// News on their way.
#[derive(Debug)]
pub(super) struct NewsText {
    pub(super) run: RunId,
    pub(super) event: EventText,
    pub(super) blobs: Vec<Blob>,
    pub(super) effect: NewsEffect,
}

/// A run on its way.
#[derive(Debug)]
pub(super) struct PreparedRun {
    pub(super) run: Run,
    pub(super) texts: RunTexts,
    pub(super) first: PreparedBatch,
}

/// The documents of a new run.
#[derive(Debug)]
pub(super) struct RunTexts {
    pub(super) spec: String,
    pub(super) tags: String,
    pub(super) metadata: String,
    pub(super) usage: String,
    pub(super) spend: String,
    pub(super) output: Option<String>,
    pub(super) error: Option<String>,
    pub(super) park: ParkText,
}

#[derive(Debug)]
pub(super) struct EventText {
    pub(super) kind: String,
    pub(super) step: Option<StepKey>,
    pub(super) payload: Payload,
    pub(super) blob: Option<String>,
    pub(super) at: i64,
}

#[derive(Debug)]
pub(super) struct StepText {
    pub(super) key: StepKey,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) policy: &'static str,
    pub(super) status: StepStatus,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    pub(super) started: Option<usize>,
    pub(super) done: Option<usize>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
}

/// The columns of a park; all empty for none.
#[derive(Debug, Clone, Default)]
pub(super) struct ParkText {
    pub(super) reason: Option<&'static str>,
    pub(super) wake_at: Option<i64>,
    pub(super) waiting_on: Option<String>,
}

/// Changes of a run's row, in the columns' own types. `None` keeps what is there.
#[derive(Debug, Default)]
pub(super) struct Patch {
    pub(super) status: Option<RunStatus>,
    pub(super) park: Option<ParkText>,
    pub(super) pause_requested: Option<bool>,
    pub(super) cancel_requested: bool,
    pub(super) cancel_reason: Option<String>,
    pub(super) output: Option<String>,
    pub(super) error: Option<String>,
    pub(super) usage: Option<String>,
    pub(super) spend: Option<String>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) recoveries: Option<u32>,
    pub(super) release: bool,
    pub(super) bump_control: bool,
}

impl PreparedBatch {
    /// Whether it ends its run.
    pub(super) fn ends(&self) -> bool {
        self.patch.status.is_some_and(RunStatus::is_terminal)
    }

    pub(super) fn new(batch: Batch) -> Result<Self, StoreError> {
        let Batch {
            run,
            expect,
            events,
            patch,
            steps,
            signals,
            blobs,
            artifacts,
            approvals,
            bookings,
            spawns,
            news,
            snapshot,
            ready,
        } = batch;
        Ok(Self {
            run,
            expect,
            events: events.into_iter().map(event_text).collect::<Result<_, _>>()?,
            patch: patch_text(patch)?,
            steps: steps.into_iter().map(step_text).collect::<Result<_, _>>()?,
            signals,
            blobs,
            artifacts,
            approvals,
            bookings,
            spawns: spawns
                .into_iter()
                .map(|spawn| {
                    let (run, first) = spawn.into_parts();
                    PreparedRun::new(run, first)
                })
                .collect::<Result<_, _>>()?,
            news: news.into_iter().map(news_text).collect::<Result<_, _>>()?,
            snapshot,
            ready,
        })
    }

    /// The runs that it changes: its own, those that begin, those that learn something.
    pub(super) fn runs(&self) -> impl Iterator<Item = RunId> {
        let spawned = self.spawns.iter().map(|spawn| spawn.run.id);
        std::iter::once(self.run).chain(spawned).chain(self.news.iter().map(|news| news.run))
    }

    /// Whether some run may be claimable after it.
    pub(super) fn lists(&self) -> bool {
        matches!(self.ready, Ready::At(_))
            || self.spawns.iter().any(|spawn| matches!(spawn.first.ready, Ready::At(_)))
            || self.news.iter().any(|news| matches!(news.effect, NewsEffect::Wake { .. }))
    }

    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let blobs = self.blobs.iter().chain(self.news.iter().flat_map(|news| &news.blobs));
        let news: usize = self.news.iter().map(|news| news.event.payload.as_str().len()).sum();
        let spawns: usize = self.spawns.iter().map(PreparedRun::bytes).sum();
        let blobs: usize = blobs.map(|blob| blob.bytes.len()).sum();
        let snapshot = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.state.len());
        payload_bytes(&self.events) + blobs + news + spawns + snapshot
    }
}

impl PreparedRun {
    pub(super) fn new(mut run: Run, first: Beginning) -> Result<Self, StoreError> {
        // The caller gets the run as it is stored, so moments are cut to what is stored of them.
        let moments = [&mut run.deadline_at, &mut run.started_at, &mut run.finished_at];
        for at in moments.into_iter().flatten() {
            *at = cut(*at);
        }
        run.created_at = cut(run.created_at);
        if let Some(wake_at) = run.park.as_mut().and_then(|park| park.wake_at.as_mut()) {
            *wake_at = cut(*wake_at);
        }
        let texts = RunTexts {
            spec: text(&run.spec)?,
            tags: text(&run.tags)?,
            metadata: {
                run.metadata.values().try_for_each(shallow)?;
                text(&run.metadata)?
            },
            usage: text(&run.usage)?,
            spend: text(&run.spend)?,
            output: run.output.as_ref().map(document).transpose()?,
            error: run.error.as_ref().map(text).transpose()?,
            park: run.park.as_ref().map(park_text).transpose()?.unwrap_or_default(),
        };
        if let Some(schema) = &run.spec.agent.output_schema {
            shallow(schema)?;
        }
        Ok(Self { texts, first: PreparedBatch::new(first.into_batch(&run))?, run })
    }

    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.first.bytes() + self.texts.spec.len() + self.texts.metadata.len()
    }
}

fn payload_bytes(events: &[EventText]) -> usize {
    events.iter().map(|event| event.payload.as_str().len()).sum()
}

fn event_text(event: NewEvent) -> Result<EventText, StoreError> {
    Ok(EventText {
        payload: shallow_enough(event.payload)?,
        kind: event.kind,
        step: event.step,
        blob: event.blob,
        at: micros(event.at),
    })
}

fn news_text(news: News) -> Result<NewsText, StoreError> {
    let News { run, event, blobs, effect } = news;
    Ok(NewsText { run, event: event_text(event)?, blobs, effect })
}

fn step_text(step: StepRow) -> Result<StepText, StoreError> {
    Ok(StepText {
        key: step.key,
        kind: step.kind.as_str(),
        name: step.name,
        policy: step.policy.as_str(),
        status: step.status,
        attempts: step.attempts,
        error: step.error.as_ref().map(text).transpose()?,
        started: step.started,
        done: step.done,
        started_at: step.started_at.map(micros),
        finished_at: step.finished_at.map(micros),
    })
}

fn park_text(park: &Park) -> Result<ParkText, StoreError> {
    Ok(ParkText {
        reason: Some(park.reason.as_str()),
        wake_at: park.wake_at.map(micros),
        waiting_on: Some(document(&park.waiting_on)?),
    })
}

fn patch_text(patch: RunPatch) -> Result<Patch, StoreError> {
    let park = match &patch.park {
        None => None,
        Some(None) => Some(ParkText::default()),
        Some(Some(park)) => Some(park_text(park)?),
    };
    Ok(Patch {
        status: patch.status,
        park,
        pause_requested: patch.pause_requested,
        cancel_requested: patch.cancel_requested,
        cancel_reason: patch.cancel_reason,
        output: patch.output.as_ref().map(document).transpose()?,
        error: patch.error.as_ref().map(text).transpose()?,
        usage: patch.usage.as_ref().map(text).transpose()?,
        spend: patch.spend.as_ref().map(text).transpose()?,
        started_at: patch.started_at.map(micros),
        finished_at: patch.finished_at.map(micros),
        recoveries: patch.recoveries,
        release: patch.release,
        bump_control: patch.bump_control,
    })
}

/// A value of a type whose serialisation cannot fail, as JSON.
pub(super) fn text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::new(StoreErrorKind::Corrupt, "a value cannot be written as JSON")
            .with_source(error)
    })
}

/// A foreign document as JSON, if it can be read again.
pub(super) fn document(value: &Value) -> Result<String, StoreError> {
    shallow(value)?;
    text(value)
}

fn shallow(value: &Value) -> Result<(), StoreError> {
    if within(value, DOCUMENT_DEPTH_MAX) { Ok(()) } else { Err(too_deep()) }
}

fn shallow_enough(payload: Payload) -> Result<Payload, StoreError> {
    if payload.is_too_deep() { Err(too_deep()) } else { Ok(payload) }
}

fn too_deep() -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("a document is nested deeper than {DOCUMENT_DEPTH_MAX} levels: make it flatter"),
    )
}

fn within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| within(item, depth - 1)),
        Value::Object(items) => depth > 0 && items.values().all(|item| within(item, depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Microseconds since 1970.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

fn cut(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(micros(at)).unwrap_or(at)
}

/// A list of runs for `json_each`.
pub(super) fn list_of(runs: &[RunId]) -> Result<String, sqlx::Error> {
    json(&runs)
}

/// Rows for `json_each`.
pub(super) fn json(rows: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}
