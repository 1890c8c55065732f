//! Decides about a group of batches and creations, in order, and collects their rows.
//!
//! The writer holds the database's only write lock from reading the guards to the commit, so what
//! is decided here in memory is exact. The triggers of the schema check the same rules again.

mod news;

use std::collections::{HashMap, HashSet};

use agent_runner_core::{
    approval::ApprovalStatus,
    budget::Spend,
    id::{ApprovalId, ArtifactId, ProjectId, RunId, StepKey, WorkerId},
    run::{ParkReason, Run, RunStatus},
    step::StepStatus,
    store::{
        Appended, Blob, Expect, Ready, SignalRow, Snapshot, SpendLine, StoreError, StoreErrorKind,
    },
};
use sqlx::sqlite::SqliteRow;

use super::{
    approvals::Approvals,
    artifacts::Artifacts,
    columns::{
        self, ChangeRow, Changes, EventRow, RequestRow, RunRow, SignalColumns, StepColumns, after,
    },
    op::Op,
    prepare::{EventText, Patch, PreparedBatch, PreparedRun, json, micros},
    spend::Bookings,
};
use crate::store::rows::Fields;

/// A run as the group has it so far.
#[derive(Debug)]
struct Guard {
    status: RunStatus,
    finished_at: Option<i64>,
    owner: Option<WorkerId>,
    epoch: u64,
    control: u64,
    next_seq: u64,
    pause_requested: bool,
    cancel_requested: bool,
    park: Option<ParkReason>,
}

/// Its columns in `guards.sql`; SQLite has no booleans.
type GuardColumns =
    (RunId, RunStatus, Option<WorkerId>, u64, u64, u64, u8, u8, Option<i64>, Option<ParkReason>);

#[derive(Debug, Default)]
struct Known<'a> {
    /// `None` for a run that does not exist.
    guard: Option<Guard>,
    steps: HashMap<StepKey, StepStatus>,
    signals: HashSet<String>,
    /// `None` until a batch of the group changes the run.
    changes: Option<Changes<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    runs: HashMap<RunId, Known<'a>>,
    keys: HashMap<(ProjectId, String), RunId>,
    new_runs: Vec<RunRow<'a>>,
    requests: Vec<RequestRow<'a>>,
    events: Vec<EventRow<'a>>,
    steps: Vec<StepColumns<'a>>,
    signals: Vec<SignalColumns<'a>>,
    listings: HashMap<RunId, Option<i64>>,
    blobs: Vec<(RunId, &'a Blob)>,
    snapshots: Vec<(RunId, &'a Snapshot)>,
    approvals: Approvals<'a>,
    artifacts: Artifacts<'a>,
    bookings: Bookings<'a>,
    /// Whether any run has reserved anything.
    reserved: bool,
}

/// What became of a creation.
#[derive(Debug)]
pub(super) enum Creation {
    New(Box<Run>),
    Existing(RunId),
}

/// How many parameters `guards.sql` has.
pub(super) const WANTED: usize = 6;

/// The parameters of `guards.sql`.
pub(super) fn wanted(ops: &[Op]) -> Result<[String; WANTED], sqlx::Error> {
    let (mut runs, mut keys) = (Vec::new(), Vec::new());
    let (mut steps, mut signals) = (Vec::new(), Vec::new());
    let (mut approvals, mut artifacts) = (Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Append(batch) => {
                runs.extend(batch.runs());
                steps.extend(batch.steps.iter().map(|step| (batch.run, &step.key)));
                signals.extend(batch.signals.iter().map(|signal| (batch.run, &signal.id)));
                approvals.extend(batch.approvals.iter().map(|approval| approval.id));
                artifacts.extend(batch.artifacts.iter().map(|artifact| artifact.id));
            }
            Op::Create(new) => {
                runs.push(new.run.id);
                artifacts.extend(new.first.artifacts.iter().map(|artifact| artifact.id));
                keys.extend(new.run.idempotency_key.iter().map(|key| (new.run.project_id, key)));
            }
            _ => {}
        }
    }
    runs.sort_unstable();
    runs.dedup();
    Ok([
        json(&runs)?,
        json(&steps)?,
        json(&signals)?,
        json(&keys)?,
        json(&approvals)?,
        json(&artifacts)?,
    ])
}

