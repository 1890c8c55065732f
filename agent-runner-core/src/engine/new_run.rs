//! Accepts a run: checks what was asked, fills in defaults, makes it durable.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Engine, EngineError, EngineErrorKind, FieldError,
    journal::{self, StepRows},
};
use crate::{
    agent::{AgentSpec, ModelName, ToolMode},
    budget::{Budget, Spend},
    event::EventBody,
    id::{ProjectId, RunId},
    limits,
    llm::{ReasoningEffort, Usage},
    message::{clean_text, clean_value},
    policy::ToolPolicy,
    project::ProjectSettings,
    run::{Run, RunSpec, RunStatus, WorkflowSpec},
    schema::Schema,
    store::{Created, Ready},
    time,
};

/// What to run: an agent, which needs a goal, or a code workflow. Everything else has a default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewRun {
    /// What the agent is to do.
    pub goal: String,
    /// Where; the default project when `None`.
    pub project_id: Option<ProjectId>,
    /// A name for people.
    pub name: Option<String>,
    /// The code to run in place of an agent.
    pub workflow: Option<NewWorkflow>,
    /// The agent; only `assistant` exists for now.
    pub agent: Option<String>,
    /// The model, `provider/model`.
    pub model: Option<String>,
    /// The system prompt.
    pub instructions: Option<String>,
    /// Names of tools and patterns such as `files.*`; all tools when `None`.
    pub tools: Option<Vec<String>>,
    /// How tools are offered.
    pub tool_mode: ToolMode,
    /// JSON Schema that the answer must fit.
    pub output_schema: Option<Value>,
    /// Sampling temperature, 0..=2.
    pub temperature: Option<f32>,
    /// Most tokens of one reply.
    pub max_output_tokens: Option<u32>,
    /// Most model calls.
    pub max_steps: Option<u32>,
    /// Most time from now on.
    pub timeout: Option<Duration>,
    /// How much the model reasons.
    pub reasoning: Option<ReasoningEffort>,
    /// Most that the run may spend.
    pub budget: Option<Budget>,
    /// Most that the run and all that descend from it may spend.
    pub tree_budget: Option<Budget>,
    /// What its tools may do, besides what its project lets them.
    pub tool_policy: Option<ToolPolicy>,
    /// Smaller is sooner, -1000..=1000.
    pub priority: i32,
    /// Not before this moment.
    pub start_at: Option<Timestamp>,
    /// Labels for filters.
    pub tags: Vec<String>,
    /// The caller's own data.
    pub metadata: BTreeMap<String, Value>,
    /// Makes creation idempotent within the project.
    pub idempotency_key: Option<String>,
    /// SHA-256 (hex) of the request; another one with the same key is refused.
    pub request_hash: Option<String>,
}

/// Which code to run, and with what.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "whoever wants a run makes them")]
pub struct NewWorkflow {
    /// Its name.
    pub name: String,
    /// Its version; the highest when `None`.
    pub version: Option<u32>,
    /// Its input.
    pub input: Value,
}

impl NewRun {
    /// What `run` was asked for, once more and from now on.
    pub(super) fn like(run: &Run) -> Self {
        let RunSpec { goal, agent, budget, tree_budget, tool_policy, workflow, .. } =
            run.spec.clone();
        Self {
            goal,
            project_id: Some(run.project_id),
            name: run.name.clone(),
            workflow: workflow.map(|workflow| {
                let WorkflowSpec { name, version, input } = *workflow;
                NewWorkflow { name, version: Some(version), input }
            }),
            agent: Some(agent.name),
            model: Some(agent.model.to_string()),
            instructions: Some(agent.instructions),
            tools: Some(agent.tools),
            tool_mode: agent.tool_mode,
            output_schema: agent.output_schema,
            temperature: agent.temperature,
            max_output_tokens: agent.max_output_tokens,
            max_steps: Some(agent.max_steps),
            timeout: agent.timeout,
            reasoning: agent.reasoning,
            budget,
            tree_budget,
            tool_policy,
            priority: run.priority,
            start_at: None,
            tags: run.tags.clone(),
            metadata: run.metadata.clone(),
            idempotency_key: None,
            request_hash: None,
        }
    }

    /// A run with nothing but a goal.
    #[must_use]
    pub fn new(goal: impl Into<String>) -> Self {
        Self { goal: goal.into(), ..Self::default() }
    }

    /// A run of a code workflow with this input.
    #[must_use]
    pub fn workflow(name: impl Into<String>, input: impl Into<Value>) -> Self {
        let workflow = NewWorkflow { name: name.into(), version: None, input: input.into() };
        Self { workflow: Some(workflow), ..Self::default() }
    }
}

/// The agent that exists without being defined.
const ASSISTANT: &str = "assistant";

