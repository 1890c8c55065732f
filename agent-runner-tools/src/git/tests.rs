//! Repositories against git itself: its command line, its HTTP server, and what attackers put there.

mod attack;
mod contract;
mod remote;
mod server;
mod transfer;
mod verbs;
mod worktree;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use agent_runner_core::{
    project::{GitRemote, ProjectSettings},
    testing::tool_contract::cx,
    time::SystemClock,
    tool::{
        Fact, KeptArtifact, NewArtifact, Tool, ToolCx, ToolError, ToolErrorKind, ToolHost,
        ToolOutput,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::server::{Server, git, git_output};
use super::*;
use crate::{
    StandardTools,
    fs::{FsLimits, Workspace},
    http::HttpAllow,
    net::Reach,
};

/// A workspace, a git server beside it, and a place that nobody may touch.
struct World {
    temp: TempDir,
    server: Server,
    tools: BTreeMap<String, Arc<dyn Tool>>,
    settings: Mutex<ProjectSettings>,
}

/// The secret that must not be seen anywhere.
const SECRET: &str = "hunter2-canary";

impl World {
    fn new() -> Self {
        Self::with(GitLimits::default(), FsLimits::default())
    }

    fn with(limits: GitLimits, files: FsLimits) -> Self {
        let temp = TempDir::new().unwrap();
        let server = Server::start();
        let workspace = Workspace::open(&temp.path().join("data/projects"), files).unwrap();
        let allow = HttpAllow::parse(&server.address.to_string()).unwrap();
        let credential =
            GitCredential::new(&server.address.to_string(), "agent", SECRET.into()).unwrap();
        let elsewhere = GitCredential::new("git.example.com", "agent", SECRET.into()).unwrap();
        let credentials =
            GitCredentials::default().with("forge", credential).with("elsewhere", elsewhere);
        let options = GitOptions::new(Reach::Open(allow)).credentials(credentials).limits(limits);
        let repositories = Git::new(workspace.clone(), Arc::new(SystemClock), options).unwrap();
        let tools = StandardTools::new(Arc::new(SystemClock))
            .with_files(&workspace)
            .with_git(&repositories);
        let tools = tools
            .into_tools()
            .into_iter()
            .map(|tool| (tool.info().spec.name.clone(), tool))
            .collect();
        let world = Self { temp, server, tools, settings: Mutex::default() };
        fs::create_dir_all(world.project()).unwrap();
        fs::create_dir(world.outside()).unwrap();
        fs::write(world.outside().join("secret"), "SECRET").unwrap();
        world
    }

    fn projects(&self) -> PathBuf {
        self.temp.path().join("data/projects")
    }

    fn project(&self) -> PathBuf {
        self.projects().join(cx("1").project_id.to_string())
    }

    fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    /// The project gets a remote of that name.
    fn remote(&self, name: &str, remote: GitRemote) {
        self.settings.lock().unwrap().git.remotes.insert(name.to_owned(), remote);
    }

    /// A bare repository on the server, as the remote `origin`, with some commits.
    fn origin(&self) -> PathBuf {
        let bare = self.server.bare("tool.git");
        self.remote("origin", writable(&self.server.url("tool.git")));
        let seed = self.temp.path().join("seed");
        fs::create_dir(&seed).unwrap();
        git(&seed, &["init", "-q", "-b", "main"]);
        fs::create_dir(seed.join("src")).unwrap();
        fs::write(seed.join("README.md"), "hello\n").unwrap();
        fs::write(seed.join("src/lib.rs"), "fn a() {}\n").unwrap();
        fs::write(seed.join("run.sh"), "#!/bin/sh\n").unwrap();
        make_program(&seed.join("run.sh"));
        git(&seed, &["add", "."]);
        git(&seed, &["commit", "-q", "-m", "first"]);
        fs::write(seed.join("README.md"), "hello\nworld\n").unwrap();
        git(&seed, &["commit", "-q", "-a", "-m", "second"]);
        git(&seed, &["branch", "topic"]);
        git(&seed, &["push", "-q", bare.to_str().unwrap(), "main", "topic"]);
        bare
    }

    /// Somebody else commits to the remote's `main`.
    fn others_commit(&self, bare: &Path, file: &str, content: &str) {
        let seed = self.temp.path().join("seed");
        git(&seed, &["pull", "-q", "--rebase", bare.to_str().unwrap(), "main"]);
        fs::write(seed.join(file), content).unwrap();
        git(&seed, &["add", "."]);
        git(&seed, &["commit", "-q", "-m", "by others"]);
        git(&seed, &["push", "-q", bare.to_str().unwrap(), "HEAD:main"]);
    }

    fn cx(&self, step: &str) -> ToolCx {
        cx(step).with_settings(Arc::new(self.settings.lock().unwrap().clone()))
    }

    async fn call_in(
        &self,
        cx: &ToolCx,
        tool: &str,
        arguments: Value,
    ) -> Result<ToolOutput, ToolError> {
        self.tools[tool].call(arguments, cx).await
    }

    async fn try_call(&self, tool: &str, arguments: Value) -> Result<Value, ToolError> {
        // Each call is a step of its own.
        static STEP: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(100);
        let step = STEP.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        self.call_in(&self.cx(&step), tool, arguments).await.map(|output| output.value)
    }

    #[track_caller]
    fn call(&self, tool: &str, arguments: Value) -> impl Future<Output = Value> {
        let told = format!("{tool} {arguments}");
        let call = self.try_call(tool, arguments);
        async move {
            call.await.unwrap_or_else(|error| {
                panic!("{told}: {error} {:?}", std::error::Error::source(&error))
            })
        }
    }

    async fn refuse(&self, tool: &str, arguments: Value) -> ToolError {
        let told = format!("{tool} {arguments}");
        match self.try_call(tool, arguments).await {
            Err(error) => error,
            Ok(output) => panic!("{told} must be refused, and answered {output}"),
        }
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.project().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.project().join(path)).unwrap()
    }

    /// What git's own command line says of a repository of the project.
    fn git(&self, dir: &str, args: &[&str]) -> String {
        git(&self.project().join(dir), args)
    }

    /// Nothing is left of a call but what it made.
    fn assert_tidy(&self) {
        let work = self.projects().join(".git-work");
        let mut open = vec![work];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten() {
                let entry = entry.unwrap();
                assert!(
                    !matches!(entry.file_name().to_str(), Some("repo" | "new" | "gone")),
                    "{} is left",
                    entry.path().display()
                );
                open.extend(entry.file_type().unwrap().is_dir().then(|| entry.path()));
            }
        }
        assert_eq!(fs::read_to_string(self.outside().join("secret")).unwrap(), "SECRET");
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 1, "nothing was written outside");
    }
}

