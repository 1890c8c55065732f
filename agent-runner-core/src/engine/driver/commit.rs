//! Writing behind: events gather in an outbox; one append is on its way at a time.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Driver, Outcome, Stop};
use crate::{
    engine::{
        EngineError, Inner,
        journal::{self, StepRows},
        snapshot::{self, Taken},
    },
    event::EventBody,
    id::{RunId, WorkerId},
    machine::RunState,
    store::{Appended, Batch, EventQuery, Expect, Ready, RunPatch, StoreError, StoreErrorKind},
};

/// What was issued and is not on its way yet.
pub(super) struct Outbox {
    /// All of it but the rows of steps.
    pub(super) batch: Batch,
    steps: StepRows,
    /// Told once all of the above is durable.
    pub(super) announced: Vec<oneshot::Sender<()>>,
    /// Starts once all of the above is durable.
    pub(super) then: Vec<BoxFuture<'static, Outcome>>,
}

impl Outbox {
    /// Of the owner of a run.
    pub(super) fn new(run: RunId, worker: WorkerId, epoch: u64) -> Self {
        Self {
            batch: Batch::new(run, Expect::Owner { worker, epoch, control: None }),
            steps: StepRows::default(),
            announced: Vec::new(),
            then: Vec::new(),
        }
    }

    /// Takes in an event that `state` has just applied.
    pub(super) fn push(&mut self, body: &EventBody, at: Timestamp, state: &RunState) {
        self.steps.take(self.len(), body, at, state);
        journal::push(&mut self.batch, body, at);
    }

    pub(super) const fn len(&self) -> usize {
        self.batch.events.len()
    }

    const fn is_empty(&self) -> bool {
        self.batch.events.is_empty()
    }
}

/// What came back from an append.
pub(super) struct Sent {
    result: Result<(Appended, bool), StoreError>,
    announced: Vec<oneshot::Sender<()>>,
    then: Vec<BoxFuture<'static, Outcome>>,
}

impl Driver {
    /// Sends the outbox on its way, if there is something in it and nothing on its way.
    pub(super) fn flush(&mut self) {
        if self.appending.is_some() || self.outbox.is_empty() {
            return;
        }
        let empty = Outbox::new(self.run.id, self.inner.worker, self.run.epoch);
        let Outbox { mut batch, steps, announced, then } =
            std::mem::replace(&mut self.outbox, empty);
        batch.steps = steps.into_rows();
        self.growth.add_batch(&batch);
        let inner = Arc::clone(&self.inner);
        let known = self.known_seq;
        self.appending = Some(Box::pin(async move {
            let result = append_surely(&inner, &batch, known).await;
            if result.is_ok() {
                inner.pass_on(&batch.news).await;
            }
            Sent { result, announced, then }
        }));
    }

    /// Makes a snapshot of what is in the store, to be written with the next events. When that does not
    /// work it is tried again later: nothing depends on it.
    pub(super) async fn take_snapshot(&mut self) {
        let store = Arc::clone(&self.inner.store);
        self.keep(snapshot::renew(&*store, self.run.id).await);
    }

    /// Takes in what became of a snapshot.
    pub(super) fn keep(&mut self, taken: Result<Taken, EngineError>) {
        match taken {
            Ok(taken) => {
                self.growth = taken.growth;
                // Of what is in the store already.
                self.outbox.batch.snapshot = Some(taken.snapshot);
                self.outbox.batch.blobs.extend(taken.texts);
            }
            Err(problem) => {
                warn!(error = %problem, "no snapshot could be made");
                self.growth.put_off();
            }
        }
    }

    /// Takes in what came back from an append.
    pub(super) async fn acknowledge(&mut self, sent: Sent) -> Result<(), Stop> {
        let (appended, look) = sent.result.map_err(stop)?;
        self.settle(appended, look).await?;
        for durable in sent.announced {
            // A call that is gone does not wait.
            let _ = durable.send(());
        }
        self.in_flight.extend(sent.then);
        Ok(())
    }

    async fn settle(&mut self, appended: Appended, look: bool) -> Result<(), Stop> {
        if appended.first_seq > self.known_seq + 1 {
            self.read_foreign(appended.first_seq - 1).await?;
        }
        self.known_seq = appended.last_seq;
        self.look |= look;
        self.note_control(appended.control, appended.pause_requested, appended.cancel_requested);
        Ok(())
    }

