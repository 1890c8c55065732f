//! `agent-runner replay`: takes the decisions of a run again, from its journal alone.

use std::process::ExitCode;

use serde_json::json;

use crate::{
    args::OneRun,
    assemble,
    config::Config,
    terminal::{Terminal, Tone, printable},
};

/// Replays one run; fails when a decision does not come out again.
pub(crate) async fn replay(
    config: &Config,
    args: OneRun,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let store = assemble::store(config).await?;
    let engine = assemble::observer(&store)?;
    let replayed = engine.replay(args.id).await;
    store.close().await?;
    let replayed = replayed?;
    let differs = replayed.differs.as_ref();
    if args.json {
        terminal.json(&json!({
            "id": args.id,
            "status": replayed.status,
            "events": replayed.events,
            "decisions": replayed.decisions,
            "without_code": replayed.without_code,
            "differs": differs.map(|differs| json!({
                "event": differs.seq,
                "type": differs.kind,
                "journal": differs.journal,
                "program": differs.machine,
            })),
        }))?;
    } else {
        if let Some(workflow) = &replayed.without_code {
            let said = format!(
                "this program does not have the code of workflow {workflow}: only what the engine \
                 decided was replayed; call Engine::replay in the program that has it"
            );
            terminal.note(Tone::Loud, &said);
        }
        let done = format!("events {}, decisions {}", replayed.events, replayed.decisions);
        match differs {
            None => terminal.line(&format!("the same again: {done}, {}", replayed.status))?,
            Some(differs) => {
                terminal.line(&format!("the same until there: {done}"))?;
                terminal.note(Tone::Bad, &printable(&differs.to_string()));
            }
        }
    }
    Ok(if differs.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
