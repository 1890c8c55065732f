//! Batches: first everything is checked, then everything is written.

use std::collections::BTreeSet;

use super::{
    approval::{new_approvals, withdraw},
    artifact::new_artifacts,
    state::{Entry, State, is_new, no_run},
};
use crate::{
    id::RunId,
    run::{Run, RunStatus},
    step::{Step, StepStatus},
    store::{
        Appended, Batch, Change, Expect, News, NewsEffect, Ready, RunPatch, SignalRow, Spawn,
        StepRow, StoreError, StoreErrorKind,
    },
};

/// A batch that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) appended: Appended,
    /// What listeners should know of it.
    pub(super) changes: Vec<Change>,
}

impl State {
    /// Contract 4 and 17: the batch, the runs that begin with it, and what others learn.
    pub(super) fn append(&mut self, mut batch: Batch) -> Result<Written, StoreError> {
        let (spawns, news) = (std::mem::take(&mut batch.spawns), std::mem::take(&mut batch.news));
        let mut changes = vec![Change::Run(batch.run)];
        if batch.patch.status.is_some_and(RunStatus::is_terminal) {
            changes.push(Change::Ended(batch.run));
        }
        if matches!(batch.ready, Ready::At(_)) {
            changes.push(Change::Ready);
        }
        guard(&self.entry(batch.run)?.run, batch.expect)?;
        self.check_spawns(batch.run, &spawns)?;
        let appended = self.append_own(batch)?;
        for spawn in spawns {
            let (run, first) = spawn.into_parts();
            changes.push(Change::Run(run.id));
            if matches!(first.ready, Ready::At(_)) {
                changes.push(Change::Ready);
            }
            // It was checked that nothing is in its way.
            self.create(run, first)?;
        }
        for news in news {
            changes.extend(self.learn(news));
        }
        Ok(Written { appended, changes })
    }

