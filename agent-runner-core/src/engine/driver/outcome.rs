//! Takes in what became of steps.

use std::time::Duration;

use serde_json::Value;
use tracing::{debug, warn};

use super::{
    Active, Driver, Stop,
    ask::Grant,
    charge::Heard,
    millis,
    turn::{Reading, Turn},
};
use crate::{
    budget::Spend,
    code::{CallError, StepFailure},
    engine::budgets::estimate_missing,
    event::{EventBody, Reply},
    id::{ArtifactId, StepKey},
    limits,
    llm::{ErrorKind, LlmFinished, ProviderError, Recovery},
    machine::agent::{Compaction, ReplyRules, compact, interpret},
    message::ToolCall,
    step::{EffectPolicy, StepError},
    store::StoreError,
    time,
    tool::{Reconciled, ToolError, ToolErrorKind, ToolOutput},
};

/// Tries of a tool call for errors that another try may cure; after that the model decides.
pub(super) const TOOL_ATTEMPTS_MAX: u32 = 3;

/// What became of something that was performed.
pub(super) enum Outcome {
    /// A model call ended.
    Model {
        step: StepKey,
        result: Result<LlmFinished, ProviderError>,
        elapsed: Duration,
        reading: Box<Reading>,
    },
    /// The shared budgets were asked about a model call.
    Budgeted { turn: Box<Turn>, grant: Result<Grant, StoreError> },
    /// A tool call ended.
    Tool { step: StepKey, call: ToolCall, result: Result<ToolOutput, ToolError>, elapsed: Duration },
    /// A function of the code ended.
    Function {
        step: StepKey,
        call: ToolCall,
        result: Result<Value, StepFailure>,
        elapsed: Duration,
    },
    /// A tool was asked what became of an earlier call.
    Reconciled { step: StepKey, call: ToolCall, result: Result<Reconciled, ToolError> },
    /// The wait before the next try is over.
    Again { step: StepKey },
    /// It was stopped because nobody wants it any more.
    Stopped { step: StepKey },
}

/// A model call that ended well.
struct Ended {
    step: StepKey,
    attempt: u32,
    elapsed: Duration,
    reading: Reading,
}

impl Driver {
    /// Takes in an outcome.
    pub(super) fn take(&mut self, outcome: Outcome) -> Result<(), Stop> {
        match outcome {
            Outcome::Model { step, result, elapsed, reading } => {
                let active = self.active.remove(&step);
                let attempt = active.as_ref().map_or(1, |active| active.attempt);
                match result {
                    Ok(finished) => {
                        let ended = Ended { step, attempt, elapsed, reading: *reading };
                        self.take_reply(&ended, finished)
                    }
                    Err(problem) => {
                        let progress = active.and_then(|active| active.progress);
                        let heard = progress.map(|progress| progress.heard(elapsed));
                        let heard = heard.unwrap_or_default();
                        self.settle_failed(&step, attempt, &problem, heard)?;
                        self.take_model_error(&step, attempt, &problem, &reading)
                    }
                }
            }
            Outcome::Budgeted { turn, grant } => self.take_grant(*turn, grant),
            Outcome::Tool { step, call, result, elapsed } => {
                let (policy, attempt) = self
                    .active
                    .remove(&step)
                    .map_or((EffectPolicy::Ask, 1), |active| (active.policy, active.attempt));
                match result {
                    Ok(output) => self.succeed_tool(&step, &call, output, millis(elapsed)),
                    Err(problem) => self.take_tool_error(&step, &call, policy, attempt, &problem),
                }
            }
            Outcome::Function { step, call, result, elapsed } => {
                self.take_function(&step, &call, result, elapsed)
            }
            Outcome::Reconciled { step, call, result } => {
                self.active.remove(&step);
                self.take_reconciled(&step, &call, result)
            }
            Outcome::Again { step } => {
                self.active.remove(&step);
                Ok(())
            }
            Outcome::Stopped { step } => {
                let active = self.active.remove(&step);
                if self.differs.is_some() {
                    return Ok(());
                }
                self.cancel_step(step, active.as_ref())
            }
        }
    }

