//! A program as the server sees it: from the start of its supervisor to the end of its output.

use std::{
    fmt, io,
    os::unix::net::UnixStream as StdUnixStream,
    pin::{Pin, pin},
    process::Stdio,
    time::Duration,
};

use agent_runner_core::tool::{ToolCx, ToolError, ToolErrorKind};
use rustix::fd::OwnedFd;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, ChildStderr, ChildStdout, Command},
    time::{Instant, Sleep},
};

use super::{
    args::Request,
    launcher::{Launcher, SUPERVISOR},
    output::{From, Output},
    protocol::{self, End, LINE_BYTES_MAX, Refusal, Report},
};
use crate::fs::ProgramDir;

/// Bytes taken from an output at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long the last output may take to come after everything ended.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a supervisor may take to end everything after the grace, and to tidy up.
const ENDING: Duration = Duration::from_secs(8);
const TIDYING: Duration = Duration::from_secs(2);

/// Why a program is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Cancelled,
    Timeout,
}

/// What became of a program.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It ended.
    Ended(End),
    /// It never started.
    Refused(Refusal),
    /// It was stopped; whether it may have started, and whether something of it may run on.
    Stopped { why: Stop, started: bool, survivors: bool },
    /// Its supervisor ended without a word; whether the program may have started.
    Lost { started: bool },
}

/// A program at work. Dropping it ends the program and all that it started.
pub(super) struct Running {
    child: Child,
    tell: OwnedWriteHalf,
    reports: Take<BufReader<OwnedReadHalf>>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    grace: Duration,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("child", &self.child).finish_non_exhaustive()
    }
}

impl Running {
    /// Starts a supervisor in the project's directory. It waits for what to do.
    pub(super) fn new(launcher: &Launcher, dir: &ProgramDir, grace: Duration) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = Command::new(&launcher.program)
            .arg(SUPERVISOR)
            .env_clear()
            // Found by the child while it still has the handle, so no path of the host is needed.
            .current_dir(&dir.handle)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (reports, tell) = UnixStream::from_std(ours)?.into_split();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reports = BufReader::new(reports).take(LINE_BYTES_MAX);
        Ok(Self { child, tell, reports, stdout, stderr, grace })
    }

    /// Runs the program to its end, or until it is stopped.
    pub(super) async fn run(
        mut self,
        request: &Request,
        cx: &ToolCx,
        output: &mut Output,
    ) -> Outcome {
        let mut stop = pin!(async {
            let cancelled = cx.cancel.cancelled();
            match tokio::time::timeout(request.timeout, cancelled).await {
                Ok(()) => Stop::Cancelled,
                Err(_elapsed) => Stop::Timeout,
            }
        });
        // A job that was not sent to its end is not done.
        tokio::select! {
            sent = self.send(request) => if sent.is_err() {
                return self.lost().await;
            },
            why = &mut stop => return Outcome::Stopped { why, started: false, survivors: false },
        }
        let outcome = self.follow(stop, output).await;
        // Whoever is not waited for is reaped by the runtime.
        let _ = tokio::time::timeout(TIDYING, self.child.wait()).await;
        outcome
    }

    async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.tell.write_all(&protocol::line(&request.job)?).await?;
        self.tell.write_all(request.stdin.as_bytes()).await
    }

    /// What a supervisor said that does not listen.
    async fn lost(&mut self) -> Outcome {
        match tokio::time::timeout(DRAIN, report(&mut self.reports)).await {
            Ok(Some(Report::Refused(refusal))) => Outcome::Refused(refusal),
            _ => Outcome::Lost { started: false },
        }
    }

    async fn follow(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = Stop>>,
        output: &mut Output,
    ) -> Outcome {
        let mut chunks = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
        let mut stopped = None;
        let mut said: Option<Result<End, Refusal>> = None;
        let mut patience: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep(Duration::MAX));
        let mut listening = true;
        while listening || self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                read = next(&mut self.stdout, &mut chunks.0), if self.stdout.is_some() => {
                    output.take(From::Out, chunks.0.get(..read).unwrap_or_default()).await;
                }
                read = next(&mut self.stderr, &mut chunks.1), if self.stderr.is_some() => {
                    output.take(From::Err, chunks.1.get(..read).unwrap_or_default()).await;
                }
                report = report(&mut self.reports), if listening => match report {
                    Some(Report::Started) => {}
                    Some(Report::Ended(end)) => said = Some(Ok(end)),
                    Some(Report::Refused(refusal)) => said = Some(Err(refusal)),
                    // All was said, or nothing will be.
                    None => {
                        listening = false;
                        patience.as_mut().reset(Instant::now() + DRAIN);
                    }
                },
                why = &mut stop, if stopped.is_none() && said.is_none() => {
                    stopped = Some(why);
                    // The supervisor takes the end of the conversation as the word to end.
                    let _ = self.tell.shutdown().await;
                    patience.as_mut().reset(Instant::now() + self.grace + ENDING);
                }
                () = &mut patience => break,
            }
            if said.is_some() && listening {
                listening = false;
                patience.as_mut().reset(Instant::now() + DRAIN);
            }
        }
        match (said, stopped) {
            (Some(Err(refusal)), _) => Outcome::Refused(refusal),
            (Some(Ok(end)), None) => Outcome::Ended(end),
            (Some(Ok(end)), Some(why)) => {
                Outcome::Stopped { why, started: true, survivors: end.survivors }
            }
            (None, Some(why)) => Outcome::Stopped { why, started: true, survivors: true },
            (None, None) => Outcome::Lost { started: true },
        }
    }
}

/// The next bytes of an output; none when it is at its end, which closes it.
async fn next(from: &mut Option<impl AsyncRead + Unpin>, chunk: &mut [u8]) -> usize {
    let Some(open) = from else { return 0 };
    let read = open.read(chunk).await.unwrap_or_default();
    if read == 0 {
        *from = None;
    }
    read
}

/// The next thing that the supervisor says. May be dropped: its lines are short, and come in one
/// piece.
async fn report(from: &mut Take<BufReader<OwnedReadHalf>>) -> Option<Report> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).await.ok()?;
    serde_json::from_slice(&line).ok()
}

/// What a program that was not started, or not to its end, is to the caller.
pub(super) fn refused(refusal: Refusal, program: &str) -> ToolError {
    match refusal {
        Refusal::NotInstalled => ToolError::new(
            ToolErrorKind::NotFound,
            format!("`{program}` is allowed here but not installed on the server"),
        ),
        Refusal::Unconfined(missing) => ToolError::new(
            ToolErrorKind::Denied,
            format!(
                "the server cannot confine programs and so starts none; tell the operator that \
                 it lacks: {}",
                missing.join(", ")
            ),
        )
        .with_code("cannot_confine"),
        Refusal::Directory => ToolError::new(
            ToolErrorKind::Denied,
            "`cwd` is not a directory of the project any more, or goes through a link",
        )
        .with_code("path_escape"),
        Refusal::Failed(what) => ToolError::new(
            ToolErrorKind::Internal,
            "the program could not be started; tell the operator",
        )
        .with_source(io::Error::other(what)),
    }
}
