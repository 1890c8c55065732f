//! What a batch does to other runs: those that begin with it, and those that learn something.

use std::collections::HashSet;

use agent_runner_core::{
    id::RunId,
    store::{Appended, NewsEffect, Ready, StoreError},
};

use super::{Guard, Plan, broken, holds, is_new, no_run};
use crate::store::sqlite::prepare::{NewsText, ParkText, PreparedBatch};

/// The columns of a run that is not parked.
static NOT_PARKED: ParkText = ParkText { reason: None, wake_at: None, waiting_on: None };

impl<'a> Plan<'a> {
    /// Contract 4 and 17: the batch, the runs that begin with it, and what others learn.
    pub(in super::super) fn append(
        &mut self,
        batch: &'a PreparedBatch,
    ) -> Result<Appended, StoreError> {
        let guard = self.runs.get(&batch.run).and_then(|known| known.guard.as_ref());
        holds(batch.run, guard.ok_or_else(|| no_run(batch.run))?, batch.expect)?;
        self.check_spawns(batch)?;
        let appended = self.append_own(batch)?;
        for spawn in &batch.spawns {
            // It was checked that nothing is in its way.
            self.create(spawn)?;
        }
        for news in &batch.news {
            self.learn_news(news);
        }
        Ok(appended)
    }

    /// Contract 17: nothing may be in the way of a run that begins with the batch.
    fn check_spawns(&self, batch: &PreparedBatch) -> Result<(), StoreError> {
        let mut ids: HashSet<RunId> = HashSet::new();
        for spawn in &batch.spawns {
            let run = &spawn.run;
            let known = self.runs.get(&run.id).is_some_and(|known| known.guard.is_some());
            if known || !ids.insert(run.id) || run.idempotency_key.is_some() || !is_new(run) {
                let what = format!(
                    "run {} that begins with it must be QUEUED, without owner, end and key, and have a \
                     new id",
                    run.id
                );
                return Err(broken(batch.run, &what));
            }
        }
        Ok(())
    }

    /// Tells a run something, if it is there and can learn it.
    fn learn_news(&mut self, news: &'a NewsText) {
        let Some(known) = self.runs.get_mut(&news.run) else { return };
        let Some(guard) = known.guard.as_mut().filter(|guard| guard.learns(&news.effect)) else {
            return;
        };
        let changes = known.changes.get_or_insert_default();
        let (seq, epoch) = (guard.next_seq, guard.epoch);
        guard.next_seq += 1;
        guard.control += 1;
        let listing = match &news.effect {
            NewsEffect::Wake { parked, at } => {
                let waits = guard.park.is_some_and(|reason| parked.contains(&reason));
                if waits && guard.is_free() {
                    guard.park = None;
                    changes.park = Some(&NOT_PARKED);
                    Ready::At(*at)
                } else {
                    Ready::Keep
                }
            }
            NewsEffect::Cancel { reason } => {
                guard.cancel_requested = true;
                changes.cancel_reason = reason.as_deref().or(changes.cancel_reason);
                Ready::Never
            }
        };
        self.push_events(news.run, seq, epoch, std::slice::from_ref(&news.event));
        self.blobs.extend(news.blobs.iter().map(|blob| (news.run, blob)));
        self.list(news.run, listing);
    }
}

impl Guard {
    fn learns(&self, effect: &NewsEffect) -> bool {
        let canceled = matches!(effect, NewsEffect::Cancel { .. }) && self.cancel_requested;
        !self.status.is_terminal() && !canceled
    }

    /// Whether nothing but its park keeps a worker from it.
    const fn is_free(&self) -> bool {
        self.owner.is_none() && !self.pause_requested && !self.cancel_requested
    }
}
