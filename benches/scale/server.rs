//! The bundled server as a process of its own, on a database of its own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Most runs of one request.
const BATCH: usize = 100;

/// How a server is started; the same place can be started again.
#[derive(Clone)]
pub(crate) struct Site {
    directory: PathBuf,
    port: u16,
    model: String,
    pub(crate) settings: Vec<(&'static str, String)>,
}

pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Site {
    pub(crate) fn new(directory: &Path, model: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            port: free_port(),
            model: format!("http://{model}/v1"),
            settings: Vec::new(),
        }
    }

    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Another server on the same database.
    pub(crate) fn beside(&self) -> Self {
        Self { port: free_port(), ..self.clone() }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.join("agent-runner.db")
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&self) -> Server {
        let log = self.directory.join(format!("log-{}", self.port));
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
            .arg("serve")
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AGENT_RUNNER_DATA_DIR", &self.directory)
            .env("AGENT_RUNNER_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("AGENT_RUNNER_DEFAULT_MODEL", "openai/m")
            .env("AGENT_RUNNER_CONNECTIONS_PER_ADDRESS", "20000")
            .env("OPENAI_BASE_URL", &self.model)
            .env("OPENAI_API_KEY", "none")
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Server { child, url: format!("http://127.0.0.1:{}", self.port), client }
    }

    pub(crate) async fn start(&self) -> Server {
        let mut server = self.spawn();
        server.ready().await;
        server
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Waits until it takes runs.
    pub(crate) async fn ready(&mut self) {
        let began = Instant::now();
        loop {
            let answer = self.client.get(format!("{}/readyz", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the server ended");
            assert!(began.elapsed() < Duration::from_secs(60), "the server is never ready");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Starts runs that are told this, as fast as it takes them; their ids.
    pub(crate) async fn create(&self, goal: &str, count: usize) -> Vec<String> {
        let run = json!({"goal": goal, "tools": ["time.now", "run.wait"]});
        let mut ids = Vec::new();
        while ids.len() < count {
            let runs = vec![run.clone(); BATCH.min(count - ids.len())];
            let answer = self.post("/runs/batch", &json!(runs)).await;
            let items = answer["items"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        }
        ids
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(format!("{}{path}", self.url)).json(body).send().await;
        let answer = answer.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    /// One run from its acceptance to its end.
    pub(crate) async fn one(&self) -> Value {
        let id = self.create("bench-answer", 1).await.remove(0);
        let run = self.get(&format!("/runs/{id}/join?timeout=30")).await;
        assert_eq!(run["status"], "COMPLETED", "{run:#}");
        run
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it ended by itself.
    pub(crate) fn ended(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
