//! The promise, shown: a process is killed in the middle of a run, and another one finishes it
//! without doing again what was done.
//!
//! The program starts itself as a child that begins a run of six steps, kills it (SIGKILL: no
//! handler, no cleanup) after the third, and goes on with the same database. Every effect leaves a
//! line in a ledger, with the process that had it.

#![expect(
    clippy::disallowed_methods,
    reason = "the example kills itself, and looks at its own files"
)]
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::{
    borrow::Cow,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use agent_runner::{
    agent::ModelName,
    engine::{Engine, EngineOptions, Frame, NewRun, WatchOptions},
    event::EventBody,
    id::RunId,
    providers::{ScriptedProvider, SqliteOptions, SqliteStore},
    tool::{EffectPolicy, ToolCx, ToolError, ToolErrorKind, Typed, TypedTool},
};
use anyhow::Context as _;
use futures::StreamExt as _;
use schemars::JsonSchema;
use serde::Deserialize;

/// Steps that the run does.
const STEPS: usize = 6;
/// Steps that the child gets to complete.
const KILL_AFTER: usize = 3;

/// Has an effect outside the database: a line in a file.
#[derive(Debug)]
struct Work {
    ledger: PathBuf,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkArgs {
    /// Which piece of work.
    piece: u32,
}

impl Work {
    /// Writes the line, unless this very step wrote it before.
    fn record(&self, piece: u32, cx: &ToolCx) -> std::io::Result<()> {
        let known = fs::read_to_string(&self.ledger).unwrap_or_default();
        if known.lines().any(|line| line.ends_with(&cx.idempotency_key)) {
            return Ok(());
        }
        let mut ledger = fs::File::options().create(true).append(true).open(&self.ledger)?;
        writeln!(ledger, "piece {piece} by process {} {}", std::process::id(), cx.idempotency_key)?;
        ledger.sync_all()
    }
}

impl TypedTool for Work {
    const NAME: &'static str = "work";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = WorkArgs;
    type Output = String;

    fn description(&self) -> Cow<'_, str> {
        "Does a piece of work.".into()
    }

    async fn run(&self, args: WorkArgs, cx: &ToolCx) -> Result<String, ToolError> {
        match self.record(args.piece, cx) {
            Ok(()) => Ok(format!("piece {} is done", args.piece)),
            Err(error) => Err(ToolError::new(ToolErrorKind::Internal, "the ledger is broken")
                .may_have_run()
                .with_source(error)),
        }
    }
}

/// A model that asks for one piece of work after the other.
fn model() -> anyhow::Result<ScriptedProvider> {
    let mut script = String::from("models:\n  worker:\n    delay_ms: 100\n    turns:\n");
    for piece in 1..=STEPS {
        script += &format!("      - tool_calls: [{{name: work, arguments: {{piece: {piece}}}}}]\n");
    }
    script += "      - text: \"All pieces are done.\"\n";
    Ok(ScriptedProvider::from_yaml(&script)?)
}

async fn open(directory: &Path) -> anyhow::Result<(SqliteStore, Engine)> {
    let store = SqliteStore::open(SqliteOptions::new(directory.join("runs.db"))).await?;
    let options = EngineOptions {
        default_model: ModelName::new("scripted", "worker"),
        // How long the dead process keeps its run. Short, because you are watching.
        lease_ttl: Duration::from_secs(1),
        ..EngineOptions::default()
    };
    let engine = Engine::builder(Arc::new(store.clone()))
        .options(options)
        .provider(model()?)
        .tool(Typed::new(Work { ledger: directory.join("ledger.txt") }))
        .build()?;
    Ok((store, engine))
}

/// The process that dies: says the run's id, then every tool call that is durably done.
async fn child(directory: &Path) -> anyhow::Result<()> {
    let (_store, engine) = open(directory).await?;
    let _working = engine.start();
    let run = engine.create_run(NewRun::new("Do all pieces of work")).await?.run;
    println!("{}", run.id);
    let mut frames = engine.watch(run.id, WatchOptions::default());
    while let Some(Frame::Event(event)) = frames.next().await.transpose()? {
        if let Some(EventBody::ToolCompleted { step, .. }) = EventBody::from_event(&event)? {
            println!("{step}");
        }
    }
    Ok(())
}

/// Starts the child and kills it when it has done enough; the run it leaves behind.
fn start_and_kill(directory: &Path) -> anyhow::Result<RunId> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the child")?;
    println!("process {} begins the run", child.id());
    let output = child.stdout.take().context("the child says nothing")?;
    let mut lines = BufReader::new(output).lines();
    let id = lines.next().context("the child ended at once")??.parse()?;
    for line in lines.take(KILL_AFTER) {
        println!("  {} is done", line?);
    }
    child.kill()?;
    let status = child.wait()?;
    println!("killed: {status}\n");
    Ok(id)
}

/// Finishes what the dead process began, and shows the ledger.
async fn parent() -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("agent-runner-crash-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let id = start_and_kill(&directory)?;

    println!("process {} opens the same database", std::process::id());
    let (store, engine) = open(&directory).await?;
    let working = engine.start();
    let run = engine.join(id, Duration::from_secs(30)).await?;
    println!("the run is {}: {}\n", run.status, run.output.unwrap_or_default());
    working.shutdown(Duration::from_secs(5)).await;
    store.close().await?;

    let ledger = fs::read_to_string(directory.join("ledger.txt"))?;
    let mut keys: Vec<&str> = Vec::new();
    for line in ledger.lines() {
        let (what, key) = line.rsplit_once(' ').context("a broken line in the ledger")?;
        println!("  {what}");
        keys.push(key);
    }
    keys.sort_unstable();
    keys.dedup();
    anyhow::ensure!(
        keys.len() == STEPS && ledger.lines().count() == STEPS,
        "a piece of work was lost or done twice"
    );
    println!("{STEPS} pieces of work, each done once");
    fs::remove_dir_all(&directory)?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match std::env::args_os().nth(1) {
        Some(directory) => child(Path::new(&directory)).await,
        None => parent().await,
    }
}
