//! A run as clients see it.

use std::collections::BTreeMap;

use agent_runner_core::{
    agent,
    llm::ReasoningEffort,
    run::{self, RunPhase, RunStatus},
    step::{Step, StepStatus},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    budget::{Budget, Spend, TotalCost},
    fork::{ForkedFrom, ImportedFrom},
    policy::Policy,
    usage::Usage,
};

/// How tools are offered to the model.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolMode {
    /// Through the provider's own tool calls.
    Native,
    /// The reply is constrained to a JSON Schema: call one tool, or answer.
    Constrained,
    /// Native where the model can, constrained otherwise.
    #[default]
    Auto,
}

impl From<ToolMode> for agent::ToolMode {
    fn from(mode: ToolMode) -> Self {
        match mode {
            ToolMode::Native => Self::Native,
            ToolMode::Constrained => Self::Constrained,
            ToolMode::Auto => Self::Auto,
        }
    }
}

impl From<agent::ToolMode> for ToolMode {
    fn from(mode: agent::ToolMode) -> Self {
        match mode {
            agent::ToolMode::Native => Self::Native,
            agent::ToolMode::Constrained => Self::Constrained,
            agent::ToolMode::Auto => Self::Auto,
        }
    }
}

/// How much a model reasons before it answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reasoning {
    /// Not at all, or as little as the model allows.
    Off,
    /// A little.
    Low,
    /// As usual.
    Medium,
    /// Much.
    High,
    /// As much as it can.
    Max,
}

impl From<Reasoning> for ReasoningEffort {
    fn from(reasoning: Reasoning) -> Self {
        match reasoning {
            Reasoning::Off => Self::Off,
            Reasoning::Low => Self::Low,
            Reasoning::Medium => Self::Medium,
            Reasoning::High => Self::High,
            Reasoning::Max => Self::Max,
        }
    }
}

impl From<ReasoningEffort> for Reasoning {
    fn from(effort: ReasoningEffort) -> Self {
        match effort {
            ReasoningEffort::Off => Self::Off,
            ReasoningEffort::Low => Self::Low,
            ReasoningEffort::Medium => Self::Medium,
            ReasoningEffort::High => Self::High,
            ReasoningEffort::Max => Self::Max,
        }
    }
}

/// Why a run FAILED.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunFailure {
    /// For programs, such as `max_steps`, `deadline` or `provider`.
    reason: Value,
    /// For people: what was wrong and what to do.
    message: String,
}

impl From<run::RunError> for RunFailure {
    fn from(error: run::RunError) -> Self {
        Self { reason: json!(error.reason), message: error.message }
    }
}

/// What a parked run waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingOn {
    /// `paused`, `timer`, `signal`, `ask`, `poison`, `budget`, `approval` or `nondet`.
    reason: &'static str,
    /// When it wakes by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    wake_at: Option<Timestamp>,
    /// What would wake it: `{"step": …}` or `{"signal": …}`; for `nondet` how the code differs from
    /// the journal: `{"decision", "journal", "code", "advice"}`.
    on: Value,
}

/// What was asked for beside the goal.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunOptions {
    /// Most model calls.
    max_steps: u32,
    /// Most seconds from creation to end.
    timeout_seconds: Option<u64>,
    /// Smaller is sooner.
    priority: i32,
    /// Sampling temperature.
    temperature: Option<f32>,
    /// Most tokens of one reply.
    max_output_tokens: Option<u32>,
    /// How much the model reasons.
    reasoning: Option<Reasoning>,
    /// Most that it may spend, as it was asked for; `/runs/{id}/usage` shows what holds now.
    budget: Option<Budget>,
    /// Most that it and all that descend from it may spend.
    tree_budget: Option<Budget>,
    /// What its tools may do, besides what its project lets them.
    tool_policy: Option<Policy>,
}

/// What went into a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunInput {
    /// What the agent is to do.
    goal: String,
    /// The system prompt.
    instructions: String,
    /// JSON Schema that the output fits.
    output_schema: Option<Value>,
    /// What a workflow got.
    inputs: Option<Value>,
}

/// The code that a run runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflow {
    /// Its name.
    name: String,
    /// Its version.
    version: u32,
}

