//! The command line.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use agent_runner::{agent::ModelName, id::RunId, run::RunStatus};
use clap::{
    Arg, ArgMatches, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
};

use crate::config::{SETTINGS, Setting, Shape, duration};

/// Runs LLM agents that survive everything: link it, point it at a file, trust it.
#[derive(Debug, Parser)]
#[command(
    name = "agent-runner",
    version,
    arg_required_else_help = true,
    after_help = "Every setting is a flag too (`agent-runner serve --help`), an environment variable and a key of agent-runner.toml."
)]
pub(crate) struct Cli {
    /// Read this file instead of ./agent-runner.toml.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Action,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Serve the REST API and work on runs.
    Serve,
    /// Run an agent here and watch it; the exit code tells how it ended.
    ///
    /// Exit codes: 0 COMPLETED, 1 FAILED, 130 CANCELED, 2 wrong usage or configuration.
    /// Ctrl-C cancels the run; a second Ctrl-C leaves at once.
    Run(RunArgs),
    /// Look at runs and control them, with or without a server on the same database.
    #[command(subcommand)]
    Runs(RunsAction),
    /// Take a run's decisions again, from its journal alone: no model is asked, no tool called.
    ///
    /// Exit code 1 when a decision differs; the first one is named.
    Replay(OneRun),
    /// Write a run that has ended to a file, for `import` into another database.
    Export(ExportArgs),
    /// Take in a run that `export` wrote; all of it or nothing.
    Import(ImportArgs),
    /// Bring the database up to this version.
    Migrate(JsonArgs),
    /// Check configuration, database, directories and models. Exit code 1 when something fails.
    Doctor(JsonArgs),
    /// Print every setting, its value and where it comes from. Secrets are not printed.
    Config(JsonArgs),
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What the agent is to do.
    pub(crate) goal: String,
    /// The model.
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub(crate) model: Option<ModelName>,
    /// The project whose files the agent works on, by name; made when it is missing.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// The tools it may use, by name or pattern such as `files.*`. All unless given.
    #[arg(long, value_name = "TOOL,...", value_delimiter = ',')]
    pub(crate) tools: Option<Vec<String>>,
    /// Most model calls.
    #[arg(long, value_name = "N")]
    pub(crate) max_steps: Option<u32>,
    /// Most time, such as 5m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Print each event as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OneRun {
    /// Its id.
    pub(crate) id: RunId,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The run's id.
    pub(crate) id: RunId,
    /// Where to; standard output unless given.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What `import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What `export` wrote; `-` is standard input.
    pub(crate) file: PathBuf,
    /// The project that gets the run, by name. The default project unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `runs` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsAction {
    /// List runs, newest first.
    List(ListArgs),
    /// Show a run and its steps.
    Show(OneRun),
    /// Print the events of a run, then follow it until it ends.
    Tail(TailArgs),
    /// Ask a run to end.
    Cancel(CancelArgs),
    /// Let a run stand still at its next step boundary.
    Pause(OneRun),
    /// Let a paused run go on.
    Resume(OneRun),
    /// Delete a run that ended, with everything that belongs to it.
    Delete(OneRun),
}

/// What `runs list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only runs of this status; may be given several times.
    #[arg(long, value_parser = status, value_name = "STATUS", ignore_case = true)]
    pub(crate) status: Vec<RunStatus>,
    /// Only runs of the project of this name.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Only runs with this text in goal or name.
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500), value_name = "N")]
    pub(crate) limit: u16,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `runs tail` takes.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TailArgs {
    /// The run's id.
    pub(crate) id: RunId,
    /// Only events after this one.
    #[arg(long, default_value_t = 0, value_name = "EVENT")]
    pub(crate) after: u64,
    /// Print each event as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `runs cancel` takes.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The run's id.
    pub(crate) id: RunId,
    /// Why; kept with the run.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn status(text: &str) -> Result<RunStatus, String> {
    RunStatus::parse(&text.to_ascii_uppercase()).ok_or_else(|| {
        let all: Vec<&str> = RunStatus::ALL.iter().map(|status| status.as_str()).collect();
        format!("use one of {}", all.join(", "))
    })
}

/// The command with a flag for every setting.
fn command() -> Command {
    let flags = SETTINGS.iter().filter(|setting| setting.shape != Shape::Secret).map(flag);
    Cli::command().args(flags)
}

fn flag(setting: &Setting) -> Arg {
    let help = match setting.default {
        "" => format!("{} [env: {}]", setting.help.trim(), setting.env),
        default => format!("{} [env: {}] [default: {default}]", setting.help.trim(), setting.env),
    };
    let arg = Arg::new(setting.key)
        .long(setting.key.replace('_', "-"))
        .help(help)
        .help_heading("Settings")
        // Twenty flags in every `-h` would hide the command's own.
        .hide_short_help(true)
        .global(true);
    match setting.shape {
        Shape::Switch => arg
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Shape::Value | Shape::Secret => arg.value_name("VALUE"),
    }
}

/// Parses the command line: what to do, and the settings that were given as flags.
pub(crate) fn parse(
    line: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<(Cli, BTreeMap<&'static str, String>), clap::Error> {
    let matches = command().try_get_matches_from(line)?;
    let cli = Cli::from_arg_matches(&matches)?;
    // A global flag is known to the innermost command, wherever it stood.
    let mut innermost: &ArgMatches = &matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let given = SETTINGS.iter().filter(|setting| setting.shape != Shape::Secret).filter_map(|s| {
        let value = innermost.get_one::<String>(s.key)?;
        Some((s.key, value.clone()))
    });
    Ok((cli, given.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(Cli, BTreeMap<&'static str, String>), clap::Error> {
        parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_setting_is_a_flag_before_or_after_the_command() {
        for line in [
            "agent-runner serve --listen 127.0.0.1:1 --insecure-bind",
            "agent-runner --listen 127.0.0.1:1 --insecure-bind serve",
            "agent-runner --insecure-bind=true serve --listen=127.0.0.1:1",
        ] {
            let (_, flags) = parsed(line).unwrap();
            assert_eq!(flags["listen"], "127.0.0.1:1", "{line}");
            assert_eq!(flags["insecure_bind"], "true", "{line}");
            assert_eq!(flags.len(), 2, "{line}");
        }
    }

    #[test]
    fn a_secret_is_no_flag() {
        assert!(parsed("agent-runner serve --openai-api-key x").is_err());
    }

    #[test]
    fn a_wrong_id_status_or_duration_is_refused() {
        for line in [
            "agent-runner runs show 12",
            "agent-runner runs list --status DONE",
            "agent-runner run x --timeout 5",
            "agent-runner run x --model gpt",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
