//! Asks the model: what is sent, whether it fits, and what is said about it before it is sent.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Driver, Outcome, Stop,
    begin::stoppable,
    charge::Heard,
    model::{ModelCall, Progress},
};
use crate::{
    agent::{ModelName, ToolMode},
    engine::journal,
    event::EventBody,
    id::StepKey,
    limits,
    llm::{CallCx, Capabilities, LlmProvider, LlmRequest, ToolSpec, estimate_tokens},
    machine::agent::{CONFIGURATION, Compaction, RequestRules, build_request, compact},
    schema::Schema,
    step::{EffectPolicy, StepError, StepKind},
};

/// A model call that is about to be made.
pub(super) struct Turn {
    pub(super) step: StepKey,
    pub(super) attempt: u32,
    pub(super) model: ModelName,
    pub(super) request: LlmRequest,
    /// Tokens of the prompt, estimated …
    pub(super) estimated: u64,
    /// … and as the service will count them.
    pub(super) corrected: u64,
    /// Time that is left for it.
    pub(super) time_left: Option<Duration>,
    /// The longest reply of this model to this prompt, in tokens, if that is known.
    pub(super) longest: Option<u64>,
    /// Number of the last message to the run that it has.
    pub(super) directives_upto: u64,
    provider: Arc<dyn LlmProvider>,
    reading: Reading,
}

impl Turn {
    /// The longest reply that has to be reckoned with, in tokens.
    pub(super) fn reply_max(&self) -> u64 {
        let asked = self.request.max_output_tokens.map(u64::from);
        let most = self.longest.unwrap_or(u64::MAX);
        asked.unwrap_or(limits::REPLY_TOKENS).min(most)
    }

    /// Whether the reply is a summary.
    pub(super) const fn compacts(&self) -> bool {
        self.reading.compaction.is_some()
    }
}

/// How the reply is to be read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// How tools were offered.
    pub(super) mode: ToolMode,
    /// Whether any tool was offered.
    pub(super) has_tools: bool,
    /// Whether the answer comes as a tool call.
    pub(super) final_tool: bool,
    /// Most tokens that a conversation should have, as the service counts.
    pub(super) room: Option<u64>,
    /// The schema of the answer to the code of a workflow.
    pub(super) schema: Option<Arc<Schema>>,
    /// Set when the reply is a summary.
    pub(super) compaction: Option<Compaction>,
    /// The estimate of the prompt.
    pub(super) estimated: u64,
    /// The estimate of the prompt, as the service counts.
    pub(super) corrected: u64,
}

impl Driver {
    /// Asks the model, under this key; whether anything happened.
    pub(super) fn begin_model(&mut self, step: &StepKey) -> Result<bool, Stop> {
        if self.state.machine().code().is_some() {
            return self.begin_prompt(step);
        }
        self.charge_lost(step)?;
        let Some(provider) = self.provider(step)? else { return Ok(true) };
        let model = self.run.spec.agent.model.clone();
        let capabilities = self.inner.providers.capabilities(&model).capabilities;
        let (specs, mode) = self.offer(&capabilities);
        let rules = RequestRules { spec: &self.run.spec, tools: &specs, mode, capabilities };
        let machine = self.state.machine();
        let request = build_request(machine.conversation_with_unread(), &rules);
        let estimated = estimate_tokens(&request);
        let corrected = machine.corrected(estimated);
        let room = room(&capabilities, &request);
        let reading = Reading {
            mode,
            has_tools: !specs.is_empty(),
            final_tool: rules.answers_by_tool(),
            room,
            compaction: None,
            schema: None,
            estimated,
            corrected,
        };
        if let Some(limit) = room.filter(|limit| corrected > *limit)
            && let Some(plan) = machine.agent().and_then(|agent| agent.plan_compaction(limit))
        {
            self.emit(plan.context_full(step, corrected, limit))?;
            return Ok(true);
        }
        let directives_upto = machine.unread_upto();
        self.begin_turn(step, provider, request, reading, directives_upto)
    }

    /// Has the model summarise a part of the conversation; whether anything happened.
    pub(super) fn begin_compaction(&mut self, compaction: &Compaction) -> Result<bool, Stop> {
        let step = &compaction.step;
        self.charge_lost(step)?;
        let Some(provider) = self.provider(step)? else { return Ok(true) };
        let request = compact::summary_request(
            &self.run.spec.agent,
            self.state.machine().conversation(),
            compaction.replaced,
            compaction.limit,
        );
        let estimated = estimate_tokens(&request);
        let reading = Reading {
            mode: ToolMode::Native,
            has_tools: false,
            final_tool: false,
            room: None,
            compaction: Some(compaction.clone()),
            schema: None,
            estimated,
            corrected: self.state.machine().corrected(estimated),
        };
        self.begin_turn(step, provider, request, reading, 0)
    }

