//! What the tests have in common: a source that runs, and the ear for what its server tells.

use std::{path::PathBuf, sync::Arc, time::Duration};

use agent_runner_core::{
    id::{ProjectId, StepKey},
    tool::{SourceStatus, Tool, ToolCx, ToolError, ToolOutput, ToolSource as _},
};
use agent_runner_tools::mcp::{McpServer, McpSource, McpTransport};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Nothing here takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Hears what servers tell.
pub struct Ear {
    pub address: String,
    heard: Mutex<mpsc::Receiver<String>>,
}

impl Ear {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, heard) = mpsc::channel(10_000);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(stream).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        let _ = tell.send(line).await;
                    }
                });
            }
        });
        Self { address, heard: Mutex::new(heard) }
    }

    /// Waits until a server says something that begins so; the rest of the line.
    pub async fn hear(&self, begin: &str) -> String {
        let wait = async {
            loop {
                let line = self.heard.lock().await.recv().await.unwrap();
                if let Some(rest) = line.strip_prefix(begin) {
                    return rest.trim().to_owned();
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("nobody said `{begin}`"))
    }
}

/// The program of the tests.
pub fn program() -> String {
    let me = std::env::current_exe().unwrap();
    let target: PathBuf = me.parent().unwrap().parent().unwrap().join("examples");
    target.join("mcp_test_server").to_str().unwrap().to_owned()
}

/// A server that is the program of the tests in a mode.
pub fn server(ear: &Ear, mode: &str) -> McpServer {
    let mut server = McpServer::stdio("strange", program());
    if let McpTransport::Stdio { args, .. } = &mut server.transport {
        *args = vec![ear.address.clone(), mode.to_owned()];
    }
    server.limits.call = Duration::from_secs(30);
    server
}

/// A source that is run.
pub struct World {
    pub ear: Ear,
    pub source: Arc<McpSource>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl World {
    /// The program of the tests in a mode.
    pub async fn stdio(mode: &str) -> Self {
        let ear = Ear::open().await;
        let server = server(&ear, mode);
        Self::of(ear, server)
    }

    pub fn of(ear: Ear, server: McpServer) -> Self {
        let source = McpSource::new(server).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&source).run(stop.clone()));
        Self { ear, source, stop, task }
    }

    /// Waits until the connection stands for the `n`th time.
    pub async fn connected(&self, n: u64) {
        let up = self
            .source
            .wait_until(|report| report.connections >= n && report.status == SourceStatus::Ready);
        let report = || self.source.report();
        timeout(PATIENCE, up).await.unwrap_or_else(|_| panic!("never connected: {:?}", report()));
    }

    pub fn tool(&self, name: &str) -> Arc<dyn Tool> {
        let name = format!("strange.{name}");
        let tools = self.source.tools();
        tools.into_iter().find(|tool| tool.info().spec.name == name).unwrap()
    }

    pub async fn call(&self, name: &str, arguments: Value) -> Result<ToolOutput, ToolError> {
        let tool = self.tool(name);
        timeout(PATIENCE, tool.call(arguments, &cx())).await.expect("the call hangs")
    }

    /// Ends it as a program does.
    pub async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("the source does not stop").unwrap();
    }
}

pub fn cx() -> ToolCx {
    let project = ProjectId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0002));
    ToolCx::new(project, StepKey::new("1"), "key")
}

/// Whether a process lives.
pub fn lives(pid: &str) -> bool {
    // A zombie is dead; it only waits for its parent.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Waits until a process is gone.
pub async fn gone(pid: &str) {
    let wait = async {
        while lives(pid) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("process {pid} lives on"));
}
