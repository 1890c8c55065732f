//! Begins steps: new ones, tries again, and those that an earlier worker left behind.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Active, Driver, Outcome, Stop, host::RunHost, model::Progress, tool::ToolInvocation};
use crate::{
    directive::Resolution,
    engine::{AGENT_TOOL, journal},
    event::EventBody,
    id::StepKey,
    machine::{StepState, code::outcome_unknown},
    message::ToolCall,
    step::{EffectPolicy, StepKind, StepStatus},
    time,
    tool::{Tool, ToolCx, ToolErrorKind, ToolOutput},
};

impl Driver {
    pub(super) fn enter(
        &mut self,
        step: &StepKey,
        policy: EffectPolicy,
        attempt: u32,
        cancel: CancellationToken,
        progress: Option<Arc<Progress>>,
    ) {
        let since = self.inner.clock.now();
        let active = Active { policy, attempt, since, cancel, progress, sounds_told: 0 };
        self.active.insert(step.clone(), active);
    }

    /// Runs a tool, or answers the call without running it; whether anything happened.
    pub(super) fn begin_tool(&mut self, step: &StepKey, call: &ToolCall) -> Result<bool, Stop> {
        match self.state.step(step).cloned() {
            None if self.is_function(step) => self.run_function(step, call, 1),
            None => self.begin_new_tool(step, call),
            Some(state) if state.status != StepStatus::Started => Ok(false),
            Some(state) if state.kind == StepKind::Wait => self.look_at_wait(step, call, &state),
            Some(state) if state.kind == StepKind::Child => self.look_at_agent(step, call),
            Some(state) if state.retrying => self.run(step, call, state.attempts + 1),
            Some(state) => self.recover_tool(step, call, &state),
        }
    }

    pub(super) fn tell_tool_started(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        step_kind: StepKind,
        policy: EffectPolicy,
        attempt: u32,
    ) -> Result<(), Stop> {
        self.emit(EventBody::StepStarted {
            step: step.clone(),
            step_kind,
            name: call.name.clone(),
            policy,
            attempt,
        })?;
        self.emit(EventBody::ToolStarted {
            step: step.clone(),
            call_id: call.id.clone(),
            tool: call.name.clone(),
            arguments: call.arguments.clone(),
            attempt,
        })
    }

    /// Begins an attempt of a tool or of a function of the code.
    fn run(&mut self, step: &StepKey, call: &ToolCall, attempt: u32) -> Result<bool, Stop> {
        if self.is_function(step) {
            self.run_function(step, call, attempt)
        } else {
            self.run_tool(step, call, attempt)
        }
    }

    /// Begins an attempt of a tool.
    pub(super) fn run_tool(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        attempt: u32,
    ) -> Result<bool, Stop> {
        if call.name == AGENT_TOOL {
            return self.begin_agent(step, call);
        }
        let Some(tool) = self.inner.tools.get(&call.name) else {
            let text = format!("The tool `{}` is not available any more.", call.name);
            self.fail_tool(step, call, ToolErrorKind::UnknownTool, text)?;
            return Ok(true);
        };
        // The policy of a step is the one that was declared when it began.
        let policy = self.state.step(step).map_or(tool.info().policy, |earlier| earlier.policy);
        self.tell_tool_started(step, call, StepKind::Tool, policy, attempt)?;
        let (invocation, cancel) = self.invocation(step, call, tool, attempt);
        let key = step.clone();
        let called = call.clone();
        let perform = async move {
            let (result, elapsed) = invocation.perform().await;
            Outcome::Tool { step: key, call: called, result, elapsed }
        };
        self.launch(step, policy, attempt, cancel, perform);
        Ok(true)
    }

    fn invocation(
        &self,
        step: &StepKey,
        call: &ToolCall,
        tool: Arc<dyn Tool>,
        attempt: u32,
    ) -> (ToolInvocation, CancellationToken) {
        let cancel = CancellationToken::new();
        let host = RunHost {
            inner: Arc::clone(&self.inner),
            run: self.run.id,
            topic: Arc::clone(&self.topic),
            step: step.clone(),
            attempt,
            shown: AtomicUsize::new(0),
            cancel: cancel.clone(),
            announce: self.announce.clone(),
        };
        let key = journal::idempotency_key(self.run.id, step);
        let cx = ToolCx::new(self.run.project_id, step.clone(), key)
            .of_run(self.run.id, attempt)
            .with_settings(Arc::clone(&self.settings))
            .with_cancel(cancel.clone())
            .with_host(Arc::new(host));
        let inner = Arc::clone(&self.inner);
        (ToolInvocation { inner, tool, arguments: call.arguments.clone(), cx }, cancel)
    }