impl<'a> Plan<'a> {
    /// Takes in the row of `guards.sql`.
    pub(super) fn learn(&mut self, row: &SqliteRow) -> Result<(), sqlx::Error> {
        let row = Fields(row);
        for guard in row.json::<Vec<GuardColumns>>("runs")? {
            let (id, status, owner, epoch, control, next_seq, pause, cancel, finished_at, park) =
                guard;
            let guard = Guard {
                status,
                finished_at,
                owner,
                epoch,
                control,
                next_seq,
                pause_requested: pause != 0,
                cancel_requested: cancel != 0,
                park,
            };
            self.runs.entry(id).or_default().guard = Some(guard);
        }
        for (run, key, status) in row.json::<Vec<(RunId, StepKey, StepStatus)>>("steps")? {
            self.runs.entry(run).or_default().steps.insert(key, status);
        }
        for (run, id) in row.json::<Vec<(RunId, String)>>("signals")? {
            self.runs.entry(run).or_default().signals.insert(id);
        }
        for (project, key, run) in row.json::<Vec<(ProjectId, String, RunId)>>("keys")? {
            self.keys.insert((project, key), run);
        }
        for (id, status) in row.json::<Vec<(ApprovalId, ApprovalStatus)>>("approvals")? {
            self.approvals.learn(id, status);
        }
        for id in row.json::<Vec<ArtifactId>>("artifacts")? {
            self.artifacts.learn(id);
        }
        self.reserved = row.get("reserved")?;
        Ok(())
    }

