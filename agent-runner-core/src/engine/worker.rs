//! The worker of this process: claims runs, drives each in a task of its own, keeps the lease,
//! sweeps up after others, and stops in order.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Engine, Inner,
    active::{DRAINING, WORKING, give_back},
    driver::Driver,
    lease::{self, Trust},
};
use crate::{
    id::RunId,
    run::Run,
    store::{Change, Control, Worker},
};

/// Most runs claimed in one transaction (a claim of 20 costs little more than one of 1).
const CLAIM_MAX: usize = 20;
/// Most hints that are passed over before a claim.
const HINTS_MAX: usize = 1_024;
/// Longest time between two sweeps, so that a takeover happens within the lease and a second.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Longest time between two looks at the worker's own runs.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Most runs that one sweep mends.
const SWEEP_MAX: usize = 50;

/// A started engine. Dropping it stops the tasks at once, as a crash would; nothing is lost, but
/// [`EngineHandle::shutdown`] is kinder to whoever takes over.
#[derive(Debug)]
pub struct EngineHandle {
    inner: Arc<Inner>,
    stop: CancellationToken,
    abort: CancellationToken,
    claimer: tokio::task::JoinHandle<()>,
    services: JoinSet<()>,
}

impl Engine {
    /// Starts to work: claims runs and performs them. Needs a tokio runtime.
    #[must_use]
    pub fn start(&self) -> EngineHandle {
        let inner = Arc::clone(&self.inner);
        inner.active.phase.store(WORKING, Ordering::Release);
        let stop = CancellationToken::new();
        let abort = CancellationToken::new();
        let now = inner.clock.now();
        let worker = Worker {
            id: inner.worker,
            host: inner.options.host.clone(),
            pid: std::process::id(),
            draining: false,
            started_at: now,
            expires_at: now,
            runs: 0,
        };
        let (sender, trust) = watch::channel(Trust { until: Instant::now() });
        let mut services = JoinSet::new();
        services.spawn(lease::keep(Arc::clone(&inner), sender, worker));
        services.spawn(dispatch(Arc::clone(&inner)));
        services.spawn(sweep(Arc::clone(&inner)));
        if !inner.codes.is_empty() {
            services.spawn(super::code::wake(Arc::clone(&inner)));
        }
        if inner.blobs.is_some() {
            services.spawn(super::artifacts::collect(Arc::clone(&inner)));
        }
        let claimer = Claimer {
            inner: Arc::clone(&inner),
            trust,
            stop: stop.clone(),
            abort: abort.clone(),
            drivers: JoinSet::new(),
        };
        let claimer = tokio::spawn(claimer.run());
        EngineHandle { inner, stop, abort, claimer, services }
    }
}

impl EngineHandle {
    /// Takes no new runs from now on; runs in execution go on until their next step boundary.
    pub fn drain(&self) {
        self.inner.active.phase.store(DRAINING, Ordering::Release);
        self.stop.cancel();
        self.inner.active.poke_all();
    }

    /// Drains, waits at most `grace` for steps to end, hands over what is left, and leaves.
    pub async fn shutdown(mut self, grace: Duration) {
        self.drain();
        if tokio::time::timeout(grace, &mut self.claimer).await.is_err() {
            info!("steps are still running after {grace:?}; they are handed over");
            self.abort.cancel();
            // Bounded: what does not answer now is taken over when the lease ends.
            let _ = tokio::time::timeout(Duration::from_secs(5), &mut self.claimer).await;
        }
        self.services.abort_all();
        while self.services.join_next().await.is_some() {}
        if let Err(problem) = self.inner.store.leave(self.inner.worker).await {
            warn!(error = %problem, "the worker could not sign off; its lease ends by itself");
        }
        self.inner.active.phase.store(0, Ordering::Release);
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.stop.cancel();
        self.claimer.abort();
    }
}

struct Claimer {
    inner: Arc<Inner>,
    trust: watch::Receiver<Trust>,
    stop: CancellationToken,
    abort: CancellationToken,
    drivers: JoinSet<RunId>,
}