    /// Records that a step was stopped, and what a model call had taken until then.
    pub(super) fn cancel_step(
        &mut self,
        step: StepKey,
        active: Option<&Active>,
    ) -> Result<(), Stop> {
        let mut partial = None;
        let mut heard = Heard::default();
        if let Some(active) = active
            && let Some(progress) = &active.progress
        {
            partial = self.topic.text_so_far(&step);
            heard = progress.heard(time::until(active.since, self.inner.clock.now()));
        }
        self.charge(&step, heard)?;
        self.topic.done(&step);
        self.emit(EventBody::StepCanceled { step, partial })
    }

    fn take_reply(&mut self, ended: &Ended, mut finished: LlmFinished) -> Result<(), Stop> {
        let Ended { step, attempt, elapsed, reading } = ended;
        finished.message = finished.message.cleaned();
        estimate_missing(&mut finished, reading.corrected);
        let reply = match &reading.compaction {
            Some(_) => Reply::Summary { text: compact::summary(&finished) },
            None => self.interpret(step, reading, &finished),
        };
        let cost = self.inner.cost(&self.model_of(step), &finished);
        let money = cost.as_ref().map(|cost| cost.micro_usd);
        let full = reply == (Reply::ContextFull {});
        let summary = match &reply {
            Reply::Summary { text } => Some(text.clone()),
            _ => None,
        };
        self.topic.done(step);
        self.emit(EventBody::LlmCompleted {
            step: step.clone(),
            reply_message: finished.message,
            reply,
            stop: finished.stop,
            usage: finished.usage,
            elapsed_ms: millis(*elapsed),
            cost,
            answered_by: finished.answered_by,
            request_id: finished.request_id,
            notices: finished.notices,
        })?;
        self.book(step, *attempt, Spend::of_call(&finished.usage, money, millis(*elapsed)));
        if let (Some(compaction), Some(summary)) = (&reading.compaction, summary) {
            self.tell_compacted(compaction, &summary)?;
        }
        self.emit(EventBody::StepSucceeded { step: step.clone() })?;
        if full {
            self.tell_full(step, reading)?;
        }
        self.warn_of_budget()
    }

    fn interpret(&self, step: &StepKey, reading: &Reading, finished: &LlmFinished) -> Reply {
        let schema = self.run.spec.agent.output_schema.as_ref();
        let rules = ReplyRules {
            mode: reading.mode,
            step,
            output_schema: reading.schema.as_deref().or(self.output_schema.as_deref()),
            has_tools: reading.has_tools,
            final_tool: schema.filter(|_| reading.final_tool),
        };
        interpret(finished, &rules)
    }

    fn tell_compacted(&mut self, compaction: &Compaction, summary: &str) -> Result<(), Stop> {
        let Some(agent) = self.state.machine().agent() else { return Ok(()) };
        let summary = agent.with_words_of_people(compaction, summary);
        self.emit(EventBody::ContextCompacted {
            step: compaction.step.clone(),
            replaced: u64::try_from(compaction.replaced).unwrap_or(u64::MAX),
            summary,
        })
    }

    /// Has the conversation made shorter after the service said that it is too long, if that is
    /// possible. What was refused is never sent again as it was.
    fn tell_full(&mut self, step: &StepKey, reading: &Reading) -> Result<(), Stop> {
        let tokens = reading.corrected;
        let limit = reading.room.unwrap_or(u64::MAX).min(tokens / 2);
        let plan = self.state.machine().agent().and_then(|agent| agent.plan_compaction(limit));
        match plan {
            Some(plan) => self.emit(plan.context_full(step, tokens, limit)),
            None => Ok(()),
        }
    }

