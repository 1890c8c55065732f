//! Calls: what comes back, and what is said when nothing does.

use std::time::Duration;

use agent_runner_core::tool::{SourceStatus, ToolErrorKind, ToolSource as _};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::world::{Ear, PATIENCE, World, cx, gone, lives, server};

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_data_come_back_marked_as_untrusted() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let output = world.call("echo", json!({"text": "hello\nyou"})).await.unwrap();
    assert_eq!(output.value, json!("hello\nyou"));
    assert_eq!(output.untrusted.as_deref(), Some("mcp:strange"));
    let output = world.call("add", json!({"a": 2, "b": 3})).await.unwrap();
    assert_eq!(output.value, json!({"sum": 5}));
    assert_eq!(output.untrusted.as_deref(), Some("mcp:strange"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_of_a_failure_is_told_and_not_repeated() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let error = world.call("fail", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Conflict);
    assert_eq!(error.code(), "mcp_tool_failed");
    let told = "the MCP server `strange` says that the call failed: there is no ticket 5";
    assert_eq!(error.for_model(), told);
    assert!(!error.kind().is_transient() && !error.effect_possible());
    assert_eq!(error.origin(), Some("mcp:strange"));
    for (code, kind, effect) in [
        (-32_602, ToolErrorKind::InvalidArgs, false),
        (-32_600, ToolErrorKind::InvalidArgs, false),
        (-32_601, ToolErrorKind::NotFound, false),
        (-32_002, ToolErrorKind::NotFound, false),
        (-32_603, ToolErrorKind::Internal, true),
        (-32_000, ToolErrorKind::Internal, true),
        (17, ToolErrorKind::Internal, true),
    ] {
        let error = world.call("code", json!({"code": code})).await.unwrap_err();
        assert_eq!((error.kind(), error.effect_possible()), (kind, effect), "{code}: {error}");
        let words = error.for_model().ends_with("no, because of reasons");
        let origin = if words { Some("mcp:strange") } else { None };
        assert_eq!((words, error.origin()), (!effect, origin), "{error}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_do_not_fit_never_reach_the_server() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    for arguments in [json!({}), json!({"text": 5}), json!({"text": "a", "b": 1}), json!([])] {
        let error = world.call("echo", arguments).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs);
        assert!(!error.effect_possible());
    }
    world.call("look", json!({})).await.unwrap();
    assert_eq!(world.ear.hear("called").await, "look");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_a_call_is_started_again() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let pid = world.ear.hear("started").await;
    let before = world.source.tools();
    let kill = async {
        world.ear.hear("hang begins").await;
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let (result, ()) = tokio::join!(world.call("hang", json!({})), kill);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network);
    assert!(error.effect_possible());
    world.connected(2).await;
    assert_ne!(world.ear.hear("started").await, pid);
    let output = world.call("echo", json!({"text": "again"})).await.unwrap();
    assert_eq!(output.value, json!("again"));
    let after = world.source.tools();
    assert_eq!(before.len(), after.len());
    let same = before.iter().zip(&after).all(|(a, b)| std::sync::Arc::ptr_eq(a, b));
    assert!(same, "a tool that did not change is the same value");
    let report = world.source.report();
    assert_eq!(report.last_error.as_deref(), Some("the server closed the connection"));
    gone(&pid).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_of_a_call_is_started_again_and_again() {
    let world = World::stdio("plain").await;
    for n in 1..=3 {
        world.connected(n).await;
        let error = world.call("die", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::Network, "{error}");
        assert!(error.effect_possible());
    }
    world.connected(4).await;
    world.call("look", json!({})).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_lasts_too_long_is_withdrawn_and_the_connection_stays() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
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
async fn a_server_that_is_busy_with_a_call_is_left_alone() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
    server.limits.ping = Duration::from_millis(200);
    server.limits.wait = Duration::from_secs(1);
    server.limits.connect = Duration::from_millis(800);
    let world = World::of(ear, server);
    world.connected(1).await;
    // It answers nothing meanwhile, not even a `ping`, or what its tools are.
    let (grown, blocked) =
        tokio::join!(world.call("grow", json!({})), world.call("block", json!({})));
    grown.unwrap();
    blocked.unwrap();
    let grown = |report: &agent_runner_tools::mcp::McpReport| {
        report.tools.contains(&"strange.grown".to_owned())
    };
    timeout(PATIENCE, world.source.wait_until(grown)).await.expect("it was not read again");
    assert_eq!(world.source.report().connections, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_as_a_whole_is_killed_and_started_again() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
    server.limits.call = Duration::from_millis(300);
    server.limits.wait = Duration::from_millis(300);
    let world = World::of(ear, server);
    world.connected(1).await;
    let pid = world.ear.hear("started").await;
    let error = world.call("freeze", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout);
    assert!(error.effect_possible());
    world.connected(2).await;
    gone(&pid).await;
    world.call("look", json!({})).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_or_dropped_is_withdrawn() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let tool = world.tool("hang");
    let cancel = CancellationToken::new();
    let cx = cx().with_cancel(cancel.clone());
    let end = async {
        world.ear.hear("hang begins").await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(timeout(PATIENCE, tool.call(json!({}), &cx)), end);
    let error = result.unwrap().unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Cancelled);
    assert!(error.effect_possible());
    world.ear.hear("hang is cancelled").await;
    let early = tool.call(json!({}), &cx).await.unwrap_err();
    assert_eq!(early.kind(), ToolErrorKind::Cancelled);
    assert!(!early.effect_possible());
    tokio::select! {
        result = world.call("hang", json!({})) => panic!("it ended: {result:?}"),
        _ = world.ear.hear("hang begins") => {}
    }
    world.ear.hear("hang is cancelled").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_connection_that_is_being_made_and_not_for_ever() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
    server.limits.wait = Duration::from_secs(20);
    let world = World::of(ear, server);
    world.connected(1).await;
    let pid = world.ear.hear("started").await;
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let tool = world.tool("look");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    world.source.wait_until(|report| report.status != SourceStatus::Ready).await;
    // Between two tries it says at once that it is not there, and nothing was done.
    loop {
        match tool.call(json!({}), &cx()).await {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error.kind(), ToolErrorKind::Network);
                assert!(!error.effect_possible(), "{error}");
            }
        }
    }
    assert_eq!(world.source.report().connections, 2);
    world.end().await;

    let ear = Ear::open().await;
    let mut server = crate::world::server(&ear, "plain");
    server.limits.wait = Duration::from_millis(200);
    // Nobody runs it.
    let source = agent_runner_tools::mcp::McpSource::new(server).unwrap();
    assert_eq!(source.status(), SourceStatus::Connecting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_stopped_keeps_its_tools_and_their_calls_fail() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let pid = world.ear.hear("started").await;
    let (source, tool) = (world.source.clone(), world.tool("look"));
    world.end().await;
    assert!(!lives(&pid));
    assert!(!source.tools().is_empty());
    let error = tool.call(json!({}), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network);
    assert!(!error.effect_possible());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_calls_are_made_at_once() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
    server.limits.calls_max = 1;
    server.limits.wait = Duration::from_millis(300);
    let world = World::of(ear, server);
    world.connected(1).await;
    let tool = world.tool("hang");
    let cx = cx();
    let hang = tool.call(json!({}), &cx);
    let second = async {
        world.ear.hear("hang begins").await;
        world.call("look", json!({})).await
    };
    tokio::select! {
        result = hang => panic!("it ended: {result:?}"),
        result = second => {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ToolErrorKind::RateLimited);
            assert!(!error.effect_possible());
        }
    }
    world.call("look", json!({})).await.unwrap();
    world.end().await;
}