    fn check_spawns(&self, parent: RunId, spawns: &[Spawn]) -> Result<(), StoreError> {
        let mut ids = BTreeSet::new();
        for Spawn { run, .. } in spawns {
            let known = self.entries.contains_key(&run.id) || !ids.insert(run.id);
            if known || run.idempotency_key.is_some() || !is_new(run) {
                return Err(StoreError::new(
                    StoreErrorKind::Corrupt,
                    format!(
                        "batch for run {parent} refused: run {} that begins with it must be QUEUED, \
                         without owner, end and key, and have a new id",
                        run.id
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Tells a run something; what listeners should know of it.
    fn learn(&mut self, news: News) -> Vec<Change> {
        let News { run: id, event, blobs, effect } = news;
        let Some(entry) = self.entries.get_mut(&id) else { return Vec::new() };
        let run = &mut entry.run;
        let canceled = matches!(effect, NewsEffect::Cancel { .. }) && run.cancel_requested;
        if run.status.is_terminal() || canceled {
            return Vec::new();
        }
        run.control += 1;
        let mut changes = vec![Change::Run(id)];
        let listing = match effect {
            NewsEffect::Wake { parked, at } => {
                let waits = run.park.as_ref().is_some_and(|park| parked.contains(&park.reason));
                let free = run.owner.is_none() && !run.pause_requested && !run.cancel_requested;
                (waits && free).then(|| {
                    run.park = None;
                    changes.push(Change::Ready);
                    Some(at)
                })
            }
            NewsEffect::Cancel { reason } => {
                run.cancel_requested = true;
                run.cancel_reason = reason.or(run.cancel_reason.take());
                Some(None)
            }
        };
        entry.push_events(vec![event]);
        if let Some(at) = listing {
            self.list(id, at);
        }
        for blob in blobs {
            self.keep_blob(id, blob.sha256, blob.bytes);
        }
        changes
    }

    fn append_own(&mut self, batch: Batch) -> Result<Appended, StoreError> {
        let Batch {
            run: id,
            expect,
            events,
            patch,
            steps,
            signals,
            blobs,
            artifacts,
            approvals,
            bookings,
            snapshot,
            ready,
            spawns: _,
            news: _,
        } = batch;
        let entry = self.entries.get_mut(&id).ok_or_else(|| no_run(id))?;
        guard(&entry.run, expect)?;
        check_signals(entry, &signals, events.len())?;
        let steps = new_steps(entry, steps, events.len())?;
        let approvals = new_approvals(entry, approvals, events.len())?;
        let artifacts = new_artifacts(entry, artifacts, events.len())?;
        let run = patched(&entry.run, patch)?;
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let last = entry.run.last_seq.saturating_add(count);
        if snapshot.as_ref().is_some_and(|snapshot| snapshot.seq > last) {
            return Err(corrupt(&entry.run, "the snapshot has events that the journal lacks"));
        }

        let first_seq = entry.run.last_seq + 1;
        entry.run = run;
        let last_seq = entry.push_events(events);
        for step in steps {
            entry.put_step(step);
        }
        entry.artifacts = artifacts;
        entry.snapshot = snapshot.or(entry.snapshot.take());
        entry.approvals.extend(approvals.into_iter().map(|approval| (approval.id, approval)));
        entry.signals.extend(signals.into_iter().map(|signal| signal.id));
        let appended = Appended {
            first_seq,
            last_seq,
            control: entry.run.control,
            pause_requested: entry.run.pause_requested,
            cancel_requested: entry.run.cancel_requested,
        };
        let ended = entry.run.status.is_terminal();
        if ended {
            withdraw(&mut entry.approvals, entry.run.finished_at);
        }
        for booking in bookings {
            self.spending.settle(id, booking);
        }
        if ended {
            self.spending.close(id);
        }
        for blob in blobs {
            self.keep_blob(id, blob.sha256, blob.bytes);
        }
        match ready {
            _ if ended => self.list(id, None),
            Ready::Keep => {}
            Ready::At(at) => self.list(id, Some(at)),
            Ready::Never => self.list(id, None),
        }
        Ok(appended)
    }
}

/// Contract 5.
pub(super) fn guard(run: &Run, expect: Expect) -> Result<(), StoreError> {
    let ended = run.status.is_terminal();
    match expect {
        Expect::Owner { worker, epoch, .. }
            if ended || run.owner != Some(worker) || run.epoch != epoch =>
        {
            Err(StoreError::new(
                StoreErrorKind::Fenced,
                format!(
                    "worker {worker} does not own run {} with epoch {epoch} (any more): drop it",
                    run.id
                ),
            ))
        }
        Expect::Owner { control: Some(known), .. } if known != run.control => Err(moved(run)),
        Expect::Control(known) if ended || known != run.control => Err(moved(run)),
        Expect::Owner { .. } | Expect::Control(_) => Ok(()),
    }
}

fn moved(run: &Run) -> StoreError {
    StoreError::new(
        StoreErrorKind::ControlChanged,
        format!("run {} is {} with control {}: read it again", run.id, run.status, run.control),
    )
}

pub(super) fn corrupt(run: &Run, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("batch for run {} refused: {what}", run.id))
}

/// Contract 11.
fn check_signals(entry: &Entry, signals: &[SignalRow], events: usize) -> Result<(), StoreError> {
    let mut ids = BTreeSet::new();
    for signal in signals {
        if entry.signals.contains(&signal.id) || !ids.insert(&signal.id) {
            return Err(StoreError::new(
                StoreErrorKind::Duplicate,
                format!("run {} has accepted `{}` before", entry.run.id, signal.id),
            ));
        }
        if signal.event >= events {
            return Err(corrupt(&entry.run, "a signal names an event that is not in the batch"));
        }
    }
    Ok(())
}

/// The rows as they will stand, if contract 6 allows all of them.
fn new_steps(entry: &Entry, rows: Vec<StepRow>, events: usize) -> Result<Vec<Step>, StoreError> {
    let run = &entry.run;
    let mut keys = BTreeSet::new();
    let mut steps = Vec::with_capacity(rows.len());
    for row in rows {
        if !keys.insert(row.key.clone()) {
            return Err(corrupt(run, &format!("step {} is in it twice", row.key)));
        }
        if [row.started, row.done].into_iter().flatten().any(|event| event >= events) {
            return Err(corrupt(
                run,
                &format!("step {} names an event that is not in the batch", row.key),
            ));
        }
        let known = entry.step(&row.key);
        if known.is_some_and(|step| {
            step.status == StepStatus::Succeeded || row.status.rank() < step.status.rank()
        }) {
            return Err(corrupt(run, &format!("step {} cannot become {}", row.key, row.status)));
        }
        let seq = |event: usize| number(run, event);
        steps.push(Step {
            run_id: run.id,
            kind: row.kind,
            name: row.name,
            policy: row.policy,
            status: row.status,
            attempts: row.attempts,
            error: row.error,
            started_seq: row.started.map(seq).or_else(|| known.and_then(|step| step.started_seq)),
            done_seq: row.done.map(seq).or_else(|| known.and_then(|step| step.done_seq)),
            started_at: row.started_at.or_else(|| known.and_then(|step| step.started_at)),
            finished_at: row.finished_at.or_else(|| known.and_then(|step| step.finished_at)),
            key: row.key,
        });
    }
    Ok(steps)
}

/// The number that the event at a position of the batch will get.
pub(super) fn number(run: &Run, event: usize) -> u64 {
    u64::try_from(event).map_or(u64::MAX, |event| run.last_seq.saturating_add(event + 1))
}

/// The run's row as it will stand, if contract 6 allows it.
fn patched(run: &Run, patch: RunPatch) -> Result<Run, StoreError> {
    let mut next = run.clone();
    if let Some(status) = patch.status {
        if status.rank() < run.status.rank() {
            return Err(corrupt(run, &format!("{} cannot become {status}", run.status)));
        }
        next.status = status;
    }
    next.park = patch.park.unwrap_or(next.park);
    next.pause_requested = patch.pause_requested.unwrap_or(next.pause_requested);
    next.cancel_requested |= patch.cancel_requested;
    next.cancel_reason = patch.cancel_reason.or(next.cancel_reason);
    next.output = patch.output.or(next.output);
    next.error = patch.error.or(next.error);
    next.usage = patch.usage.unwrap_or(next.usage);
    next.spend = patch.spend.unwrap_or(next.spend);
    next.started_at = patch.started_at.or(next.started_at);
    next.finished_at = patch.finished_at.or(next.finished_at);
    next.recoveries = patch.recoveries.unwrap_or(next.recoveries);
    next.control += u64::from(patch.bump_control);
    if next.finished_at.is_some() != next.status.is_terminal() {
        return Err(corrupt(run, "a run has an end exactly when its status is terminal"));
    }
    if patch.release || next.status.is_terminal() {
        next.owner = None;
    }
    Ok(next)
}
