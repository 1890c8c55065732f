//! What agents can do here, from the configuration.

use std::sync::Arc;

#[cfg(target_os = "linux")]
use agent_runner::tools::shell::{Confinement, Launcher, Shell, ShellLimits};
use agent_runner::{
    time::SystemClock,
    tool::Tool,
    tools::{
        StandardTools,
        fs::Workspace,
        http::HttpClient,
        net::{GuardedClient, NetLimits, Reach},
        web::{Web, WebOptions},
    },
};
use anyhow::Context as _;

#[cfg(target_os = "linux")]
use crate::config::ShellAccess;
use crate::config::{Config, WebAccess};

/// How the guarded client and robots.txt know this program.
const AGENT: &str = concat!("agent-runner/", env!("CARGO_PKG_VERSION"));

/// The tools that do not come and go.
pub(crate) fn tools(config: &Config, workspace: &Workspace) -> anyhow::Result<Vec<Arc<dyn Tool>>> {
    let client = HttpClient::new(config.http_allow.clone())?;
    let mut tools = StandardTools::new(Arc::new(SystemClock))
        .with_files(workspace)
        .with_artifacts(workspace)
        .with_http(client, config.http_post_policy)?;
    if let Some(web) = web(config)? {
        tools = tools.with_web(&web);
    }
    #[cfg(target_os = "linux")]
    if let Some(shell) = shell(config, workspace)? {
        tools = tools.with_shell(shell);
    }
    Ok(tools.into_tools())
}

/// The part of the web that agents reach; `None` when there is none.
fn web(config: &Config) -> anyhow::Result<Option<Web>> {
    let reach = match config.web {
        WebAccess::Open => Reach::Open(config.web_allow.clone()),
        WebAccess::Listed => Reach::Closed(config.web_allow.clone()),
        WebAccess::Off => return Ok(None),
    };
    let client = GuardedClient::new(reach, NetLimits::default(), AGENT)?;
    let mut options = WebOptions::default();
    options.robots = config.web_robots;
    options.per_second = config.web_rate;
    options.burst = options.burst.saturating_add(config.web_rate.get() - 1);
    Ok(Some(Web::new(client, Arc::new(SystemClock), options)))
}

/// Programs, for projects that allow some; `None` when none may.
#[expect(clippy::disallowed_methods, reason = "variables that the operator names")]
#[cfg(target_os = "linux")]
fn shell(config: &Config, workspace: &Workspace) -> anyhow::Result<Option<Shell>> {
    let mut limits = ShellLimits::default();
    limits.confinement = match config.shell {
        ShellAccess::Confined => Confinement::Required,
        ShellAccess::BestEffort => Confinement::BestEffort,
        ShellAccess::Off => return Ok(None),
    };
    limits.path.clone_from(&config.shell_path);
    limits.readable.extend_from_slice(&config.shell_readable);
    limits.writable.clone_from(&config.shell_writable);
    limits.network = config.shell_network;
    for name in &config.shell_env {
        if let Ok(value) = std::env::var(name) {
            limits.environment.insert(name.clone(), value);
        }
    }
    let shell = Shell::new(workspace.clone(), limits, Launcher::this_program());
    Ok(Some(shell.context("shell")?))
}
