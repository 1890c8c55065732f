//! The code of a workflow within its driver.

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Driver, Outcome, Stop, begin::stoppable, millis, outcome::TOOL_ATTEMPTS_MAX};
use crate::{
    code::{CallError, StepCx, StepFailure, panic_text},
    engine::{
        code::{Play, Props, missing},
        journal,
    },
    event::EventBody,
    id::StepKey,
    limits,
    machine::code,
    message::{ToolCall, clean_text, clean_value},
    step::{EffectPolicy, StepError, StepKind},
    time,
};

impl Driver {
    /// Takes the code of the run's workflow from its beginning.
    pub(super) fn open_code(&mut self) {
        let Some(machine) = self.state.machine().code() else { return };
        let Some(workflow) = &machine.spec().workflow else { return };
        let Some(code) = self.inner.codes.get(&workflow.name, workflow.version) else {
            self.differs = Some(missing(&self.inner.codes, workflow));
            return;
        };
        let signalled = Arc::clone(&self.signalled);
        let props = Props {
            clock: Arc::clone(&self.inner.clock),
            ids: Arc::clone(&self.inner.ids),
            ring: Box::new(move || signalled.poke()),
        };
        let before: VecDeque<_> = machine.decisions().iter().cloned().collect();
        let begun = (self.run.id, workflow.input.clone());
        self.play = Some(Play::new(&**code, begun, before, props));
    }

    /// Lets the code go on; whether it decided anything.
    pub(super) fn go_on(&mut self) -> Result<bool, Stop> {
        let (Some(play), Some(machine)) = (&mut self.play, self.state.machine().code()) else {
            return Ok(false);
        };
        match play.go_on(machine) {
            Ok(fresh) => {
                let any = !fresh.is_empty();
                for fresh in fresh {
                    self.emit(code::event(fresh.decision, fresh.input))?;
                }
                Ok(any)
            }
            Err(differs) => {
                warn!(%differs, "the code differs from its journal");
                self.differs = Some(differs);
                self.play = None;
                // Whoever goes on does again what may be repeated; the rest ends by itself.
                for active in self.active.values().filter(|active| active.policy.repeatable()) {
                    active.cancel.cancel();
                }
                Ok(false)
            }
        }
    }

    pub(super) fn is_function(&self, step: &StepKey) -> bool {
        self.state.machine().code().is_some_and(|code| code.is_function(step))
    }

    /// Whether the call is the engine's own: no list of tools has to allow it.
    pub(super) fn is_own_call(&self, step: &StepKey) -> bool {
        self.state.machine().code().is_some_and(|code| code.is_own(step))
    }

    /// Begins an attempt of a function.
    pub(super) fn run_function(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        attempt: u32,
    ) -> Result<bool, Stop> {
        let Some(work) = self.play.as_ref().and_then(|play| play.work(step)) else {
            return Ok(false);
        };
        let declared = self.state.machine().code().and_then(|code| code.policy(step));
        let policy = declared.unwrap_or(EffectPolicy::Ask);
        self.emit(EventBody::StepStarted {
            step: step.clone(),
            step_kind: StepKind::Function,
            name: call.name.clone(),
            policy,
            attempt,
        })?;
        let cancel = CancellationToken::new();
        let cx = StepCx {
            run_id: self.run.id,
            step: step.clone(),
            attempt,
            idempotency_key: journal::idempotency_key(self.run.id, step),
            cancel: cancel.clone(),
        };
        let clock = Arc::clone(&self.inner.clock);
        let (key, called) = (step.clone(), call.clone());
        let perform = async move {
            let began = clock.now();
            let attempt = AssertUnwindSafe(async { work(called.arguments.clone(), cx).await });
            let result = attempt.catch_unwind().await.unwrap_or_else(|panic| {
                let said = format!("the step panicked: {}", panic_text(&*panic));
                Err(StepFailure::new(said).with_code("panic").may_have_run())
            });
            let result = result.and_then(fitting);
            let elapsed = time::until(began, clock.now());
            Outcome::Function { step: key, call: called, result, elapsed }
        };
        self.launch(step, policy, attempt, cancel, perform);
        Ok(true)
    }

