//! Servers that are services.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_runner_core::tool::{SourceStatus, ToolErrorKind};
use agent_runner_tools::mcp::{McpServer, McpTransport};
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, header::LOCATION},
    middleware::{self, Next},
    response::IntoResponse as _,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use serde_json::json;
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};

use crate::{
    private::Log,
    strange::{Kind, Strange, Told},
    world::{Ear, PATIENCE, World},
};

const TOKEN: &str = "canary-93be02aa17";

/// How a service behaves, and what it has seen.
#[derive(Default)]
struct Mood {
    /// What everything is answered with; nothing special for 0.
    status: AtomicU16,
    requests: AtomicUsize,
    headers: Mutex<HeaderMap>,
}

/// A service in a runtime of its own, so that it can end as if it were killed.
struct Service {
    address: SocketAddr,
    mood: Arc<Mood>,
    sessions: Arc<LocalSessionManager>,
    runtime: Option<Runtime>,
}

impl Service {
    async fn start(ear: &Ear, at: Option<SocketAddr>) -> Self {
        Self::start_kind(ear, at, Kind::Plain).await
    }

    async fn start_kind(ear: &Ear, at: Option<SocketAddr>, kind: Kind) -> Self {
        let mood = Arc::new(Mood::default());
        let sessions = Arc::new(LocalSessionManager::default());
        let strange = Strange::new(Told::connect(&ear.address), kind);
        let service = StreamableHttpService::new(
            move || Ok(strange.clone()),
            sessions.clone(),
            StreamableHttpServerConfig::default(),
        );
        let seen = mood.clone();
        let app = Router::new().route_service("/mcp", service).layer(middleware::from_fn(
            move |request: Request, next: Next| {
                let mood = seen.clone();
                async move {
                    mood.requests.fetch_add(1, Ordering::SeqCst);
                    *mood.headers.lock().unwrap() = request.headers().clone();
                    match mood.status.load(Ordering::SeqCst) {
                        0 => next.run(request).await,
                        307 => {
                            let to = [(LOCATION, "/mcp")];
                            mood.status.store(0, Ordering::SeqCst);
                            (StatusCode::TEMPORARY_REDIRECT, to).into_response()
                        }
                        status => {
                            let status = StatusCode::from_u16(status).unwrap();
                            let said = format!("you said {:?}", request.headers());
                            (status, [("retry-after", "7")], said).into_response()
                        }
                    }
                }
            },
        ));
        let listener = TcpListener::bind(at.unwrap_or(([127, 0, 0, 1], 0).into())).await.unwrap();
        let listener = listener.into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = Runtime::new().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        Self { address, mood, sessions, runtime: Some(runtime) }
    }

    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    fn server(&self) -> McpServer {
        let mut server = McpServer::http("strange", format!("http://{}/mcp", self.address));
        if let McpTransport::Http { headers, .. } = &mut server.transport {
            headers.insert("x-token".to_owned(), TOKEN.to_owned().into());
            headers.insert("authorization".to_owned(), format!("Bearer {TOKEN}").into());
        }
        assert!(!format!("{server:?}").contains(TOKEN));
        server
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.runtime.is_some() {
            self.kill();
        }
    }
}