    fn take_model_error(
        &mut self,
        step: &StepKey,
        attempt: u32,
        problem: &ProviderError,
        reading: &Reading,
    ) -> Result<(), Stop> {
        self.topic.done(step);
        let error =
            StepError { code: problem.kind().as_str().to_owned(), message: problem.report() };
        debug!(step.id = %step, error = %problem, "model call failed");
        let wait = problem.retry_after();
        let patient = wait.is_none_or(|wait| wait <= limits::RETRY_AFTER_MAX);
        let most = match problem.kind() {
            ErrorKind::MalformedResponse => limits::MALFORMED_ATTEMPTS_MAX,
            _ => limits::ATTEMPTS_MAX,
        };
        if problem.recovery() == Recovery::Retry && attempt < most && patient {
            return self.try_again(step, attempt, error, wait);
        }
        self.emit(EventBody::StepFailed { step: step.clone(), error })?;
        match (problem.recovery(), &reading.compaction) {
            // Not even the summary fits: the agent goes on without one.
            (Recovery::Compact, Some(compaction)) => {
                self.tell_compacted(compaction, compact::LEFT_OUT)
            }
            (Recovery::Compact, None) => self.tell_full(step, reading),
            _ => Ok(()),
        }
    }

    /// Records that another attempt follows, and waits for its moment.
    pub(super) fn try_again(
        &mut self,
        step: &StepKey,
        attempt: u32,
        error: StepError,
        wanted: Option<Duration>,
    ) -> Result<(), Stop> {
        let delay = self.backoff(attempt, wanted);
        let retry_at = time::later(self.inner.clock.now(), delay);
        self.emit(EventBody::StepRetrying {
            step: step.clone(),
            attempt,
            error,
            delay_ms: millis(delay),
            retry_at: Some(retry_at),
        })?;
        self.wait_for_retry(step, attempt, delay);
        Ok(())
    }

    /// Waits for the rest of a pause that another worker began; whether there was one.
    pub(super) fn waits_to_retry(&mut self, step: &StepKey) -> bool {
        let Some(state) = self.state.step(step) else { return false };
        let (attempts, now) = (state.attempts, self.inner.clock.now());
        let Some(at) = state.retry_at.filter(|at| state.retrying && *at > now) else {
            return false;
        };
        // Clocks of workers may differ; nobody waits longer than the longest pause.
        let rest = time::until(now, at).min(limits::RETRY_AFTER_MAX);
        self.wait_for_retry(step, attempts, rest);
        true
    }

    fn wait_for_retry(&mut self, step: &StepKey, attempt: u32, delay: Duration) {
        let sleep = self.inner.clock.sleep(delay);
        let key = step.clone();
        let cancel = tokio_util::sync::CancellationToken::new();
        let stop = cancel.clone();
        self.in_flight.push(Box::pin(async move {
            tokio::select! {
                biased;
                () = sleep => {}
                () = stop.cancelled() => {}
            }
            Outcome::Again { step: key }
        }));
        self.enter(step, EffectPolicy::Pure, attempt, cancel, None);
    }

    /// Exponential with full jitter, at least what the service asked for.
    fn backoff(&self, attempt: u32, wanted: Option<Duration>) -> Duration {
        let factor = 1_u32 << attempt.saturating_sub(1).min(16);
        let ceiling = (limits::RETRY_DELAY_MIN * factor).min(limits::RETRY_DELAY_MAX);
        // The last bytes of a UUIDv7 are random; the id source is the injected randomness.
        let random = self.inner.ids.next().as_u128() % 1_000;
        let share = u32::try_from(random).unwrap_or(0);
        let jittered = ceiling * share / 1_000;
        jittered.max(wanted.unwrap_or(Duration::ZERO))
    }

