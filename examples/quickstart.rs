//! Embeds the engine: one file, one model, one run, watched until it ends.
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::sync::Arc;

use agent_runner::engine::{Engine, Frame, NewRun, WatchOptions};
use agent_runner::providers::{ScriptedProvider, SqliteOptions, SqliteStore};
use agent_runner::tools::fs::{FsLimits, Workspace};
use agent_runner::{event::EventBody, time::SystemClock, tools::StandardTools};
use futures::StreamExt as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let data = std::env::temp_dir().join("agent-runner-quickstart");
    let store = SqliteStore::open(SqliteOptions::new(data.join("runs.db"))).await?;
    let files = Workspace::open(&data.join("projects"), FsLimits::default())?;
    let tools = StandardTools::new(Arc::new(SystemClock)).with_files(&files).into_tools();
    let engine = Engine::builder(Arc::new(store.clone()))
        .provider(ScriptedProvider::demo()?)
        .tools(tools)
        .build()?;
    let working = engine.start();
    let run = engine.create_run(NewRun::new("Say hello and tell me the time")).await?.run;
    let mut frames = engine.watch(run.id, WatchOptions::default());
    while let Some(Frame::Event(event)) = frames.next().await.transpose()? {
        if let Some(body) = EventBody::from_event(&event)? {
            println!("{:>3} {}", event.seq, body.sentence());
        }
    }
    println!("{}", engine.run(run.id).await?.output.unwrap_or_default());
    working.shutdown(std::time::Duration::from_secs(5)).await;
    Ok(store.close().await?)
}
