//! The process that becomes the program.

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
};

use landlock::PathFd;
use rustix::{
    fd::OwnedFd,
    fs::{CWD, Mode, OFlags, openat},
    process::{Signal, fchdir, set_parent_process_death_signal},
};

use super::{
    confine,
    protocol::{self, Program, Refusal},
};

/// How readily the kernel ends programs when memory runs out, on its scale to 1,000: before the
/// server.
const FIRST_TO_END: &str = "800";

/// How much less of the processor programs get than the server when there is not enough of it.
const NICENESS: i32 = 5;

/// Becomes the program, or says why not.
pub(super) fn run() -> ExitCode {
    // Kept away from the program, which gets another standard input. That it closes tells the
    // supervisor that the program has begun.
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3);
    let refusal = protocol::read::<Program>(&mut io::stdin().lock())
        .map_err(Refusal::failed("reading what to run"))
        .and_then(|program| become_program(&program))
        .err();
    if let (Ok(report), Some(refusal)) = (report, refusal) {
        // When nobody listens any more, nobody needs to know.
        let _ = protocol::write(report, &refusal);
    }
    ExitCode::FAILURE
}

fn become_program(program: &Program) -> Result<std::convert::Infallible, Refusal> {
    let stdin = openat(CWD, &program.stdin, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Refusal::failed("standard input")(error.into()))?;
    rustix::stdio::dup2_stdin(stdin)
        .map_err(|error| Refusal::failed("standard input")(error.into()))?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Refusal::failed("supervision")(error.into()))?;
    // A process may always make itself more likely to be ended, and slower.
    let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_END);
    let _ = rustix::process::nice(NICENESS);
    let project = PathFd::new(".")
        .map_err(|error| Refusal::Failed(format!("the project's directory: {error}")))?;
    enter(&program.cwd)?;
    confine::give_up(program, project)?;
    let (name, arguments) = program.argv.split_first().ok_or(Refusal::NotInstalled)?;
    let error = Command::new(&program.file)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .exec();
    Err(Refusal::failed("starting the program")(error))
}

/// Changes to a directory of the project, one name at a time and never through a link.
fn enter(names: &[String]) -> Result<(), Refusal> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir: Option<OwnedFd> = None;
    for name in names {
        let name = Path::new(name);
        let next = match &dir {
            Some(dir) => openat(dir, name, flags, Mode::empty()),
            None => openat(CWD, name, flags, Mode::empty()),
        };
        dir = Some(next.map_err(|_| Refusal::Directory)?);
    }
    match dir {
        Some(dir) => fchdir(dir).map_err(|_| Refusal::Directory),
        None => Ok(()),
    }
}