impl Engine {
    /// Accepts a run. When this returns, the run survives everything.
    ///
    /// # Errors
    /// `Validation` names every wrong field; `NotFound` for an unknown project;
    /// `IdempotencyMismatch` when the key was used for another request.
    pub async fn create_run(&self, new: NewRun) -> Result<Created, EngineError> {
        let project = match new.project_id {
            Some(id) => self.project(id).await?.project,
            None => self.default_project().await?,
        };
        let project_id = project.id;
        let spec = self.spec(&new, &project.settings)?;
        let hash = new.request_hash.clone();
        let run = self.row(new, project_id, spec.clone());
        let ready_at = run.may_start_at(run.created_at);
        let queued = [EventBody::RunQueued { spec: Box::new(spec) }];
        let ready = Ready::At(ready_at);
        let first = journal::beginning(StepRows::default(), &queued, &[run.created_at], ready);
        let created = self.inner.store.create(run, first).await?;
        Self::same_request(created, hash.as_deref())
    }

    /// Refuses a creation whose key was used for something else.
    pub(super) fn same_request(
        created: Created,
        hash: Option<&str>,
    ) -> Result<Created, EngineError> {
        if created.existing && created.run.request_hash.as_deref() != hash {
            return Err(EngineError::new(
                EngineErrorKind::IdempotencyMismatch,
                "this idempotency key was used for another request; use a new key",
            ));
        }
        Ok(created)
    }

    pub(super) fn row(&self, new: NewRun, project_id: ProjectId, spec: RunSpec) -> Run {
        let now = self.inner.clock.now();
        let id = RunId::from_uuid(self.inner.ids.next());
        let deadline_at = new.timeout.map(|timeout| time::later(now, timeout));
        Run {
            id,
            project_id,
            name: new.name,
            spec,
            status: RunStatus::Queued,
            park: None,
            pause_requested: false,
            cancel_requested: false,
            cancel_reason: None,
            output: None,
            error: None,
            usage: Usage::default(),
            spend: Spend::default(),
            parent_id: None,
            root_id: id,
            priority: new.priority,
            tags: new.tags,
            metadata: new.metadata,
            idempotency_key: new.idempotency_key,
            request_hash: new.request_hash,
            deadline_at,
            created_at: now,
            started_at: None,
            finished_at: None,
            last_seq: 0,
            owner: None,
            epoch: 0,
            control: 0,
            recoveries: 0,
        }
    }

    pub(super) fn spec(
        &self,
        new: &NewRun,
        settings: &ProjectSettings,
    ) -> Result<RunSpec, EngineError> {
        let mut wrong = Wrong::default();
        let mut notices = Vec::new();
        let model = self.model(new.model.as_deref(), &mut wrong, &mut notices);
        let tools = self.tool_names(new.tools.as_deref(), settings, &mut wrong);
        if new.agent.as_deref().is_some_and(|agent| agent != ASSISTANT) {
            wrong.add("/agent", "there is no agent of that name; the only one is `assistant`");
        }
        let workflow = self.workflow_spec(new, &mut wrong);
        check_bounds(new, &mut wrong);
        wrong.into_result()?;
        let mut goal = match &workflow {
            Some(workflow) if new.goal.is_empty() => workflow.name.clone(),
            _ => new.goal.clone(),
        };
        clean_text(&mut goal);
        let mut instructions = new.instructions.clone().unwrap_or_default();
        clean_text(&mut instructions);
        let mut output_schema = new.output_schema.clone();
        output_schema.iter_mut().for_each(clean_value);
        let agent = AgentSpec {
            name: ASSISTANT.to_owned(),
            model,
            instructions,
            tools,
            tool_mode: new.tool_mode,
            output_schema,
            temperature: new.temperature,
            reasoning: new.reasoning,
            max_output_tokens: new.max_output_tokens,
            max_steps: new.max_steps.unwrap_or(limits::MAX_STEPS_DEFAULT),
            timeout: new.timeout,
        };
        Ok(RunSpec {
            goal,
            agent,
            notices,
            start_at: new.start_at,
            budget: new.budget.filter(Budget::is_limited),
            tree_budget: new.tree_budget.filter(Budget::is_limited),
            tool_policy: new.tool_policy.clone(),
            forked_from: None,
            workflow,
            lineage: None,
            imported_from: None,
        })
    }

    fn workflow_spec(&self, new: &NewRun, wrong: &mut Wrong) -> Option<Box<WorkflowSpec>> {
        let NewWorkflow { name, version, input } = new.workflow.clone()?;
        let codes = &self.inner.codes;
        let version = version.or_else(|| codes.newest(&name));
        let found = version.and_then(|version| Some((version, codes.get(&name, version)?)));
        let Some((version, code)) = found else {
            let known = codes.known();
            let what = if name.is_empty() { "say which" } else { "there is none of that name" };
            wrong.add("/workflow", format!("{what}; the workflows of this program: {known}"));
            return None;
        };
        let mut input = input;
        clean_value(&mut input);
        if input.to_string().len() > limits::TEXT_BYTES_MAX {
            wrong.add("/inputs", format!("larger than {} bytes", limits::TEXT_BYTES_MAX));
        } else if let Err(why) = code.check(&input) {
            wrong.add("/inputs", format!("workflow `{name}` cannot read it: {why}"));
        }
        if new.output_schema.is_some() {
            wrong.add("/output_schema", "the output of a workflow is what its code returns");
        }
        Some(Box::new(WorkflowSpec { name, version, input }))
    }

