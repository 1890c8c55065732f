//! What servers know and nobody else must.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use agent_runner_tools::mcp::McpTransport;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{Ear, World, server};

const TOKEN: &str = "canary-4f9c2d71e8";

/// Everything that is logged.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens to everything from now on, in all threads.
    pub fn listen() -> Self {
        let log = Self::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .init();
        log
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

async fn world_with_token(mode: &str) -> World {
    let ear = Ear::open().await;
    let mut server = server(&ear, mode);
    if let McpTransport::Stdio { env, .. } = &mut server.transport {
        env.insert("TOKEN".to_owned(), TOKEN.to_owned().into());
        env.insert("SHORT".to_owned(), "on".to_owned().into());
    }
    assert!(!format!("{server:?}").contains(TOKEN));
    World::of(ear, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_a_bare_environment_and_what_is_configured() {
    // Cargo's own variables are in the environment of every test.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    let world = world_with_token("plain").await;
    world.connected(1).await;
    let output = world.call("env", json!({})).await.unwrap();
    let env = output.value.as_str().unwrap();
    let mut names: Vec<&str> = env.lines().map(|line| line.split_once('=').unwrap().0).collect();
    names.sort_unstable();
    names.retain(|name| !["PATH", "HOME", "LANG"].contains(name));
    assert_eq!(names, ["SHORT", "TOKEN"]);
    assert!(env.contains("PATH=/"));
    assert!(env.contains("TOKEN=[redacted]") && env.contains("SHORT=on"), "{env}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_log_no_output_no_error_and_no_report() {
    let log = Log::listen();
    let world = world_with_token("plain").await;
    world.connected(1).await;
    let mut said = vec![format!("{:?} {:?}", world.source, world.source.report())];
    for (tool, arguments) in [
        ("noise", json!({})),
        ("chatter", json!({})),
        ("echo", json!({"text": format!("\"{TOKEN}\"")})),
        ("env", json!({})),
        ("look", json!({})),
    ] {
        said.push(format!("{:?}", world.call(tool, arguments).await.unwrap()));
    }
    said.push(format!("{:?}", world.call("die", json!({})).await.unwrap_err()));
    world.connected(2).await;
    world.call("look", json!({})).await.unwrap();
    said.push(format!("{:?} {:?}", world.source, world.source.report()));
    world.end().await;
    let log = log.text();
    assert!(!said.join("\n").contains(TOKEN), "{said:?}");
    let found: Vec<_> = log.lines().filter(|line| line.contains(TOKEN)).collect();
    // What the test itself sends is its own.
    let found: Vec<_> = found.into_iter().filter(|line| !line.contains("ProxyMessage")).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(log.contains("this is no JSON, and has [redacted]"));
    assert!(log.contains("line 0 with [redacted] in it"));
    assert!(log.contains("line 0 of [redacted]"), "what the server wants logged");
    // 20,000 lines and a million bytes were written.
    let lines = log.lines().filter(|line| line.contains("way=\"stderr\"")).count();
    assert!((1..2_000).contains(&lines), "{lines} lines of it were logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_disturbs_no_call() {
    let world = world_with_token("plain").await;
    world.connected(1).await;
    for _ in 0..3 {
        assert_eq!(world.call("noise", json!({})).await.unwrap().value, json!("noisy"));
        assert_eq!(world.call("chatter", json!({})).await.unwrap().value, json!("chattered"));
    }
    assert_eq!(world.source.report().connections, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_things_is_refused_them() {
    let world = world_with_token("plain").await;
    world.connected(1).await;
    let output = world.call("ask", json!({})).await.unwrap();
    let want = "sampling/createMessage: refused, elicitation/create: refused, \
                roots/list: refused, ping: granted";
    assert_eq!(output.value, json!(want));
    world.end().await;
}
