//! The bundled server as a child process on a database of its own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::process::{Child, Command};

/// Nothing that a test waits for takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_agent-runner");

/// How a server is to be started; the same place can be started again and again.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    directory: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
}

impl Site {
    pub(crate) fn new(directory: &Path) -> Self {
        // The port is free now and nobody else is likely to take it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut site = Self { directory: directory.to_owned(), port, environment: Vec::new() };
        let database = format!("sqlite://{}", site.database().display());
        site.set("AGENT_RUNNER_DATABASE_URL", &database);
        site.set("AGENT_RUNNER_DATA_DIR", directory.join("data").to_str().unwrap());
        site.set("AGENT_RUNNER_LISTEN", &format!("127.0.0.1:{port}"));
        site.set("AGENT_RUNNER_POLL_INTERVAL", "20ms");
        site.set("AGENT_RUNNER_LEASE_TTL", "500ms");
        site
    }

    /// Another server on the same database, set up alike.
    pub(crate) fn beside(&self) -> Self {
        let mut other = self.clone();
        other.port = Self::new(&self.directory).port;
        other.set("AGENT_RUNNER_LISTEN", &format!("127.0.0.1:{}", other.port));
        other
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.environment.retain(|(k, _)| k != key);
        self.environment.push((key.to_owned(), value.to_owned()));
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.join("runs.db")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(EXECUTABLE);
        command.args(arguments);
        self.place(command)
    }

    /// The command at home here, with the settings of this place.
    fn place(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the server without waiting for it.
    pub(crate) fn spawn(&self) -> Server {
        self.serve(self.command(&["serve"]))
    }

    /// Starts the server, which may make no file larger than that: writes beyond fail.
    pub(crate) fn spawn_with_small_files(&self, bytes: u64) -> Server {
        // In units of 512 bytes (POSIX). Without the trap the kernel would end the process.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" serve", bytes / 512);
        let mut command = Command::new("sh");
        command.args(["-c", &script, EXECUTABLE]);
        self.serve(self.place(command))
    }

    fn serve(&self, mut command: Command) -> Server {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("server.log"))
            .unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Server { site: self.clone(), child: command.spawn().unwrap() }
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&self) -> Server {
        let mut server = self.spawn();
        server.wait_ready().await;
        server
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("server.log")).unwrap_or_default()
    }
}

pub(crate) struct Server {
    site: Site,
    child: Child,
}

pub(crate) fn client() -> reqwest::Client {
    // Fails when another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Server {
    pub(crate) async fn wait_ready(&mut self) {
        let client = client();
        let begun = Instant::now();
        loop {
            let answer = client.get(self.site.url("/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.site.log());
            }
            assert!(begun.elapsed() < PATIENCE, "never ready:\n{}", self.site.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) async fn wait(mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it does not end").unwrap()
    }
}

/// Accepts a run; its id, or `None` when the server was not there to say so.
pub(crate) async fn create(client: &reqwest::Client, site: &Site, body: &Value) -> Option<String> {
    let answer = client.post(site.url("/runs")).json(body).send().await.ok()?;
    let status = answer.status();
    let run: Value = answer.json().await.ok()?;
    assert_eq!(status, 201, "{run}");
    Some(run["id"].as_str().unwrap().to_owned())
}

pub(crate) async fn get(client: &reqwest::Client, site: &Site, path: &str) -> Value {
    let answer = client.get(site.url(path)).send().await.unwrap();
    let status = answer.status();
    let value: Value = answer.json().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {value}");
    value
}

/// Waits until a run ends.
pub(crate) async fn join(client: &reqwest::Client, site: &Site, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let run = get(client, site, &format!("/runs/{id}/join?timeout=10")).await;
        if run["phase"] == "done" {
            return run;
        }
        assert!(begun.elapsed() < PATIENCE, "the run hangs: {run:#}\n{}", site.log());
    }
}

/// All items of a paged list.
pub(crate) async fn all(client: &reqwest::Client, site: &Site, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = get(client, site, &next).await;
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => {
                let join = if path.contains('?') { '&' } else { '?' };
                next = format!("{path}{join}cursor={cursor}");
            }
            None => return items,
        }
    }
}