/// One execution of an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Run {
    /// Its id, a UUIDv7.
    #[schema(format = Uuid)]
    pub(crate) id: String,
    /// The project it works in.
    #[schema(format = Uuid)]
    project_id: String,
    /// A name for people.
    name: Option<String>,
    /// What the agent is to do.
    goal: String,
    /// The workflow that it runs in place of an agent.
    workflow: Option<Workflow>,
    /// The agent.
    agent: String,
    /// The model, `provider/model`.
    model: String,
    /// `QUEUED`, `RUNNING`, `COMPLETED`, `FAILED` or `CANCELED`; never goes back.
    #[schema(examples("RUNNING"))]
    pub(crate) status: &'static str,
    /// `queued`, `executing`, `parked`, `pausing`, `paused`, `canceling` or `done`.
    #[schema(examples("executing"))]
    phase: &'static str,
    /// Why it stands where it stands, in a word or the words of whoever canceled it.
    status_reason: Option<String>,
    /// What it waits for while it is parked.
    waiting_on: Option<WaitingOn>,
    /// What went in.
    input: RunInput,
    /// What came out, when COMPLETED.
    output: Option<Value>,
    /// Why it FAILED.
    error: Option<RunFailure>,
    /// Tokens of all its model calls so far.
    usage: Usage,
    /// What all its model calls took of its budgets, failed ones included.
    spend: Spend,
    /// Money; `null` when nobody knows the prices.
    cost: Option<TotalCost>,
    /// The run that started it.
    #[schema(format = Uuid)]
    parent_id: Option<String>,
    /// The first ancestor; itself for a run without parent.
    #[schema(format = Uuid)]
    root_id: String,
    /// The run it was forked from.
    forked_from: Option<ForkedFrom>,
    /// The run that it was in another database.
    imported_from: Option<ImportedFrom>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When a worker first took it.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// When it fails for lack of time.
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline_at: Option<Timestamp>,
    /// Number of its last event.
    pub(crate) last_event_id: u64,
    /// What has to be said about how it was set up, such as that a script stands in for a model.
    notices: Vec<String>,
    /// Labels.
    tags: Vec<String>,
    /// The caller's own data.
    metadata: BTreeMap<String, Value>,
    /// Names of the tools it may call.
    tools: Vec<String>,
    /// How they are offered.
    tool_mode: ToolMode,
    /// Limits and sampling.
    options: RunOptions,
    /// Whether a pause is asked for.
    pause_requested: bool,
    /// Whether cancellation is asked for.
    cancel_requested: bool,
    /// The worker that has it.
    #[schema(format = Uuid)]
    worker_id: Option<String>,
}

fn status_reason(run: &run::Run) -> Option<String> {
    if let Some(error) = &run.error {
        return serde_json::to_value(error.reason).ok()?.as_str().map(str::to_owned);
    }
    if run.cancel_requested {
        return Some(run.cancel_reason.clone().unwrap_or_else(|| "cancel_requested".to_owned()));
    }
    match run.phase() {
        RunPhase::Paused | RunPhase::Pausing => Some("paused".to_owned()),
        _ => run.park.as_ref().map(|park| park.reason.as_str().to_owned()),
    }
}

impl From<run::Run> for Run {
    fn from(run: run::Run) -> Self {
        let status_reason = status_reason(&run);
        let phase = run.phase().as_str();
        let agent = run.spec.agent;
        let (workflow, inputs) = run.spec.workflow.map_or((None, None), |workflow| {
            let run::WorkflowSpec { name, version, input, .. } = *workflow;
            (Some(Workflow { name, version }), Some(input))
        });
        Self {
            id: run.id.to_string(),
            project_id: run.project_id.to_string(),
            name: run.name,
            goal: run.spec.goal.clone(),
            workflow,
            agent: agent.name,
            model: agent.model.to_string(),
            status: run.status.as_str(),
            phase,
            status_reason,
            waiting_on: run.park.map(|park| WaitingOn {
                reason: park.reason.as_str(),
                wake_at: park.wake_at,
                on: park.waiting_on,
            }),
            input: RunInput {
                goal: run.spec.goal,
                instructions: agent.instructions,
                output_schema: agent.output_schema,
                inputs,
            },
            output: run.output,
            error: run.error.map(Into::into),
            usage: run.usage.into(),
            spend: run.spend.into(),
            cost: TotalCost::of(run.spend),
            parent_id: run.parent_id.map(|id| id.to_string()),
            root_id: run.root_id.to_string(),
            forked_from: run.spec.forked_from.map(Into::into),
            imported_from: run.spec.imported_from.map(|from| (*from).into()),
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            deadline_at: run.deadline_at,
            last_event_id: run.last_seq,
            notices: run.spec.notices,
            tags: run.tags,
            metadata: run.metadata,
            tools: agent.tools,
            tool_mode: agent.tool_mode.into(),
            options: RunOptions {
                max_steps: agent.max_steps,
                timeout_seconds: agent.timeout.map(|timeout| timeout.as_secs()),
                priority: run.priority,
                temperature: agent.temperature,
                max_output_tokens: agent.max_output_tokens,
                reasoning: agent.reasoning.map(Reasoning::from),
                budget: run.spec.budget.map(Budget::from),
                tree_budget: run.spec.tree_budget.map(Budget::from),
                tool_policy: run.spec.tool_policy.map(Policy::from),
            },
            pause_requested: run.pause_requested,
            cancel_requested: run.cancel_requested,
            worker_id: run.owner.map(|id| id.to_string()),
        }
    }
}

/// How many steps of a run stand where.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct StepsSummary {
    /// All of them.
    total: usize,
    /// By status; a status that no step has is left out.
    by_status: BTreeMap<&'static str, usize>,
}

impl StepsSummary {
    pub(crate) fn of(steps: &[Step]) -> Self {
        let mut by_status = BTreeMap::new();
        for status in StepStatus::ALL {
            let count = steps.iter().filter(|step| step.status == status).count();
            if count > 0 {
                by_status.insert(status.as_str(), count);
            }
        }
        Self { total: steps.len(), by_status }
    }
}

/// One run with a summary of its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub(crate) run: Run,
    /// Its steps, counted.
    pub(crate) steps_summary: StepsSummary,
    /// Ids of the runs it started.
    pub(crate) children: Vec<String>,
}

/// Parses the statuses of a filter.
pub(crate) fn parse_status(text: &str) -> Option<RunStatus> {
    RunStatus::parse(&text.to_ascii_uppercase())
}