/// A remote that may be pushed to.
fn writable(url: &str) -> GitRemote {
    GitRemote { url: url.to_owned(), credential: None, push: true, push_prefix: None }
}

fn make_program(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A host that remembers.
#[derive(Debug, Default)]
struct Remembers {
    facts: Mutex<Vec<Fact>>,
    kept: Mutex<Vec<(NewArtifact, String)>>,
    /// Whether facts are refused, as for a run that is cancelled.
    refuses: bool,
}

#[async_trait::async_trait]
impl ToolHost for Remembers {
    fn show(&self, _text: &str) {}

    async fn record(&self, fact: Fact) -> Result<(), ToolError> {
        if self.refuses {
            return Err(ToolError::new(ToolErrorKind::Cancelled, "the run does not want it"));
        }
        self.facts.lock().unwrap().push(fact);
        Ok(())
    }

    async fn keep(
        &self,
        new: NewArtifact,
        content: agent_runner_core::tool::ByteStream,
    ) -> Result<KeptArtifact, ToolError> {
        use futures::TryStreamExt as _;
        let bytes: Vec<bytes::Bytes> = content.try_collect().await.unwrap();
        let text = String::from_utf8(bytes.concat()).unwrap();
        let kept = KeptArtifact {
            name: new.name.clone(),
            kind: new.kind.clone(),
            media_type: new.media_type.clone(),
            size: text.len() as u64,
            sha256: String::new(),
            uri: "test:".to_owned(),
        };
        self.kept.lock().unwrap().push((new, text));
        Ok(kept)
    }
}