    pub(super) fn begin_turn(
        &mut self,
        step: &StepKey,
        provider: Arc<dyn LlmProvider>,
        request: LlmRequest,
        reading: Reading,
        directives_upto: u64,
    ) -> Result<bool, Stop> {
        let attempt = self.state.step(step).map_or(0, |earlier| earlier.attempts) + 1;
        let model = self.model_of(step);
        let longest =
            longest_reply(&self.inner.providers.capabilities(&model).capabilities, &reading);
        self.begin_within_budget(Turn {
            step: step.clone(),
            attempt,
            model,
            request,
            longest,
            estimated: reading.estimated,
            corrected: reading.corrected,
            time_left: None,
            provider,
            directives_upto,
            reading,
        })
    }

    /// An attempt whose worker was lost may have been billed.
    pub(super) fn charge_lost(&mut self, step: &StepKey) -> Result<(), Stop> {
        if self.state.call(step).is_none() {
            return Ok(());
        }
        self.charge(step, Heard::default())
    }

    /// The provider of the run's model; without one the step fails.
    pub(super) fn provider(
        &mut self,
        step: &StepKey,
    ) -> Result<Option<Arc<dyn LlmProvider>>, Stop> {
        let model = self.model_of(step);
        if let Some(provider) = self.inner.providers.get(model.provider()) {
            return Ok(Some(Arc::clone(provider)));
        }
        let attempt = self.state.step(step).map_or(0, |earlier| earlier.attempts) + 1;
        self.tell_model_step(step, &model, attempt)?;
        let message = format!(
            "this program has no provider `{}`; configure it, or start the run anew with another model",
            model.provider()
        );
        let error = StepError { code: CONFIGURATION.to_owned(), message };
        self.emit(EventBody::StepFailed { step: step.clone(), error })?;
        Ok(None)
    }

    /// The tools that the model is offered, and how.
    fn offer(&self, capabilities: &Capabilities) -> (Vec<ToolSpec>, ToolMode) {
        let agent = &self.run.spec.agent;
        let specs = agent
            .tools
            .iter()
            .filter_map(|name| {
                let tool = self.inner.tools.get(name);
                if tool.is_none() {
                    warn!(tool = %name, "the run may use a tool that this program does not have");
                }
                tool.map(|tool| tool.info().spec.clone())
            })
            .collect();
        (specs, RequestRules::resolve(agent.tool_mode, capabilities))
    }

    pub(super) fn tell_model_step(
        &mut self,
        step: &StepKey,
        model: &ModelName,
        attempt: u32,
    ) -> Result<(), Stop> {
        self.emit(EventBody::StepStarted {
            step: step.clone(),
            step_kind: StepKind::Model,
            name: model.to_string(),
            policy: EffectPolicy::Idempotent,
            attempt,
        })
    }

    /// Sends it.
    pub(super) fn start_turn(&mut self, turn: Turn) -> Result<bool, Stop> {
        self.granted.remove(&turn.step);
        let Turn { step, attempt, model, request, estimated, provider, directives_upto, .. } = turn;
        let earlier = self.state.step(&step);
        let reason = earlier.map(|earlier| match &earlier.error {
            Some(error) if earlier.retrying => error.message.clone(),
            _ => "the worker that asked was lost".to_owned(),
        });
        if let Some(reason) = reason {
            self.emit(EventBody::LlmAttemptRestarted { step: step.clone(), attempt, reason })?;
        }
        self.tell_model_step(&step, &model, attempt)?;
        self.emit(EventBody::LlmStarted {
            step: step.clone(),
            attempt,
            model,
            tool_mode: turn.reading.mode,
            directives_upto,
            estimated_tokens: estimated,
        })?;
        let cancel = CancellationToken::new();
        let progress = Arc::new(Progress::default());
        let call = ModelCall {
            inner: Arc::clone(&self.inner),
            provider,
            request,
            cx: CallCx {
                cancel: cancel.clone(),
                timeout: turn.time_left,
                attempt,
                idempotency_key: journal::idempotency_key(self.run.id, &step),
            },
            step: step.clone(),
            topic: Arc::clone(&self.topic),
            progress: Arc::clone(&progress),
        };
        let (key, reading) = (step.clone(), turn.reading);
        let task = stoppable(step.clone(), cancel.clone(), async move {
            let (result, elapsed) = call.perform().await;
            Outcome::Model { step: key, result, elapsed, reading: Box::new(reading) }
        });
        self.enter(&step, EffectPolicy::Idempotent, attempt, cancel, Some(progress));
        self.in_flight.push(task);
        Ok(true)
    }
}

/// The longest reply that a model can give to a prompt, in tokens.
fn longest_reply(capabilities: &Capabilities, reading: &Reading) -> Option<u64> {
    let window = capabilities.context_window.filter(|window| *window > 0);
    let room = window.map(|window| window.saturating_sub(reading.corrected).max(1));
    [capabilities.max_output, room].into_iter().flatten().min()
}

/// Most tokens that a prompt for this model should have.
fn room(capabilities: &Capabilities, request: &LlmRequest) -> Option<u64> {
    let window = capabilities.context_window.filter(|window| *window > 0)?;
    let reply = request
        .max_output_tokens
        .map_or(limits::REPLY_TOKENS, u64::from)
        .min(capabilities.max_output.unwrap_or(u64::MAX))
        .min(window / 4);
    Some((window - reply).saturating_mul(limits::CONTEXT_PER_MILLE) / 1_000)
}
