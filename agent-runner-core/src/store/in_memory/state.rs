//! What the store keeps, and how a run enters and leaves it.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use jiff::Timestamp;

use super::{artifact::Kept, record::Records, spend::Spending};
use crate::{
    approval::Approval,
    event::{Event, NewEvent},
    id::{ApprovalId, ProjectId, RunId, StepKey, WorkerId},
    run::{Run, RunStatus},
    step::Step,
    store::{Beginning, Created, Snapshot, StoreError, StoreErrorKind, Worker},
};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<RunId, Entry>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) records: Records,
    pub(super) spending: Spending,
    /// Listed runs by priority, then moment, then id: the order of claims.
    pub(super) ready: BTreeMap<i32, BTreeSet<(Timestamp, RunId)>>,
    keys: BTreeMap<(ProjectId, String), RunId>,
    blobs: BTreeMap<String, SharedBlob>,
}

/// A run and all that belongs to it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) run: Run,
    pub(super) events: Vec<Event>,
    /// In the order they were first written.
    pub(super) steps: Vec<Step>,
    /// Where each of them stands in `steps`.
    places: BTreeMap<StepKey, usize>,
    pub(super) signals: BTreeSet<String>,
    pub(super) approvals: BTreeMap<ApprovalId, Approval>,
    /// In the order in which they were made.
    pub(super) artifacts: Vec<Kept>,
    pub(super) snapshot: Option<Snapshot>,
    /// The moment under which it stands in [`State::ready`].
    pub(super) listed: Option<Timestamp>,
}

/// A payload and the runs that wrote it; it goes with the last of them.
#[derive(Debug)]
struct SharedBlob {
    bytes: Vec<u8>,
    runs: BTreeSet<RunId>,
}

impl Entry {
    /// Numbers events and appends them; the number of the last event afterwards.
    pub(super) fn push_events(&mut self, events: Vec<NewEvent>) -> u64 {
        for new in events {
            self.run.last_seq += 1;
            self.events.push(Event {
                run_id: self.run.id,
                seq: self.run.last_seq,
                epoch: self.run.epoch,
                kind: new.kind,
                step: new.step,
                // Checked when it came in.
                payload: new.payload.to_value().unwrap_or_default(),
                blob: new.blob,
                at: new.at,
            });
        }
        self.run.last_seq
    }

    pub(super) fn step(&self, key: &StepKey) -> Option<&Step> {
        self.steps.get(*self.places.get(key)?)
    }

    pub(super) fn put_step(&mut self, step: Step) {
        let place = *self.places.entry(step.key.clone()).or_insert(self.steps.len());
        match self.steps.get_mut(place) {
            Some(known) => *known = step,
            None => self.steps.push(step),
        }
    }
}

impl State {
    pub(super) fn entry(&self, id: RunId) -> Result<&Entry, StoreError> {
        self.entries.get(&id).ok_or_else(|| no_run(id))
    }

    pub(super) fn create(&mut self, run: Run, first: Beginning) -> Result<Created, StoreError> {
        let key = run.idempotency_key.clone().map(|key| (run.project_id, key));
        if let Some(known) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return Ok(Created { run: self.entry(*known)?.run.clone(), existing: true });
        }
        if !is_new(&run) && !is_over(&run) {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "run {} is new and must be QUEUED without end, or have ended; nobody owns it",
                    run.id
                ),
            ));
        }
        let id = run.id;
        let batch = first.into_batch(&run);
        let btree_map::Entry::Vacant(vacant) = self.entries.entry(id) else {
            return Err(StoreError::new(
                StoreErrorKind::Duplicate,
                format!("run {id} exists already: use a new id"),
            ));
        };
        vacant.insert(Entry {
            // One that has ended ends with its first batch.
            run: Run { last_seq: 0, status: RunStatus::Queued, finished_at: None, ..run },
            events: Vec::new(),
            steps: Vec::new(),
            places: BTreeMap::new(),
            signals: BTreeSet::new(),
            approvals: BTreeMap::new(),
            artifacts: Vec::new(),
            snapshot: None,
            listed: None,
        });
        if let Err(error) = self.append(batch) {
            self.entries.remove(&id);
            return Err(error);
        }
        if let Some(key) = key {
            self.keys.insert(key, id);
        }
        Ok(Created { run: self.entry(id)?.run.clone(), existing: false })
    }

    /// Lists a run for claiming at a moment, or takes it off the list.
    pub(super) fn list(&mut self, id: RunId, at: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let priority = entry.run.priority;
        if let Some(before) = std::mem::replace(&mut entry.listed, at)
            && let btree_map::Entry::Occupied(mut line) = self.ready.entry(priority)
        {
            line.get_mut().remove(&(before, id));
            if line.get().is_empty() {
                line.remove();
            }
        }
        if let Some(at) = at {
            self.ready.entry(priority).or_default().insert((at, id));
        }
    }

    pub(super) fn keep_blob(&mut self, run: RunId, sha256: String, bytes: Vec<u8>) {
        self.blobs
            .entry(sha256)
            .or_insert_with(|| SharedBlob { bytes, runs: BTreeSet::new() })
            .runs
            .insert(run);
    }

    pub(super) fn snapshot(&self, run: RunId) -> Option<Snapshot> {
        self.entries.get(&run)?.snapshot.clone()
    }

    pub(super) fn blob(&self, sha256: &str) -> Result<Vec<u8>, StoreError> {
        self.blobs.get(sha256).map(|blob| blob.bytes.clone()).ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::NotFound,
                format!("there is no payload with SHA-256 {sha256}"),
            )
        })
    }

    pub(super) fn delete(&mut self, id: RunId) -> Result<(), StoreError> {
        let status = self.entry(id)?.run.status;
        if !status.is_terminal() {
            return Err(StoreError::new(
                StoreErrorKind::Conflict,
                format!("run {id} is {status}: cancel it, or wait until it ends, then delete it"),
            ));
        }
        self.list(id, None);
        self.entries.remove(&id);
        self.keys.retain(|_, run| *run != id);
        self.blobs.retain(|_, blob| !(blob.runs.remove(&id) && blob.runs.is_empty()));
        Ok(())
    }
}

/// Whether a run is as it must be when it begins.
pub(super) fn is_new(run: &Run) -> bool {
    run.status == RunStatus::Queued && run.owner.is_none() && run.finished_at.is_none()
}

/// Whether a run is as it must be when it comes with its end.
fn is_over(run: &Run) -> bool {
    run.status.is_terminal() && run.owner.is_none() && run.finished_at.is_some()
}

pub(super) fn no_run(id: RunId) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("there is no run {id}"))
}