impl Claimer {
    async fn run(mut self) {
        let mut changes = self.inner.store.changes();
        // The first heartbeat registers the worker; a claim before it would be swept at once.
        let _ = self.trust.changed().await;
        loop {
            if self.stop.is_cancelled() {
                break;
            }
            // Every slot that is free by now, so that one claim fills them all.
            while let Some(ended) = self.drivers.try_join_next() {
                self.ended(ended);
            }
            // Hints of what this claim will find are old news.
            for _ in 0..HINTS_MAX {
                let Some(Some(_)) = changes.next().now_or_never() else { break };
            }
            if self.claim().await {
                continue;
            }
            let full = self.drivers.len() >= self.inner.options.concurrency;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.drivers.join_next() => self.ended(ended),
                change = changes.next(), if !full => {
                    if change.is_none() {
                        self.inner.clock.sleep(self.inner.options.poll_interval).await;
                    } else if !matches!(change, Some(Change::Ready | Change::Any)) {
                        // Nothing to claim: do not ask the store for every commit of a run.
                        self.skip_to_ready(&mut changes).await;
                    }
                }
                () = self.inner.clock.sleep(self.inner.options.poll_interval), if !full => {}
            }
        }
        while let Some(ended) = self.drivers.join_next().await {
            self.ended(ended);
        }
    }

    /// Reads hints until one is about claiming, a driver ends, or it is time to look anyway.
    async fn skip_to_ready(&mut self, changes: &mut crate::llm::BoxStream<'static, Change>) {
        let deadline = self.inner.clock.sleep(self.inner.options.poll_interval);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                () = &mut deadline => return,
                () = self.stop.cancelled() => return,
                Some(ended) = self.drivers.join_next() => self.ended(ended),
                change = changes.next() => match change {
                    Some(Change::Run(_) | Change::Ended(_)) => {}
                    Some(Change::Ready | Change::Any) | None => return,
                },
            }
        }
    }

    /// Claims what there are slots for; whether there may be more.
    async fn claim(&mut self) -> bool {
        let free = self.inner.options.concurrency.saturating_sub(self.drivers.len());
        if free == 0 || self.trust.borrow().until <= Instant::now() {
            return false;
        }
        let (worker, most) = (self.inner.worker, free.min(CLAIM_MAX));
        match self.inner.store.claim(worker, most).await {
            Ok(runs) => {
                let more = runs.len() == most;
                for run in runs {
                    self.spawn(run);
                }
                more
            }
            Err(problem) => {
                warn!(error = %problem, "the store gives no runs");
                self.inner.clock.sleep(self.inner.options.poll_interval).await;
                false
            }
        }
    }

    fn spawn(&mut self, run: Run) {
        let inner = Arc::clone(&self.inner);
        let id = run.id;
        let signalled = inner.active.enter(id);
        signalled.control.store(run.control, Ordering::Release);
        let lost = lease::lost(self.trust.clone());
        let abort = self.abort.clone();
        let epoch = run.epoch;
        self.drivers.spawn(async move {
            let driven = tokio::spawn({
                let inner = Arc::clone(&inner);
                async move { Driver::new(inner, run, signalled, abort).drive(lost).await }
            });
            let guard = AbortOnDrop(driven.abort_handle());
            if let Err(problem) = driven.await
                && problem.is_panic()
            {
                error!(run.id = %id, "a defect stopped this run; it is given back");
                give_back(&inner, id, epoch, "a defect (a panic) stopped it").await;
            }
            drop(guard);
            inner.active.exit(id);
            id
        });
    }

    fn ended(&self, ended: Result<RunId, tokio::task::JoinError>) {
        if let Err(problem) = ended {
            error!(error = %problem, "a run's task ended in an unexpected way");
        }
    }
}

/// Stops a task together with whoever needs it.
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Passes hints of the store on to watchers, and finds runs of this worker that need it: those
/// whose control state another process changed, and those that nothing drives.
async fn dispatch(inner: Arc<Inner>) {
    let mut changes = inner.store.changes();
    let mut undriven = Undriven::default();
    let mut look = inner.clock.sleep(LOOK_PAUSE);
    loop {
        // A stream of hints does not keep it from looking.
        let change = tokio::select! {
            biased;
            () = &mut look => {
                look = inner.clock.sleep(LOOK_PAUSE);
                Change::Any
            }
            change = changes.next() => change.unwrap_or(Change::Any),
        };
        inner.live.changed(change);
        if change != Change::Any {
            continue;
        }
        match inner.store.owned(inner.worker).await {
            Ok(owned) => {
                undriven.look(&inner, &owned).await;
                for control in owned {
                    let known = inner.active.known_control(control.run);
                    if known.is_some_and(|known| known != control.control) {
                        inner.active.poke(control.run);
                    }
                }
            }
            Err(problem) => {
                warn!(error = %problem, "the store does not answer");
                inner.clock.sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Runs that the store says this worker has and that nothing here drives: the answer to a claim
/// was lost, or the lease was in doubt for a moment. As long as the worker lives nobody else may
/// take them, so it has to give them back itself.
#[derive(Debug, Default)]
struct Undriven(HashMap<RunId, Instant>);

impl Undriven {
    async fn look(&mut self, inner: &Inner, owned: &[Control]) {
        let idle: Vec<RunId> = owned
            .iter()
            .map(|control| control.run)
            .filter(|run| inner.active.known_control(*run).is_none())
            .collect();
        self.0.retain(|run, _| idle.contains(run));
        for run in idle {
            let since = *self.0.entry(run).or_insert_with(Instant::now);
            // A claim that was just made gets the time to become a task.
            if since.elapsed() < inner.options.lease_ttl.min(Duration::from_secs(1)) {
                continue;
            }
            warn!(run.id = %run, "nothing drives this run of ours; it is given back");
            if let Ok(row) = inner.store.run(run).await
                && row.owner == Some(inner.worker)
            {
                give_back(inner, run, row.epoch, "nothing drove it").await;
            }
            self.0.remove(&run);
        }
    }
}

/// Takes runs from lost workers and mends what a crash left behind.
async fn sweep(inner: Arc<Inner>) {
    loop {
        match inner.store.sweep(SWEEP_MAX).await {
            Ok(found) => {
                if !found.revoked.is_empty() || !found.mended.is_empty() {
                    info!(
                        revoked = found.revoked.len(),
                        mended = found.mended.len(),
                        "runs of lost workers are given to others"
                    );
                }
                for id in &found.cancel {
                    report(*id, inner.finish_canceled(*id).await);
                }
                for id in &found.overdue {
                    report(*id, inner.finish_overdue(*id).await);
                }
                if found.revoked.len() >= SWEEP_MAX {
                    continue;
                }
            }
            Err(problem) => warn!(error = %problem, "the store cannot be swept"),
        }
        inner.clock.sleep((inner.options.lease_ttl / 3).min(SWEEP_PAUSE)).await;
    }
}

fn report(id: RunId, result: Result<(), super::EngineError>) {
    if let Err(problem) = result {
        warn!(run.id = %id, error = %problem, "the run could not be ended");
    }
}
