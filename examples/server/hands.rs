//! What agents can do here, from the configuration.

use std::{sync::Arc, time::Duration};

#[cfg(target_os = "linux")]
use agent_runner::tools::shell::{Confinement, Launcher, Shell, ShellLimits};
use agent_runner::{
    time::SystemClock,
    tool::{SourceStatus, Tool},
    tools::{
        StandardTools,
        fs::Workspace,
        git::{Git, GitCredential, GitCredentials, GitIdentity, GitOptions},
        http::{HttpAllow, HttpClient},
        mcp::{McpReport, McpSource},
        net::{GuardedClient, NetLimits, Reach},
        web::{Web, WebOptions},
    },
};
use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use crate::config::ShellAccess;
use crate::config::{Access, Config};

/// How the guarded client and robots.txt know this program.
const AGENT: &str = concat!("agent-runner/", env!("CARGO_PKG_VERSION"));

/// Longest time that sources get to end.
const LEAVE: Duration = Duration::from_secs(12);

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
    if let Some(git) = git(config, workspace)? {
        tools = tools.with_git(&git);
    }
    #[cfg(target_os = "linux")]
    if let Some(shell) = shell(config, workspace)? {
        tools = tools.with_shell(shell);
    }
    Ok(tools.into_tools())
}

/// The sources of tools that come and go.
pub(crate) fn sources(config: &Config) -> anyhow::Result<Vec<Arc<McpSource>>> {
    let servers = config.outside.mcp_servers.iter();
    servers
        .map(|(server, place)| McpSource::new(server.clone()).with_context(|| place.clone()))
        .collect()
}

/// Keeps the connections of sources until it is dropped or shut down.
#[derive(Debug)]
pub(crate) struct Connections {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    sources: Vec<Arc<McpSource>>,
}

impl Connections {
    /// Connects to all of them, and connects again when a connection ends.
    pub(crate) fn keep(sources: Vec<Arc<McpSource>>) -> Self {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for source in &sources {
            tasks.spawn(Arc::clone(source).run(stop.child_token()));
        }
        Self { stop, tasks, sources }
    }

    /// Waits until every source is there or known to be away, but not longer than this.
    pub(crate) async fn settle(&self, longest: Duration) {
        let known = |report: &McpReport| report.status != SourceStatus::Connecting;
        let all = self.sources.iter().map(|source| source.wait_until(known));
        let _ = tokio::time::timeout(longest, futures::future::join_all(all)).await;
    }

    /// Ends the connections, and the programs behind them.
    pub(crate) async fn shutdown(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(LEAVE, async { while self.tasks.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            tracing::warn!("an MCP server did not let go in time");
        }
    }
}

/// How far a guard reaches; `None` when nothing is asked at all.
fn reach(access: Access, listed: &HttpAllow) -> Option<Reach> {
    match access {
        Access::Open => Some(Reach::Open(listed.clone())),
        Access::Listed => Some(Reach::Closed(listed.clone())),
        Access::Off => None,
    }
}

/// Git repositories; `None` when there are none.
fn git(config: &Config, workspace: &Workspace) -> anyhow::Result<Option<Git>> {
    let Some(reach) = reach(config.git, &config.git_allow) else { return Ok(None) };
    let mut credentials = GitCredentials::default();
    for login in &config.outside.git_logins {
        let credential = GitCredential::new(&login.host, &login.username, login.secret.clone());
        credentials = credentials.with(&login.name, credential.context(login.place.clone())?);
    }
    let identity = GitIdentity::new(&config.git_name, &config.git_email);
    let options = GitOptions::new(reach)
        .credentials(credentials)
        .identity(identity.context("git_name, git_email")?);
    Ok(Some(Git::new(workspace.clone(), Arc::new(SystemClock), options)?))
}

/// The part of the web that agents reach; `None` when there is none.
fn web(config: &Config) -> anyhow::Result<Option<Web>> {
    let Some(reach) = reach(config.web, &config.web_allow) else { return Ok(None) };
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
