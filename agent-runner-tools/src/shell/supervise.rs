//! The process that watches over a program and all that it starts.
//!
//! It lives as long as the server keeps its end of the socket open: when the server is done with
//! the call, or dies, it ends everything.

use std::{
    fs::{self, DirBuilder},
    io::{self, Read as _},
    os::unix::{
        fs::DirBuilderExt as _, fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, getpid, pidfd_open, set_child_subreaper, setsid},
};

use super::{
    end::Descendants,
    inherited,
    launcher::{PROGRAM, SELF},
    protocol::{self, End, Job, Refusal, Report},
};

/// How often orphans are reaped while the program runs.
const TICK: Duration = Duration::from_millis(250);
/// How long a process may take to become the program.
const START: Duration = Duration::from_secs(10);
/// Names that are tried for the private directory.
const NAMES_MAX: u32 = 100;
/// Entries of the private directory that are made removable.
const MENDED_MAX: usize = 100_000;

/// Does what the server asks for over the standard input.
pub(super) fn run() -> ExitCode {
    inherited::close();
    let mut private = None;
    let report = match supervise(&mut private) {
        Ok(end) => Report::Ended(end),
        Err(refusal) => Report::Refused(refusal),
    };
    // When the server is gone, nobody needs to know.
    let _ = protocol::write(io::stdin(), &report);
    // The server need not wait for what follows.
    if let Ok(null) = fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    if let Some(private) = private {
        remove(&private);
    }
    ExitCode::SUCCESS
}

fn supervise(made: &mut Option<PathBuf>) -> Result<End, Refusal> {
    // Away from the terminal: what is pressed there is for the server.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))
        .map_err(|error| Refusal::failed("supervision")(error.into()))?;
    let mut job = protocol::read::<Job>(&mut io::stdin().lock())
        .map_err(Refusal::failed("reading the job"))?;
    let private = make_private(&job.scratch).map_err(Refusal::failed("a private directory"))?;
    let private = made.insert(private);
    prepare(&mut job, private)?;
    let mut descendants = Descendants::new();
    let main = start(&job).inspect_err(|_| {
        descendants.end(Duration::ZERO);
    })?;
    descendants.watch(main);
    if let Err(error) = protocol::write(io::stdin(), &Report::Started) {
        descendants.end(Duration::ZERO);
        return Err(Refusal::failed("telling the server")(error));
    }
    watch(&mut descendants, main, Duration::from_secs(job.seconds_max));
    let ended = descendants.end(Duration::from_millis(job.grace_ms));
    let status = descendants.status();
    Ok(End {
        exit_code: status.and_then(|status| status.exit_status()),
        signal: status.and_then(|status| status.terminating_signal()),
        survivors: !ended,
    })
}

fn make_private(scratch: &Path) -> io::Result<PathBuf> {
    let pid = getpid().as_raw_pid();
    let mut tried = 0;
    loop {
        let path = scratch.join(format!("agent-runner-{pid}-{tried}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < NAMES_MAX => {
                tried += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Finds the program, and puts its private directory and its standard input in place.
fn prepare(job: &mut Job, private: &Path) -> Result<(), Refusal> {
    let name = job.program.argv.first().ok_or(Refusal::NotInstalled)?;
    job.program.file = find(&job.path, name).ok_or(Refusal::NotInstalled)?;
    job.program.stdin = PathBuf::from("/dev/null");
    for (variable, name) in [("HOME", "home"), ("TMPDIR", "tmp")] {
        let dir = private.join(name);
        DirBuilder::new().mode(0o700).create(&dir).map_err(Refusal::failed("a directory"))?;
        job.program.environment.push((variable.to_owned(), dir.to_string_lossy().into_owned()));
        job.program.writable.push(dir);
    }
    if job.stdin_bytes > 0 {
        let path = private.join("stdin");
        let mut file = fs::File::create_new(&path).map_err(Refusal::failed("standard input"))?;
        let copied = io::copy(&mut io::stdin().lock().take(job.stdin_bytes), &mut file)
            .map_err(Refusal::failed("standard input"))?;
        if copied < job.stdin_bytes {
            return Err(Refusal::Failed("the server went away".to_owned()));
        }
        job.program.stdin = path;
    }
    Ok(())
}

fn find(path: &[PathBuf], name: &str) -> Option<PathBuf> {
    let runs = |file: &PathBuf| {
        let metadata = fs::metadata(file);
        metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    path.iter().map(|dir| dir.join(name)).find(runs)
}

/// Starts the process that becomes the program, and waits until it did.
fn start(job: &Job) -> Result<Pid, Refusal> {
    let failed = Refusal::failed;
    let (ours, theirs) = UnixStream::pair().map_err(failed("a socket"))?;
    let child = Command::new(SELF)
        .arg(PROGRAM)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failed("starting the launcher"))?;
    protocol::write(&ours, &job.program).map_err(failed("telling the launcher"))?;
    ours.set_read_timeout(Some(START)).map_err(failed("a socket"))?;
    let mut said = Vec::new();
    (&ours)
        .take(protocol::LINE_BYTES_MAX)
        .read_to_end(&mut said)
        .map_err(failed("waiting for the launcher"))?;
    if said.is_empty() {
        return Ok(Pid::from_child(&child));
    }
    Err(serde_json::from_slice(&said)
        .unwrap_or_else(|_| Refusal::Failed("the launcher cannot be understood".to_owned())))
}

/// Waits until the program ends or the server wants it no more.
fn watch(descendants: &mut Descendants, main: Pid, longest: Duration) {
    let began = Instant::now();
    let pidfd = pidfd_open(main, PidfdFlags::empty()).ok();
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    let server = io::stdin();
    while began.elapsed() < longest {
        descendants.reap();
        if descendants.status().is_some() {
            return;
        }
        // Nothing follows the job: what can be read is the end.
        let mut watched = vec![PollFd::new(&server, PollFlags::IN)];
        watched.extend(pidfd.iter().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        let _ = poll(&mut watched, Some(&tick));
        if watched.first().is_some_and(|server| !server.revents().is_empty()) {
            return;
        }
    }
}

/// Removes a directory, also if a program took its own rights to it away, as some caches do.
fn remove(private: &Path) {
    if fs::remove_dir_all(private).is_ok() {
        return;
    }
    let mut dirs = vec![private.to_owned()];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MENDED_MAX {
                return;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
        }
    }
    // What is left after this is the operator's to look at.
    let _ = fs::remove_dir_all(private);
}
