//! `shell.run`.

use std::{borrow::Cow, pin::pin, sync::Arc, time::Duration};

use agent_runner_core::{
    project::ProjectSettings,
    tool::{
        EffectPolicy, Footprint, KeptArtifact, NewArtifact, Risk, ToolCx, ToolError, ToolErrorKind,
        ToolOutput, TypedTool,
    },
};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::FusedFuture as _, stream};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc},
    time::Instant,
};

use super::{
    args::{Request, ShellArgs},
    launcher::Launcher,
    limits::{ShellLimits, ShellLimitsError},
    output::Output,
    protocol::End,
    watch::{Outcome, Running, Stop, refused},
};
use crate::fs::Workspace;

/// Pieces of a log on their way.
const LOG_PIECES: usize = 8;
/// How long the rest of a log may take to be kept after the program ended.
const LOG_REST: Duration = Duration::from_secs(20);
/// What the tool needs besides the time of the program.
const BESIDES: Duration = Duration::from_secs(60);
/// Longest time that a call waits for others to end.
const TURN: Duration = Duration::from_secs(30);
/// Most of the output that is told with an error, in bytes.
const TOLD_BYTES_MAX: usize = 2 * 1024;

/// Runs programs in projects that allow some.
#[derive(Debug, Clone)]
pub struct Shell {
    workspace: Workspace,
    limits: Arc<ShellLimits>,
    launcher: Launcher,
    permits: Arc<Semaphore>,
}

/// What a program did.
#[derive(Debug, Serialize)]
struct Ran {
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    duration_ms: u64,
    stdout: String,
    stderr: String,
    truncated: bool,
    /// The artifact that has all of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

impl Shell {
    /// The tool on the projects of `workspace`.
    ///
    /// # Errors
    /// Limits that make no sense.
    pub fn new(
        workspace: Workspace,
        limits: ShellLimits,
        launcher: Launcher,
    ) -> Result<Self, ShellLimitsError> {
        limits.check()?;
        let permits = Arc::new(Semaphore::new(limits.calls_max));
        Ok(Self { workspace, limits: Arc::new(limits), launcher, permits })
    }

    /// Waits until one program more may run.
    async fn turn(&self, cx: &ToolCx) -> Result<SemaphorePermit<'_>, ToolError> {
        let turn = tokio::time::timeout(TURN, self.permits.acquire());
        match cx.cancel.run_until_cancelled(turn).await {
            Some(Ok(Ok(permit))) => Ok(permit),
            Some(_) => {
                let said = "too many programs run at once; try again later";
                Err(ToolError::new(ToolErrorKind::RateLimited, said))
            }
            None => Err(ToolError::new(ToolErrorKind::Cancelled, "the program was not started")),
        }
    }

    /// The supervisor, and what its program must not say.
    async fn start(&self, request: &Request, cx: &ToolCx) -> Result<(Running, String), ToolError> {
        let dir = self.workspace.for_program(cx, request.cwd.clone()).await?;
        let running = Running::new(&self.launcher, &dir, self.limits.grace).map_err(|error| {
            let said = "the program's supervisor could not be started; tell the operator";
            ToolError::new(ToolErrorKind::Internal, said).with_source(error)
        })?;
        Ok((running, dir.hidden))
    }
}

/// Keeps what comes, if anything does.
async fn keep(cx: &ToolCx, mut pieces: mpsc::Receiver<Bytes>) -> Option<KeptArtifact> {
    let first = pieces.recv().await?;
    let rest = stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
    let new = NewArtifact {
        name: format!("shell/{}.log", log_name(cx.step.as_str())),
        kind: "log".to_owned(),
        media_type: "text/plain; charset=utf-8".to_owned(),
    };
    let content = stream::iter([first]).chain(rest).map(Ok).boxed();
    match cx.host.keep(new, content).await {
        Ok(kept) => Some(kept),
        Err(error) => {
            tracing::debug!(%error, "the output of a program is not kept");
            None
        }
    }
}

/// A step's name as the name of a file.
fn log_name(step: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    step.chars().take(200).map(|c| if legal(c) { c } else { '-' }).collect()
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGALRM => "SIGALRM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn note(end: End) -> Option<&'static str> {
    match end.signal {
        _ if end.survivors => Some("some of the processes that it started could not be ended"),
        Some(libc::SIGXCPU) => Some("it used more processor time than a program may"),
        Some(libc::SIGXFSZ) => Some("it wrote a file that is larger than a program may write"),
        Some(libc::SIGKILL) => Some("it was killed, perhaps because it used too much memory"),
        _ => None,
    }
}

