//! Small files, written and read: the tools, the same through runs with their journal, and
//! `std::fs` doing the same work.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    Engine,
    agent::ModelName,
    engine::NewRun,
    id::{IdSource as _, ProjectId, StepKey, SystemIds},
    providers::{SqliteOptions, SqliteStore},
    run::RunStatus,
    testing::{ScriptedModel, Turn},
    time::SystemClock,
    tool::{Tool, ToolCx},
    tools::{
        StandardTools,
        fs::{FsLimits, Workspace},
    },
};
use serde_json::{Value, json};

use crate::{median, report};

/// Files of one round.
const FILES: u32 = 1_024;
/// Rounds; together 10,240 files.
const ROUNDS: usize = 10;
/// Bytes of a file.
const SIZE: usize = 1_024;
/// Calls of one reply of the model.
const CALLS: u32 = 8;
/// Replies with calls of one run.
const TURNS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);

fn content() -> String {
    "0123456789abcdef".repeat(SIZE / 16)
}

/// What the tools do, by hand: a new file beside it, on disk, then its name, on disk.
fn write_durably(directory: &Path, name: &str, content: &str) {
    let partial = directory.join(format!(".{name}.part"));
    let mut file = File::create(&partial).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.sync_all().unwrap();
    fs::rename(&partial, directory.join(name)).unwrap();
    File::open(directory).unwrap().sync_all().unwrap();
}

fn bare_writes(directory: &Path) -> Duration {
    let content = content();
    let began = Instant::now();
    for n in 0..FILES {
        write_durably(directory, &format!("f{n}"), &content);
    }
    began.elapsed()
}

fn bare_reads(directory: &Path) -> Duration {
    let began = Instant::now();
    for n in 0..FILES {
        assert_eq!(fs::read_to_string(directory.join(format!("f{n}"))).unwrap().len(), SIZE);
    }
    began.elapsed()
}

async fn calls(
    tool: &Arc<dyn Tool>,
    project: ProjectId,
    arguments: impl Fn(u32) -> Value,
) -> Duration {
    let began = Instant::now();
    for n in 0..FILES {
        let cx = ToolCx::new(project, StepKey::new("s"), "k");
        tool.call(arguments(n), &cx).await.unwrap();
    }
    began.elapsed()
}

/// The same through runs whose every call is journalled: 32 at once.
async fn runs(
    directory: &Path,
    workspace: &Workspace,
    call: fn(u32) -> (String, Value),
) -> Duration {
    let store = SqliteStore::open(SqliteOptions::new(directory.join("bench.db"))).await.unwrap();
    let turn = |turn| Turn::Tools((0..CALLS).map(|n| call(turn * CALLS + n)).collect());
    let turns: Vec<Turn> = (0..TURNS).map(turn).chain([Turn::text("done")]).collect();
    let engine = Engine::builder(Arc::new(store))
        .provider(ScriptedModel::new(turns))
        .default_model(ModelName::new("test", "model"))
        .tools(StandardTools::new(Arc::new(SystemClock)).with_files(workspace).into_tools())
        .build()
        .unwrap();
    let working = engine.start();
    let began = Instant::now();
    let callers = (0..FILES / (CALLS * TURNS)).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let run = engine.create_run(NewRun::new("x")).await.unwrap().run;
            let run = engine.join(run.id, PATIENCE).await.unwrap();
            assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let took = began.elapsed();
    working.shutdown(Duration::from_secs(5)).await;
    took
}

pub(crate) async fn run() {
    println!("files of {SIZE} bytes, one after the other");
    let directory = tempfile::tempdir().unwrap();
    let bare = directory.path().join("bare");
    fs::create_dir(&bare).unwrap();
    let mut limits = FsLimits::default();
    limits.project_files_max = 1_000_000;
    let workspace = Workspace::open(&directory.path().join("projects"), limits).unwrap();
    let tools = StandardTools::new(Arc::new(SystemClock)).with_files(&workspace).into_tools();
    let tool = |name: &str| tools.iter().find(|tool| tool.info().spec.name == name).unwrap();
    let project = ProjectId::from_uuid(SystemIds.next());
    let (mut ours, mut floor) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let content = content();
    for _ in 0..ROUNDS {
        floor.0.push(bare_writes(&bare));
        let write = |n| json!({"path": format!("f{n}"), "text": content});
        ours.0.push(calls(tool("files.write"), project, write).await);
        floor.1.push(bare_reads(&bare));
        ours.1.push(calls(tool("files.read"), project, |n| json!({"path": format!("f{n}")})).await);
    }
    let both = |times: &(Vec<Duration>, Vec<Duration>)| {
        let each = times.0.iter().zip(&times.1).map(|(a, b)| *a + *b);
        median(each.collect())
    };
    report("write and read, through the tools", both(&ours), both(&floor), FILES);
    report("  write", median(ours.0), median(floor.0.clone()), FILES);
    report("  read", median(ours.1), median(floor.1.clone()), FILES);
    let write: fn(u32) -> (String, Value) = |n| {
        let arguments = json!({"path": format!("f{n}"), "text": self::content()});
        ("files.write".to_owned(), arguments)
    };
    let read: fn(u32) -> (String, Value) =
        |n| ("files.read".to_owned(), json!({"path": format!("f{n}")}));
    let mut journalled = (Vec::new(), Vec::new());
    for n in 0..3 {
        let place = directory.path().join(format!("run{n}"));
        fs::create_dir(&place).unwrap();
        journalled.0.push(runs(&place, &workspace, write).await);
        journalled.1.push(runs(&place, &workspace, read).await);
    }
    println!("the same in 32 runs at once, {CALLS} calls a reply, every call journalled durably");
    report("write and read, through runs", both(&journalled), both(&floor), FILES);
    report("  write", median(journalled.0), median(floor.0), FILES);
    report("  read", median(journalled.1), median(floor.1), FILES);
}
