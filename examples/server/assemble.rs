//! Puts the engine together from the configuration.

use std::{path::Path, sync::Arc};

use agent_runner::{
    agent::ModelName,
    engine::{Engine, EngineOptions},
    llm::{ErrorKind, LlmProvider},
    providers::{OllamaProvider, OpenAiProvider, ScriptedProvider, SqliteOptions, SqliteStore},
    time::SystemClock,
    tool::Tool,
    tools::{
        StandardTools,
        fs::{FsLimits, Workspace},
        http::HttpClient,
    },
};
use anyhow::Context as _;

use crate::{
    choice::{self, Choice},
    config::{Config, ConfigError},
};

/// Directory of the projects' files inside the data directory.
pub(crate) const PROJECTS: &str = "projects";
/// OpenAI's own service, for a key without an address.
const OPENAI: &str = "https://api.openai.com/v1";
/// Largest script that is read, in bytes.
const SCRIPT_BYTES_MAX: u64 = 1024 * 1024;

/// Opens the database.
pub(crate) async fn store(config: &Config) -> anyhow::Result<Arc<SqliteStore>> {
    Ok(Arc::new(SqliteStore::open(SqliteOptions::new(&config.database_url)).await?))
}

/// An engine that looks at runs and controls them, and works on none.
pub(crate) fn observer(store: &Arc<SqliteStore>) -> anyhow::Result<Engine> {
    Ok(Engine::builder(Arc::clone(store) as _).build()?)
}

/// An engine that can work.
pub(crate) async fn engine(config: &Config, store: &Arc<SqliteStore>) -> anyhow::Result<Engine> {
    let providers = providers(config)?;
    let Choice { model, notice } = choice::default_model(config, &providers).await?;
    let options = EngineOptions {
        default_model: model,
        default_model_notice: notice,
        concurrency: config.concurrency,
        lease_ttl: config.lease_ttl,
        heartbeat_interval: config.heartbeat_interval,
        poll_interval: config.poll_interval,
        host: host(),
        ..EngineOptions::default()
    };
    let mut builder =
        Engine::builder(Arc::clone(store) as _).options(options).tools(tools(config)?);
    for provider in providers {
        builder = builder.shared_provider(provider);
    }
    Ok(builder.build()?)
}

/// The providers that the configuration asks for: Ollama and scripts always, OpenAI when it is
/// configured.
pub(crate) fn providers(config: &Config) -> Result<Vec<Arc<dyn LlmProvider>>, ConfigError> {
    let wrong = |key: &'static str, what: &dyn std::fmt::Display| {
        ConfigError::new(format!("{}: {what}", config.given.place(key)))
    };
    let ollama = OllamaProvider::new(config.ollama_host.as_deref().unwrap_or_default())
        .map_err(|error| wrong("ollama_host", &error))?;
    let mut providers: Vec<Arc<dyn LlmProvider>> = vec![Arc::new(ollama)];
    if config.openai_base_url.is_some() || config.openai_api_key.is_some() {
        let base = config.openai_base_url.as_deref().unwrap_or(OPENAI);
        let openai = OpenAiProvider::new(base, config.openai_api_key.clone()).map_err(|error| {
            let key = error.kind() == ErrorKind::Auth;
            wrong(if key { "openai_api_key" } else { "openai_base_url" }, &error)
        })?;
        providers.push(Arc::new(openai));
    }
    let scripted = scripted(config.scripts_dir.as_deref())
        .map_err(|error| wrong("scripts_dir", &format_args!("{error:#}")))?;
    providers.push(Arc::new(scripted));
    Ok(providers)
}

fn scripted(directory: Option<&Path>) -> anyhow::Result<ScriptedProvider> {
    let mut provider = ScriptedProvider::demo()?;
    let Some(directory) = directory else { return Ok(provider) };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    // The order decides which of two scripts of one name is refused.
    files.sort();
    for file in files {
        let place = || file.display().to_string();
        let size = std::fs::metadata(&file).with_context(place)?.len();
        anyhow::ensure!(size <= SCRIPT_BYTES_MAX, "{}: larger than 1 MiB", place());
        let yaml = std::fs::read_to_string(&file).with_context(place)?;
        provider = provider.with_yaml(&yaml).with_context(place)?;
    }
    Ok(provider)
}

fn tools(config: &Config) -> anyhow::Result<Vec<Arc<dyn Tool>>> {
    let root = config.data_dir.join(PROJECTS);
    let workspace = Workspace::open(&root, FsLimits::default())
        .with_context(|| format!("data_dir: cannot use the directory {}", root.display()))?;
    let client = HttpClient::new(config.http_allow.clone())?;
    let tools = StandardTools::new(Arc::new(SystemClock))
        .with_files(workspace)
        .with_http(client, config.http_post_policy)?;
    Ok(tools.into_tools())
}

/// Refuses a model whose provider does not exist, before a run fails because of it.
pub(crate) fn known_provider(
    model: &ModelName,
    providers: &[Arc<dyn LlmProvider>],
) -> Result<(), ConfigError> {
    if providers.iter().any(|provider| provider.id() == model.provider()) {
        return Ok(());
    }
    let ids: Vec<&str> = providers.iter().map(|provider| provider.id()).collect();
    let hint = if model.provider() == "openai" {
        "; set OPENAI_BASE_URL or OPENAI_API_KEY to have `openai`"
    } else {
        ""
    };
    Err(ConfigError::new(format!(
        "{model}: there is no provider `{}`; there are {}{hint}",
        model.provider(),
        ids.join(", ")
    )))
}

/// The machine's name, for people who look at workers.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
