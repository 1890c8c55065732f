//! How connections begin and end.

use std::time::Duration;

use agent_runner_core::tool::{SourceStatus, ToolSource as _};
use agent_runner_tools::mcp::{McpServer, McpSource, McpTransport};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{Ear, PATIENCE, World, gone, lives, server};

/// What a source says of a server that it cannot connect to.
async fn down(world: &World) -> String {
    let wait = world.source.wait_until(|report| report.last_error.is_some());
    timeout(PATIENCE, wait).await.expect("it never gave up");
    world.source.report().last_error.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nothing_is_killed_and_tried_again() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "mute");
    server.limits.connect = Duration::from_millis(500);
    let world = World::of(ear, server);
    let first = world.ear.hear("started").await;
    assert_eq!(down(&world).await, "the server did not answer in time");
    gone(&first).await;
    let second = world.ear.hear("started").await;
    assert_ne!(first, second);
    assert_eq!(world.source.report().connections, 0);
    world.end().await;
    gone(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_none_are_told_apart() {
    for (mode, said) in [
        ("exit", "closed the connection"),
        ("babble", "does not speak the protocol"),
        ("giant", "closed the connection"),
    ] {
        let world = World::stdio(mode).await;
        let told = down(&world).await;
        assert!(told.contains(said), "{mode}: {told}");
        world.end().await;
    }
    let ear = Ear::open().await;
    let server = McpServer::stdio("strange", "/secret/place/of/no-such-program");
    let world = World::of(ear, server);
    let told = down(&world).await;
    assert_eq!(told, "the program could not be started: entity not found");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_end_is_not_kept() {
    let peak = || -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let ear = Ear::open().await;
    let mut server = server(&ear, "giant");
    server.limits.message_bytes_max = 1024 * 1024;
    let before = peak();
    let world = World::of(ear, server);
    down(&world).await;
    // The line has 64 MiB.
    assert!(peak() - before < 24 * 1024, "{} KiB", peak() - before);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_fails_its_call_alone() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
    server.limits.message_bytes_max = 256 * 1024;
    let world = World::of(ear, server);
    world.connected(1).await;
    let error = world.call("big", json!({"bytes": 1_000_000})).await.unwrap_err();
    assert_eq!(error.kind(), agent_runner_core::tool::ToolErrorKind::TooLarge);
    assert!(error.effect_possible());
    world.call("look", json!({})).await.unwrap();
    assert_eq!(world.source.report().connections, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_started_ends_with_it() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let server = world.ear.hear("started").await;
    let child = world.call("spawn", json!({})).await.unwrap();
    let child = child.value.as_str().unwrap().to_owned();
    assert!(lives(&server) && lives(&child));
    world.end().await;
    gone(&server).await;
    gone(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_want_to_end_is_killed() {
    let world = World::stdio("stubborn").await;
    world.connected(1).await;
    let server = world.ear.hear("started").await;
    world.end().await;
    assert!(!lives(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_ends_when_the_program_lets_go_of_it() {
    let world = World::stdio("stubborn").await;
    world.connected(1).await;
    let server = world.ear.hear("started").await;
    world.task.abort();
    gone(&server).await;
}

#[test]
fn a_server_ends_with_the_runtime() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let pid = first.block_on(async {
        let world = World::stdio("stubborn").await;
        world.connected(1).await;
        world.ear.hear("started").await
    });
    first.shutdown_timeout(Duration::from_secs(10));
    runtime().block_on(gone(&pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_reports_how_it_is() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let report = world.source.report();
    assert_eq!(report.name, "strange");
    assert_eq!(report.transport, "stdio");
    assert_eq!(report.status, SourceStatus::Ready);
    assert_eq!(report.last_error, None);
    assert!(report.connected_since.is_some());
    assert_eq!(report.tools.len(), world.source.tools().len());
    assert!(report.tools.contains(&"strange.echo".to_owned()), "{:?}", report.tools);
    let server = report.server.unwrap();
    assert_eq!((&*server.name, &*server.version), ("strange", "1.2.3"));
    assert_eq!(server.protocol, "2025-11-25");
    let source = world.source.clone();
    world.end().await;
    assert!(matches!(source.status(), SourceStatus::Down(_)));
    assert_eq!(source.report().connected_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_handshake_is_spoken_to_as_well() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "modern");
    server.limits.ping = Duration::from_millis(200);
    let world = World::of(ear, server);
    world.connected(1).await;
    for _ in 0..2 {
        world.ear.hear("listens").await;
    }
    let server = world.source.report().server.unwrap();
    assert_eq!((&*server.name, &*server.protocol), ("strange", "2026-07-28"));
    let output = world.call("echo", json!({"text": "hello"})).await.unwrap();
    assert_eq!(output.value, json!("hello"));
    world.call("grow", json!({})).await.unwrap();
    let grown = |report: &agent_runner_tools::mcp::McpReport| {
        report.tools.contains(&"strange.grown".to_owned())
    };
    timeout(PATIENCE, world.source.wait_until(grown)).await.expect("it was not read again");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_runs_once_at_a_time_and_again_after_it_was_stopped() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let again = tokio::spawn(world.source.clone().run(stop.clone()));
    world.call("look", json!({})).await.unwrap();
    assert_eq!(world.source.report().connections, 1);
    world.stop.cancel();
    let up = world
        .source
        .wait_until(|report| report.connections == 2 && report.status == SourceStatus::Ready);
    timeout(PATIENCE, up).await.unwrap();
    world.call("look", json!({})).await.unwrap();
    stop.cancel();
    timeout(PATIENCE, again).await.unwrap().unwrap();
}

#[test]
fn a_server_that_cannot_be_is_refused() {
    let long = "n".repeat(33);
    for name in ["files", "shell", "", "Tickets", "a.b", "a/b", "ü", &long] {
        let error = McpSource::new(McpServer::stdio(name, "true")).unwrap_err();
        assert_eq!(error.field(), "name", "{name}");
    }
    for url in ["", "tickets", "ftp://x/", "https://user@x/", "https://u:p@x/", "http://x/#a"] {
        let error = McpSource::new(McpServer::http("x", url)).unwrap_err();
        assert_eq!(error.field(), "url", "{url}");
    }
    for (name, value) in [("host", "x"), ("Mcp-Session-Id", "x"), ("a b", "x"), ("a", "x\r\nb: c")]
    {
        let mut server = McpServer::http("x", "http://127.0.0.1:1/");
        if let McpTransport::Http { headers, .. } = &mut server.transport {
            headers.insert(name.to_owned(), value.to_owned().into());
        }
        let error = McpSource::new(server).unwrap_err();
        assert_eq!(error.field(), "headers", "{name}");
        assert!(!error.to_string().contains("x\r"), "{error}");
    }
    let mut server = McpServer::stdio("x", "true");
    server.limits.call = Duration::ZERO;
    assert_eq!(McpSource::new(server).unwrap_err().field(), "limits");
}
