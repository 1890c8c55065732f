//! What can be asked about runs.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{Engine, EngineError, EngineErrorKind, journal, live::LOOK_INTERVAL, snapshot};
use crate::{
    agent::ModelName,
    budget::{Budget, Spend},
    event::{Event, EventBody},
    id::{RunId, StepKey},
    llm::{Cost, Usage},
    machine::RunState,
    message::{Message, Role},
    run::Run,
    step::Step,
    store::{EventQuery, RunQuery, Worker},
    time,
};

/// A step with what went in and what came out.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDetail {
    /// The step.
    pub step: Step,
    /// What it was asked: a tool's arguments; `None` for a model call, whose input is the
    /// transcript.
    pub input: Option<Value>,
    /// What it produced: a tool's output, a model's message.
    pub output: Option<Value>,
    /// Tokens, for a model call.
    pub usage: Option<Usage>,
}

/// What one model call used.
#[derive(Debug, Clone, PartialEq)]
pub struct StepUsage {
    /// The step.
    pub step: StepKey,
    /// The model that answered, else the one that was asked.
    pub model: ModelName,
    /// Its tokens.
    pub usage: Usage,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
    /// What it cost; `None` when nobody knows.
    pub cost: Option<Cost>,
    /// Whether it is an attempt that failed and may have been billed.
    pub failed: bool,
}

/// What a run used.
#[derive(Debug, Clone, PartialEq)]
pub struct RunUsage {
    /// Tokens of all calls.
    pub total: Usage,
    /// What all calls took of the budgets.
    pub spend: Spend,
    /// Most that the run may spend now.
    pub budget: Option<Budget>,
    /// How much of it is used, in per mille of the limit that is closest. Time counts from when the
    /// run was accepted to its end.
    pub used_per_mille: Option<u64>,
    /// Of each call, in order.
    pub steps: Vec<StepUsage>,
}

