//! What the public API is enough for: a provider, a store, a tool, a memory and a blob store that none
//! of our crates knows. Each passes its suite; those that break a rule are caught by it.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    agent::ModelName,
    engine::{Engine, NewRun},
    llm::LlmProvider,
    run::RunStatus,
    store::InMemoryStore,
    testing::{
        LedgerTool,
        llm_contract::{BAD_ARGUMENTS, LlmHarness, Scene},
        provider_conformance::{
            FLOOD_BYTES, OptionalScene, PROXY_PAGE, REASONING, REQUEST_ID, SHORT_WAIT, SPLIT_TEXT,
            STRUCTURED, WAIT, WORDS,
        },
    },
    tool::EffectPolicy,
};
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

/// Tests that a case of a suite fails on something that breaks its rule, and with what words.
macro_rules! caught {
    ($($name:ident: $harness:ty, $($case:ident)::+, $words:literal;)*) => {
        mod caught {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let case = $($case)::+::<$harness>();
                    crate::public_api::is_caught(case, $words).await;
                }
            )*
        }
    };
}

mod blobs;
mod crash;
mod line_provider;
mod llm;
mod memory;
mod store;
mod tool;

/// Runs a case that must fail and say so.
async fn is_caught(case: impl Future<Output = ()>, words: &str) {
    let caught = AssertUnwindSafe(case).catch_unwind().await;
    let panic = caught.expect_err("the suite lets a wrong implementation pass");
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(said.contains(words), "it fails, but says something else than `{words}`: {said}");
}

use self::line_provider::LineProvider;

const KEY: &str = "line-key-5d1f0c";

/// What the service sends, and what it does then.
#[derive(Debug, Clone)]
enum Then {
    Close,
    Flood(Vec<u8>),
    Hold,
}

type Answer = (Vec<u8>, Then);
type Play = dyn Fn(&str) -> Answer + Send + Sync;

/// A service that speaks the protocol, a connection for each request.
#[derive(Debug)]
struct Service {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    closed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    async fn start(play: Box<Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, closed) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Notify::new()));
        let (seen, ended, play) = (Arc::clone(&requests), Arc::clone(&closed), Arc::from(play));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let call = (Arc::clone(&seen), Arc::clone(&play), Arc::clone(&ended));
                connections.spawn(async move {
                    let _ = serve(socket, &call.0, &*call.1, &call.2).await;
                });
            }
        });
        Self { address, requests, closed, task }
    }

    fn provider(&self) -> LineProvider {
        LineProvider { address: self.address, key: KEY.to_owned() }
    }
}

async fn serve(
    socket: TcpStream,
    seen: &Mutex<Vec<String>>,
    play: &Play,
    closed: &Notify,
) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut request = String::new();
    socket.read_line(&mut request).await?;
    let (bytes, then) = play(&request);
    seen.lock().unwrap().push(request);
    socket.write_all(&bytes).await?;
    match then {
        Then::Close => {}
        Then::Flood(piece) => {
            for _ in 0..FLOOD_BYTES / piece.len() {
                socket.write_all(&piece).await?;
            }
        }
        Then::Hold => {
            while socket.read(&mut [0; 64]).await.unwrap_or(0) > 0 {}
            closed.notify_one();
        }
    }
    Ok(())
}

fn lines(lines: &[Value]) -> Answer {
    (lines.iter().map(|line| format!("{line}\n")).collect::<String>().into(), Then::Close)
}

fn always(answer: Answer) -> Box<Play> {
    Box::new(move |_| answer.clone())
}

fn reply(said: &[Value]) -> Box<Play> {
    always(lines(&[said, &[json!({"end": "done"})]].concat()))
}

fn ends(why: &str) -> Box<Play> {
    always(lines(&[json!({"say": "Hello"}), json!({"end": why})]))
}

fn refuses(error: &Value) -> Box<Play> {
    always(lines(&[json!({"error": error})]))
}

fn call(id: &str, args: &str) -> Value {
    json!({"call": {"id": id, "name": "shout", "args": args}})
}

fn hello() -> [Value; 2] {
    [json!({"say": "Hello"}), json!({"say": " you"})]
}

/// These lines until the conversation has a result, then some text.
fn in_turn(first: &[Value]) -> Box<Play> {
    let end = [json!({"end": "done"})];
    let answers = [lines(&[first, &end].concat()), lines(&[&hello()[..], &end].concat())];
    Box::new(move |request| answers[usize::from(request.contains("\"result\""))].clone())
}

#[derive(Debug)]
struct Harness(Service);

impl Harness {
    async fn with(play: Box<Play>) -> Self {
        Self(Service::start(play).await)
    }
}

#[async_trait::async_trait]
impl LlmHarness for Harness {
    async fn open(scene: Scene) -> Self {
        let good = r#"{"text":"a"}"#;
        Self::with(match scene {
            Scene::Text => reply(&hello()),
            Scene::ToolCalls => reply(&[call("x", good), call("x", good), call("", good)]),
            Scene::BadArguments => reply(&[call("x", BAD_ARGUMENTS)]),
            Scene::Truncated => always(lines(&hello())),
            Scene::Refused => refuses(&json!({"code": "key", "words": format!("not {KEY}")})),
            Scene::Silent => always((Vec::new(), Then::Hold)),
        })
        .await
    }