    /// Whether something was issued that is not known to be in the store.
    pub(super) const fn is_behind(&self) -> bool {
        self.appending.is_some() || !self.outbox.is_empty()
    }

    /// Waits until nothing is on its way.
    pub(super) async fn quiesce(&mut self) -> Result<(), Stop> {
        if let Some(appending) = &mut self.appending {
            let sent = appending.await;
            self.appending = None;
            self.acknowledge(sent).await?;
        }
        Ok(())
    }

    /// Writes the outbox together with a last event and what it does to the run's row, if nobody
    /// changed the run's control state meanwhile; `false` when somebody did, which is taken in.
    pub(super) async fn write_last(
        &mut self,
        body: EventBody,
        patch: impl FnOnce(&mut RunPatch),
        ready: Ready,
        guarded: bool,
    ) -> Result<bool, Stop> {
        let decided_at = self.control;
        self.quiesce().await?;
        // What came in with the answer was not known when this end was decided.
        if guarded && (self.cancel || self.look || self.control != decided_at) {
            if self.look {
                self.sync().await?;
            }
            return Ok(false);
        }
        let mut batch = self.outbox.batch.clone();
        batch.expect = Expect::Owner {
            worker: self.inner.worker,
            epoch: self.run.epoch,
            control: guarded.then_some(self.control),
        };
        batch.steps = self.outbox.steps.clone().into_rows();
        let (untrusted, open) = (self.state.hands().is_untrusted(), self.state.children().open());
        let open = open.map(|(_, child)| child);
        batch.news.extend(self.inner.news_of_end(&self.run, &body, untrusted, open));
        journal::push(&mut batch, &body, self.inner.clock.now());
        patch(&mut batch.patch);
        batch.patch.bump_control = true;
        batch.ready = ready;
        match append_surely(&self.inner, &batch, self.known_seq).await {
            Ok(_) => {
                self.inner.pass_on(&batch.news).await;
                Ok(true)
            }
            Err(problem) if problem.kind() == StoreErrorKind::ControlChanged => {
                self.sync().await?;
                Ok(false)
            }
            Err(problem) => Err(stop(problem)),
        }
    }
}

pub(super) fn stop(problem: StoreError) -> Stop {
    match problem.kind() {
        StoreErrorKind::Fenced | StoreErrorKind::NotFound => Stop::Fenced,
        _ => Stop::Broken(EngineError::from(problem)),
    }
}

/// Appends, again and again while the store is occupied or away; the caller's lease bounds it.
/// The flag says that the caller should look at the run afresh.
async fn append_surely(
    inner: &Inner,
    batch: &Batch,
    known_seq: u64,
) -> Result<(Appended, bool), StoreError> {
    let mut pause = Duration::from_millis(20);
    loop {
        let problem = match inner.store.append(batch.clone()).await {
            Ok(appended) => return Ok((appended, false)),
            Err(problem) if problem.kind().is_retryable() => problem,
            Err(problem) => return Err(problem),
        };
        warn!(error = %problem, "the journal cannot be written now");
        // The write may have happened although the answer was lost: never write twice.
        loop {
            inner.clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            match find_own(inner, batch, known_seq).await {
                Ok(Some(appended)) => return Ok((appended, true)),
                Ok(None) => break,
                Err(problem) if problem.kind().is_retryable() => {}
                Err(problem) => return Err(problem),
            }
        }
    }
}

/// Looks for a batch's events in the journal.
async fn find_own(
    inner: &Inner,
    batch: &Batch,
    known_seq: u64,
) -> Result<Option<Appended>, StoreError> {
    let mut after = known_seq;
    loop {
        let page = inner.store.events(batch.run, &EventQuery::after(after)).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.seq;
        let Expect::Owner { epoch, .. } = batch.expect else { return Ok(None) };
        let first = page.iter().position(|event| {
            batch.events.first().is_some_and(|own| {
                event.epoch == epoch
                    && event.kind == own.kind
                    && event.at == own.at
                    && own.payload.to_value().is_ok_and(|own| own == event.payload)
            })
        });
        if let Some(event) = first.and_then(|n| page.get(n)) {
            let run = inner.store.run(batch.run).await?;
            let count = u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
            return Ok(Some(Appended {
                first_seq: event.seq,
                last_seq: event.seq + count - 1,
                control: run.control,
                pause_requested: run.pause_requested,
                cancel_requested: run.cancel_requested,
            }));
        }
    }
}