async fn world() -> (World, Service) {
    let ear = Ear::open().await;
    let service = Service::start(&ear, None).await;
    let server = service.server();
    (World::of(ear, server), service)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_called_with_its_headers() {
    let (world, service) = world().await;
    world.connected(1).await;
    assert_eq!(world.source.report().transport, "http");
    let output = world.call("add", json!({"a": 2, "b": 3})).await.unwrap();
    assert_eq!(output.value, json!({"sum": 5}));
    assert_eq!(output.untrusted.as_deref(), Some("mcp:strange"));
    let headers = service.mood.headers.lock().unwrap().clone();
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    let error = world.call("fail", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Conflict);
    let output = world.call("big", json!({"bytes": 1_000_000})).await.unwrap();
    assert_eq!(output.value.as_str().unwrap().len(), 1_000_000);
    let output = world.call("ask", json!({})).await.unwrap();
    let answered = output.value.as_str().unwrap();
    assert_eq!(answered.matches("refused").count(), 3, "{answered}");
    world.end().await;
    let sessions = service.sessions.sessions.read().await.len();
    assert_eq!(sessions, 0, "a session is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_in_the_middle_of_a_call_is_connected_to_again() {
    let (world, mut service) = world().await;
    world.connected(1).await;
    let kill = async {
        world.ear.hear("hang begins").await;
        service.kill();
    };
    let (result, ()) = tokio::join!(world.call("hang", json!({})), kill);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network);
    assert!(error.effect_possible());
    let away = world.source.wait_until(|report| report.status != SourceStatus::Ready);
    timeout(PATIENCE, away).await.unwrap();
    assert!(!world.source.report().tools.is_empty(), "the tools stay");
    let _service = Service::start(&world.ear, Some(service.address)).await;
    world.connected(2).await;
    world.call("look", json!({})).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_was_done_by_a_service_that_is_not_there() {
    let (world, mut service) = world().await;
    world.connected(1).await;
    service.kill();
    let error = world.call("look", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network, "{error}");
    let address = service.address.to_string();
    assert!(!error.for_model().contains(&address), "{error}");
    let error = loop {
        let error = world.call("look", json!({})).await.unwrap_err();
        if !error.effect_possible() {
            break error;
        }
    };
    assert_eq!(error.kind(), ToolErrorKind::Network, "{error}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_service_forgot_is_begun_again() {
    let (world, service) = world().await;
    world.connected(1).await;
    service.sessions.sessions.write().await.clear();
    let error = world.call("look", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network, "{error}");
    assert!(!error.effect_possible(), "{error}");
    world.connected(2).await;
    world.call("look", json!({})).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_service_is_asked_whether_it_is_there() {
    let ear = Ear::open().await;
    let mut service = Service::start(&ear, None).await;
    let mut server = service.server();
    server.limits.ping = Duration::from_millis(100);
    let world = World::of(ear, server);
    world.connected(1).await;
    service.kill();
    let away = world.source.wait_until(|report| report.status != SourceStatus::Ready);
    timeout(PATIENCE, away).await.expect("nobody noticed");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_service_are_withdrawn() {
    let ear = Ear::open().await;
    let service = Service::start(&ear, None).await;
    let mut server = service.server();
    server.limits.call = Duration::from_millis(300);
    let world = World::of(ear, server);
    world.connected(1).await;
    let error = world.call("hang", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout);
    assert!(error.effect_possible());
    world.ear.hear("hang is cancelled").await;
    world.call("look", json!({})).await.unwrap();
    assert_eq!(world.source.report().connections, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_service_that_changes_is_read_again() {
    let (world, _service) = world().await;
    world.connected(1).await;
    world.call("grow", json!({})).await.unwrap();
    let grown = |report: &agent_runner_tools::mcp::McpReport| {
        report.tools.contains(&"strange.grown".to_owned())
    };
    timeout(PATIENCE, world.source.wait_until(grown)).await.expect("it was not read again");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_handshake_is_spoken_to_as_well() {
    let ear = Ear::open().await;
    let service = Service::start_kind(&ear, None, Kind::Modern).await;
    let mut server = service.server();
    server.limits.ping = Duration::from_millis(200);
    let world = World::of(ear, server);
    world.connected(1).await;
    for _ in 0..2 {
        world.ear.hear("listens").await;
    }
    assert_eq!(world.source.report().server.unwrap().protocol, "2026-07-28");
    let output = world.call("add", json!({"a": 2, "b": 3})).await.unwrap();
    assert_eq!(output.value, json!({"sum": 5}));
    world.call("grow", json!({})).await.unwrap();
    let grown = |report: &agent_runner_tools::mcp::McpReport| {
        report.tools.contains(&"strange.grown".to_owned())
    };
    timeout(PATIENCE, world.source.wait_until(grown)).await.expect("it was not read again");
    world.end().await;
}

/// Runs another test of this file in an environment that names proxies.
#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_not_used() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut test = tokio::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "http::a_service_is_called_with_its_headers"]).kill_on_drop(true);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        test.env(name, &address);
    }
    test.env_remove("NO_PROXY").env_remove("no_proxy");
    tokio::select! {
        output = timeout(PATIENCE, test.output()) => {
            let output = output.unwrap().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
        }
        _ = proxy.accept() => panic!("the proxy was used"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let ear = Ear::open().await;
    let service = Service::start(&ear, None).await;
    service.mood.status.store(307, Ordering::SeqCst);
    let world = World::of(ear, service.server());
    let failed = world.source.wait_until(|report| report.last_error.is_some());
    timeout(PATIENCE, failed).await.unwrap();
    assert_eq!(world.source.report().last_error.as_deref(), Some("HTTP 307"));
    // It answers well from then on.
    world.connected(1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_refuses_is_told_without_secrets() {
    let log = Log::listen();
    let ear = Ear::open().await;
    let service = Service::start(&ear, None).await;
    service.mood.status.store(401, Ordering::SeqCst);
    let world = World::of(ear, service.server());
    let failed = world.source.wait_until(|report| report.last_error.is_some());
    timeout(PATIENCE, failed).await.unwrap();
    let told = world.source.report().last_error.unwrap();
    assert_eq!(told, "the server does not accept the credentials (401)");
    service.mood.status.store(0, Ordering::SeqCst);
    world.connected(1).await;
    let mut said = vec![told, format!("{:?} {:?}", world.source, world.source.report())];
    let header = world.call("header", json!({})).await.unwrap();
    assert_eq!(header.value, json!("[redacted]"));
    for (status, kind, effect) in [
        (401, ToolErrorKind::Denied, false),
        (403, ToolErrorKind::Denied, false),
        (400, ToolErrorKind::Internal, false),
        (429, ToolErrorKind::RateLimited, false),
        (500, ToolErrorKind::Network, true),
        (503, ToolErrorKind::Network, true),
    ] {
        // The connection may be given up on meanwhile.
        let error = loop {
            service.mood.status.store(0, Ordering::SeqCst);
            let up =
                |report: &agent_runner_tools::mcp::McpReport| report.status == SourceStatus::Ready;
            timeout(PATIENCE, world.source.wait_until(up)).await.unwrap();
            service.mood.status.store(status, Ordering::SeqCst);
            let error = world.call("look", json!({})).await.unwrap_err();
            if error.for_model().contains("nothing was done") || error.for_model().contains("broke")
            {
                continue;
            }
            break error;
        };
        assert_eq!((error.kind(), error.effect_possible()), (kind, effect), "{status}: {error}");
        if status == 429 {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
        said.push(format!("{error:?}"));
    }
    service.mood.status.store(0, Ordering::SeqCst);
    said.push(format!("{:?} {:?}", world.source, world.source.report()));
    world.end().await;
    assert!(!said.join("\n").contains(TOKEN), "{said:?}");
    let log = log.text();
    // The service runs in the same process, and may say what it answers.
    let of_service = |line: &&str| line.contains("ToSink") || line.contains("response message");
    let ours = log.lines().filter(|line| !of_service(line));
    let found: Vec<_> = ours.filter(|line| line.contains(TOKEN)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_service_that_is_too_large_is_not_read() {
    let ear = Ear::open().await;
    let service = Service::start(&ear, None).await;
    let mut server = service.server();
    server.limits.message_bytes_max = 64 * 1024;
    let world = World::of(ear, server);
    world.connected(1).await;
    let error = world.call("big", json!({"bytes": 10_000_000})).await.unwrap_err();
    assert!(error.effect_possible(), "{error}");
    let up = world.source.wait_until(|report| report.status == SourceStatus::Ready);
    timeout(PATIENCE, up).await.unwrap();
    world.call("look", json!({})).await.unwrap();
    world.end().await;
}
