//! What a model asks for.

use std::{collections::BTreeMap, time::Duration};

use agent_runner_core::{
    project::ShellSettings,
    tool::{ToolCx, ToolError, ToolErrorKind},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    limits::{Confinement, ShellLimits},
    protocol::{Job, Program},
};
use crate::fs::RelPath;

/// Most arguments, the program's name included.
const ARGUMENTS_MAX: usize = 512;
/// Most bytes in all arguments; one of them may have as many as the kernel takes.
const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;
const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;
/// Longest name of a program.
const NAME_BYTES_MAX: usize = 100;
/// What the supervisor waits longer than the server.
const LATER: Duration = Duration::from_secs(30);

/// Arguments of `shell.run`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellArgs {
    /// The program's name without a path, then its arguments, one each: `["cargo", "test"]`. No
    /// shell reads them: no quotes, `|`, `>`, `&&`, `*` or `$NAME`.
    #[schemars(length(min = 1, max = 512))]
    argv: Vec<String>,
    /// The directory to run it in, relative to the project's directory. Left out: that one.
    cwd: Option<String>,
    /// Text for its standard input. Left out: none.
    stdin: Option<String>,
    /// Longest time in seconds; what runs then is stopped. Left out: what the project allows, 120 at
    /// most.
    #[schemars(range(min = 1))]
    timeout_seconds: Option<u64>,
}

/// A call that is allowed.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) job: Job,
    pub(super) cwd: Option<RelPath>,
    pub(super) stdin: String,
    pub(super) timeout: Duration,
    pub(super) network: bool,
}

fn invalid(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::InvalidArgs, said)
}

fn denied(said: impl Into<String>) -> ToolError {
    ToolError::new(ToolErrorKind::Denied, said)
}

impl ShellArgs {
    /// Checks the call against what the project and the operator allow.
    pub(super) fn check(self, cx: &ToolCx, limits: &ShellLimits) -> Result<Request, ToolError> {
        let settings = cx.settings.shell.as_ref().ok_or_else(|| {
            denied("this project runs no programs; its owner allows some in `settings.shell`")
        })?;
        check_program(&self.argv, settings)?;
        check_arguments(&self.argv)?;
        if settings.network && !limits.network {
            return Err(denied(
                "this project wants the network for its programs, which the server does not allow; \
                 tell the operator, or the owner of the project",
            ));
        }
        let stdin = self.stdin.unwrap_or_default();
        if stdin.len() > limits.stdin_bytes_max {
            let most = limits.stdin_bytes_max;
            return Err(ToolError::new(
                ToolErrorKind::TooLarge,
                format!("`stdin` has at most {most} bytes; write a file and name it instead"),
            ));
        }
        let cwd = match self.cwd.as_deref() {
            None | Some("" | ".") => None,
            Some(path) => Some(RelPath::parse(path)?),
        };
        let timeout = timeout(self.timeout_seconds, settings, limits)?;
        let network = settings.network;
        let program = program(self.argv, cwd.as_ref(), network, limits);
        let job = Job {
            program,
            path: limits.path.clone(),
            scratch: limits.scratch.clone(),
            grace_ms: u64::try_from(limits.grace.as_millis()).unwrap_or(u64::MAX),
            seconds_max: timeout.saturating_add(LATER).as_secs(),
            stdin_bytes: u64::try_from(stdin.len()).unwrap_or(u64::MAX),
        };
        Ok(Request { job, cwd, stdin, timeout, network })
    }
}

fn check_program(argv: &[String], settings: &ShellSettings) -> Result<(), ToolError> {
    let name = argv.first().map_or("", String::as_str);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(legal)
        && name.contains(|c: char| c != '.');
    let allowed = settings.programs.join("`, `");
    if !is_name {
        return Err(invalid(format!(
            "`argv` begins with the name of a program, without a path and without arguments; this \
             project has `{allowed}`"
        )));
    }
    if !settings.programs.iter().any(|program| program == name) {
        return Err(denied(format!(
            "this project does not run `{name}`; it has `{allowed}`, and its owner may allow others"
        ))
        .with_code("program_not_allowed"));
    }
    Ok(())
}

fn check_arguments(argv: &[String]) -> Result<(), ToolError> {
    if argv.len() > ARGUMENTS_MAX {
        return Err(invalid(format!("`argv` has at most {ARGUMENTS_MAX} parts")));
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err(invalid("an argument contains a NUL character, which no program can get"));
    }
    let total: usize = argv.iter().map(String::len).sum();
    if total > ARGUMENTS_BYTES_MAX || argv.iter().any(|one| one.len() > ARGUMENT_BYTES_MAX) {
        return Err(ToolError::new(
            ToolErrorKind::TooLarge,
            format!(
                "the arguments have at most {ARGUMENTS_BYTES_MAX} bytes, and one of them \
                 {ARGUMENT_BYTES_MAX}; use `stdin` or a file instead"
            ),
        ));
    }
    Ok(())
}

fn timeout(
    asked: Option<u64>,
    settings: &ShellSettings,
    limits: &ShellLimits,
) -> Result<Duration, ToolError> {
    let own = settings.timeout_seconds.map_or(limits.call_max, Duration::from_secs);
    let longest = own.min(limits.call_max);
    let most = longest.as_secs();
    match asked {
        None => Ok(limits.call.min(longest)),
        Some(seconds) if (1..=most).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        Some(_) => Err(invalid(format!("`timeout_seconds` is from 1 to {most} in this project"))),
    }
}

fn program(
    argv: Vec<String>,
    cwd: Option<&RelPath>,
    network: bool,
    limits: &ShellLimits,
) -> Program {
    let dirs: Vec<_> = limits.path.iter().map(|dir| dir.to_string_lossy()).collect();
    // The operator's own come later and may replace the language and the terminal.
    let mut environment = BTreeMap::from([
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("TERM".to_owned(), "dumb".to_owned()),
    ]);
    environment.extend(limits.environment.clone());
    environment.insert("PATH".to_owned(), dirs.join(":"));
    Program {
        argv,
        file: std::path::PathBuf::new(),
        cwd: cwd.iter().flat_map(|cwd| cwd.components()).map(str::to_owned).collect(),
        environment: environment.into_iter().collect(),
        stdin: std::path::PathBuf::new(),
        readable: limits.readable.iter().chain(&limits.path).cloned().collect(),
        writable: limits.writable.clone(),
        network,
        required: limits.confinement == Confinement::Required,
        cpu_seconds: limits.cpu.as_secs().max(1),
        memory_bytes_max: limits.memory_bytes_max,
        file_bytes_max: limits.file_bytes_max,
        open_files_max: limits.open_files_max,
        processes_max: limits.processes_max,
    }
}
