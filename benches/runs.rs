//! Durable agent runs per second, beside two floors measured in the same process: the same model
//! and tool calls with nothing else, and the store alone.
//!
//! One run is 4 model calls and 3 tool calls, all in process and without latency, so that what is
//! left is the engine and the disk. `cargo bench --features server,testing --bench runs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a program that measures and prints"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    Engine,
    agent::ModelName,
    engine::{EngineOptions, NewRun},
    event::{EventBody, NewEvent},
    id::{IdSource as _, StepKey, SystemIds, WorkerId},
    llm::{CallCx, LlmProviderExt as _, LlmRequest},
    message::{Message, Role},
    providers::{SqliteOptions, SqliteStore},
    run::RunStatus,
    step::EffectPolicy,
    store::{Batch, Expect, Store},
    testing::{LedgerTool, ScriptedModel, Turn, tool_contract},
    tool::Tool as _,
};
use serde_json::json;

const RUNS: usize = 1_000;
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);

fn model() -> ScriptedModel {
    let call = || Turn::tool("ledger", json!({"n": 1}));
    ScriptedModel::new([call(), call(), call(), Turn::text("done")])
}

async fn store(directory: &std::path::Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::new(directory.join("bench.db"))).await.unwrap()
}

/// The calls of one run and nothing else.
async fn bare(model: &ScriptedModel, tool: &LedgerTool) {
    let mut messages = vec![Message::text(Role::User, "x")];
    for n in 0..4 {
        let request = LlmRequest::new("model", messages.clone());
        let reply = model.complete(&request, &CallCx::new("k")).await.unwrap();
        messages.push(reply.message);
        if n < 3 {
            tool.call(json!({"n": 1}), &tool_contract::cx("turn.1.tool.1")).await.unwrap();
        }
    }
}

/// Appends per second of the store alone, 32 runs at once, one event each time.
async fn appends(directory: &std::path::Path) -> f64 {
    let store = Arc::new(store(directory).await);
    let engine = Engine::builder(Arc::clone(&store) as Arc<dyn Store>).build().unwrap();
    let worker = WorkerId::from_uuid(SystemIds.next());
    let mut runs = Vec::new();
    for _ in 0..AT_ONCE {
        engine.create_run(NewRun::new("x")).await.unwrap();
    }
    while runs.len() < AT_ONCE {
        runs.extend(store.claim(worker, AT_ONCE).await.unwrap());
    }
    const EACH: usize = 200;
    let began = Instant::now();
    let writers = runs.into_iter().map(|run| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..EACH {
                let body = EventBody::StepSucceeded { step: StepKey::new("turn.1.model") };
                let event: NewEvent = body.into_new(run.created_at);
                let expect = Expect::Owner { worker, epoch: run.epoch, control: None };
                let mut batch = Batch::new(run.id, expect);
                batch.events.push(event);
                store.append(batch).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    (AT_ONCE * EACH) as f64 / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let began = Instant::now();
    for _ in 0..RUNS {
        bare(&model(), &tool).await;
    }
    let floor = RUNS as f64 / began.elapsed().as_secs_f64();

    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(store(directory.path()).await);
    let options = EngineOptions {
        default_model: ModelName::new("test", "model"),
        concurrency: AT_ONCE,
        ..EngineOptions::default()
    };
    let engine = Engine::builder(store)
        .provider(model())
        .tool(LedgerTool::new("ledger", EffectPolicy::Idempotent))
        .options(options)
        .build()
        .unwrap();
    let _handle = engine.start();

    let mut alone = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        let id = engine.create_run(NewRun::new("x")).await.unwrap().run.id;
        assert_eq!(engine.join(id, PATIENCE).await.unwrap().status, RunStatus::Completed);
        alone.push(began.elapsed());
    }
    alone.sort();

    let began = Instant::now();
    let callers = (0..AT_ONCE).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for _ in 0..RUNS / AT_ONCE {
                let id = engine.create_run(NewRun::new("x")).await.unwrap().run.id;
                let run = engine.join(id, PATIENCE).await.unwrap();
                assert_eq!(run.status, RunStatus::Completed);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let done = (RUNS / AT_ONCE * AT_ONCE) as f64;
    let durable = done / began.elapsed().as_secs_f64();
    let bench = tempfile::tempdir().unwrap();
    let appends = appends(bench.path()).await;

    println!("floor: the calls alone, one after the other   {floor:>10.0} runs/s");
    println!("floor: the store alone, 32 writers            {appends:>10.0} appends/s");
    println!(
        "durable, synchronous=FULL, one run alone      {:>10.2} ms (median)",
        alone[alone.len() / 2].as_secs_f64() * 1e3
    );
    println!("durable, synchronous=FULL, 32 at once         {durable:>10.0} runs/s");
    println!(
        "events per second of that                     {:>10.0} (31 a run), {:.2} x the store's floor",
        durable * 31.0,
        durable * 31.0 / appends
    );
}
