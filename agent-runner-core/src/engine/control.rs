//! What people ask of a run: pause, resume, cancel, resolve, delete. Each is one compare-and-set on
//! the run's control number, so that it is atomic against the run's owner.

use tracing::warn;

use super::{
    Engine, EngineError, EngineErrorKind, Inner,
    budgets::{call_id, lost_call},
    journal, snapshot,
};
use crate::{
    directive::Resolution,
    event::EventBody,
    id::{RunId, StepKey},
    limits,
    machine::OpenCall,
    message::{clean_text, clean_value},
    run::{FailureReason, ParkReason, Run, RunError, RunStatus, RunTransition},
    step::{StepKind, StepStatus},
    store::{Batch, Booking, EventQuery, Expect, News, Order, Ready, StepRow, StoreErrorKind},
};

/// What a decision on a run's present state comes to.
enum Decision {
    /// Nothing has to be written: it is so already.
    Already,
    /// Write this.
    Write(Box<Batch>),
}

pub(super) fn refuse<T>(run: &Run, what: &str) -> Result<T, EngineError> {
    Err(EngineError::new(
        EngineErrorKind::InvalidTransition,
        format!("run {} is {} and cannot {what}", run.id, run.status),
    ))
}

impl Engine {
    /// Asks a run to end. Acknowledged at once; a run that a worker has ends when its worker has
    /// stopped what it was doing. A run that is CANCELED already is no error.
    ///
    /// # Errors
    /// `NotFound`; `InvalidTransition` for a run that is COMPLETED or FAILED.
    pub async fn cancel(&self, id: RunId, reason: Option<String>) -> Result<Run, EngineError> {
        let inner = &self.inner;
        let reason = reason.map(|mut reason| {
            clean_text(&mut reason);
            reason
        });
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            let run = inner.store.run(id).await?;
            match run.status {
                RunStatus::Canceled => return Ok(run),
                RunStatus::Completed | RunStatus::Failed => return refuse(&run, "be canceled"),
                RunStatus::Queued | RunStatus::Running => {}
            }
            if run.cancel_requested && run.owner.is_some() {
                return Ok(run);
            }
            let batch = if run.owner.is_some() {
                inner.cancel_request(&run, reason.clone())
            } else {
                inner.cancel_now(&run, reason.clone()).await?
            };
            let news = batch.news.clone();
            if inner.write(&run, batch).await? {
                inner.pass_on(&news).await;
                return Ok(inner.store.run(id).await?);
            }
        }
        Err(busy(id))
    }

    /// Asks a run to stand still at its next step boundary. Its status does not change.
    ///
    /// # Errors
    /// `NotFound`; `InvalidTransition` for a run that ended or is being canceled.
    pub async fn pause(&self, id: RunId) -> Result<Run, EngineError> {
        self.decide(id, |inner, run| {
            if run.status.is_terminal() || run.cancel_requested {
                return refuse(run, "be paused");
            }
            if run.pause_requested {
                return Ok(Decision::Already);
            }
            let mut batch = inner.command(run);
            inner.push(&mut batch, &EventBody::RunPauseRequested {});
            batch.patch.pause_requested = Some(true);
            if run.owner.is_none() {
                inner.push(&mut batch, &EventBody::RunPaused {});
                batch.ready = Ready::Never;
            }
            Ok(Decision::Write(Box::new(batch)))
        })
        .await
    }

    /// Lets a paused run go on; a run parked as poison, for its budget or for its code gets another
    /// chance.
    ///
    /// # Errors
    /// `NotFound`; `InvalidTransition` for a run that ended.
    pub async fn resume(&self, id: RunId) -> Result<Run, EngineError> {
        self.decide(id, |inner, run| {
            if run.status.is_terminal() {
                return refuse(run, "be resumed");
            }
            let held = run.park.as_ref().is_some_and(|park| {
                matches!(park.reason, ParkReason::Poison | ParkReason::Budget | ParkReason::Nondet)
            });
            if !run.pause_requested && !held {
                return Ok(Decision::Already);
            }
            let mut batch = inner.command(run);
            inner.push(&mut batch, &EventBody::RunResumed {});
            batch.patch.pause_requested = Some(false);
            if run.owner.is_none() && !run.cancel_requested {
                inner.unpark_after_pause(run, &mut batch);
            }
            Ok(Decision::Write(Box::new(batch)))
        })
        .await
    }

    /// Says what became of a step whose outcome is unknown.
    ///
    /// # Errors
    /// `NotFound` for the run or step; `InvalidTransition` for a step that nobody asked about.
    pub async fn resolve(
        &self,
        id: RunId,
        step: &StepKey,
        mut resolution: Resolution,
    ) -> Result<Run, EngineError> {
        if let Resolution::Succeeded { output } = &mut resolution {
            clean_value(output);
        }
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            let run = self.inner.store.run(id).await?;
            if run.status.is_terminal() || run.cancel_requested {
                return refuse(&run, "have a step resolved");
            }
            self.check_asked(id, step).await?;
            let inner = &self.inner;
            let mut batch = inner.command(&run);
            let body =
                EventBody::StepResolved { step: step.clone(), resolution: resolution.clone() };
            inner.push(&mut batch, &body);
            let asks = run.park.as_ref().is_some_and(|park| park.reason == ParkReason::Ask);
            if asks {
                batch.patch.park = Some(None);
                if !run.pause_requested {
                    batch.ready = Ready::At(inner.clock.now());
                }
            }
            if inner.write(&run, batch).await? {
                return Ok(inner.store.run(id).await?);
            }
        }
        Err(busy(id))
    }

    async fn check_asked(&self, id: RunId, step: &StepKey) -> Result<(), EngineError> {
        let mut query = EventQuery::after(0);
        query.step = Some(step.clone());
        query.order = Order::Descending;
        let events = self.inner.store.events(id, &query).await?;
        if events.is_empty() {
            return Err(EngineError::new(
                EngineErrorKind::NotFound,
                format!("run {id} has no step {step}"),
            ));
        }
        let last = events.iter().find(|event| event.kind.starts_with("step."));
        if last.is_some_and(|event| event.kind == "step.unknown") {
            return Ok(());
        }
        Err(EngineError::new(
            EngineErrorKind::InvalidTransition,
            format!("the outcome of step {step} is not in question"),
        ))
    }

    /// Deletes a run that ended, with all that belongs to it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a run that has not ended, or that started one that has not.
    pub async fn delete_run(&self, id: RunId) -> Result<(), EngineError> {
        // A run that ended starts no more.
        if let Some(child) = self.inner.live_child(id).await? {
            return Err(EngineError::new(
                EngineErrorKind::Conflict,
                format!("run {child}, which run {id} started, has not ended: cancel it, or wait"),
            ));
        }
        Ok(self.inner.store.delete(id).await?)
    }

    async fn decide(
        &self,
        id: RunId,
        decision: impl Fn(&Inner, &Run) -> Result<Decision, EngineError> + Send + Sync,
    ) -> Result<Run, EngineError> {
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            let run = self.inner.store.run(id).await?;
            let batch = match decision(&self.inner, &run)? {
                Decision::Already => return Ok(run),
                Decision::Write(batch) => *batch,
            };
            if self.inner.write(&run, batch).await? {
                return Ok(self.inner.store.run(id).await?);
            }
        }
        Err(busy(id))
    }
}

