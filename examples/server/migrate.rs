//! `agent-runner migrate`: brings the database up to this version.

use std::process::ExitCode;

use agent_runner::providers::{SqliteOptions, SqliteStore};
use serde_json::json;

use crate::{args::JsonArgs, config::Config, terminal::Terminal};

/// Applies what is missing, and says whether anything was.
pub(crate) async fn migrate(
    config: &Config,
    args: JsonArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let options = SqliteOptions::new(&config.database_url);
    let path = options.path()?;
    // Opening without leave to migrate works on a database that is up to date, and only there.
    let changed = match SqliteStore::open(options.clone().migrate(false)).await {
        Ok(store) => {
            store.close().await?;
            false
        }
        Err(_) => true,
    };
    let schema = SqliteStore::migrate_only(options).await?;
    if args.json {
        terminal.json(&json!({"database": path, "schema": schema, "changed": changed}))?;
    } else {
        let found = if changed { "is now up to date" } else { "was up to date" };
        terminal.line(&format!("{} {found}: schema {schema}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