    fn provider(&self) -> Arc<dyn LlmProvider> {
        Arc::new(self.0.provider())
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }

    async fn open_optional(scene: OptionalScene) -> Option<Self> {
        let code = |code: &str| refuses(&json!({"code": code, "words": WORDS}));
        let busy = |wait: Duration| {
            let wait = u64::try_from(wait.as_millis()).unwrap();
            refuses(&json!({"code": "busy", "words": "later", "wait_ms": wait}))
        };
        let flood = |line: Vec<u8>| always((lines(&hello()).0, Then::Flood(line)));
        let long = "x".repeat(64 * 1024);
        let split = json!({"say": SPLIT_TEXT}).to_string();
        let play = match scene {
            OptionalScene::RateLimited => busy(WAIT),
            OptionalScene::RateLimitedMillis => busy(SHORT_WAIT),
            OptionalScene::Overloaded => code("full"),
            OptionalScene::ServerError => code("broken"),
            OptionalScene::ServerErrorInStream => {
                always(lines(&[&hello()[..], &[json!({"error": {"words": WORDS}})]].concat()))
            }
            OptionalScene::ProxyPageAsReply => {
                always((format!("{PROXY_PAGE}\n").into(), Then::Close))
            }
            OptionalScene::WrongKey => code("key"),
            OptionalScene::UnknownModel => code("model"),
            OptionalScene::TooLong => code("long"),
            OptionalScene::ConnectionReset => always((Vec::new(), Then::Close)),
            OptionalScene::RequestId => refuses(&json!({"words": WORDS, "id": REQUEST_ID})),
            OptionalScene::EndlessEvent => flood(long.into()),
            OptionalScene::EndlessReply => flood(format!("{}\n", json!({"say": long})).into()),
            OptionalScene::SplitCharacter => reply(&[json!({"say": SPLIT_TEXT})]),
            OptionalScene::CutCharacter => {
                let within = split.find('🐢').unwrap() + 2;
                always((split.as_bytes()[..within].to_vec(), Then::Close))
            }
            OptionalScene::HeldOpen => always((lines(&hello()).0, Then::Hold)),
            OptionalScene::Echo => Box::new(|request: &str| {
                let word = if request.contains("\"tick\"") { ["ti", "ck"] } else { ["to", "ck"] };
                let end = json!({"end": "done"});
                lines(&[json!({"say": word[0]}), json!({"say": word[1]}), end])
            }),
            OptionalScene::Structured | OptionalScene::StructuredBesideTools => {
                reply(&[json!({"say": STRUCTURED})])
            }
            OptionalScene::ToolRound => {
                in_turn(&[call("c1", r#"{"text":"knock"}"#), call("c2", r#"{"text":"ring"}"#)])
            }
            OptionalScene::Reasoning => {
                in_turn(&[json!({"think": REASONING}), call("c1", r#"{"text":"a"}"#)])
            }
            OptionalScene::EmptyArguments => reply(&[call("c1", "")]),
            OptionalScene::ParallelCalls => {
                reply(&[call("c1", r#"{"text":"a"}"#), call("c2", r#"{"text":"b"}"#)])
            }
            OptionalScene::Usage => {
                let used = json!({"prompt": 140, "cached": 40, "written": 30, "thought": 12});
                reply(&[json!({"say": "Hello"}), json!({"used": used})])
            }
            OptionalScene::MaxTokens => ends("length"),
            OptionalScene::Refusal => ends("refused"),
            OptionalScene::ContentFilter => ends("filtered"),
            _ => return None,
        };
        Some(Self::with(play).await)
    }

    fn requests(&self) -> Vec<String> {
        self.0.requests.lock().unwrap().clone()
    }

    async fn closed(&self) {
        self.0.closed.notified().await;
    }
}

mod conformance {
    agent_runner_core::provider_conformance!(super::Harness, skip: {
        rate_limited_until: "the protocol says how long, not until when",
        error_as_reply: "the protocol has no status",
        proxy_page: "the protocol has no status",
    });
}

#[tokio::test]
async fn a_strangers_provider_runs_an_agent_with_tools() {
    let called = json!({"call": {"id": "c1", "name": "ledger", "args": "{\"n\":7}"}});
    let service = Service::start(in_turn(&[called])).await;
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent);
    let engine = Engine::builder(Arc::new(InMemoryStore::new()))
        .provider(service.provider())
        .tool(tool.clone())
        .default_model(ModelName::new("line", "model"))
        .build()
        .unwrap();
    let working = engine.start();
    let run = engine.create_run(NewRun::new("Write seven down.")).await.unwrap().run;
    let run = engine.join(run.id, Duration::from_secs(20)).await.unwrap();
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!("Hello you"))));
    let effects = tool.effects();
    assert_eq!(effects.len(), 1);
    assert_eq!(effects[0].arguments, json!({"n": 7}));
    let requests = service.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].contains("\"result\""), "{}", requests[1]);
    working.shutdown(Duration::from_secs(5)).await;
}