impl Engine {
    /// One run.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn run(&self, id: RunId) -> Result<Run, EngineError> {
        Ok(self.inner.store.run(id).await?)
    }

    /// Runs that fit, by id.
    ///
    /// # Errors
    /// What the store says.
    pub async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, EngineError> {
        Ok(self.inner.store.runs(query).await?)
    }

    /// Events of a run, by number. A payload that is too large to stand in its event is a stub.
    ///
    /// # Errors
    /// `NotFound` for the run.
    pub async fn events(&self, id: RunId, query: &EventQuery) -> Result<Vec<Event>, EngineError> {
        let events = self.inner.store.events(id, query).await?;
        if events.is_empty() {
            // An empty page of a run is fine; an empty page of nothing is not.
            let _ = self.inner.store.run(id).await?;
        }
        Ok(events)
    }

    /// One event with its whole payload.
    ///
    /// # Errors
    /// `NotFound` for the run or the event.
    pub async fn event(&self, id: RunId, seq: u64) -> Result<Event, EngineError> {
        let missing =
            || EngineError::new(EngineErrorKind::NotFound, format!("run {id} has no event {seq}"));
        let mut query = EventQuery::after(seq.checked_sub(1).ok_or_else(missing)?);
        query.limit = 1;
        let event = self.events(id, &query).await?.into_iter().next().ok_or_else(missing)?;
        if event.seq != seq {
            return Err(missing());
        }
        journal::whole(&*self.inner.store, event).await
    }

    /// The steps of a run, in the order they began.
    ///
    /// # Errors
    /// `NotFound` for the run.
    pub async fn steps(&self, id: RunId) -> Result<Vec<Step>, EngineError> {
        let steps = self.inner.store.steps(id).await?;
        if steps.is_empty() {
            let _ = self.inner.store.run(id).await?;
        }
        Ok(steps)
    }

    /// One step with what went in and what came out.
    ///
    /// # Errors
    /// `NotFound` for the run or the step.
    pub async fn step(&self, id: RunId, key: &StepKey) -> Result<StepDetail, EngineError> {
        let step =
            self.steps(id).await?.into_iter().find(|step| step.key == *key).ok_or_else(|| {
                EngineError::new(EngineErrorKind::NotFound, format!("run {id} has no step {key}"))
            })?;
        let mut detail = StepDetail { step, input: None, output: None, usage: None };
        let mut query = EventQuery::after(0);
        query.step = Some(key.clone());
        query.kinds = [
            "tool.started",
            "tool.completed",
            "tool.failed",
            "llm.completed",
            "code.called",
            "code.returned",
        ]
        .map(str::to_owned)
        .to_vec();
        for event in self.inner.store.events(id, &query).await? {
            let event = journal::whole(&*self.inner.store, event).await?;
            match EventBody::from_event(&event) {
                Ok(Some(EventBody::ToolStarted { arguments, .. })) => {
                    detail.input = Some(arguments);
                }
                Ok(Some(EventBody::CodeCalled { input, .. })) => detail.input = Some(input),
                Ok(Some(EventBody::CodeReturned { output, error, .. })) => {
                    detail.output = error.map_or(output, |error| serde_json::to_value(error).ok());
                }
                Ok(Some(EventBody::ToolCompleted { output, .. })) => detail.output = Some(output),
                Ok(Some(EventBody::ToolFailed { for_model, .. })) => {
                    detail.output = Some(Value::String(for_model));
                }
                Ok(Some(EventBody::LlmCompleted { reply_message, usage, .. })) => {
                    detail.output = serde_json::to_value(reply_message).ok();
                    detail.usage = Some(usage);
                }
                _ => {}
            }
        }
        Ok(detail)
    }

    /// The conversation of a run, instructions first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn transcript(&self, id: RunId) -> Result<Vec<Message>, EngineError> {
        let state = self.fold(id).await?;
        let mut messages = state.machine().conversation_with_unread();
        if let Some(spec) = state.machine().spec().filter(|s| !s.agent.instructions.is_empty()) {
            messages.insert(0, Message::text(Role::System, spec.agent.instructions.clone()));
        }
        Ok(messages)
    }

    /// The state of a run as its journal tells it, from its last snapshot on.
    ///
    /// # Errors
    /// `NotFound`; `Internal` for a damaged journal.
    pub async fn fold(&self, id: RunId) -> Result<RunState, EngineError> {
        let loaded = snapshot::load(&*self.inner.store, id).await?;
        if loaded.seq == 0 {
            let _ = self.inner.store.run(id).await?;
        }
        Ok(loaded.state)
    }

    /// What a run used.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn usage(&self, id: RunId) -> Result<RunUsage, EngineError> {
        let run = self.inner.store.run(id).await?;
        let mut query = EventQuery::after(0);
        query.kinds =
            ["llm.started", "llm.completed", "llm.charged", "budget.changed", "run.forked"]
                .map(str::to_owned)
                .to_vec();
        let mut steps = Vec::new();
        // The models that are being asked.
        let mut asked: BTreeMap<StepKey, ModelName> = BTreeMap::new();
        let mut budget = run.spec.budget;
        loop {
            let page = self.inner.store.events(id, &query).await?;
            let full = page.len() >= query.limit;
            for event in page {
                query.after = event.seq;
                let event = journal::whole(&*self.inner.store, event).await?;
                match EventBody::from_event(&event) {
                    // What came before is another run's.
                    Ok(Some(EventBody::RunForked { .. })) => steps.clear(),
                    Ok(Some(EventBody::BudgetChanged { budget: changed })) => budget = changed,
                    Ok(Some(EventBody::LlmStarted { step, model, .. })) => {
                        asked.insert(step, model);
                    }
                    Ok(Some(body)) => {
                        let model = body.step().and_then(|step| asked.remove(step));
                        let model = model.unwrap_or_else(|| run.spec.agent.model.clone());
                        steps.extend(step_usage(body, &model));
                    }
                    Ok(None) | Err(_) => {}
                }
            }
            if !full {
                let until = run.finished_at.unwrap_or_else(|| self.inner.clock.now());
                let age = time::until(run.created_at, until).as_millis();
                let spent = Spend { busy_ms: u64::try_from(age).unwrap_or(u64::MAX), ..run.spend };
                let used_per_mille = budget.map(|budget| budget.used_per_mille(spent));
                let (total, spend) = (run.usage, run.spend);
                return Ok(RunUsage { total, spend, budget, used_per_mille, steps });
            }
        }
    }

    /// Waits until a run ends, at most `timeout`; the run as it is then.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn join(&self, id: RunId, timeout: Duration) -> Result<Run, EngineError> {
        // Listens before it looks, so that no end is missed.
        let topic = self.inner.live.topic(id);
        let mut ends = topic.ends();
        let patience = self.inner.clock.sleep(timeout);
        tokio::pin!(patience);
        loop {
            ends.mark_unchanged();
            let run = self.run(id).await?;
            if run.status.is_terminal() {
                return Ok(run);
            }
            tokio::select! {
                biased;
                // The topic is held here, so its sender is there.
                _ = ends.changed() => {}
                () = &mut patience => return self.run(id).await,
                () = self.inner.clock.sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// The workers that are known to the store.
    ///
    /// # Errors
    /// What the store says.
    pub async fn workers(&self) -> Result<Vec<Worker>, EngineError> {
        Ok(self.inner.store.workers().await?)
    }
}

fn step_usage(body: EventBody, asked: &ModelName) -> Option<StepUsage> {
    match body {
        EventBody::LlmCompleted { step, usage, elapsed_ms, cost, answered_by, .. } => {
            let model = answered_by.unwrap_or_else(|| asked.clone());
            Some(StepUsage { step, model, usage, elapsed_ms, cost, failed: false })
        }
        EventBody::LlmCharged { step, usage, spend, cost, .. } => {
            let (model, elapsed_ms) = (asked.clone(), spend.busy_ms);
            Some(StepUsage { step, model, usage, elapsed_ms, cost, failed: true })
        }
        _ => None,
    }
}
