//! Puts the engine together from the configuration.

#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

use std::{path::PathBuf, sync::Arc};

use agent_runner::{
    agent::ModelName,
    engine::{Engine, EngineOptions},
    llm::LlmProvider,
    providers::{ObjectBlobs, SqliteOptions, SqliteStore},
    tools::fs::{FsLimits, Workspace},
};
use anyhow::Context as _;

use crate::{
    choice::{self, Choice},
    config::{Config, ConfigError},
    hands::{self, Connections},
    providers::{Providers, hint},
};

/// Directory of the projects' files inside the data directory.
pub(crate) const PROJECTS: &str = "projects";
/// Directory of artifacts inside the data directory.
const ARTIFACTS: &str = "artifacts";

/// Opens the database.
pub(crate) async fn store(config: &Config) -> anyhow::Result<Arc<SqliteStore>> {
    Ok(Arc::new(SqliteStore::open(SqliteOptions::new(&config.database_url)).await?))
}

/// An engine that looks at runs and controls them, and works on none.
pub(crate) fn observer(store: &Arc<SqliteStore>) -> anyhow::Result<Engine> {
    Ok(Engine::builder(Arc::clone(store) as _).build()?)
}

/// An engine that can work, and what keeps its sources of tools.
pub(crate) async fn engine(
    config: &Config,
    store: &Arc<SqliteStore>,
    providers: &Providers,
) -> anyhow::Result<(Engine, Connections)> {
    let Choice { model, notice } = choice::default_model(config, &providers.all).await?;
    let options = EngineOptions {
        default_model: model,
        default_model_notice: notice,
        concurrency: config.concurrency,
        lease_ttl: config.lease_ttl,
        heartbeat_interval: config.heartbeat_interval,
        poll_interval: config.poll_interval,
        daily_budget: config.daily_budget,
        host: host(),
        ..EngineOptions::default()
    };
    let root = config.data_dir.join(PROJECTS);
    let workspace = Workspace::open(&root, FsLimits::default())
        .with_context(|| format!("data_dir: cannot use the directory {}", root.display()))?;
    let mut builder = Engine::builder(Arc::clone(store) as _)
        .options(options)
        .files(Arc::new(workspace.clone()))
        .blobs(Arc::new(blobs(config)?))
        .tools(hands::tools(config, &workspace)?);
    let sources = hands::sources(config)?;
    for source in &sources {
        builder = builder.tool_source(Arc::clone(source) as _);
    }
    Ok((providers.add_to(builder).build()?, Connections::keep(sources)))
}

/// Where artifacts are kept. Credentials of object storage come from the environment.
fn blobs(config: &Config) -> anyhow::Result<ObjectBlobs> {
    match config.artifacts_url.as_deref() {
        Some(url) if url.contains("://") && !url.starts_with("file://") => {
            let own = ["AWS_", "GOOGLE_", "AZURE_"];
            let settings = std::env::vars()
                .filter(|(key, _)| own.iter().any(|prefix| key.starts_with(prefix)))
                .map(|(key, value)| (key.to_ascii_lowercase(), value));
            Ok(ObjectBlobs::cloud(url, settings).context("artifacts_url")?)
        }
        given => {
            let directory = given.map_or_else(
                || config.data_dir.join(ARTIFACTS),
                |path| PathBuf::from(path.trim_start_matches("file://")),
            );
            ObjectBlobs::local(&directory).with_context(|| {
                format!("artifacts_url: cannot use the directory {}", directory.display())
            })
        }
    }
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
    let hint = hint(model.provider())
        .map(|hint| format!("; {hint} to have `{}`", model.provider()))
        .unwrap_or_default();
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
