//! How a driver leaves its run: ended, parked, paused, handed over.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::{Driver, Outcome, Stop, charge::Heard};
use crate::{
    engine::{EngineError, active::poisoned},
    event::EventBody,
    id::StepKey,
    run::{FailureReason, Park, ParkReason, RunError, RunStatus, RunTransition},
    step::{EffectPolicy, StepKind, StepStatus},
    store::{Ready, RunPatch},
};

/// What a run does when nothing of it is being performed.
pub(super) enum Rest {
    /// It ends with an output.
    Complete(Value),
    /// It ends with an error.
    Fail(RunError),
    /// Somebody asked for a pause.
    Pause,
    /// This process shuts down.
    Release,
    /// It goes on as soon as what is on its way has arrived.
    GoOn,
    /// It waits.
    Park { reason: ParkReason, step: Option<StepKey>, wake_at: Option<Timestamp>, on: Value },
}

impl Driver {
    /// Writes how the run rests; whether the driver is done with it.
    pub(super) async fn come_to_rest(&mut self, rest: Rest) -> Result<bool, Stop> {
        if !matches!(rest, Rest::GoOn) {
            self.give_back_grant();
            // A call of a worker that was lost is paid for, whatever comes next.
            let open: Vec<StepKey> = self.state.calls().map(|call| call.step.clone()).collect();
            for step in open {
                self.charge(&step, Heard::default())?;
            }
        }
        let stays = matches!(rest, Rest::Park { .. } | Rest::Pause);
        if stays && self.growth.is_due_at_rest(self.inner.options.snapshot_interval) {
            if self.is_behind() {
                // All of it is to be in the snapshot; what comes in with the answer may change how to rest.
                self.flush();
                self.quiesce().await?;
                return Ok(false);
            }
            self.take_snapshot().await;
        }
        match rest {
            Rest::Complete(output) => {
                let status = self.status_after(RunTransition::Complete)?;
                let now = self.inner.clock.now();
                let body = EventBody::RunCompleted { output: output.clone() };
                let done = self
                    .write_last(
                        body,
                        |patch| {
                            terminal(patch, status, now);
                            patch.output = Some(output);
                        },
                        Ready::Never,
                        true,
                    )
                    .await?;
                if done {
                    info!("run completed");
                }
                Ok(done)
            }
            Rest::Fail(error) => {
                let reason = error.reason;
                let done = self.fail(error, true).await?;
                if done {
                    info!(?reason, "run failed");
                }
                Ok(done)
            }
            Rest::Pause => {
                let park =
                    Park { reason: ParkReason::Paused, wake_at: None, waiting_on: Value::Null };
                self.write_last(
                    EventBody::RunPaused {},
                    |patch| leave(patch, Some(park)),
                    Ready::Never,
                    true,
                )
                .await
            }
            Rest::Release => self.release(true).await,
            Rest::GoOn => self.catch_up().await,
            Rest::Park { reason, step, wake_at, on } => {
                let ready = wake_at.map_or(Ready::Never, Ready::At);
                let park = Park { reason, wake_at, waiting_on: on };
                let differs = self.differs.clone().filter(|_| reason == ParkReason::Nondet);
                let body = EventBody::RunParked { reason, step, wake_at, differs };
                debug!(?reason, "run parked");
                self.write_last(body, |patch| leave(patch, Some(park)), ready, true).await
            }
        }
    }

    /// Lets the journal catch up with a run that is held up by it.
    async fn catch_up(&mut self) -> Result<bool, Stop> {
        self.flush();
        if self.appending.is_some() {
            self.quiesce().await?;
        } else if self.look {
            self.sync().await?;
        } else {
            return Err(Stop::Broken(EngineError::new(
                crate::engine::EngineErrorKind::Internal,
                "the run has nothing to do and nothing to wait for",
            )));
        }
        Ok(false)
    }

    async fn fail(&mut self, error: RunError, guarded: bool) -> Result<bool, Stop> {
        let status = self.status_after(RunTransition::Fail)?;
        let now = self.inner.clock.now();
        let body = EventBody::RunFailed { error: error.clone() };
        self.write_last(
            body,
            |patch| {
                terminal(patch, status, now);
                patch.error = Some(error);
            },
            Ready::Never,
            guarded,
        )
        .await
    }

    async fn release(&mut self, guarded: bool) -> Result<bool, Stop> {
        let body = EventBody::RunReleased { worker: self.inner.worker };
        let ready = Ready::At(self.inner.clock.now());
        self.write_last(body, |patch| leave(patch, None), ready, guarded).await
    }

    fn status_after(&self, transition: RunTransition) -> Result<RunStatus, Stop> {
        self.state.status().apply(transition).map_err(|problem| {
            Stop::Broken(EngineError::new(
                crate::engine::EngineErrorKind::Internal,
                problem.to_string(),
            ))
        })
    }

