//! Asks a model what the code of a workflow wants to know.

use std::sync::Arc;

use super::{Driver, Stop, turn::Reading};
use crate::{
    agent::{AgentSpec, ModelName, ToolMode},
    event::EventBody,
    id::StepKey,
    llm::estimate_tokens,
    machine::agent::{RequestRules, build_request},
    message::{Message, Role},
    run::RunSpec,
    schema::Schema,
    step::StepError,
};

impl Driver {
    /// The model that a step asks.
    pub(super) fn model_of(&self, step: &StepKey) -> ModelName {
        let asked = self.state.machine().code().and_then(|code| code.prompt(step));
        asked.and_then(|prompt| prompt.model).unwrap_or_else(|| self.run.spec.agent.model.clone())
    }

    /// Asks what the code wants to know; whether anything happened.
    pub(super) fn begin_prompt(&mut self, step: &StepKey) -> Result<bool, Stop> {
        self.charge_lost(step)?;
        let Some(provider) = self.provider(step)? else { return Ok(true) };
        let model = self.model_of(step);
        let prompt = self.state.machine().code().and_then(|code| code.prompt(step));
        let Some(prompt) = prompt else {
            return self.refuse_prompt(step, "input", "the prompt cannot be read".to_owned());
        };
        let schema = match prompt.output_schema.as_ref().map(Schema::compile).transpose() {
            Ok(schema) => schema.map(Arc::new),
            Err(error) => {
                let said = format!("the schema of the answer is no JSON Schema: {error}");
                return self.refuse_prompt(step, "schema", said);
            }
        };
        let capabilities = self.inner.providers.capabilities(&model).capabilities;
        let agent = AgentSpec {
            instructions: prompt.instructions.unwrap_or_default(),
            output_schema: prompt.output_schema,
            temperature: prompt.temperature.or(self.run.spec.agent.temperature),
            reasoning: self.run.spec.agent.reasoning,
            max_output_tokens: prompt.max_output_tokens.or(self.run.spec.agent.max_output_tokens),
            ..AgentSpec::new(model)
        };
        let spec = RunSpec::new(prompt.text.clone(), agent);
        let mode = ToolMode::Native;
        let rules = RequestRules { spec: &spec, tools: &[], mode, capabilities };
        let request = build_request(vec![Message::text(Role::User, prompt.text)], &rules);
        let estimated = estimate_tokens(&request);
        let reading = Reading {
            mode,
            has_tools: false,
            final_tool: false,
            room: None,
            compaction: None,
            schema,
            estimated,
            corrected: estimated,
        };
        self.begin_turn(step, provider, request, reading, 0)
    }

    fn refuse_prompt(&mut self, step: &StepKey, code: &str, message: String) -> Result<bool, Stop> {
        let attempt = self.state.step(step).map_or(0, |earlier| earlier.attempts) + 1;
        self.tell_model_step(step, &self.model_of(step), attempt)?;
        let error = StepError { code: code.to_owned(), message };
        self.emit(EventBody::StepFailed { step: step.clone(), error })?;
        Ok(true)
    }
}