    /// Has something performed under its policy: what has an effect waits for the journal, and what must
    /// not be repeated is not dropped but sees the token itself.
    pub(super) fn launch(
        &mut self,
        step: &StepKey,
        policy: EffectPolicy,
        attempt: u32,
        cancel: CancellationToken,
        perform: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let task: BoxFuture<'static, Outcome> = if policy.repeatable() {
            stoppable(step.clone(), cancel.clone(), perform)
        } else {
            Box::pin(perform)
        };
        self.enter(step, policy, attempt, cancel, None);
        if policy == EffectPolicy::Pure {
            self.in_flight.push(task);
        } else {
            self.outbox.then.push(task);
        }
    }

    /// Takes in what became of a function.
    pub(super) fn take_function(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        result: Result<Value, StepFailure>,
        elapsed: std::time::Duration,
    ) -> Result<(), Stop> {
        let active = self.active.remove(step);
        let (policy, attempt) =
            active.map_or((EffectPolicy::Ask, 1), |active| (active.policy, active.attempt));
        let mut failure = match result {
            Ok(output) => return self.tell_returned(step, Ok(output), millis(elapsed)),
            Err(failure) => failure,
        };
        clean_text(&mut failure.message);
        if failure.may_have_run && !policy.repeatable() {
            return self.lose_track(step, call, policy, attempt, &failure.message);
        }
        if failure.transient && attempt < TOOL_ATTEMPTS_MAX {
            let error = StepError { code: failure.code, message: failure.message };
            return self.try_again(step, attempt, error, None);
        }
        let error = CallError::failed(&failure.code, failure.message);
        self.tell_returned(step, Err(error), millis(elapsed))
    }

    /// Records how a function ended.
    pub(super) fn tell_returned(
        &mut self,
        step: &StepKey,
        outcome: Result<Value, CallError>,
        elapsed_ms: u64,
    ) -> Result<(), Stop> {
        let step = step.clone();
        let (output, error) = match outcome {
            // Nothing and `null` are one in an event.
            Ok(Value::Null) => (None, None),
            Ok(output) => (Some(output), None),
            Err(error) => (None, Some(error)),
        };
        let ends = match &error {
            None => EventBody::StepSucceeded { step: step.clone() },
            Some(error) => EventBody::StepFailed {
                step: step.clone(),
                error: StepError {
                    code: error.code().to_owned(),
                    message: error.message().to_owned(),
                },
            },
        };
        self.emit(EventBody::CodeReturned { step, output, error, elapsed_ms })?;
        self.emit(ends)
    }

    /// Stops a step that the code does not want any more; whether anything happened.
    pub(super) fn abandon(&mut self, step: &StepKey) -> Result<bool, Stop> {
        if let Some(active) = self.active.get(step) {
            // What must not be repeated ends by itself, so that its outcome is known.
            if active.policy.repeatable() {
                active.cancel.cancel();
            }
            return Ok(false);
        }
        let asked = self.state.hands().approval(step);
        if let Some(id) = asked.filter(|asked| asked.decided.is_none()).map(|asked| asked.id) {
            self.emit(EventBody::ApprovalExpired { approval: id, step: step.clone() })?;
        }
        let Some(state) = self.state.step(step).filter(|step| !step.status.is_terminal()) else {
            return Ok(true);
        };
        if state.retrying || (state.policy.repeatable() && !state.unknown) {
            self.cancel_child(step);
            self.cancel_step(step.clone(), None)?;
        } else {
            let detail = "the code does not wait for it any more".to_owned();
            self.emit(EventBody::StepIndeterminate { step: step.clone(), detail })?;
        }
        Ok(true)
    }
}

/// An output that can be kept.
fn fitting(mut output: Value) -> Result<Value, StepFailure> {
    clean_value(&mut output);
    let size = output.to_string().len();
    if size > limits::TOOL_OUTPUT_BYTES_MAX {
        let most = limits::TOOL_OUTPUT_BYTES_MAX;
        let said = format!(
            "the step did its work, but its output of {size} bytes is larger than the allowed {most}"
        );
        return Err(StepFailure::new(said).with_code("too_large"));
    }
    Ok(output)
}
