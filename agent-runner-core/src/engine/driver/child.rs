//! Starts other runs and takes up what became of them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Driver, Stop};
use crate::{
    engine::{
        AGENT_TOOL, Engine, EngineError, NewRun,
        children::{self, Parent},
    },
    event::EventBody,
    id::{RunId, StepKey},
    message::ToolCall,
    run::RunStatus,
    step::{EffectPolicy, StepKind},
    tool::{ToolError, ToolErrorKind, ToolOutput},
};

impl Driver {
    /// Starts a run under a step that has begun: a full run of its own, written in one transaction
    /// with the event that tells of it, so there is exactly one. Its end stands in
    /// [`crate::machine::Children::of`] the step; a detached one is not waited for.
    ///
    /// The inner error says what of `new` is wrong; nothing was started then.
    pub(super) fn start_child(
        &mut self,
        step: &StepKey,
        new: NewRun,
        detached: bool,
    ) -> Result<Result<RunId, EngineError>, Stop> {
        let engine = Engine { inner: std::sync::Arc::clone(&self.inner) };
        let parent = Parent { run: &self.run, state: &self.state, settings: &self.settings };
        let spawn = match engine.child(&parent, step, new, detached) {
            Ok(spawn) => spawn,
            Err(refused) => return Ok(Err(refused)),
        };
        let child = spawn.run.id;
        let name = spawn.run.name.clone().unwrap_or_else(|| spawn.run.spec.agent.name.clone());
        self.emit(EventBody::ChildStarted { step: step.clone(), child, name, detached })?;
        self.outbox.batch.spawns.push(spawn);
        Ok(Ok(child))
    }

    /// Asks the run that a step started to end, because nobody waits for it any more. Goes with the
    /// event that ends the step.
    pub(super) fn cancel_child(&mut self, step: &StepKey) {
        let open = self.state.children().of(step).filter(|child| child.end.is_none());
        let Some(child) = open.map(|child| child.run) else { return };
        let reason =
            format!("run {}, which started it, does not wait for it any more", self.run.id);
        let at = self.inner.clock.now();
        self.outbox.batch.news.push(children::cancellation(child, reason, at));
    }

    /// Starts the agent that a call of `agent.run` asks for, or tells the model why not.
    pub(super) fn begin_agent(&mut self, step: &StepKey, call: &ToolCall) -> Result<bool, Stop> {
        let new = self.agent_for(call);
        self.begin_child(step, call, new)
    }

    /// Starts the run that a call asks for, or says why not.
    pub(super) fn begin_child(
        &mut self,
        step: &StepKey,
        call: &ToolCall,
        new: NewRun,
    ) -> Result<bool, Stop> {
        self.tell_tool_started(step, call, StepKind::Child, EffectPolicy::Pure, 1)?;
        if let Err(refused) = self.start_child(step, new, false)? {
            let mut said = format!("No run was started: {refused}");
            for field in refused.fields() {
                let _ = write!(said, "\n{} {}", field.pointer, field.detail);
            }
            self.fail_tool(step, call, ToolErrorKind::InvalidArgs, said)?;
        }
        Ok(true)
    }

    /// The run that the code of a workflow wants, if that is what it called for.
    pub(super) fn child_of_code(&self, step: &StepKey, call: &ToolCall) -> Option<NewRun> {
        let code = self.state.machine().code()?;
        let own = &self.run.spec.agent;
        let mut new = NewRun {
            model: Some(own.model.to_string()),
            max_steps: Some(own.max_steps),
            reasoning: own.reasoning,
            budget: self.state.budget().copied(),
            priority: self.run.priority,
            ..NewRun::default()
        };
        if let Some(name) = code.child(step) {
            new.name = Some(name.to_owned());
            new.workflow = NewRun::workflow(name, call.arguments.clone()).workflow;
            return Some(new);
        }
        let task = code.task(step)?;
        new.goal = task.goal;
        new.instructions = task.instructions;
        new.tools = task.tools;
        new.tool_mode = own.tool_mode;
        new.output_schema = task.output_schema;
        new.temperature = own.temperature;
        new.max_steps = task.max_steps.or(new.max_steps);
        if let Some(model) = task.model {
            new.model = Some(model.to_string());
        }
        Some(new)
    }

    /// The run for a call of `agent.run`: as its parent is, but for what the call says. Rules that the
    /// parent was given hold for it too, so instructions are added to them.
    fn agent_for(&self, call: &ToolCall) -> NewRun {
        let text = |name: &str| call.arguments.get(name).and_then(Value::as_str).map(str::to_owned);
        let own = &self.run.spec.agent;
        let tools = match call.arguments.get("tools").and_then(Value::as_array) {
            Some(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => own.tools.iter().filter(|name| *name != AGENT_TOOL).cloned().collect(),
        };
        let rules = Some(own.instructions.clone()).filter(|rules| !rules.is_empty());
        let rules: Vec<String> = rules.into_iter().chain(text("instructions")).collect();
        NewRun {
            model: text("model").or_else(|| Some(own.model.to_string())),
            instructions: Some(rules.join("\n\n")),
            tools: Some(tools),
            tool_mode: own.tool_mode,
            temperature: own.temperature,
            max_output_tokens: own.max_output_tokens,
            max_steps: Some(own.max_steps),
            reasoning: own.reasoning,
            budget: self.state.budget().copied(),
            priority: self.run.priority,
            ..NewRun::new(text("goal").unwrap_or_default())
        }
    }

    /// Ends a call whose run ended; whether it did.
    pub(super) fn look_at_agent(&mut self, step: &StepKey, call: &ToolCall) -> Result<bool, Stop> {
        let Some(child) = self.state.children().of(step) else { return Ok(false) };
        let (id, Some(end)) = (child.run, child.end.clone()) else { return Ok(false) };
        let origin = end.untrusted.then(|| format!("run:{id}"));
        let what = if call.name == AGENT_TOOL { "agent" } else { "workflow" };
        let failed = |said: String| {
            // The code of a workflow tells a run that was canceled from one that failed.
            let kind = match end.status {
                RunStatus::Canceled if self.state.machine().code().is_some() => {
                    ToolErrorKind::Cancelled
                }
                _ => ToolErrorKind::Conflict,
            };
            let problem = ToolError::new(kind, said);
            match &origin {
                Some(origin) => problem.untrusted(origin.clone()),
                None => problem,
            }
        };
        match (end.status, end.error) {
            (RunStatus::Completed, _) => {
                let mut output = ToolOutput::new(end.output.unwrap_or(Value::Null));
                output.untrusted = origin;
                self.succeed_tool(step, call, output, 0)?;
            }
            (_, Some(error)) => {
                let said = format!("The {what} failed: {}", error.message);
                self.fail_tool_as(step, call, &failed(said))?;
            }
            (status, None) => {
                let said = format!("The {what} did not finish: its run {id} is {status}.");
                self.fail_tool_as(step, call, &failed(said))?;
            }
        }
        Ok(true)
    }
}