    fn model(
        &self,
        wanted: Option<&str>,
        wrong: &mut Wrong,
        notices: &mut Vec<String>,
    ) -> ModelName {
        let options = &self.inner.options;
        let Some(wanted) = wanted else {
            notices.extend(options.default_model_notice.clone());
            return options.default_model.clone();
        };
        match wanted.parse::<ModelName>() {
            Err(error) => wrong.add("/model", error.to_string()),
            Ok(name) if self.inner.providers.get(name.provider()).is_none() => {
                let known: Vec<&str> = self.inner.providers.ids().collect();
                wrong.add(
                    "/model",
                    format!(
                        "there is no provider `{}`; configured are: {}",
                        name.provider(),
                        known.join(", ")
                    ),
                );
            }
            Ok(name) => return name,
        }
        options.default_model.clone()
    }

    fn tool_names(
        &self,
        wanted: Option<&[String]>,
        settings: &ProjectSettings,
        wrong: &mut Wrong,
    ) -> Vec<String> {
        let all = ["*".to_owned()];
        self.inner.tools.select(wanted.unwrap_or(&all), settings).unwrap_or_else(|unknown| {
            let tools = self.inner.tools.all();
            let known: Vec<&str> =
                tools.iter().map(|tool| tool.info().spec.name.as_str()).collect();
            wrong.add(
                "/tools",
                format!("there is no tool `{unknown}`; there are: {}", known.join(", ")),
            );
            Vec::new()
        })
    }
}

pub(super) fn check_bounds(new: &NewRun, wrong: &mut Wrong) {
    if new.goal.trim().is_empty() && new.workflow.is_none() {
        wrong.add("/goal", "say what the agent is to do");
    }
    for (pointer, text) in
        [("/goal", Some(&new.goal)), ("/instructions", new.instructions.as_ref())]
    {
        if text.is_some_and(|text| text.len() > limits::TEXT_BYTES_MAX) {
            wrong.add(pointer, format!("longer than {} bytes", limits::TEXT_BYTES_MAX));
        }
    }
    if new.name.as_ref().is_some_and(|name| name.len() > 200) {
        wrong.add("/name", "longer than 200 bytes");
    }
    if let Some(Err(error)) = new.output_schema.as_ref().map(Schema::compile) {
        wrong.add("/output_schema", format!("not a JSON Schema: {error}"));
    }
    check_budget("/options/budget", new.budget.as_ref(), wrong);
    check_budget("/options/tree_budget", new.tree_budget.as_ref(), wrong);
    for (place, what) in new.tool_policy.iter().flat_map(ToolPolicy::problems) {
        wrong.add(&format!("/tool_policy{place}"), what);
    }
    if new.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        wrong.add("/options/temperature", "must be between 0 and 2");
    }
    if new.max_output_tokens == Some(0) {
        wrong.add("/options/max_output_tokens", "must be at least 1");
    }
    if new.max_steps.is_some_and(|n| n == 0 || n > limits::MAX_STEPS_MAX) {
        wrong.add("/options/max_steps", format!("must be 1 to {}", limits::MAX_STEPS_MAX));
    }
    if new.timeout.is_some_and(|t| t.is_zero()) {
        wrong.add("/options/timeout_seconds", "must be longer than 0");
    }
    if !(-1000..=1000).contains(&new.priority) {
        wrong.add("/options/priority", "must be between -1000 and 1000");
    }
    if new.tags.len() > 32 || new.tags.iter().any(|tag| tag.is_empty() || tag.len() > 100) {
        wrong.add("/tags", "at most 32 tags of 1 to 100 bytes");
    }
    let metadata: usize = new.metadata.iter().map(|(k, v)| k.len() + v.to_string().len()).sum();
    if metadata > 64 * 1024 {
        wrong.add("/metadata", "larger than 64 KiB");
    }
    if new.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 255) {
        wrong.add("/idempotency_key", "must have 1 to 255 bytes");
    }
}

/// A budget of nothing is a slip of the pen: such a run could not even begin.
pub(super) fn check_budget(pointer: &str, budget: Option<&Budget>, wrong: &mut Wrong) {
    let Some(budget) = budget else { return };
    let money = budget.micro_usd.map(|money| money.0);
    for (name, limit) in [
        ("requests", budget.requests),
        ("tokens", budget.tokens),
        ("usd", money),
        ("seconds", budget.seconds),
    ] {
        if limit == Some(0) {
            wrong.add(
                &format!("{pointer}/{name}"),
                "must be more than 0; leave it out for no limit",
            );
        }
    }
}

/// Collects what is wrong, so that a caller sees all of it at once.
#[derive(Debug, Default)]
pub(super) struct Wrong(Vec<FieldError>);

impl Wrong {
    pub(super) fn add(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0.push(FieldError { pointer: pointer.to_owned(), detail: detail.into() });
    }

    pub(super) fn into_result(self) -> Result<(), EngineError> {
        if self.0.is_empty() { Ok(()) } else { Err(EngineError::validation(self.0)) }
    }
}
