//! How soon a run with a long journal goes on.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    Engine,
    agent::ModelName,
    engine::{EngineOptions, NewRun},
    llm::{
        BoxStream, CallCx, Capabilities, LlmEvent, LlmFinished, LlmProvider, LlmRequest, ModelInfo,
        ProviderError, StopReason, Usage,
    },
    message::{Message, Part, Role, ToolCall},
    providers::{SqliteOptions, SqliteStore, Synchronous},
    store::Store,
    tool::{EffectPolicy, tool_fn},
};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;

use crate::{fill, percentile};

/// Tool calls of one reply.
const CALLS: usize = 100;

/// Calls tools so many times and is then silent, or says that it is done.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) turns: usize,
    pub(crate) calls: usize,
    pub(crate) ends: bool,
    /// Told when it is asked for the last time.
    pub(crate) asked: Arc<Notify>,
}

#[async_trait]
impl LlmProvider for Caller {
    fn id(&self) -> &'static str {
        "bench"
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        Capabilities { tools: Some(true), ..Capabilities::default() }
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Ok(Vec::new())
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        _cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let turn = request.messages.iter().filter(|m| m.role == Role::Assistant).count();
        let usage = Usage { input: Some(10), output: Some(5), ..Usage::default() };
        let (message, stop) = if turn < self.turns {
            let call = |n| {
                Part::ToolCall(ToolCall {
                    id: format!("call_{turn}_{n}"),
                    name: "add".to_owned(),
                    arguments: json!({"a": turn, "b": n}),
                    provider_state: None,
                })
            };
            let parts = (0..self.calls).map(call).collect();
            (Message { role: Role::Assistant, parts }, StopReason::ToolCalls)
        } else {
            self.asked.notify_one();
            if !self.ends {
                return Ok(stream::pending().boxed());
            }
            (Message::text(Role::Assistant, "done"), StopReason::EndTurn)
        };
        let finished = LlmFinished::new(message, stop, usage);
        Ok(stream::iter([Ok(LlmEvent::from(finished))]).boxed())
    }
}

#[derive(Deserialize, JsonSchema)]
struct Terms {
    a: i64,
    b: i64,
}

pub(crate) async fn store(directory: &Path) -> Arc<SqliteStore> {
    let options = SqliteOptions::new(directory.join("bench.db")).synchronous(Synchronous::Normal);
    Arc::new(SqliteStore::open(options).await.unwrap())
}

pub(crate) fn engine(store: &Arc<SqliteStore>, caller: Caller) -> Engine {
    let options =
        EngineOptions { default_model: ModelName::new("bench", "m"), ..EngineOptions::default() };
    let add = tool_fn("add", "Adds.", EffectPolicy::Pure, |terms: Terms, _cx| async move {
        Ok(json!({"sum": terms.a + terms.b}))
    });
    Engine::builder(Arc::clone(store) as Arc<dyn Store>)
        .provider(caller)
        .tool(add)
        .options(options)
        .build()
        .unwrap()
}

pub(crate) async fn run() {
    for turns in [248, 496] {
        let directory = tempfile::tempdir().unwrap();
        let new = NewRun { max_steps: Some(turns + 10), ..NewRun::new("add everything up") };
        let caller = |asked: &Arc<Notify>| Caller {
            turns: turns as usize,
            calls: CALLS,
            ends: false,
            asked: Arc::clone(asked),
        };
        let (opened, asked) = (store(directory.path()).await, Arc::new(Notify::new()));
        let first = engine(&opened, caller(&asked));
        let handle = first.start();
        let id = first.create_run(new).await.unwrap().run.id;
        asked.notified().await;
        handle.shutdown(Duration::ZERO).await;
        opened.close().await.unwrap();
        let (mut times, mut folds) = (Vec::new(), Vec::new());
        for _ in 0..7 {
            let opened = store(directory.path()).await;
            let again = engine(&opened, caller(&asked));
            let began = Instant::now();
            drop(again.fold(id).await.unwrap());
            folds.push(began.elapsed());
            let began = Instant::now();
            let handle = again.start();
            asked.notified().await;
            times.push(began.elapsed());
            handle.shutdown(Duration::ZERO).await;
            opened.close().await.unwrap();
        }
        let opened = store(directory.path()).await;
        let events = opened.run(id).await.unwrap().last_seq;
        fill::forget_snapshots(opened.path()).await;
        let began = Instant::now();
        drop(engine(&opened, caller(&asked)).fold(id).await.unwrap());
        println!(
            "a journal of {events} events: from start to the next model call {:.1?} (median of 7), its state alone {:.1?}, without a snapshot {:.1?}",
            percentile(&mut times, 50),
            percentile(&mut folds, 50),
            began.elapsed()
        );
    }
}