    pub(super) fn create(&mut self, new: &'a PreparedRun) -> Result<Creation, StoreError> {
        let run = &new.run;
        let key = run.idempotency_key.clone().map(|key| (run.project_id, key));
        if let Some(known) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return Ok(Creation::Existing(*known));
        }
        if !is_new(run) && !is_over(run) {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "run {} is new and must be QUEUED without end, or have ended; nobody owns it",
                    run.id
                ),
            ));
        }
        let known = self.runs.entry(run.id).or_default();
        if known.guard.is_some() {
            return Err(StoreError::new(
                StoreErrorKind::Duplicate,
                format!("run {} exists already: use a new id", run.id),
            ));
        }
        known.guard = Some(Guard {
            // One that has ended ends with its first batch.
            status: RunStatus::Queued,
            finished_at: None,
            owner: None,
            epoch: run.epoch,
            control: run.control,
            next_seq: 1,
            pause_requested: run.pause_requested,
            cancel_requested: run.cancel_requested,
            park: run.park.as_ref().map(|park| park.reason),
        });
        let appended = self.append_own(&new.first);
        let known = self.runs.entry(run.id).or_default();
        if !run.status.is_terminal() {
            // The row is written as it is after its first events.
            known.changes = None;
        }
        let last_seq = match appended {
            Ok(appended) => appended.last_seq,
            Err(error) => {
                known.guard = None;
                return Err(error);
            }
        };
        if let Some(key) = key {
            self.keys.insert(key, run.id);
        }
        self.new_runs.push(RunRow::new(new, last_seq + 1));
        self.requests.push(RequestRow::new(run, &new.texts));
        Ok(Creation::New(Box::new(Run { last_seq, ..run.clone() })))
    }

    fn append_own(&mut self, batch: &'a PreparedBatch) -> Result<Appended, StoreError> {
        let known = self.runs.entry(batch.run).or_default();
        let guard = known.guard.as_mut().ok_or_else(|| no_run(batch.run))?;
        holds(batch.run, guard, batch.expect)?;
        check_signals(batch, &known.signals)?;
        check_steps(batch, &known.steps)?;
        self.approvals.check(batch)?;
        self.artifacts.check(batch)?;
        let status = next_status(batch.run, guard, &batch.patch)?;

        let first_seq = guard.next_seq;
        let next_seq = after(first_seq, batch.events.len());
        if batch.snapshot.as_ref().is_some_and(|snapshot| snapshot.seq >= next_seq) {
            return Err(broken(batch.run, "the snapshot has events that the journal lacks"));
        }

        // Nothing is refused from here on.
        guard.take(status, &batch.patch, next_seq);
        known.changes.get_or_insert_default().merge(&batch.patch);
        known.steps.extend(batch.steps.iter().map(|step| (step.key.clone(), step.status)));
        known.signals.extend(batch.signals.iter().map(|signal| signal.id.clone()));
        let appended = Appended {
            first_seq,
            last_seq: guard.next_seq - 1,
            control: guard.control,
            pause_requested: guard.pause_requested,
            cancel_requested: guard.cancel_requested,
        };
        let epoch = guard.epoch;
        self.steps.extend(batch.steps.iter().map(|step| columns::step(batch.run, step, first_seq)));
        self.signals.extend(batch.signals.iter().map(|signal: &SignalRow| {
            (batch.run, &*signal.id, &*signal.name, after(first_seq, signal.event))
        }));
        self.push_events(batch.run, first_seq, epoch, &batch.events);
        self.blobs.extend(batch.blobs.iter().map(|blob| (batch.run, blob)));
        self.snapshots.extend(batch.snapshot.iter().map(|snapshot| (batch.run, snapshot)));
        self.artifacts.add(batch.run, &batch.artifacts, first_seq);
        self.approvals.add(batch.run, &batch.approvals, first_seq);
        self.bookings.add(batch.run, &batch.bookings);
        if status.is_terminal() {
            self.bookings.end(batch.run);
        }
        self.list(batch.run, if status.is_terminal() { Ready::Never } else { batch.ready });
        Ok(appended)
    }

    /// Books what no run spent.
    pub(super) fn book(&mut self, amount: Spend, lines: &'a [SpendLine]) {
        self.bookings.book(amount, lines);
    }

    fn list(&mut self, run: RunId, ready: Ready) {
        match ready {
            Ready::Keep => {}
            Ready::At(at) => drop(self.listings.insert(run, Some(micros(at)))),
            Ready::Never => drop(self.listings.insert(run, None)),
        }
    }

    fn push_events(&mut self, run: RunId, first_seq: u64, epoch: u64, events: &'a [EventText]) {
        self.events.extend((first_seq..).zip(events).map(|(seq, event)| {
            let EventText { kind, step, payload, blob, at } = event;
            (run, seq, epoch, &**kind, step.as_ref(), payload.as_str(), blob.as_deref(), *at)
        }));
    }

    /// The parameters of `statements/write`, in order; `None` when there is nothing to write.
    pub(super) fn rows(&self) -> Result<Option<[String; 8]>, sqlx::Error> {
        if self.is_empty() {
            return Ok(None);
        }
        let changes: Vec<ChangeRow<'_>> = self
            .runs
            .iter()
            .filter_map(|(id, known)| {
                Some(change_row(*id, known.guard.as_ref()?, known.changes.as_ref()?))
            })
            .collect();
        let listings: Vec<_> = self.listings.iter().collect();
        Ok(Some([
            json(&self.new_runs)?,
            json(&self.requests)?,
            json(&changes)?,
            json(&self.events)?,
            json(&self.steps)?,
            json(&self.signals)?,
            json(&listings)?,
            self.bookings.booked()?,
        ]))
    }

    /// The further parameters of `settle.sql`; `None` when no reservation can have to go.
    pub(super) fn settled(&self) -> Result<Option<[String; 2]>, sqlx::Error> {
        let settles = self.reserved && self.bookings.settles();
        settles.then(|| self.bookings.settled()).transpose()
    }

    /// The parameter of `artifacts_put.sql`; `None` when there is nothing to write.
    pub(super) fn artifacts(&self) -> Result<Option<String>, sqlx::Error> {
        self.artifacts.rows()
    }

    /// The parameters of `approvals_put.sql`; `None` when there is nothing to write.
    pub(super) fn approvals(&self) -> Result<Option<[String; 2]>, sqlx::Error> {
        self.approvals.rows()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.new_runs.is_empty()
            && self.bookings.is_empty()
            && self.runs.values().all(|known| known.changes.is_none())
    }

    /// Payloads and the runs they belong to. Their bytes do not go through JSON.
    pub(super) fn blobs(&self) -> &[(RunId, &'a Blob)] {
        &self.blobs
    }

    /// Snapshots and their runs. Their bytes do not go through JSON either.
    pub(super) fn snapshots(&self) -> &[(RunId, &'a Snapshot)] {
        &self.snapshots
    }
}

impl Guard {
    fn take(&mut self, status: RunStatus, patch: &Patch, next_seq: u64) {
        self.status = status;
        self.finished_at = patch.finished_at.or(self.finished_at);
        self.park = match &patch.park {
            Some(park) => park.reason.and_then(ParkReason::parse),
            None => self.park,
        };
        self.pause_requested = patch.pause_requested.unwrap_or(self.pause_requested);
        self.cancel_requested |= patch.cancel_requested;
        self.control += u64::from(patch.bump_control);
        self.next_seq = next_seq;
        if patch.release || status.is_terminal() {
            self.owner = None;
        }
    }
}

/// Whether a run is as it must be when it begins.
fn is_new(run: &Run) -> bool {
    run.status == RunStatus::Queued && run.owner.is_none() && run.finished_at.is_none()
}

/// Whether a run is as it must be when it comes with its end.
fn is_over(run: &Run) -> bool {
    run.status.is_terminal() && run.owner.is_none() && run.finished_at.is_some()
}

/// Contract 5.
fn holds(run: RunId, guard: &Guard, expect: Expect) -> Result<(), StoreError> {
    let ended = guard.status.is_terminal();
    let moved = || {
        StoreError::new(
            StoreErrorKind::ControlChanged,
            format!("run {run} is {} with control {}: read it again", guard.status, guard.control),
        )
    };
    match expect {
        Expect::Owner { worker, epoch, .. }
            if ended || guard.owner != Some(worker) || guard.epoch != epoch =>
        {
            Err(StoreError::new(
                StoreErrorKind::Fenced,
                format!(
                    "worker {worker} does not own run {run} with epoch {epoch} (any more): drop it"
                ),
            ))
        }
        Expect::Owner { control: Some(control), .. } if control != guard.control => Err(moved()),
        Expect::Control(control) if ended || control != guard.control => Err(moved()),
        Expect::Owner { .. } | Expect::Control(_) => Ok(()),
    }
}

/// Contract 11.
fn check_signals(batch: &PreparedBatch, known: &HashSet<String>) -> Result<(), StoreError> {
    let mut ids = HashSet::new();
    for signal in &batch.signals {
        if known.contains(&signal.id) || !ids.insert(&signal.id) {
            return Err(StoreError::new(
                StoreErrorKind::Duplicate,
                format!("run {} has accepted `{}` before", batch.run, signal.id),
            ));
        }
        if signal.event >= batch.events.len() {
            return Err(broken(batch.run, "a signal names an event that is not in the batch"));
        }
    }
    Ok(())
}

/// Contract 6, for steps.
fn check_steps(
    batch: &PreparedBatch,
    known: &HashMap<StepKey, StepStatus>,
) -> Result<(), StoreError> {
    let mut keys = HashSet::new();
    for step in &batch.steps {
        if !keys.insert(&step.key) {
            return Err(broken(batch.run, &format!("step {} is in it twice", step.key)));
        }
        if [step.started, step.done].into_iter().flatten().any(|at| at >= batch.events.len()) {
            return Err(broken(
                batch.run,
                &format!("step {} names an event that is not in the batch", step.key),
            ));
        }
        if known.get(&step.key).is_some_and(|before| {
            *before == StepStatus::Succeeded || step.status.rank() < before.rank()
        }) {
            return Err(broken(
                batch.run,
                &format!("step {} cannot become {}", step.key, step.status),
            ));
        }
    }
    Ok(())
}

/// Contract 6, for the run.
fn next_status(run: RunId, guard: &Guard, patch: &Patch) -> Result<RunStatus, StoreError> {
    let status = patch.status.unwrap_or(guard.status);
    if status.rank() < guard.status.rank() {
        return Err(broken(run, &format!("{} cannot become {status}", guard.status)));
    }
    if patch.finished_at.or(guard.finished_at).is_some() != status.is_terminal() {
        return Err(broken(run, "a run has an end exactly when its status is terminal"));
    }
    Ok(status)
}

pub(super) fn broken(run: RunId, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("batch for run {run} refused: {what}"))
}

pub(super) fn no_run(run: RunId) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("there is no run {run}"))
}

fn change_row<'a>(id: RunId, guard: &Guard, changes: &Changes<'a>) -> ChangeRow<'a> {
    let park = changes.park;
    ChangeRow {
        id,
        status: guard.status,
        owner: guard.owner,
        control: guard.control,
        next_seq: guard.next_seq,
        pause_requested: guard.pause_requested,
        cancel_requested: guard.cancel_requested,
        cancel_reason: changes.cancel_reason,
        output: changes.output,
        error: changes.error,
        usage: changes.usage,
        spend: changes.spend,
        started_at: changes.started_at,
        finished_at: guard.finished_at,
        recoveries: changes.recoveries,
        park: park.is_some(),
        park_reason: park.and_then(|park| park.reason),
        park_wake_at: park.and_then(|park| park.wake_at),
        park_waiting_on: park.and_then(|park| park.waiting_on.as_deref()),
    }
}