    /// Decides about a call that an earlier worker began and did not record.
    fn recover_tool(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        state: &StepState,
    ) -> Result<bool, Stop> {
        if let Some(resolution) = &state.resolution {
            return self.follow(step, call, state, resolution);
        }
        if state.unknown {
            return Ok(false);
        }
        let lost = "the worker was lost during the call";
        match state.policy {
            EffectPolicy::Pure | EffectPolicy::Idempotent => {
                self.run(step, call, state.attempts + 1)
            }
            EffectPolicy::AtMostOnce | EffectPolicy::Ask | EffectPolicy::Reconcile => {
                self.lose_track(step, call, state.policy, state.attempts, lost)?;
                Ok(true)
            }
        }
    }

    /// Does what a person said about a call whose outcome was unknown.
    fn follow(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        state: &StepState,
        resolution: &Resolution,
    ) -> Result<bool, Stop> {
        match resolution {
            Resolution::Retry => return self.run(step, call, state.attempts + 1),
            Resolution::Succeeded { output } => {
                self.succeed_tool(step, call, ToolOutput::new(output.clone()), 0)?;
            }
            Resolution::Failed { message } => {
                let text = message.clone().unwrap_or_else(|| {
                    "A person found that the call did not take effect.".to_owned()
                });
                self.fail_tool(step, call, ToolErrorKind::Conflict, text)?;
            }
        }
        Ok(true)
    }

    /// The outcome of a call is unknown and it must not simply be repeated: its policy decides.
    pub(super) fn lose_track(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        policy: EffectPolicy,
        attempt: u32,
        why: &str,
    ) -> Result<(), Stop> {
        let function = self.is_function(step);
        let probe = self.inner.tools.get(&call.name).filter(|_| !function);
        match (policy, probe) {
            (EffectPolicy::Reconcile, Some(tool)) => {
                let (invocation, cancel) = self.invocation(step, call, tool, attempt);
                let key = step.clone();
                let called = call.clone();
                let task = stoppable(step.clone(), cancel.clone(), async move {
                    let result = invocation.reconcile().await;
                    Outcome::Reconciled { step: key, call: called, result }
                });
                self.enter(step, EffectPolicy::Pure, attempt, cancel, None);
                self.in_flight.push(task);
                Ok(())
            }
            (EffectPolicy::Ask | EffectPolicy::Reconcile, _) => {
                self.emit(EventBody::StepUnknown { step: step.clone(), detail: why.to_owned() })
            }
            (EffectPolicy::AtMostOnce | EffectPolicy::Pure | EffectPolicy::Idempotent, _) => {
                let detail = why.to_owned();
                self.emit(EventBody::StepIndeterminate { step: step.clone(), detail })?;
                if function {
                    let error = Some(outcome_unknown(why));
                    let (step, output, elapsed_ms) = (step.clone(), None, 0);
                    return self.emit(EventBody::CodeReturned { step, output, error, elapsed_ms });
                }
                self.emit(EventBody::ToolFailed {
                    step: step.clone(),
                    call_id: call.id.clone(),
                    tool: call.name.clone(),
                    error: ToolErrorKind::Indeterminate,
                    for_model: format!(
                        "Whether this call took effect is not known ({why}), and it must not be \
                         repeated. Find out by other means before you rely on it."
                    ),
                    untrusted: None,
                })
            }
        }
    }

    pub(super) fn begin_wait(&mut self, step: &StepKey, call: &ToolCall) -> Result<bool, Stop> {
        self.tell_tool_started(step, call, StepKind::Wait, EffectPolicy::Pure, 1)?;
        let given = |unit: &str| call.arguments.get(unit).and_then(Value::as_u64);
        let most = given("seconds").map(Duration::from_secs);
        if let Some(most) = most.or_else(|| given("milliseconds").map(Duration::from_millis)) {
            let wake_at = time::later(self.inner.clock.now(), most);
            self.emit(EventBody::TimerSet { step: step.clone(), wake_at })?;
        }
        Ok(true)
    }

    /// Ends a wait whose moment or signal came; whether it did.
    fn look_at_wait(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        state: &StepState,
    ) -> Result<bool, Stop> {
        let wanted = call.arguments.get("signal").and_then(Value::as_str);
        let signal = wanted.and_then(|name| self.state.signal(name)).cloned();
        if let Some(signal) = signal {
            let output = json!({
                "signal": signal.name, "signal_id": signal.id, "payload": signal.data,
            });
            self.succeed_tool(step, call, ToolOutput::new(output), 0)?;
            return Ok(true);
        }
        if state.wake_at.is_some_and(|at| at <= self.inner.clock.now()) {
            self.emit(EventBody::TimerFired { step: step.clone() })?;
            let output = ToolOutput::new(json!({"signal": null, "waited": true}));
            self.succeed_tool(step, call, output, 0)?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// A task that ends when its token fires.
pub(super) fn stoppable(
    step: StepKey,
    cancel: CancellationToken,
    task: impl Future<Output = Outcome> + Send + 'static,
) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Outcome::Stopped { step },
            outcome = task => outcome,
        }
    })
}
