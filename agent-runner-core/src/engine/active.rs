//! The runs that this process drives, and how others reach their drivers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tracing::warn;

use super::{Inner, journal};
use crate::{
    event::EventBody,
    id::RunId,
    limits,
    run::{Park, ParkReason},
    store::{Batch, Expect, Ready, StoreErrorKind},
    time,
};

/// What others may tell a run's driver.
#[derive(Debug, Default)]
pub(super) struct Signalled {
    /// Somebody changed the run: look. The flag says so even while nobody waits for the notice.
    poked: Notify,
    changed: AtomicBool,
    /// The control number that the driver knows.
    pub(super) control: AtomicU64,
}

impl Signalled {
    pub(super) fn poke(&self) {
        self.changed.store(true, Ordering::Release);
        self.poked.notify_one();
    }

    /// Whether somebody changed the run since this was last asked.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// Waits until somebody changes the run.
    pub(super) async fn poked(&self) {
        self.poked.notified().await;
    }
}

/// Idle, working, draining.
#[derive(Debug, Default)]
pub(super) struct ActiveRuns {
    runs: Mutex<BTreeMap<RunId, Arc<Signalled>>>,
    pub(super) phase: AtomicU8,
}

pub(super) const WORKING: u8 = 1;
pub(super) const DRAINING: u8 = 2;

impl ActiveRuns {
    pub(super) fn is_working(&self) -> bool {
        self.phase.load(Ordering::Acquire) == WORKING
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) == DRAINING
    }

    /// Tells the driver of a run, if it is in this process, that something changed.
    pub(super) fn poke(&self, run: RunId) {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signalled) = runs.get(&run) {
            signalled.poke();
        }
    }

    pub(super) fn poke_all(&self) {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.values().for_each(|signalled| signalled.poke());
    }

    pub(super) fn enter(&self, run: RunId) -> Arc<Signalled> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(runs.entry(run).or_default())
    }

    pub(super) fn exit(&self, run: RunId) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }

    pub(super) fn known_control(&self, run: RunId) -> Option<u64> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.get(&run).map(|signalled| signalled.control.load(Ordering::Acquire))
    }
}

/// Gives up a run that could not go on here, counted like a lost worker. One that was given up too often
/// is parked without a look at its journal, which may be what is broken.
pub(super) async fn give_back(inner: &Inner, id: RunId, epoch: u64, why: &str) {
    let Ok(run) = inner.store.run(id).await else { return };
    let now = inner.clock.now();
    let recoveries = run.recoveries.saturating_add(1);
    let expect = Expect::Owner { worker: inner.worker, epoch, control: None };
    let mut batch = Batch::new(id, expect);
    batch.patch.release = true;
    batch.patch.bump_control = true;
    batch.patch.recoveries = Some(recoveries);
    if recoveries > limits::RECOVERIES_MAX {
        warn!(run.id = %id, recoveries, why, "run parked: it could not go on anywhere");
        let reason = ParkReason::Poison;
        let parked = EventBody::RunParked { reason, step: None, wake_at: None, differs: None };
        journal::push(&mut batch, &parked, now);
        let waiting_on = poisoned(recoveries, Some(why));
        batch.patch.park = Some(Some(Park { reason, wake_at: None, waiting_on }));
        batch.ready = Ready::Never;
    } else {
        batch.ready = Ready::At(time::later(now, Duration::from_millis(200)));
    }
    if let Err(problem) = inner.store.append(batch).await
        && problem.kind() != StoreErrorKind::Fenced
    {
        warn!(run.id = %id, error = %problem, "the run could not be given back; its lease ends by itself");
    }
}

/// What a run that is parked as poison says to people.
pub(super) fn poisoned(recoveries: u32, why: Option<&str>) -> Value {
    let last = why.map(|why| format!(", the last time because {why}")).unwrap_or_default();
    let message = format!(
        "its worker was lost or could not go on {recoveries} times in a row{last}; see the logs of \
         the workers, mend the cause and resume the run, or cancel it"
    );
    json!({"recoveries": recoveries, "message": message})
}
