//! Tokens and what they cost.

use agent_runner_core::{engine, llm};
use serde::Serialize;
use utoipa::ToSchema;

use super::budget::{Budget, Cost, Spend, TotalCost};

/// Tokens; `null` means that nobody said.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Prompt tokens that were not read from a cache.
    input: Option<u64>,
    /// Tokens written by the model, reasoning included.
    output: Option<u64>,
    /// Prompt tokens read from the provider's cache.
    cache_read: Option<u64>,
    /// Prompt tokens written to the provider's cache.
    cache_write: Option<u64>,
    /// The part of `cache_write` that is kept for an hour.
    cache_write_1h: Option<u64>,
    /// The part of `output` that was reasoning.
    reasoning: Option<u64>,
    /// All of them.
    total: Option<u64>,
}

impl From<llm::Usage> for Usage {
    fn from(usage: llm::Usage) -> Self {
        Self {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            cache_write_1h: usage.cache_write_1h,
            reasoning: usage.reasoning,
            total: usage.total(),
        }
    }
}

/// What one model call used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepUsage {
    /// The step.
    step: String,
    /// The model that answered, else the one that was asked.
    model: String,
    /// Its tokens.
    usage: Usage,
    /// Milliseconds it took.
    elapsed_ms: u64,
    /// What it cost; `null` when nobody knows.
    cost: Option<Cost>,
    /// Whether it is an attempt that failed and may have been billed. Its tokens are those that
    /// were reported until then, or an estimate.
    failed: bool,
}

/// What a run used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunUsage {
    /// The run.
    #[schema(format = Uuid)]
    run_id: String,
    /// Tokens of all its calls.
    total: Usage,
    /// What all its calls took of the budgets, failed ones included.
    spend: Spend,
    /// Money; `null` when nobody knows the prices.
    cost: Option<TotalCost>,
    /// Most that it may spend; `null` for no limit.
    budget: Option<Budget>,
    /// How much of the budget is spent, in per cent of the limit that is closest.
    budget_used_percent: Option<f64>,
    /// Each call, in order.
    steps: Vec<StepUsage>,
}

impl RunUsage {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    pub(crate) fn new(run_id: String, usage: engine::RunUsage) -> Self {
        let used = usage.used_per_mille.map(|used| used as f64 / 10.0);
        let steps = usage.steps.into_iter().map(|step| StepUsage {
            step: step.step.to_string(),
            model: step.model.to_string(),
            usage: step.usage.into(),
            elapsed_ms: step.elapsed_ms,
            cost: step.cost.map(Cost::from),
            failed: step.failed,
        });
        Self {
            run_id,
            total: usage.total.into(),
            spend: usage.spend.into(),
            cost: TotalCost::of(usage.spend),
            budget: usage.budget.map(Budget::from),
            budget_used_percent: used,
            steps: steps.collect(),
        }
    }
}
