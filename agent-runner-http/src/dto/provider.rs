//! Providers and models as clients see them, and one-shot prompts.

use agent_runner_core::llm;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::usage::Usage;

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
    /// Reads images.
    vision: bool,
    /// Reasons before it answers.
    reasoning: bool,
    /// Prices; `null` while none are known.
    price: Option<Value>,
}

impl Model {
    pub(crate) fn new(provider: &str, model: llm::ModelInfo) -> Self {
        let can = model.capabilities;
        Self {
            name: format!("{provider}/{}", model.id),
            id: model.id,
            provider: provider.to_owned(),
            context: can.context_window,
            max_output: can.max_output,
            tools: can.tools,
            json_schema: can.json_schema,
            vision: can.vision,
            reasoning: can.reasoning,
            price: None,
        }
    }
}

/// Why a provider is not healthy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProviderFault {
    /// For programs, such as `auth`, `network` or `timeout`.
    pub(crate) code: String,
    /// For people: what was wrong and what to do.
    pub(crate) message: String,
}

/// A provider and its health, as of the last ten seconds.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Provider {
    /// The first part of its models' names.
    pub(crate) name: String,
    /// Whether this server is set up to use it.
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
    /// What it used.
    pub(crate) usage: Usage,
    /// Milliseconds it took.
    pub(crate) elapsed_ms: u64,
}