    /// What the run waits for, when nothing of it can go on.
    pub(super) fn waiting(&self) -> Rest {
        let mut asks = Vec::new();
        let mut waits = Vec::new();
        let mut children = Vec::new();
        let mut wake_at: Option<Timestamp> = None;
        for (key, step) in self.state.steps() {
            if step.status != StepStatus::Started {
                continue;
            }
            if step.unknown {
                asks.push(key.clone());
            } else if step.kind == StepKind::Wait {
                waits.push(key.clone());
                wake_at = match (wake_at, step.wake_at) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            } else if step.kind == StepKind::Child {
                children.push(key.clone());
            }
        }
        let mut approvals = Vec::new();
        for (step, approval) in self.state.hands().pending() {
            approvals.push(step.clone());
            wake_at = Some(wake_at.map_or(approval.expires_at, |at| at.min(approval.expires_at)));
        }
        if [&asks, &waits, &approvals, &children].iter().all(|steps| steps.is_empty()) {
            return Rest::GoOn;
        }
        approvals.sort();
        asks.sort();
        waits.sort();
        let (reason, steps) = match wake_at {
            _ if !asks.is_empty() => (ParkReason::Ask, asks),
            _ if !approvals.is_empty() => (ParkReason::Approval, approvals),
            Some(_) => (ParkReason::Timer, waits),
            None if !waits.is_empty() => (ParkReason::Signal, waits),
            None => (ParkReason::Child, children),
        };
        let step = steps.first().cloned();
        let on = json!({"steps": steps});
        Rest::Park { reason, step, wake_at, on }
    }

    /// Parks a run that loses every worker, so that it stops doing harm.
    pub(super) async fn park_as_poison(&mut self) -> Result<(), Stop> {
        warn!(recoveries = self.run.recoveries, "run parked: it lost its worker too often");
        loop {
            let rest = Rest::Park {
                reason: ParkReason::Poison,
                step: None,
                wake_at: None,
                on: poisoned(self.run.recoveries, None),
            };
            if self.come_to_rest(rest).await? {
                return Ok(());
            }
            if self.cancel {
                return self.end_canceled().await;
            }
        }
    }

    /// Ends the run because somebody asked for it.
    pub(super) async fn end_canceled(&mut self) -> Result<(), Stop> {
        self.stop_steps().await?;
        let status = self.status_after(RunTransition::Cancel)?;
        let now = self.inner.clock.now();
        let reason = match self.inner.store.run(self.run.id).await {
            Ok(run) => run.cancel_reason,
            Err(_) => None,
        };
        let body = EventBody::RunCanceled { reason };
        self.write_last(body, |patch| terminal(patch, status, now), Ready::Never, false).await?;
        info!("run canceled");
        Ok(())
    }

    /// Ends the run because its time is up.
    pub(super) async fn end_overdue(&mut self) -> Result<(), Stop> {
        self.stop_steps().await?;
        let error = RunError {
            reason: FailureReason::Deadline,
            message: "the run's time is up; give it a longer timeout".to_owned(),
        };
        self.fail(error, false).await?;
        info!("run failed: its time is up");
        Ok(())
    }

    /// Stops everything that is being performed and records what became of it. Calls that must
    /// not be repeated get a moment to end by themselves.
    async fn stop_steps(&mut self) -> Result<(), Stop> {
        self.give_back_grant();
        for active in self.active.values() {
            active.cancel.cancel();
        }
        self.quiesce().await?;
        let grace = self.inner.clock.sleep(self.inner.options.cancel_grace);
        tokio::pin!(grace);
        loop {
            let patient = self.active.values().any(|active| !active.policy.repeatable());
            tokio::select! {
                biased;
                Some(outcome) = self.in_flight.next() => match outcome {
                    Outcome::Again { .. } => {}
                    // A call that is not begun any more gives back what was reserved for it.
                    Outcome::Budgeted { turn, .. } => self.unreserve(&turn.step, turn.attempt),
                    outcome => self.take(outcome)?,
                },
                () = &mut grace, if patient => break,
                () = std::future::ready(()), if !patient => break,
            }
        }
        self.in_flight.clear();
        self.outbox.then.clear();
        let active = std::mem::take(&mut self.active);
        let mut open: Vec<StepKey> = self
            .state
            .steps()
            .filter(|(_, step)| !step.status.is_terminal())
            .map(|(key, _)| key.clone())
            .collect();
        open.sort();
        for step in open {
            let running = active.get(&step);
            let at_risk = running.is_some_and(|active| {
                !matches!(active.policy, EffectPolicy::Pure | EffectPolicy::Idempotent)
            });
            if at_risk {
                let detail = "the run was stopped during the call".to_owned();
                self.emit(EventBody::StepIndeterminate { step, detail })?;
            } else {
                self.cancel_step(step, running)?;
            }
        }
        Ok(())
    }

    /// Gives the run back with whatever is being performed left open; its policy decides then.
    pub(super) async fn hand_over(&mut self) {
        self.give_back_grant();
        // A call under way is charged by whoever goes on; one that was only asked for took nothing.
        let not_begun: Vec<(StepKey, u32)> = self
            .active
            .iter()
            .map(|(step, active)| {
                active.cancel.cancel();
                (step.clone(), active.attempt)
            })
            .filter(|(step, _)| self.state.call(step).is_none())
            .collect();
        for (step, attempt) in not_begun {
            self.unreserve(&step, attempt);
        }
        self.outbox.then.clear();
        self.in_flight.clear();
        let released = tokio::time::timeout(Duration::from_secs(3), self.release(false)).await;
        if !matches!(released, Ok(Ok(true))) {
            warn!("the run could not be handed over; it is taken over when the lease ends");
        }
    }
}

/// The row's side of an end.
fn terminal(patch: &mut RunPatch, status: RunStatus, now: Timestamp) {
    patch.status = Some(status);
    patch.finished_at = Some(now);
    leave(patch, None);
}

/// The row's side of going away.
fn leave(patch: &mut RunPatch, park: Option<Park>) {
    patch.park = Some(park);
    patch.release = true;
}
