//! The program that starts programs.

use std::{ffi::OsStr, path::PathBuf, process::ExitCode};

use super::{start, supervise};

/// First argument of a supervisor.
pub(super) const SUPERVISOR: &str = "--agent-runner-shell-supervisor";
/// First argument of what becomes a program.
pub(super) const PROGRAM: &str = "--agent-runner-shell-program";
/// The running program, also when its file was replaced meanwhile.
pub(super) const SELF: &str = "/proc/self/exe";

/// Which program supervises and confines: one whose `main` begins with
/// [`run_launcher_if_asked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    pub(super) program: PathBuf,
}

impl Launcher {
    /// This program.
    #[must_use]
    pub fn this_program() -> Self {
        Self { program: PathBuf::from(SELF) }
    }

    /// Another program, such as `agent-runner-launcher`, by its absolute path.
    #[must_use]
    pub const fn program(program: PathBuf) -> Self {
        Self { program }
    }
}

/// Does the work of a launcher if this process was started to do it, and nothing otherwise. To be
/// called first in `main`, before threads are started; `main` then ends with the code that this
/// returns, if it returns one.
///
/// ```no_run
/// # use std::process::ExitCode;
/// fn main() -> ExitCode {
///     if let Some(code) = agent_runner_tools::shell::run_launcher_if_asked() {
///         return code;
///     }
///     // What the program does.
///     ExitCode::SUCCESS
/// }
/// ```
#[must_use]
pub fn run_launcher_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1)?;
    if asked == OsStr::new(SUPERVISOR) {
        Some(supervise::run())
    } else if asked == OsStr::new(PROGRAM) {
        Some(start::run())
    } else {
        None
    }
}
