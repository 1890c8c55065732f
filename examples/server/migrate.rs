//! `agent-runner migrate`: brings the database up to this version.

use std::process::ExitCode;

use agent_runner::providers::{SqliteOptions, SqliteStore};
use serde_json::json;

use crate::{args::JsonArgs, config::Config, terminal::Terminal};

/// Applies what is missing; says what the database is now.
pub(crate) async fn migrate(
    config: &Config,
    args: JsonArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let options = SqliteOptions::new(&config.database_url);
    let path = options.path()?;
    let schema = SqliteStore::migrate_only(options).await?;
    if args.json {
        terminal.json(&json!({"database": path, "schema": schema}))?;
    } else {
        terminal.line(&format!("{} has schema {schema}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
