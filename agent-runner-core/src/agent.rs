//! An agent: which model, with which instructions and tools, within which limits.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{limits, llm::ReasoningEffort};

/// A model's full name, `provider/model`. The model part may contain slashes itself.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName {
    provider: String,
    model: String,
}

/// A text that is not a model's full name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a model name: write it as provider/model, for example ollama/qwen3")]
pub struct ParseModelNameError(String);

impl ModelName {
    /// Puts the two parts together.
    #[must_use]
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self { provider: provider.into(), model: model.into() }
    }

    /// The provider's id.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The model's id as the provider knows it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }
}

impl FromStr for ModelName {
    type Err = ParseModelNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
                Ok(Self::new(provider, model))
            }
            _ => Err(ParseModelNameError(text.chars().take(200).collect())),
        }
    }
}

impl TryFrom<String> for ModelName {
    type Error = ParseModelNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelName({self})")
    }
}

/// How tools are offered to the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "each mode is a branch that must exist")]
pub enum ToolMode {
    /// Through the provider's own tool calls.
    Native,
    /// The reply is constrained to a JSON Schema: call one tool, or answer.
    /// Makes any model usable whose server can constrain its output.
    Constrained,
    /// Native where the model can, constrained otherwise.
    #[default]
    Auto,
}

/// The definition of an agent as a run carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Its name.
    pub name: String,
    /// The model it thinks with.
    pub model: ModelName,
    /// The system prompt.
    #[serde(default)]
    pub instructions: String,
    /// Names of the tools it may call, sorted.
    #[serde(default)]
    pub tools: Vec<String>,
    /// How tools are offered.
    #[serde(default)]
    pub tool_mode: ToolMode,
    /// JSON Schema that the answer must fit; the output is then that JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Sampling temperature, where the model takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// How much the model reasons, where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningEffort>,
    /// Most tokens of one reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Most model calls of the run.
    pub max_steps: u32,
    /// Most time the run may take, from its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

impl AgentSpec {
    /// An agent called `assistant` with default limits and no tools.
    #[must_use]
    pub fn new(model: ModelName) -> Self {
        Self {
            name: "assistant".to_owned(),
            model,
            instructions: String::new(),
            tools: Vec::new(),
            tool_mode: ToolMode::Auto,
            output_schema: None,
            temperature: None,
            reasoning: None,
            max_output_tokens: None,
            max_steps: limits::MAX_STEPS_DEFAULT,
            timeout: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_splits_at_the_first_slash() {
        let name: ModelName = "openai/org/model:7b".parse().unwrap();
        assert_eq!((name.provider(), name.model()), ("openai", "org/model:7b"));
        assert_eq!(name.to_string(), "openai/org/model:7b");
        for bad in ["", "gpt", "/x", "x/"] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
    }
}
