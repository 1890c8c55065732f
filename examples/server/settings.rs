//! `agent-runner config`: every setting and where it comes from.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::{
    args::JsonArgs,
    config::{Config, SETTINGS},
    terminal::Terminal,
};

/// Prints the settings; secrets as `[set]`.
pub(crate) fn print(
    config: &Config,
    args: JsonArgs,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let shown = |key| {
        let (value, source) = config.given.shown(key)?;
        Some((value.to_owned(), source.to_string()))
    };
    let all = SETTINGS.iter().filter_map(|setting| Some((setting, shown(setting.key)?)));
    if args.json {
        let object: Map<String, Value> = all
            .map(|(setting, (value, source))| {
                (setting.key.to_owned(), json!({"value": value, "source": source}))
            })
            .collect();
        terminal.json(&object)?;
    } else {
        let rows: Vec<[String; 3]> =
            all.map(|(setting, (value, source))| [setting.key.to_owned(), value, source]).collect();
        terminal.table(["SETTING", "VALUE", "SOURCE"], &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}
