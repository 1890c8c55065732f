//! Tokens.

use agent_runner_core::{engine, llm};
use serde::Serialize;
use utoipa::ToSchema;

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

/// Tokens of one model call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepUsage {
    /// The step.
    step: String,
    /// The model.
    model: String,
    /// Its tokens.
    usage: Usage,
    /// Milliseconds it took.
    elapsed_ms: u64,
}

/// Tokens of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunUsage {
    /// The run.
    #[schema(format = Uuid)]
    run_id: String,
    /// Of all its calls.
    total: Usage,
    /// Of each call, in order.
    steps: Vec<StepUsage>,
    /// Money; `null` while no prices are known.
    cost: Option<serde_json::Value>,
}

impl RunUsage {
    pub(crate) fn new(run_id: String, usage: engine::RunUsage) -> Self {
        let steps = usage.steps.into_iter().map(|step| StepUsage {
            step: step.step.to_string(),
            model: step.model.to_string(),
            usage: step.usage.into(),
            elapsed_ms: step.elapsed_ms,
        });
        Self { run_id, total: usage.total.into(), steps: steps.collect(), cost: None }
    }
}