pub(super) fn busy(id: RunId) -> EngineError {
    EngineError::new(
        EngineErrorKind::Busy,
        format!("run {id} changed too often in the meantime; try again"),
    )
}

impl Inner {
    /// A batch of somebody who owns nothing.
    pub(super) fn command(&self, run: &Run) -> Batch {
        let mut batch = Batch::new(run.id, Expect::Control(run.control));
        batch.patch.bump_control = true;
        batch
    }

    pub(super) fn push(&self, batch: &mut Batch, body: &EventBody) {
        journal::push(batch, body, self.clock.now());
    }

    /// Writes a command; `false` when the run's control state moved and the caller has to decide
    /// anew.
    pub(super) async fn write(&self, run: &Run, batch: Batch) -> Result<bool, EngineError> {
        match self.store.append(batch).await {
            Ok(_) => {
                self.active.poke(run.id);
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    StoreErrorKind::ControlChanged | StoreErrorKind::Duplicate
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn cancel_request(&self, run: &Run, reason: Option<String>) -> Batch {
        let mut batch = self.command(run);
        self.push(&mut batch, &EventBody::RunCancelRequested { reason: reason.clone() });
        batch.patch.cancel_requested = true;
        batch.patch.cancel_reason = reason;
        batch
    }

    /// Ends a run that nobody owns, steps included, in one transaction.
    async fn cancel_now(&self, run: &Run, reason: Option<String>) -> Result<Batch, EngineError> {
        let mut batch = self.command(run);
        if !run.cancel_requested {
            self.push(&mut batch, &EventBody::RunCancelRequested { reason: reason.clone() });
            batch.patch.cancel_requested = true;
            batch.patch.cancel_reason = reason.clone();
        }
        self.end_open_steps(run, &mut batch).await?;
        let reason = run.cancel_reason.clone().or(reason);
        let last = EventBody::RunCanceled { reason };
        self.end(run, RunTransition::Cancel, last, &mut batch).await?;
        Ok(batch)
    }

    async fn end_open_steps(&self, run: &Run, batch: &mut Batch) -> Result<(), EngineError> {
        let mut open = self.store.steps(run.id).await?;
        open.retain(|step| !step.status.is_terminal());
        if open.iter().any(|step| step.kind == StepKind::Model) {
            self.charge_lost_calls(run, batch).await?;
        }
        for step in open {
            let done = batch.events.len();
            self.push(batch, &EventBody::StepCanceled { step: step.key.clone(), partial: None });
            batch.steps.push(StepRow {
                key: step.key,
                kind: step.kind,
                name: step.name,
                policy: step.policy,
                status: StepStatus::Canceled,
                attempts: step.attempts,
                error: None,
                started: None,
                done: Some(done),
                started_at: step.started_at,
                finished_at: batch.events.last().map(|event| event.at),
            });
        }
        Ok(())
    }

    /// Model calls whose worker was lost may have been billed. A journal that cannot be read keeps no run
    /// from its end: what is reserved for its calls is booked with that.
    async fn charge_lost_calls(&self, run: &Run, batch: &mut Batch) -> Result<(), EngineError> {
        let mut state = match snapshot::load(&*self.store, run.id).await {
            Ok(loaded) => loaded.state,
            Err(problem) if problem.kind() == EngineErrorKind::Internal => {
                warn!(run.id = %run.id, error = %problem, "its open model calls are not charged");
                return Ok(());
            }
            Err(problem) => return Err(problem),
        };
        let open: Vec<OpenCall> = state.calls().cloned().collect();
        for call in open {
            let usage = lost_call(&state, &call, None);
            let (spend, cost) = self.charge(&call.model, &usage, 0);
            let OpenCall { step, model, attempt, .. } = call;
            batch.bookings.push(Booking {
                id: call_id(&step, attempt),
                amount: spend,
                lines: self.spend_lines(run, model.provider()),
            });
            let charged = EventBody::LlmCharged { step, attempt, usage, spend, cost };
            state.apply(0, &charged).map_err(|problem| {
                EngineError::new(EngineErrorKind::Internal, problem.to_string())
            })?;
            batch.patch.usage = Some(state.usage());
            batch.patch.spend = Some(state.spend());
            self.push(batch, &charged);
        }
        Ok(())
    }

    /// The last event of a run that nobody has, its side of the row, and what others learn of it.
    async fn end(
        &self,
        run: &Run,
        transition: RunTransition,
        last: EventBody,
        batch: &mut Batch,
    ) -> Result<(), EngineError> {
        let status = run.status.apply(transition).map_err(|error| {
            EngineError::new(EngineErrorKind::InvalidTransition, error.to_string())
        })?;
        batch.patch.status = Some(status);
        batch.patch.finished_at = Some(self.clock.now());
        batch.patch.park = Some(None);
        batch.patch.release = true;
        batch.patch.bump_control = true;
        batch.ready = Ready::Never;
        let open = self.open_children(run.id).await?;
        batch.news = self.news_of_end(run, &last, false, open);
        self.push(batch, &last);
        Ok(())
    }

    /// What a run does when nobody holds it back any more.
    fn unpark_after_pause(&self, run: &Run, batch: &mut Batch) {
        let now = self.clock.now();
        match run.park.as_ref().map(|park| park.reason) {
            Some(ParkReason::Ask) => {}
            // The moment, the signal, the approval or the child's end may have come during the pause: look again now.
            Some(
                ParkReason::Signal | ParkReason::Timer | ParkReason::Approval | ParkReason::Child,
            ) => {
                batch.patch.park = Some(None);
                batch.ready = Ready::At(now);
            }
            Some(
                ParkReason::Paused | ParkReason::Poison | ParkReason::Budget | ParkReason::Nondet,
            ) => {
                batch.patch.park = Some(None);
                batch.patch.recoveries = Some(0);
                batch.ready = Ready::At(now);
            }
            None => batch.ready = Ready::At(run.may_start_at(now)),
        }
    }

    /// Ends an ownerless run whose cancellation was asked for while its owner was dying.
    pub(super) async fn finish_canceled(&self, id: RunId) -> Result<(), EngineError> {
        let news = self.try_cancel(id).await?;
        self.pass_on(&news).await;
        Ok(())
    }

    /// Ends a run whose cancellation was asked for and that nobody has; what others learned of it.
    pub(super) async fn try_cancel(&self, id: RunId) -> Result<Vec<News>, EngineError> {
        let run = self.store.run(id).await?;
        if run.status.is_terminal() || run.owner.is_some() || !run.cancel_requested {
            return Ok(Vec::new());
        }
        let batch = self.cancel_now(&run, None).await?;
        let news = batch.news.clone();
        Ok(if self.write(&run, batch).await? { news } else { Vec::new() })
    }

    /// Ends an ownerless run whose time is up.
    pub(super) async fn finish_overdue(&self, id: RunId) -> Result<(), EngineError> {
        let run = self.store.run(id).await?;
        if run.status.is_terminal() || run.owner.is_some() {
            return Ok(());
        }
        let mut batch = self.command(&run);
        self.end_open_steps(&run, &mut batch).await?;
        let error = RunError {
            reason: FailureReason::Deadline,
            message: "the run's time is up; give it a longer timeout".to_owned(),
        };
        batch.patch.error = Some(error.clone());
        self.end(&run, RunTransition::Fail, EventBody::RunFailed { error }, &mut batch).await?;
        let news = batch.news.clone();
        if self.write(&run, batch).await? {
            self.pass_on(&news).await;
        }
        Ok(())
    }
}
