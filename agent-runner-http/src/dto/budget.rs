//! Budgets and money.

use agent_runner_core::{budget, llm};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::ToSchema;

/// Largest amount of money that a budget may name, in US dollars.
const USD_MAX: f64 = 1e9;

/// What happens when a budget is spent.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnExceeded {
    /// The run ends as FAILED with the reason `budget`.
    #[default]
    Fail,
    /// The run waits until it is resumed, or until the next day for a day's budget.
    Park,
}

/// Most that may be spent; what is missing is no limit.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"usd": 0.5, "tokens": 200000})))]
pub(crate) struct Budget {
    /// Model calls.
    requests: Option<u64>,
    /// Tokens of prompts and replies together.
    tokens: Option<u64>,
    /// US dollars. A call whose price nobody knows is not made under such a budget.
    #[serde(default, deserialize_with = "dollars")]
    usd: Option<f64>,
    /// Seconds: for a run and its tree from when it was accepted, for a project and a day the
    /// summed time of model calls.
    seconds: Option<u64>,
    /// What happens then.
    #[serde(default)]
    on_exceeded: OnExceeded,
}

fn dollars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let usd = Option::<f64>::deserialize(deserializer)?;
    match usd {
        Some(usd) if !(0.0..=USD_MAX).contains(&usd) => {
            Err(D::Error::custom(format!("must be 0 to {USD_MAX} US dollars")))
        }
        usd => Ok(usd),
    }
}

/// US dollars as micro-USD. Nothing is more than 10^15 of them, which both types hold exactly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded where it comes in"
)]
fn micro(usd: f64) -> llm::MicroUsd {
    llm::MicroUsd((usd * 1e6).round() as u64)
}

/// Micro-USD as US dollars.
#[expect(clippy::cast_precision_loss, reason = "shown to people")]
pub(crate) fn usd(micro: llm::MicroUsd) -> f64 {
    micro.0 as f64 / 1e6
}

impl From<Budget> for budget::Budget {
    fn from(budget: Budget) -> Self {
        Self {
            requests: budget.requests,
            tokens: budget.tokens,
            micro_usd: budget.usd.map(micro),
            seconds: budget.seconds,
            on_exceeded: match budget.on_exceeded {
                OnExceeded::Fail => budget::OnExceeded::Fail,
                OnExceeded::Park => budget::OnExceeded::Park,
            },
        }
    }
}

impl From<budget::Budget> for Budget {
    fn from(budget: budget::Budget) -> Self {
        Self {
            requests: budget.requests,
            tokens: budget.tokens,
            usd: budget.micro_usd.map(usd),
            seconds: budget.seconds,
            on_exceeded: match budget.on_exceeded {
                budget::OnExceeded::Fail => OnExceeded::Fail,
                budget::OnExceeded::Park => OnExceeded::Park,
            },
        }
    }
}

/// What model calls took.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct Spend {
    /// Model calls, failed ones that reached the service included.
    requests: u64,
    /// Tokens of prompts and replies.
    tokens: u64,
    /// Milliseconds that calls took.
    busy_ms: u64,
}

/// What model calls cost.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct TotalCost {
    /// US dollars.
    usd: f64,
    /// The same in millionths of a US dollar, as it is kept.
    micro_usd: u64,
    /// Calls whose price nobody knows; what they cost is missing here.
    unpriced_requests: u64,
}

impl TotalCost {
    /// `None` when nobody knows the price of anything.
    pub(crate) fn of(spend: budget::Spend) -> Option<Self> {
        spend.known_cost().map(|money| Self {
            usd: usd(money),
            micro_usd: money.0,
            unpriced_requests: spend.unpriced,
        })
    }
}

impl From<budget::Spend> for Spend {
    fn from(spend: budget::Spend) -> Self {
        Self { requests: spend.requests, tokens: spend.tokens, busy_ms: spend.busy_ms }
    }
}

/// What one call cost, and who says so.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Cost {
    /// US dollars.
    usd: f64,
    /// The same in millionths of a US dollar, as it is kept.
    micro_usd: u64,
    /// Who knows the price: `operator`, `provider` or `catalog`.
    source: &'static str,
    /// Which list it is from.
    basis: String,
}

impl From<llm::Cost> for Cost {
    fn from(cost: llm::Cost) -> Self {
        Self {
            usd: usd(cost.micro_usd),
            micro_usd: cost.micro_usd.0,
            source: cost.source.as_str(),
            basis: cost.basis,
        }
    }
}

/// Another budget for a run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"budget": {"tokens": 500000}})))]
pub(crate) struct PatchRun {
    /// Most that the run may spend, what it spent until now included; `{}` is no limit.
    pub(crate) budget: Budget,
}
