//! The rows of `statements/write` as JSON: the names here are the names there.

use agent_runner_core::{
    id::{ProjectId, RunId, StepKey, WorkerId},
    run::{Run, RunStatus},
};
use serde::Serialize;

use super::prepare::{ParkText, Patch, PreparedRun, RunTexts, StepText, micros};

#[derive(Debug, Serialize)]
pub(super) struct RunRow<'a> {
    id: RunId,
    priority: i32,
    park_reason: Option<&'static str>,
    park_wake_at: Option<i64>,
    park_waiting_on: Option<&'a str>,
    pause_requested: bool,
    cancel_requested: bool,
    cancel_reason: Option<&'a str>,
    output: Option<&'a str>,
    error: Option<&'a str>,
    usage: &'a str,
    spend: &'a str,
    deadline_at: Option<i64>,
    started_at: Option<i64>,
    recoveries: u32,
    epoch: u64,
    control: u64,
    next_seq: u64,
}

impl<'a> RunRow<'a> {
    pub(super) fn new(prepared: &'a PreparedRun, next_seq: u64) -> Self {
        let PreparedRun { run, texts, .. } = prepared;
        Self {
            id: run.id,
            priority: run.priority,
            park_reason: texts.park.reason,
            park_wake_at: texts.park.wake_at,
            park_waiting_on: texts.park.waiting_on.as_deref(),
            pause_requested: run.pause_requested,
            cancel_requested: run.cancel_requested,
            cancel_reason: run.cancel_reason.as_deref(),
            output: texts.output.as_deref(),
            error: texts.error.as_deref(),
            usage: &texts.usage,
            spend: &texts.spend,
            deadline_at: run.deadline_at.map(micros),
            started_at: run.started_at.map(micros),
            recoveries: run.recoveries,
            epoch: run.epoch,
            control: run.control,
            next_seq,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RequestRow<'a> {
    run_id: RunId,
    project_id: ProjectId,
    name: Option<&'a str>,
    spec: &'a str,
    parent_id: Option<RunId>,
    root_id: RunId,
    tags: &'a str,
    metadata: &'a str,
    idempotency_key: Option<&'a str>,
    request_hash: Option<&'a str>,
    created_at: i64,
}

impl<'a> RequestRow<'a> {
    pub(super) fn new(run: &'a Run, texts: &'a RunTexts) -> Self {
        Self {
            run_id: run.id,
            project_id: run.project_id,
            name: run.name.as_deref(),
            spec: &texts.spec,
            parent_id: run.parent_id,
            root_id: run.root_id,
            tags: &texts.tags,
            metadata: &texts.metadata,
            idempotency_key: run.idempotency_key.as_deref(),
            request_hash: run.request_hash.as_deref(),
            created_at: micros(run.created_at),
        }
    }
}

/// A changed run: what is given as it will be, and what is not as it was.
#[derive(Debug, Serialize)]
pub(super) struct ChangeRow<'a> {
    pub(super) id: RunId,
    pub(super) status: RunStatus,
    pub(super) owner: Option<WorkerId>,
    pub(super) control: u64,
    pub(super) next_seq: u64,
    pub(super) pause_requested: bool,
    pub(super) cancel_requested: bool,
    pub(super) cancel_reason: Option<&'a str>,
    pub(super) output: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    pub(super) usage: Option<&'a str>,
    pub(super) spend: Option<&'a str>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) recoveries: Option<u32>,
    pub(super) park: bool,
    pub(super) park_reason: Option<&'static str>,
    pub(super) park_wake_at: Option<i64>,
    pub(super) park_waiting_on: Option<&'a str>,
}

/// The part of a change that guards do not need; a later batch of the group wins.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    pub(super) cancel_reason: Option<&'a str>,
    pub(super) output: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    pub(super) usage: Option<&'a str>,
    pub(super) spend: Option<&'a str>,
    pub(super) started_at: Option<i64>,
    pub(super) recoveries: Option<u32>,
    pub(super) park: Option<&'a ParkText>,
}

impl<'a> Changes<'a> {
    pub(super) fn merge(&mut self, patch: &'a Patch) {
        self.cancel_reason = patch.cancel_reason.as_deref().or(self.cancel_reason);
        self.output = patch.output.as_deref().or(self.output);
        self.error = patch.error.as_deref().or(self.error);
        self.usage = patch.usage.as_deref().or(self.usage);
        self.spend = patch.spend.as_deref().or(self.spend);
        self.started_at = patch.started_at.or(self.started_at);
        self.recoveries = patch.recoveries.or(self.recoveries);
        self.park = patch.park.as_ref().or(self.park);
    }
}

/// run, seq, epoch, kind, step, payload, blob, at.
pub(super) type EventRow<'a> =
    (RunId, u64, u64, &'a str, Option<&'a StepKey>, &'a str, Option<&'a str>, i64);

/// As in `write/steps.sql`: run, key, kind, name, policy, status, attempts, error, numbers of the events
/// that started and ended it, moments of both.
pub(super) type StepColumns<'a> = (
    RunId,
    &'a StepKey,
    &'static str,
    &'a str,
    &'static str,
    &'static str,
    u32,
    Option<&'a str>,
    Option<u64>,
    Option<u64>,
    Option<i64>,
    Option<i64>,
);

pub(super) fn step(run: RunId, step: &StepText, first_seq: u64) -> StepColumns<'_> {
    (
        run,
        &step.key,
        step.kind,
        &step.name,
        step.policy,
        step.status.as_str(),
        step.attempts,
        step.error.as_deref(),
        step.started.map(|event| after(first_seq, event)),
        step.done.map(|event| after(first_seq, event)),
        step.started_at,
        step.finished_at,
    )
}

/// The number of the event with this place, in a batch whose first one has `seq`.
pub(super) fn after(seq: u64, events: usize) -> u64 {
    u64::try_from(events).map_or(u64::MAX, |events| seq.saturating_add(events))
}

/// run, id, name, seq.
pub(super) type SignalColumns<'a> = (RunId, &'a str, &'a str, u64);
