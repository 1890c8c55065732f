//! `agent-runner config`: every setting and where it comes from.

use std::process::ExitCode;

use agent_runner::tools::mcp::McpTransport;
use serde_json::{Map, Value, json};

use crate::{
    args::JsonArgs,
    config::{Config, SETTINGS},
    terminal::Terminal,
};

/// Prints the settings and the endpoints; secrets as `[set]`.
pub(crate) fn print(
    config: &Config,
    args: JsonArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let shown = |key| {
        let (value, source) = config.given.shown(key)?;
        Some((value.to_owned(), source.to_string()))
    };
    let settings =
        SETTINGS.iter().filter_map(|setting| Some((setting.key.to_owned(), shown(setting.key)?)));
    let endpoints = config.endpoints.iter().map(|endpoint| {
        let value = format!("{}, {}", endpoint.kind.as_str(), endpoint.key);
        (format!("providers.{}", endpoint.name), (value, endpoint.source()))
    });
    let servers = config.outside.mcp_servers.iter().map(|(server, place)| {
        let value = match &server.transport {
            McpTransport::Stdio { program, .. } => program.clone(),
            McpTransport::Http { url, .. } => url.clone(),
        };
        (format!("mcp_servers.{}", server.name), (value, place.clone()))
    });
    let logins = config.outside.git_logins.iter().map(|login| {
        let value = format!("{} at {}, password [set]", login.username, login.host);
        (format!("git_credentials.{}", login.name), (value, login.place.clone()))
    });
    let all = settings.chain(endpoints).chain(servers).chain(logins);
    if args.json {
        let object: Map<String, Value> = all
            .map(|(name, (value, source))| (name, json!({"value": value, "source": source})))
            .collect();
        terminal.json(&object)?;
    } else {
        let rows: Vec<[String; 3]> =
            all.map(|(name, (value, source))| [name, value, source]).collect();
        terminal.table(["SETTING", "VALUE", "SOURCE"], &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}