    /// Records a good end of a tool call.
    pub(super) fn succeed_tool(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        output: ToolOutput,
        elapsed_ms: u64,
    ) -> Result<(), Stop> {
        if self.is_function(step) {
            return self.tell_returned(step, Ok(output.value), elapsed_ms);
        }
        let model_bytes_max = self
            .inner
            .tools
            .get(&call.name)
            .map_or(limits::TOOL_OUTPUT_MODEL_BYTES, |tool| tool.info().model_bytes_max);
        for kept in output.artifacts {
            let id = ArtifactId::from_uuid(self.inner.ids.next());
            self.emit(EventBody::of_artifact(Some(step.clone()), id, kept))?;
        }
        for fact in output.facts {
            self.emit(EventBody::of_fact(step.clone(), fact))?;
        }
        self.emit(EventBody::ToolCompleted {
            step: step.clone(),
            call_id: call.id.clone(),
            tool: call.name.clone(),
            output: output.value,
            model_bytes_max,
            elapsed_ms,
            untrusted: output.untrusted,
        })?;
        self.emit(EventBody::StepSucceeded { step: step.clone() })
    }

    /// Records a bad end of a tool call; the model is told.
    pub(super) fn fail_tool(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        kind: ToolErrorKind,
        for_model: String,
    ) -> Result<(), Stop> {
        self.fail_tool_as(step, call, &ToolError::new(kind, for_model))
    }

    pub(super) fn fail_tool_as(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        problem: &ToolError,
    ) -> Result<(), Stop> {
        let (kind, mut for_model) = (problem.kind(), problem.for_model().to_owned());
        crate::message::clean_text(&mut for_model);
        if self.is_function(step) {
            return self.tell_returned(step, Err(CallError::of_tool(kind, &for_model)), 0);
        }
        self.emit(EventBody::ToolFailed {
            step: step.clone(),
            call_id: call.id.clone(),
            tool: call.name.clone(),
            error: kind,
            for_model: for_model.clone(),
            untrusted: problem.origin().map(str::to_owned),
        })?;
        let error = StepError { code: kind.as_str().to_owned(), message: for_model };
        self.emit(EventBody::StepFailed { step: step.clone(), error })
    }

    fn take_tool_error(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        policy: EffectPolicy,
        attempt: u32,
        problem: &ToolError,
    ) -> Result<(), Stop> {
        if let Some(source) = std::error::Error::source(problem) {
            warn!(step.id = %step, tool = %call.name, error = %problem, source, "tool call failed");
        }
        let mut text = problem.for_model().to_owned();
        crate::message::clean_text(&mut text);
        if problem.effect_possible() && !policy.repeatable() {
            return self.lose_track(step, call, policy, attempt, &text);
        }
        let patient = problem.retry_after().is_none_or(|wait| wait <= limits::RETRY_AFTER_MAX);
        if problem.kind().is_transient() && attempt < TOOL_ATTEMPTS_MAX && patient {
            let error = StepError { code: problem.kind().as_str().to_owned(), message: text };
            return self.try_again(step, attempt, error, problem.retry_after());
        }
        self.fail_tool_as(step, call, problem)
    }

    fn take_reconciled(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        result: Result<Reconciled, ToolError>,
    ) -> Result<(), Stop> {
        let attempt = self.state.step(step).map_or(1, |step| step.attempts);
        match result {
            Ok(Reconciled::Done(output)) => {
                let mut output = output;
                crate::message::clean_value(&mut output.value);
                self.succeed_tool(step, call, output, 0)
            }
            Ok(Reconciled::NotDone) => {
                let error = StepError {
                    code: "not_done".to_owned(),
                    message: "the tool found that the call did not take effect".to_owned(),
                };
                self.try_again(step, attempt, error, None)
            }
            Ok(Reconciled::Unknown) => {
                let why = "the tool could not find out whether the call took effect";
                self.lose_track(step, call, EffectPolicy::Ask, attempt, why)
            }
            Err(problem) => {
                let why = format!("the tool could not find out what became of the call: {problem}");
                self.lose_track(step, call, EffectPolicy::Ask, attempt, &why)
            }
        }
    }
}