/// The error for a program that did not end by itself.
fn stopped(outcome: Outcome, request: &Request, last: &str) -> ToolError {
    let program = request.job.program.argv.first().map_or("", String::as_str);
    let (kind, said, started, survivors) = match outcome {
        Outcome::Refused(refusal) => return refused(refusal, program),
        Outcome::Stopped { why: Stop::Cancelled, started, survivors } => {
            (ToolErrorKind::Cancelled, "the program was stopped".to_owned(), started, survivors)
        }
        Outcome::Stopped { why: Stop::Timeout, started, survivors } => {
            let seconds = request.timeout.as_secs();
            let said = format!(
                "`{program}` did not end within {seconds} s and was stopped; ask for more \
                 time with `timeout_seconds`, or do less at once"
            );
            (ToolErrorKind::Timeout, said, started, survivors)
        }
        Outcome::Lost { started: false } => {
            let said = "the program's supervisor does not listen; tell the operator";
            (ToolErrorKind::Internal, said.to_owned(), false, false)
        }
        Outcome::Ended(_) | Outcome::Lost { started: true } => {
            let said = "it is not known what became of the program; tell the operator";
            (ToolErrorKind::Indeterminate, said.to_owned(), true, true)
        }
    };
    let mut said = said;
    if survivors {
        said.push_str("; some of its processes may still run");
    }
    // What was got from the network must not come in without being marked.
    if !request.network && !last.is_empty() {
        said.push_str("; its last output was:\n");
        said.push_str(last);
    }
    let error = ToolError::new(kind, said);
    if started { error.may_have_run() } else { error }
}

/// The end of a text.
fn last(text: &str) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(TOLD_BYTES_MAX));
    text.get(from..).unwrap_or_default().trim_end()
}

impl TypedTool for Shell {
    const NAME: &'static str = "shell.run";
    // A program may do anything, and nobody can ask it what it did.
    const POLICY: EffectPolicy = EffectPolicy::AtMostOnce;
    type Args = ShellArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Runs a program in the project's directory and waits for its end: builds, tests, linters. \
         Only programs that the project allows. It can change files of the project only, it \
         usually has no network, and nothing that it starts goes on after it. An exit code other \
         than 0 is an answer, not an error of this tool."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.limits.call_max.saturating_add(BESIDES)
    }

    fn risk(&self) -> Risk {
        // Which project a call is for is not known here.
        if self.limits.network { Risk::Outward } else { Risk::Destructive }
    }

    fn footprint(&self, _args: &ShellArgs) -> Footprint {
        Footprint::none().writes("files")
    }

    fn available(&self, settings: &ProjectSettings) -> bool {
        settings.shell.as_ref().is_some_and(|shell| !shell.programs.is_empty())
    }

    async fn run(&self, args: ShellArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let request = args.check(cx, &self.limits)?;
        let _permit = self.turn(cx).await?;
        let began = Instant::now();
        let (running, hidden) = self.start(&request, cx).await?;
        let (pieces, kept) = mpsc::channel(LOG_PIECES);
        let log = (pieces, self.limits.log_bytes_max);
        let mut output = Output::new(cx, self.limits.shown_bytes_max, log, &hidden);
        let changed = Changed(&self.workspace, cx);
        let mut keeping = pin!(keep(cx, kept).fuse());
        let mut artifact = None;
        let outcome = {
            let mut at_work = pin!(running.run(&request, cx, &mut output));
            loop {
                tokio::select! {
                    outcome = &mut at_work => break outcome,
                    kept = &mut keeping => artifact = kept,
                }
            }
        };
        drop(changed);
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (stdout, stderr, truncated) = output.into_texts();
        let Outcome::Ended(end) = outcome else {
            let told = if stderr.trim().is_empty() { &stdout } else { &stderr };
            return Err(stopped(outcome, &request, last(told)));
        };
        if truncated && !keeping.is_terminated() {
            let rest = tokio::time::timeout(LOG_REST, keeping);
            artifact = cx.cancel.run_until_cancelled(rest).await.and_then(Result::ok).flatten();
        }
        let ran = Ran {
            exit_code: end.exit_code,
            signal: end.signal.map(signal_name),
            duration_ms,
            stdout,
            stderr,
            truncated,
            log: artifact.as_ref().map(|kept| kept.name.clone()),
            note: note(end),
        };
        let mut answer = ToolOutput::of(ran)?;
        if request.network {
            let program = request.job.program.argv.first().map_or("", String::as_str);
            answer = answer.untrusted(format!("program:{program}"));
        }
        Ok(artifact.into_iter().fold(answer, ToolOutput::with_artifact))
    }
}

/// What a program writes counts from its end on, however the call ends.
struct Changed<'a>(&'a Workspace, &'a ToolCx);

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.0.changed_by_program(self.1.project_id);
    }
}
