//! A service over an engine in memory, and a client that calls it in process.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    blob::InMemoryBlobs,
    code::{Ctx, StepCx},
    engine::{Engine, EngineHandle, EngineOptions},
    llm::{LlmProvider, ModelCatalog},
    store::{InMemoryStore, Store},
    testing::{LedgerTool, ScriptedModel, Turn},
    time::Clock,
    tool::{EffectPolicy, ToolError, ToolErrorKind},
};
use agent_runner_http::{Api, ApiOptions, Unconfigured};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use futures::StreamExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// Longer than any healthy test takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Service {
    pub(crate) api: Api,
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    pub(crate) worker: Option<EngineHandle>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A tool whose effect is never certain, so that a person is asked.
pub(crate) fn doubtful_tool() -> LedgerTool {
    LedgerTool::new("doubt", EffectPolicy::Ask)
        .answering(|_, _| Err(ToolError::new(ToolErrorKind::Network, "broke off").may_have_run()))
}

pub(crate) struct Setup {
    pub(crate) providers: Vec<Arc<dyn LlmProvider>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: ApiOptions,
    pub(crate) unconfigured: Vec<Unconfigured>,
    pub(crate) catalog: Option<Arc<dyn ModelCatalog>>,
    pub(crate) engine_options: EngineOptions,
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

impl Setup {
    pub(crate) fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self {
            providers: vec![Arc::new(ScriptedModel::new(turns))],
            store: Arc::new(InMemoryStore::new()),
            options: ApiOptions::default(),
            unconfigured: Vec::new(),
            catalog: None,
            engine_options: EngineOptions {
                default_model: ModelName::new("test", "model"),
                poll_interval: Duration::from_millis(20),
                ..EngineOptions::default()
            },
            clock: None,
        }
    }

    /// A service whose runs stay QUEUED.
    pub(crate) fn idle(self) -> Service {
        let mut builder = Engine::builder(self.store)
            .options(self.engine_options)
            .blobs(Arc::new(InMemoryBlobs::new()))
            .tool(LedgerTool::new("note", EffectPolicy::Idempotent))
            .tool(doubtful_tool())
            .workflow("double", 2, |ctx: Ctx, n: u64| async move {
                let double = |n: u64, _: StepCx| async move { Ok(n * 2) };
                ctx.step("double", EffectPolicy::Pure, n, double).await
            });
        for provider in self.providers {
            builder = builder.shared_provider(provider);
        }
        if let Some(clock) = self.clock {
            builder = builder.clock(clock);
        }
        if let Some(catalog) = self.catalog {
            builder = builder.catalog(catalog);
        }
        let engine = builder.build().unwrap();
        let api = Api::builder(engine.clone())
            .options(self.options)
            .unconfigured(self.unconfigured)
            .build();
        Service { router: api.router(), api, engine, worker: None }
    }

    /// A service that works.
    pub(crate) fn start(self) -> Service {
        let mut service = self.idle();
        service.worker = Some(service.engine.start());
        service
    }
}

/// A service whose model says one thing.
pub(crate) fn answering(text: &str) -> Service {
    Setup::new([Turn::text(text)]).start()
}

/// A service that accepts runs and does not execute them.
pub(crate) fn idle() -> Service {
    Setup::new([Turn::text("done")]).idle()
}

pub(crate) fn request(method: &str, uri: &str, body: Option<&Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()
}

pub(crate) fn with_header(
    mut request: Request<Body>,
    name: &'static str,
    value: &str,
) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

impl Service {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let call = async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            Answer { status: parts.status, headers: parts.headers, text }
        };
        tokio::time::timeout(PATIENCE, call).await.expect("an answer")
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send(request("GET", uri, None)).await
    }

    pub(crate) async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.send(request("POST", uri, Some(body))).await
    }

    /// Starts a run and answers its id.
    pub(crate) async fn create(&self, body: &Value) -> String {
        let answer = self.post("/runs", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The run after its end.
    pub(crate) async fn join(&self, id: &str) -> Value {
        let answer = self.get(&format!("/runs/{id}/join?timeout=20")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Opens a stream and answers its frames as they come.
    pub(crate) async fn open(&self, request: Request<Body>) -> Frames {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{response:?}");
        Frames { body: response.into_body().into_data_stream(), buffer: String::new() }
    }
}

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// A stream of server-sent events.
pub(crate) struct Frames {
    body: axum::body::BodyDataStream,
    buffer: String,
}

impl Frames {
    /// The next block of lines, comments included; `None` at the end.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("a chunk");
            self.buffer.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = parse(&self.block().await?);
            if frame.is_some() {
                return frame;
            }
        }
    }

    /// All frames until the end.
    pub(crate) async fn all(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

fn parse(block: &str) -> Option<Frame> {
    let field = |name: &str| {
        let found: Vec<&str> = block.lines().filter_map(|l| l.strip_prefix(name)).collect();
        assert!(found.len() <= 1, "one line per field: {block}");
        found.first().map(|value| (*value).to_owned())
    };
    let event = field("event: ")?;
    Some(Frame {
        id: field("id: ").map(|id| id.parse().unwrap()),
        event,
        data: serde_json::from_str(&field("data: ").unwrap()).unwrap(),
    })
}
