//! Providers and models as clients see them, and one-shot prompts.

use std::collections::BTreeMap;

use agent_runner_core::{budget, engine, llm, store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    budget::{Budget, Cost, Spend, TotalCost},
    run::Reasoning,
    usage::Usage,
};
use crate::unconfigured::Unconfigured;

/// A model that a provider offers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Model {
    /// Its id as the provider knows it.
    pub(crate) id: String,
    /// The full name to give to a run, `provider/model`.
    pub(crate) name: String,
    /// The provider.
    pub(crate) provider: String,
    /// Most tokens of prompt and reply together.
    context: Option<u64>,
    /// Most tokens of one reply.
    max_output: Option<u64>,
    /// Takes tools and answers with tool calls.
    tools: bool,
    /// Can constrain its output to a JSON Schema.
    json_schema: bool,
    /// Can do both in one request.
    schema_with_tools: bool,
    /// Reads images.
    vision: bool,
    /// Reasons before it answers.
    reasoning: bool,
    /// Who says so, for each field that anybody says something about: `operator`, `provider`,
    /// `catalog` or `assumed`.
    sources: BTreeMap<&'static str, &'static str>,
    /// Prices; `null` when nobody knows them.
    price: Option<Price>,
}

impl Model {
    pub(crate) fn new(
        provider: &str,
        id: String,
        known: llm::KnownCapabilities,
        price: Option<llm::Price>,
    ) -> Self {
        let can = known.capabilities;
        let sure = |said: Option<bool>| said == Some(true);
        Self {
            name: format!("{provider}/{id}"),
            id,
            provider: provider.to_owned(),
            context: can.context_window,
            max_output: can.max_output,
            tools: sure(can.tools),
            json_schema: sure(can.json_schema),
            schema_with_tools: sure(can.schema_with_tools),
            vision: sure(can.vision),
            reasoning: sure(can.reasoning),
            sources: known.sources.into_iter().map(|(what, who)| (what, who.as_str())).collect(),
            price: price.map(Price::from),
        }
    }
}

/// What a model costs, in US dollars per million tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Price {
    /// Prompt tokens that no cache had.
    input: f64,
    /// Tokens that the model wrote.
    output: f64,
    /// Prompt tokens from the cache.
    cache_read: Option<f64>,
    /// Prompt tokens written to the cache.
    cache_write: Option<f64>,
    /// Prompt tokens written to the cache for an hour.
    cache_write_1h: Option<f64>,
    /// Prices of calls whose prompt is longer, by the length above which they hold.
    tiers: Vec<PriceTier>,
    /// Who says so: `operator` or `catalog`.
    source: &'static str,
    /// Which list it is from.
    basis: String,
}

/// Prices of calls with a long prompt, in US dollars per million tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PriceTier {
    /// Of prompts with more tokens than this.
    above: u64,
    /// Prompt tokens that no cache had.
    input: f64,
    /// Tokens that the model wrote.
    output: f64,
}

/// Micro-USD as US dollars.
#[expect(clippy::cast_precision_loss, reason = "no price has more than 52 bits")]
fn usd(micro: u64) -> f64 {
    micro as f64 / 1e6
}

impl From<llm::Price> for Price {
    fn from(price: llm::Price) -> Self {
        let tier = |(above, rates): (u64, llm::Rates)| PriceTier {
            above,
            input: usd(rates.input),
            output: usd(rates.output),
        };
        Self {
            input: usd(price.rates.input),
            output: usd(price.rates.output),
            cache_read: price.rates.cache_read.map(usd),
            cache_write: price.rates.cache_write.map(usd),
            cache_write_1h: price.rates.cache_write_1h.map(usd),
            tiers: price.tiers.into_iter().map(tier).collect(),
            source: price.source.as_str(),
            basis: price.basis,
        }
    }
}

/// Why a provider is not healthy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProviderFault {
    /// For programs, such as `auth`, `network`, `timeout` or `not_configured`.
    pub(crate) code: String,
    /// For people: what was wrong and what to do.
    pub(crate) message: String,
}

/// A provider and its health, as of the last ten seconds.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Provider {
    /// The first part of its models' names.
    pub(crate) name: String,
    /// Whether this server is set up to use it; when not, `error` says what to set.
    pub(crate) configured: bool,
    /// Whether it answered.
    pub(crate) healthy: bool,
    /// Milliseconds it took to answer.
    pub(crate) latency_ms: Option<u64>,
    /// Why it is not healthy.
    pub(crate) error: Option<ProviderFault>,
    /// Whether runs that name no model use one of its models.
    pub(crate) default: bool,
    /// The model that runs use when they name none, on the default provider.
    pub(crate) default_model: Option<String>,
    /// What has to be said about that, such as that a script stands in for a model.
    pub(crate) notice: Option<String>,
    /// The models it offers.
    pub(crate) models: Vec<Model>,
}

