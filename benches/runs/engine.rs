//! An engine as a program embeds it: SQLite with `synchronous=FULL`, an OpenAI-compatible model over
//! HTTP, one tool, and the log that the server writes by default.

use std::{path::Path, sync::Arc, time::Duration};

use agent_runner::{
    Engine,
    agent::ModelName,
    engine::{EngineOptions, NewRun},
    providers::{OpenAiProvider, SqliteOptions, SqliteStore},
    run::{Run, RunStatus},
    store::Store,
    tool::{EffectPolicy, tool_fn},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub(crate) const GOAL: &str = "Add up the three measurements and say what follows for the valve.";
/// Longest time for a run to end.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Deserialize, JsonSchema)]
struct Terms {
    a: i64,
    b: i64,
}

/// A store as it is by default.
pub(crate) async fn store(directory: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(SqliteOptions::new(directory.join("bench.db"))).await.unwrap())
}

/// An engine whose model is at `url`.
pub(crate) fn engine(
    store: &Arc<SqliteStore>,
    url: &str,
    concurrency: usize,
    policy: EffectPolicy,
) -> Engine {
    let options = EngineOptions {
        default_model: ModelName::new("openai", "m"),
        concurrency,
        ..EngineOptions::default()
    };
    let add = tool_fn("add", "Adds two numbers.", policy, |terms: Terms, _cx| async move {
        Ok(json!({"sum": terms.a + terms.b}))
    });
    Engine::builder(Arc::clone(store) as Arc<dyn Store>)
        .provider(OpenAiProvider::new(url, Some("test".to_owned().into())).unwrap())
        .tool(add)
        .options(options)
        .build()
        .unwrap()
}

pub(crate) fn new_run() -> NewRun {
    NewRun { tools: Some(vec!["add".to_owned()]), ..NewRun::new(GOAL) }
}

/// One run from its acceptance to its end.
pub(crate) async fn one(engine: &Engine) -> Run {
    let id = engine.create_run(new_run()).await.unwrap().run.id;
    let run = engine.join(id, PATIENCE).await.unwrap();
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    run
}

/// Sends the log where the server sends it, to a file instead of the terminal.
pub(crate) fn log(directory: &Path) {
    let file = std::fs::File::create(directory.join("log")).unwrap();
    tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_ansi(false)
        .with_writer(Arc::new(file))
        .init();
}
