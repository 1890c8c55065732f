//! `agent-runner doctor`: is everything there that a server needs?

#![expect(clippy::disallowed_methods, reason = "files that the operator names")]

use std::{collections::BTreeMap, net::TcpListener, path::Path, process::ExitCode, time::Duration};

use agent_runner::{
    agent::ModelName,
    llm::{FactSource, LlmProvider, ModelInfo, ProviderRegistry},
    providers::{Severity, SqliteOptions, SqliteStore},
    time::{Clock as _, SystemClock},
};
use serde::Serialize;

use crate::{
    args::JsonArgs,
    choice,
    config::{Config, ConfigError, ShellAccess},
    providers::Providers,
    terminal::Terminal,
};

/// How long a provider may take to say which models it has.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    verdict: Verdict,
    what: String,
    detail: String,
}

impl Check {
    fn new(verdict: Verdict, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict, what: what.into(), detail: detail.into() }
    }
}

/// Checks everything; exit code 1 when something fails.
pub(crate) async fn doctor(
    config: &Config,
    args: JsonArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let read = config.file().map_or_else(
        || "flags, environment and defaults; there is no agent-runner.toml here".to_owned(),
        |path| format!("read from {}", path.display()),
    );
    let mut checks = vec![Check::new(Verdict::Ok, "configuration", read)];
    checks.push(directory(&config.data_dir));
    checks.extend(database(config).await);
    checks.extend(models(config).await);
    checks.push(address(config));
    #[cfg(target_os = "linux")]
    checks.push(programs(config));
    report(&checks, args, terminal)
}

/// The report when the configuration itself is wrong.
pub(crate) fn misconfigured(
    error: &ConfigError,
    args: JsonArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let detail = error.to_string();
    let detail = detail.strip_prefix("configuration: ").unwrap_or(&detail).to_owned();
    report(&[Check::new(Verdict::Fail, "configuration", detail)], args, terminal)
}

