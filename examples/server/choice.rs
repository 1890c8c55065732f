//! Which model is used when nobody names one.

use std::{sync::Arc, time::Duration};

use agent_runner::{
    agent::ModelName,
    llm::{CallCx, LlmProvider, ModelInfo},
};
use tracing::debug;

use crate::{
    assemble::known_provider,
    config::{Config, ConfigError},
};

/// How long a server may take to say which models it has, when a program starts.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for a server that may be far away and was configured on purpose.
const PATIENCE_REMOTE: Duration = Duration::from_secs(3);

/// Words in the names of models that do not chat.
const NO_CHAT: [&str; 9] =
    ["embed", "tts", "whisper", "dall-e", "moderation", "image", "audio", "realtime", "transcribe"];

/// The model of runs that name none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// The model.
    pub(crate) model: ModelName,
    /// What a person has to know about it.
    pub(crate) notice: Option<String>,
}

/// The configured model, or the first that a reachable server offers, or the script.
pub(crate) async fn default_model(
    config: &Config,
    providers: &[Arc<dyn LlmProvider>],
) -> Result<Choice, ConfigError> {
    if let Some(model) = &config.default_model {
        known_provider(model, providers).map_err(|error| {
            ConfigError::new(format!("{}: {error}", config.given.place("default_model")))
        })?;
        return Ok(Choice { model: model.clone(), notice: None });
    }
    for (id, patience) in [("ollama", PATIENCE), ("openai", PATIENCE_REMOTE)] {
        let Some(provider) = providers.iter().find(|provider| provider.id() == id) else {
            continue;
        };
        match models(&**provider, patience).await {
            Ok(models) => {
                if let Some(model) = first(&models) {
                    return Ok(Choice { model: ModelName::new(id, model), notice: None });
                }
                debug!(provider = id, "the server has no model");
            }
            Err(error) => debug!(provider = id, error, "the server cannot be asked for its models"),
        }
    }
    let notice = "No model is configured or reachable, so runs that name no model use \
                  scripted/demo: an offline script that calls real tools and does not think. For a \
                  model, start Ollama, or set OLLAMA_HOST, or OPENAI_BASE_URL or OPENAI_API_KEY, \
                  or AGENT_RUNNER_DEFAULT_MODEL.";
    Ok(Choice { model: ModelName::new("scripted", "demo"), notice: Some(notice.to_owned()) })
}

/// The models that a server says it has, within `patience`.
pub(crate) async fn models(
    provider: &dyn LlmProvider,
    patience: Duration,
) -> Result<Vec<ModelInfo>, String> {
    let mut cx = CallCx::new("models");
    cx.timeout = Some(patience);
    // Beyond the provider's own timeout, which a stranger's provider may not honour.
    match tokio::time::timeout(patience * 2, provider.models(&cx)).await {
        Ok(models) => models.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {:?}", patience * 2)),
    }
}

/// The first model that takes tools, or the first that chats.
fn first(models: &[ModelInfo]) -> Option<&str> {
    let chats = |model: &&ModelInfo| {
        let id = model.id.to_lowercase();
        !NO_CHAT.iter().any(|word| id.contains(word))
    };
    let mut chatting = models.iter().filter(chats);
    let fallback = chatting.clone().next();
    chatting.find(|model| model.capabilities.tools).or(fallback).map(|model| model.id.as_str())
}

#[cfg(test)]
mod tests {
    use agent_runner::llm::Capabilities;

    use super::*;

    fn model(id: &str, tools: bool) -> ModelInfo {
        ModelInfo {
            id: id.to_owned(),
            capabilities: Capabilities { tools, ..Capabilities::default() },
        }
    }

    #[test]
    fn a_model_that_takes_tools_goes_first_and_one_that_does_not_chat_never() {
        let models = [model("nomic-embed-text", true), model("gemma", false), model("qwen3", true)];
        assert_eq!(first(&models), Some("qwen3"));
        assert_eq!(first(&models[..2]), Some("gemma"));
        assert_eq!(first(&models[..1]), None);
        assert_eq!(first(&[]), None);
    }
}
