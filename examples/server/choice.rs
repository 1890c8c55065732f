//! Which model is used when nobody names one.

use std::{sync::Arc, time::Duration};

use agent_runner::{
    agent::ModelName,
    llm::{CallCx, LlmProvider, ModelInfo},
};
use futures::{StreamExt as _, stream};
use tracing::debug;

use crate::{
    assemble::known_provider,
    config::{Config, ConfigError},
};

/// How long a server may take to say which models it has, when a program starts.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for a server that may be far away and was configured on purpose.
const PATIENCE_REMOTE: Duration = Duration::from_secs(3);

/// Whom to ask for a model, and for how long: who costs nothing first.
const ORDER: [(&str, Duration); 4] = [
    ("ollama", PATIENCE),
    ("openai", PATIENCE_REMOTE),
    ("anthropic", PATIENCE_REMOTE),
    ("gemini", PATIENCE_REMOTE),
];

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
    // All at once, so that one that is far away is not waited for after another one.
    let mut answers = stream::iter(ORDER)
        .filter_map(|(id, patience)| async move {
            let provider = providers.iter().find(|provider| provider.id() == id)?;
            Some(async move { (id, models(&**provider, patience).await) })
        })
        .buffered(ORDER.len())
        .boxed();
    while let Some((id, answer)) = answers.next().await {
        match answer {
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
                  model, start Ollama, or set OLLAMA_HOST, OPENAI_BASE_URL, OPENAI_API_KEY, \
                  ANTHROPIC_API_KEY, GEMINI_API_KEY or AGENT_RUNNER_DEFAULT_MODEL.";
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
    chatting
        .find(|model| model.capabilities.tools != Some(false))
        .or(fallback)
        .map(|model| model.id.as_str())
}

#[cfg(test)]
mod tests {
    use agent_runner::llm::{
        BoxStream, Capabilities, ErrorKind, LlmEvent, LlmRequest, ProviderError,
    };
    use async_trait::async_trait;

    use super::*;
    use crate::config::Inputs;

    /// A server that has these models, or is not there.
    #[derive(Debug)]
    struct Server {
        id: &'static str,
        models: Option<Vec<ModelInfo>>,
    }

    #[async_trait]
    impl LlmProvider for Server {
        fn id(&self) -> &str {
            self.id
        }

        fn capabilities(&self, _model: &str) -> Capabilities {
            Capabilities::default()
        }

        async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
            self.models
                .clone()
                .ok_or_else(|| ProviderError::new(ErrorKind::Network, self.id, "nobody is there"))
        }

        async fn stream(
            &self,
            _request: &LlmRequest,
            _cx: &CallCx,
        ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
            Err(ProviderError::new(ErrorKind::Network, self.id, "nobody is asked here"))
        }
    }

    fn model(id: &str, tools: bool) -> ModelInfo {
        let capabilities = Capabilities { tools: Some(tools), ..Capabilities::default() };
        ModelInfo { id: id.to_owned(), capabilities }
    }

    async fn chosen(
        configured: &str,
        ollama: Option<&[&str]>,
        openai: Option<&[&str]>,
    ) -> Result<Choice, String> {
        chosen_of(configured, &[("ollama", ollama), ("openai", openai)]).await
    }

    async fn chosen_of(
        configured: &str,
        servers: &[(&'static str, Option<&[&str]>)],
    ) -> Result<Choice, String> {
        let flags = [("default_model", configured.to_owned())].into();
        let config = Config::load(&Inputs { flags, ..Inputs::default() }).unwrap();
        let server = |id, models: Option<&[&str]>| -> Arc<dyn LlmProvider> {
            let models = models.map(|ids| ids.iter().map(|id| model(id, true)).collect());
            Arc::new(Server { id, models })
        };
        let providers: Vec<_> = servers.iter().map(|(id, models)| server(id, *models)).collect();
        default_model(&config, &providers).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_configured_model_wins_and_its_provider_must_exist() {
        let choice = chosen("ollama/mine", Some(&["qwen3"]), None).await.unwrap();
        assert_eq!((choice.model.to_string().as_str(), choice.notice), ("ollama/mine", None));
        let error = chosen("antropic/x", None, None).await.unwrap_err();
        assert!(error.contains("--default-model: "), "{error}");
        assert!(error.contains("no provider `antropic`; there are ollama, openai"), "{error}");
    }

    #[tokio::test]
    async fn ollama_goes_before_openai_before_the_script_that_is_announced() {
        let cases = [
            (Some(&["qwen3"][..]), Some(&["gpt"][..]), "ollama/qwen3", false),
            (None, Some(&["gpt"][..]), "openai/gpt", false),
            (Some(&[][..]), Some(&["gpt"][..]), "openai/gpt", false),
            (Some(&["nomic-embed-text"][..]), None, "scripted/demo", true),
            (None, None, "scripted/demo", true),
        ];
        for (ollama, openai, want, announced) in cases {
            let choice = chosen("", ollama, openai).await.unwrap();
            assert_eq!(
                (choice.model.to_string().as_str(), choice.notice.is_some()),
                (want, announced)
            );
        }
    }

    #[tokio::test]
    async fn claude_and_gemini_are_considered_after_what_may_be_on_this_machine() {
        let (claude, gemini) = (("anthropic", Some(&["claude"][..])), ("gemini", Some(&["g"][..])));
        for (openai, want) in [(Some(&["gpt"][..]), "openai/gpt"), (None, "anthropic/claude")] {
            let servers = [gemini, claude, ("openai", openai), ("ollama", None)];
            assert_eq!(chosen_of("", &servers).await.unwrap().model.to_string(), want);
        }
        let alone = chosen_of("", &[gemini, ("anthropic", None)]).await.unwrap();
        assert_eq!(alone.model.to_string(), "gemini/g");
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
