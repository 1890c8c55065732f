//! A git server: `git http-backend` behind a small HTTP server on loopback, over bare repositories.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::watch};

/// What the server does with a request, other than to serve it.
pub(crate) type Intercept = Arc<dyn Fn(&Seen) -> Option<Response<Full<Bytes>>> + Send + Sync>;

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) all_headers: String,
}

pub(crate) struct Server {
    pub(crate) root: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    rules: Arc<Mutex<Rules>>,
    stop: Option<watch::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default, Clone)]
struct Rules {
    /// Who may push and fetch; everybody while absent.
    basic: Option<String>,
    intercept: Option<Intercept>,
    /// Requests to such paths are never answered.
    silent: Option<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let root = TempDir::new().unwrap();
        let (seen, rules) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<Rules>>::default());
        let (stop, stopped) = watch::channel(());
        let (tell, told) = std::sync::mpsc::channel();
        let shared = (root.path().to_owned(), Arc::clone(&seen), Arc::clone(&rules));
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(shared, tell, stopped));
        });
        let address = told.recv().unwrap();
        Self { root, address, seen, rules, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub(crate) fn require(&self, basic: &str) {
        self.rules.lock().unwrap().basic = Some(basic.to_owned());
    }

    pub(crate) fn intercept(
        &self,
        by: impl Fn(&Seen) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static,
    ) {
        self.rules.lock().unwrap().intercept = Some(Arc::new(by));
    }

    pub(crate) fn be_silent_at(&self, path: &str) {
        self.rules.lock().unwrap().silent = Some(path.to_owned());
    }

    /// A bare repository with nothing in it.
    pub(crate) fn bare(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        git(self.root.path(), &["init", "-q", "--bare", "-b", "main", name]);
        git(&path, &["config", "http.receivepack", "true"]);
        path
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.target))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Shared = (PathBuf, Arc<Mutex<Vec<Seen>>>, Arc<Mutex<Rules>>);

async fn serve(
    shared: Shared,
    tell: std::sync::mpsc::Sender<SocketAddr>,
    mut stopped: watch::Receiver<()>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell.send(listener.local_addr().unwrap()).unwrap();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stopped.changed() => return,
        };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&shared, request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"no")));
    *response.status_mut() = status;
    response
}

async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (root, log, rules) = shared;
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let seen = Seen {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        authorization: header("authorization"),
        all_headers: format!("{:?}", request.headers()),
    };
    log.lock().unwrap().push(seen.clone());
    let rules = rules.lock().unwrap().clone();
    if rules.silent.is_some_and(|path| seen.target.contains(&path)) {
        std::future::pending::<()>().await;
    }
    if let Some(response) = rules.intercept.and_then(|intercept| intercept(&seen)) {
        return Ok(response);
    }
    if rules.basic.is_some() && rules.basic != seen.authorization {
        let mut response = plain(StatusCode::UNAUTHORIZED);
        response.headers_mut().insert("www-authenticate", "Basic realm=\"git\"".parse().unwrap());
        return Ok(response);
    }
    let uri = request.uri().clone();
    let environment = [
        ("REQUEST_METHOD", seen.method),
        ("PATH_INFO", uri.path().to_owned()),
        ("QUERY_STRING", uri.query().unwrap_or_default().to_owned()),
        ("CONTENT_TYPE", header("content-type").unwrap_or_default()),
    ];
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Ok(response_of(&backend(root, environment, body).await))
}

/// What `git http-backend` answers (CGI).
async fn backend(root: &Path, environment: [(&str, String); 4], body: Bytes) -> Vec<u8> {
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .envs(environment)
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move {
        let _ = stdin.write_all(&body).await;
        drop(stdin);
    };
    let (_, output) = tokio::join!(feed, child.wait_with_output());
    output.unwrap().stdout
}

fn response_of(output: &[u8]) -> Response<Full<Bytes>> {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let (head, content) = output.split_at(end.unwrap_or(output.len()));
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(content)));
    for line in String::from_utf8_lossy(head).lines() {
        match line.split_once(':') {
            Some(("Status", status)) => {
                let code = status.trim().split(' ').next().unwrap().parse().unwrap();
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
            }
            Some((name, value)) => {
                let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
                response.headers_mut().insert(name, value.trim().parse().unwrap());
            }
            None => {}
        }
    }
    response
}

/// Runs git's own command line, as somebody whom no configuration of this machine reaches.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = git_output(dir, args);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub(crate) fn git_output(dir: &Path, args: &[&str]) -> std::process::Output {
    std::process::Command::new("git")
        .current_dir(dir)
        .args([
            "-c",
            "safe.directory=*",
            "-c",
            "protocol.allow=always",
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.com",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap()
}
