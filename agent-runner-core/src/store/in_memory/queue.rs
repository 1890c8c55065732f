//! Claims, leases and the sweep.

use std::time::Duration;

use jiff::Timestamp;

use super::state::{Entry, State};
use crate::{
    id::{RunId, WorkerId},
    run::{Park, Run},
    store::{Control, Sweep, Worker},
    time,
};

/// Contract 8: whether a worker may get the run, now or at its moment.
fn claimable(run: &Run) -> bool {
    !run.status.is_terminal()
        && run.owner.is_none()
        && !run.pause_requested
        && !run.cancel_requested
        && run.park.as_ref().is_none_or(|park| park.wake_at.is_some())
}

impl State {
    pub(super) fn claim(&mut self, worker: WorkerId, max: usize, now: Timestamp) -> Vec<Run> {
        // Moments ascend within a priority, so sleepers cost nothing beyond their first.
        let due =
            self.ready.values().flat_map(|line| line.iter().take_while(|ready| ready.0 <= now));
        let ids: Vec<RunId> = due
            .map(|(_, id)| *id)
            .filter(|id| self.entries.get(id).is_some_and(|entry| claimable(&entry.run)))
            .take(max)
            .collect();
        ids.into_iter()
            .filter_map(|id| {
                self.list(id, None);
                let run = &mut self.entries.get_mut(&id)?.run;
                run.owner = Some(worker);
                run.epoch += 1;
                run.control += 1;
                run.park = None;
                Some(run.clone())
            })
            .collect()
    }

    pub(super) fn beat(&mut self, worker: Worker, ttl: Duration, now: Timestamp) {
        self.workers.insert(worker.id, Worker { expires_at: time::later(now, ttl), ..worker });
    }

    pub(super) fn leave(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }

    pub(super) fn workers(&self) -> Vec<Worker> {
        let count = |id| {
            let owned = self.entries.values().filter(|entry| entry.run.owner == Some(id)).count();
            u64::try_from(owned).unwrap_or(u64::MAX)
        };
        self.workers
            .values()
            .map(|worker| Worker { runs: count(worker.id), ..worker.clone() })
            .collect()
    }

    pub(super) fn owned(&self, worker: WorkerId) -> Vec<Control> {
        let owned = self.entries.values().map(|entry| &entry.run);
        owned
            .filter(|run| run.owner == Some(worker))
            .map(|run| Control {
                run: run.id,
                control: run.control,
                last_seq: run.last_seq,
                pause_requested: run.pause_requested,
                cancel_requested: run.cancel_requested,
            })
            .collect()
    }

    pub(super) fn sweep(&mut self, max: usize, now: Timestamp) -> Sweep {
        self.workers.retain(|_, worker| worker.expires_at > now);
        let revoked = self.revoke(max, now);
        let mended = self.mend(max, now);
        let ownerless = |wanted: &dyn Fn(&Run) -> bool| {
            self.pick(max, |entry| {
                !entry.run.status.is_terminal() && entry.run.owner.is_none() && wanted(&entry.run)
            })
        };
        Sweep {
            cancel: ownerless(&|run| run.cancel_requested),
            overdue: ownerless(&|run| run.deadline_at.is_some_and(|at| at <= now)),
            revoked,
            mended,
        }
    }

    fn pick(&self, max: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<RunId> {
        let entries = self.entries.iter().filter(|(_, entry)| wanted(entry));
        entries.map(|(id, _)| *id).take(max).collect()
    }

    /// Contract 9. Raising the epoch here, not at the next claim, fences the lost worker at once.
    fn revoke(&mut self, max: usize, now: Timestamp) -> Vec<RunId> {
        let lost = self.pick(max, |entry| {
            entry.run.owner.is_some_and(|owner| !self.workers.contains_key(&owner))
        });
        for id in &lost {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let run = &mut entry.run;
            run.owner = None;
            run.epoch += 1;
            run.control += 1;
            run.recoveries += 1;
            if claimable(run) && run.park.is_none() {
                self.list(*id, Some(now));
            }
        }
        lost
    }

    /// Contract 8.
    fn mend(&mut self, max: usize, now: Timestamp) -> Vec<RunId> {
        let wrong = self.pick(max, |entry| claimable(&entry.run) != entry.listed.is_some());
        for id in &wrong {
            let Some(run) = self.entries.get(id).map(|entry| &entry.run) else { continue };
            let wake_at = run.park.as_ref().and_then(|park: &Park| park.wake_at);
            let at = claimable(run).then(|| wake_at.unwrap_or(now));
            self.list(*id, at);
        }
        wrong
    }
}
