//! The bundled server and command line of agent-runner: the only part that reads the environment,
//! and an example of how a program puts the engine, its parts and the REST service together.

mod args;
mod assemble;
mod bundle;
mod choice;
mod config;
mod doctor;
mod hands;
mod json;
mod logging;
mod migrate;
mod providers;
mod replay;
mod run;
mod runs;
mod serve;
mod settings;
mod signal;
mod terminal;
mod view;

use std::{collections::BTreeMap, ffi::OsString, io, path::PathBuf, process::ExitCode};

use args::{Action, Cli};
use config::{Config, ConfigError, Inputs};
use terminal::{Terminal, Tone};

/// Exit code for wrong usage or configuration, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Programs of agents are supervised and confined by this program, started again.
    #[cfg(target_os = "linux")]
    if let Some(code) = agent_runner::tools::shell::run_launcher_if_asked() {
        return code;
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(start()),
        Err(error) => {
            Terminal::new(true)
                .note(Tone::Bad, &format!("error: no threads to work with: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn start() -> ExitCode {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let no_colour = environment.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    let terminal = Terminal::new(no_colour);
    let (cli, flags) = match args::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match Box::pin(act(cli, flags, environment, terminal)).await {
        Ok(code) => code,
        Err(error) if closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.note(Tone::Bad, &format!("error: {}", said(&error)));
            let code = if error.is::<ConfigError>() { USAGE } else { 1 };
            ExitCode::from(code)
        }
    }
}

async fn act(
    cli: Cli,
    flags: BTreeMap<&'static str, String>,
    environment: Vec<(OsString, OsString)>,
    terminal: Terminal,
) -> anyhow::Result<ExitCode> {
    let directory = PathBuf::from(".");
    let config = match Config::load(&Inputs { flags, environment, file: cli.config, directory }) {
        Ok(config) => config,
        Err(error) => match cli.command {
            Action::Doctor(args) => return doctor::misconfigured(&error, args, terminal),
            _ => return Err(error.into()),
        },
    };
    // rmcp tells of each handshake; what became of it is in our own words.
    let level = if matches!(cli.command, Action::Serve) { "info,rmcp=warn" } else { "warn" };
    logging::start(&config, level, terminal.colour());
    match cli.command {
        Action::Serve => serve::serve(&config, terminal).await,
        Action::Run(args) => run::run(&config, args, terminal).await,
        Action::Runs(action) => runs::runs(&config, action, terminal).await,
        Action::Replay(args) => replay::replay(&config, args, terminal).await,
        Action::Export(args) => bundle::export(&config, args, terminal).await,
        Action::Import(args) => bundle::import(&config, args, terminal).await,
        Action::Migrate(args) => migrate::migrate(&config, args, terminal).await,
        Action::Doctor(args) => doctor::doctor(&config, args, terminal).await,
        Action::Config(args) => settings::print(&config, args, terminal),
    }
}

/// An error and its causes, each said once: some errors repeat their cause, others leave it out.
fn said(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// Whether the reader of our output went away, as `head` does: the end, and no failure.
fn closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let full = io::Error::other("the disk is full");
        let error =
            anyhow::Error::new(full).context("cannot write: the disk is full").context("no");
        assert_eq!(said(&error), "no: cannot write: the disk is full");
    }
}