fn report(checks: &[Check], args: JsonArgs, terminal: Terminal) -> anyhow::Result<ExitCode> {
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    if args.json {
        terminal.json(&serde_json::json!({"healthy": !failed, "checks": checks}))?;
    } else {
        let width = checks.iter().map(|check| check.what.chars().count()).max().unwrap_or(0);
        for Check { verdict, what, detail } in checks {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            terminal.line(&format!("{verdict:<5} {what:<width$}  {detail}"))?;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether files can be made in the data directory.
fn directory(path: &Path) -> Check {
    let shown = path.display();
    let probe = path.join(format!(".agent-runner-doctor-{}", std::process::id()));
    let tried = std::fs::create_dir_all(path)
        .and_then(|()| std::fs::write(&probe, b"a file that can be deleted\n"))
        .and_then(|()| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => Check::new(Verdict::Ok, "data directory", format!("{shown} is writable")),
        Err(error) => Check::new(
            Verdict::Fail,
            "data directory",
            format!("{shown}: {error}; make it writable for this user, or set data_dir"),
        ),
    }
}

async fn database(config: &Config) -> Vec<Check> {
    let fail = |error: &dyn std::error::Error| {
        vec![Check::new(Verdict::Fail, "database", error.to_string())]
    };
    let store = match SqliteStore::open(SqliteOptions::new(&config.database_url)).await {
        Ok(store) => store,
        Err(error) => return fail(&error),
    };
    let found = store.doctor().await;
    let closed = store.close().await;
    let findings = match (found, closed) {
        (Ok(findings), Ok(())) => findings,
        (Err(error), _) | (_, Err(error)) => return fail(&error),
    };
    let mut checks = vec![Check::new(Verdict::Ok, "database", store.path().display().to_string())];
    checks.extend(findings.into_iter().map(|finding| {
        let verdict = match finding.severity {
            Severity::Fine => Verdict::Ok,
            Severity::Notice => Verdict::Warn,
            _ => Verdict::Fail,
        };
        Check::new(verdict, format!("database {}", finding.check), finding.detail)
    }));
    checks
}

/// Asks every provider for its models, and which would be the default.
async fn models(config: &Config) -> Vec<Check> {
    let providers = match Providers::of(config) {
        Ok(providers) => providers,
        Err(error) => return vec![Check::new(Verdict::Fail, "models", error.to_string())],
    };
    let registry = providers.registry();
    let asked = providers.all.iter().map(|provider| reachable(&**provider, &registry, config));
    let mut checks = futures::future::join_all(asked).await;
    checks.extend(providers.unconfigured.iter().map(|lacking| {
        let detail = format!("not set up: {}", lacking.hint());
        Check::new(Verdict::Ok, format!("models of {}", lacking.name()), detail)
    }));
    checks.push(match choice::default_model(config, &providers.all).await {
        Ok(choice) => match choice.notice {
            None => Check::new(Verdict::Ok, "default model", choice.model.to_string()),
            Some(notice) => Check::new(Verdict::Warn, "default model", notice),
        },
        Err(error) => Check::new(Verdict::Fail, "default model", error.to_string()),
    });
    checks
}

async fn reachable(
    provider: &dyn LlmProvider,
    registry: &ProviderRegistry,
    config: &Config,
) -> Check {
    let id = provider.id();
    let what = format!("models of {id}");
    match choice::models(provider, PATIENCE).await {
        Ok(models) if models.is_empty() => {
            Check::new(Verdict::Warn, what, "the server answers and has no model; pull one")
        }
        Ok(models) => {
            let names: Vec<&str> = models.iter().take(5).map(|model| model.id.as_str()).collect();
            let more = if models.len() > names.len() { ", …" } else { "" };
            let known = known(id, &models, registry);
            let detail = format!("{}: {}{more}; {known}", models.len(), names.join(", "));
            Check::new(Verdict::Ok, what, detail)
        }
        // A local Ollama that nobody asked for need not be there.
        Err(_) if id == "ollama" && config.ollama_host.is_none() => {
            let detail = "none on this machine; start Ollama or set OLLAMA_HOST to use it";
            Check::new(Verdict::Ok, what, detail)
        }
        Err(error) => Check::new(Verdict::Warn, what, error),
    }
}

/// Who says what the models cost, how much they read and whether they take tools, with how many
/// models each speaks of.
fn known(provider: &str, models: &[ModelInfo], registry: &ProviderRegistry) -> String {
    let now = SystemClock.now();
    let mut prices = Vec::new();
    let (mut contexts, mut tools) = (Vec::new(), Vec::new());
    for model in models {
        let name = ModelName::new(provider, &model.id);
        let sources = registry.capabilities_with(&name, model.capabilities).sources;
        prices.push(registry.price(&name, now).map(|price| price.source));
        contexts.push(sources.get("context_window").copied());
        tools.push(sources.get("tools").copied());
    }
    let (prices, contexts, tools) = (counted(&prices), counted(&contexts), counted(&tools));
    format!("prices: {prices}; context: {contexts}; tools: {tools}")
}

/// How often each source stands in a list, such as `catalog 3, unknown 1`.
fn counted(sources: &[Option<FactSource>]) -> String {
    let mut counts = BTreeMap::new();
    for source in sources {
        *counts.entry((source.is_none(), *source)).or_insert(0_usize) += 1;
    }
    let shown: Vec<String> = counts
        .into_iter()
        .map(|((_, source), count)| {
            format!("{} {count}", source.map_or("unknown", FactSource::as_str))
        })
        .collect();
    shown.join(", ")
}

/// Whether programs of agents can be confined.
#[cfg(target_os = "linux")]
fn programs(config: &Config) -> Check {
    let missing = agent_runner::tools::shell::missing_confinement();
    let (verdict, detail) = match config.shell {
        ShellAccess::Off => (Verdict::Ok, "off".to_owned()),
        _ if missing.is_empty() => {
            (Verdict::Ok, "confined, in projects that allow some".to_owned())
        }
        ShellAccess::BestEffort => {
            (Verdict::Warn, format!("confined in parts; missing: {}", missing.join(", ")))
        }
        ShellAccess::Confined => {
            let missing = missing.join(", ");
            (Verdict::Warn, format!("not run, for they cannot be confined; missing: {missing}"))
        }
    };
    Check::new(verdict, "programs", detail)
}

/// Whether the address can be served.
fn address(config: &Config) -> Check {
    let listen = config.listen;
    if let Err(error) = crate::serve::check_address(config) {
        return Check::new(Verdict::Fail, "address", error.to_string());
    }
    match TcpListener::bind(listen) {
        Ok(_) => Check::new(Verdict::Ok, "address", format!("{listen} is free")),
        Err(error) => Check::new(
            Verdict::Warn,
            "address",
            format!("{listen}: {error}; is a server running already?"),
        ),
    }
}
