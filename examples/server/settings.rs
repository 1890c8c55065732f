//! `agent-runner config`: every setting and where it comes from.

use std::process::ExitCode;

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
    let all = settings.chain(endpoints);
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
