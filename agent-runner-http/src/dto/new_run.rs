//! What a client sends to start a run.

use std::{collections::BTreeMap, time::Duration};

use agent_runner_core::{engine, id::ProjectId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    budget::Budget,
    policy::Policy,
    run::{Reasoning, ToolMode},
};
use crate::extract::object;

/// Limits and sampling of a new run.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRunOptions {
    /// Most seconds from now to the end.
    timeout_seconds: Option<u64>,
    /// Most model calls.
    max_steps: Option<u32>,
    /// Smaller is sooner, -1000 to 1000.
    priority: Option<i32>,
    /// Sampling temperature, 0 to 2.
    temperature: Option<f32>,
    /// Most tokens of one reply.
    max_output_tokens: Option<u32>,
    /// How much the model reasons, where it can.
    reasoning: Option<Reasoning>,
    /// Most that the run may spend.
    budget: Option<Budget>,
    /// Most that the run and all that descend from it may spend.
    tree_budget: Option<Budget>,
}

/// A run to start: an agent, which needs a `goal`, or a workflow of the program.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"goal": "Write a haiku about rivers into haiku.txt"})))]
pub(crate) struct NewRun {
    /// What the agent is to do.
    #[serde(default)]
    goal: String,
    /// A workflow of the program, to run in place of an agent.
    workflow: Option<String>,
    /// Its version; the highest when missing.
    workflow_version: Option<u32>,
    /// What the workflow gets.
    inputs: Option<Value>,
    /// Where; the default project when missing.
    #[schema(value_type = Option<String>, format = Uuid)]
    project_id: Option<ProjectId>,
    /// A name for people.
    name: Option<String>,
    /// The agent; only `assistant` exists.
    agent: Option<String>,
    /// The model, `provider/model`; the server's default when missing.
    model: Option<String>,
    /// Names of tools and patterns such as `files.*`; all tools when missing.
    tools: Option<Vec<String>>,
    /// The system prompt.
    instructions: Option<String>,
    /// How tools are offered.
    #[serde(default)]
    tool_mode: ToolMode,
    /// JSON Schema that the output must fit.
    output_schema: Option<Value>,
    /// Limits and sampling.
    #[serde(default, deserialize_with = "object")]
    options: NewRunOptions,
    /// What its tools may do, besides what its project lets them: the stricter one counts.
    tool_policy: Option<Policy>,
    /// The caller's own data.
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
    /// Labels for filters.
    #[serde(default)]
    tags: Vec<String>,
    /// Not before this moment.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
}

impl From<NewRun> for engine::NewRun {
    fn from(new: NewRun) -> Self {
        // Inputs without a workflow are refused there, not lost here.
        let asked =
            new.workflow.is_some() || new.workflow_version.is_some() || new.inputs.is_some();
        let workflow = asked.then(|| engine::NewWorkflow {
            name: new.workflow.unwrap_or_default(),
            version: new.workflow_version,
            input: new.inputs.unwrap_or_default(),
        });
        Self {
            workflow,
            goal: new.goal,
            project_id: new.project_id,
            name: new.name,
            agent: new.agent,
            model: new.model,
            instructions: new.instructions,
            tools: new.tools,
            tool_mode: new.tool_mode.into(),
            output_schema: new.output_schema,
            temperature: new.options.temperature,
            max_output_tokens: new.options.max_output_tokens,
            max_steps: new.options.max_steps,
            timeout: new.options.timeout_seconds.map(Duration::from_secs),
            reasoning: new.options.reasoning.map(Into::into),
            budget: new.options.budget.map(Into::into),
            tree_budget: new.options.tree_budget.map(Into::into),
            tool_policy: new.tool_policy.map(Into::into),
            priority: new.options.priority.unwrap_or(0),
            start_at: new.start_at,
            tags: new.tags,
            metadata: new.metadata,
            idempotency_key: None,
            request_hash: None,
        }
    }
}
