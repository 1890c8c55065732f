//! Starts and confines programs for [`shell`](agent_runner_tools::shell), for servers that do not
//! do it themselves.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Nobody but the shell tool starts this, and it always asks.
    run().unwrap_or(ExitCode::FAILURE)
}

#[cfg(target_os = "linux")]
fn run() -> Option<ExitCode> {
    agent_runner_tools::shell::run_launcher_if_asked()
}

#[cfg(not(target_os = "linux"))]
const fn run() -> Option<ExitCode> {
    None
}