impl Provider {
    /// One that lacks something.
    pub(crate) fn unconfigured(provider: &Unconfigured) -> Self {
        let message = format!("not set up here: {}", provider.hint());
        Self {
            name: provider.name().to_owned(),
            configured: false,
            healthy: false,
            latency_ms: None,
            error: Some(ProviderFault { code: "not_configured".to_owned(), message }),
            default: false,
            default_model: None,
            notice: None,
            models: Vec::new(),
        }
    }
}

/// What was spent at a provider.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Spending {
    /// The day (UTC) that `today` is.
    day: String,
    /// On this day.
    today: Spent,
    /// Since the database was made.
    total: Spent,
}

/// What was spent in a time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Spent {
    /// What calls took.
    spend: Spend,
    /// Money; `null` when nobody knows the prices.
    cost: Option<TotalCost>,
    /// What calls in progress may still take, where a budget made them ask.
    reserved: Spend,
}

impl From<store::Spent> for Spent {
    fn from(spent: store::Spent) -> Self {
        Self {
            spend: spent.booked.into(),
            cost: TotalCost::of(spent.booked),
            reserved: spent.reserved.into(),
        }
    }
}

impl From<engine::Spending> for Spending {
    fn from(spending: engine::Spending) -> Self {
        Self {
            day: spending.day.to_string(),
            today: spending.today.into(),
            total: spending.total.into(),
        }
    }
}

/// The budget that all runs share each day.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DailyBudget {
    /// Most that all providers together may take on one day (UTC).
    limit: Budget,
    /// How much of it is spent today, in per cent of the limit that is closest.
    used_percent: f64,
}

impl DailyBudget {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    pub(crate) fn new(limit: budget::Budget, today: store::Spent) -> Self {
        let used = limit.used_per_mille(today.booked.plus(today.reserved));
        Self { limit: limit.into(), used_percent: used as f64 / 10.0 }
    }
}

/// A provider with its health and what was spent there.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProviderDetail {
    /// The provider.
    #[serde(flatten)]
    pub(crate) provider: Provider,
    /// What its models took.
    pub(crate) spending: Spending,
    /// Most that all providers together may take each day; `null` for no limit.
    pub(crate) daily_budget: Option<DailyBudget>,
}

/// A prompt for a model, without a run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"prompt": "Say hello world"})))]
pub(crate) struct Generate {
    /// What the model is to read.
    pub(crate) prompt: String,
    /// The model's id, with or without the provider's name before it. When missing: the server's
    /// default model if it is this provider's, else the first that the provider offers.
    pub(crate) model: Option<String>,
    /// The system prompt.
    pub(crate) instructions: Option<String>,
    /// JSON Schema that the reply must fit.
    pub(crate) output_schema: Option<Value>,
    /// Sampling temperature, 0 to 2.
    pub(crate) temperature: Option<f32>,
    /// Most tokens of the reply.
    pub(crate) max_output_tokens: Option<u32>,
    /// How much it reasons, where it can.
    pub(crate) reasoning: Option<Reasoning>,
    /// Whether to stream the reply as server-sent events.
    #[serde(default)]
    pub(crate) stream: bool,
    /// Most seconds to wait, 1 to 300. Default 120.
    pub(crate) timeout_seconds: Option<u64>,
}

/// A model's reply.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Generated {
    /// The provider that was asked.
    pub(crate) provider: String,
    /// The model that was asked, `provider/model`.
    pub(crate) model: String,
    /// What it said.
    pub(crate) text: String,
    /// Why it stopped, such as `end_turn` or `max_tokens`.
    #[schema(value_type = Object)]
    pub(crate) stop: Value,
    /// What the service says about why it stopped, such as the category of a refusal.
    pub(crate) stop_detail: Option<String>,
    /// The model that answered, `provider/model`, when it is another one than was asked.
    pub(crate) answered_by: Option<String>,
    /// What was done otherwise than asked.
    pub(crate) notices: Vec<String>,
    /// What it used.
    pub(crate) usage: Usage,
    /// What it cost; `null` when nobody knows.
    pub(crate) cost: Option<Cost>,
    /// The service's id of the request, for its support.
    pub(crate) provider_request_id: Option<String>,
    /// Milliseconds it took.
    pub(crate) elapsed_ms: u64,
}

/// A conversation whose tokens are to be counted: `prompt` or `messages`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"prompt": "Say hello world"})))]
pub(crate) struct CountTokens {
    /// One message of a user.
    pub(crate) prompt: Option<String>,
    /// A conversation, oldest first.
    pub(crate) messages: Option<Vec<Said>>,
    /// The model's id, as `generate` takes it.
    pub(crate) model: Option<String>,
    /// The system prompt.
    pub(crate) instructions: Option<String>,
}

/// One message of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Who said it.
    pub(crate) role: Speaker,
    /// The words.
    pub(crate) text: String,
}

/// Who says something.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Speaker {
    /// A person.
    User,
    /// The model.
    Assistant,
}

/// Tokens of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Counted {
    /// The provider that was asked.
    pub(crate) provider: String,
    /// The model, `provider/model`.
    pub(crate) model: String,
    /// Tokens of the prompt.
    pub(crate) tokens: u64,
    /// `provider` when the service counted them, `estimate` when it does not count.
    pub(crate) source: &'static str,
}
