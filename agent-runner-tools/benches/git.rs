//! What cloning and committing through the tools costs beside the same with libgit2 alone.
//!
//! Both clone from `git http-backend` behind the same server on loopback, and commit the same
//! files. libgit2 alone goes to the server itself, writes into the project, and checks nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement is stopped by what goes wrong, and prints"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../src/git/tests/server.rs"]
mod server;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner_core::{
    project::{GitRemote, ProjectSettings},
    testing::tool_contract::cx,
    time::SystemClock,
    tool::Tool,
};
use agent_runner_tools::{
    StandardTools,
    fs::{FsLimits, Workspace},
    git::{Git, GitOptions},
    http::HttpAllow,
    net::Reach,
};
use serde_json::{Value, json};
use server::{Server, git};
use tempfile::TempDir;

/// Files of the repository, in directories of 25.
const FILES: usize = 1_000;
/// Its commits, each of which changes a tenth of the files.
const COMMITS: usize = 30;
/// Files that a measured commit changes.
const CHANGED: usize = 50;
/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 21;

struct World {
    temp: TempDir,
    server: Server,
    tools: Vec<Arc<dyn Tool>>,
    settings: Arc<ProjectSettings>,
    runtime: tokio::runtime::Runtime,
}

fn text(file: usize, round: usize) -> String {
    (0..60)
        .map(|line| {
            format!("line {line} of file {file}, {}\n", if line % 7 == 0 { round } else { 0 })
        })
        .collect()
}

fn write(dir: &Path, file: usize, round: usize) {
    let dir = dir.join(format!("src/part{}", file / 25));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("file{file}.rs")), text(file, round)).unwrap();
}

impl World {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let server = Server::start();
        let bare = server.bare("tool.git");
        let seed = temp.path().join("seed");
        fs::create_dir(&seed).unwrap();
        git(&seed, &["init", "-q", "-b", "main"]);
        for round in 0..COMMITS {
            let every = if round == 0 { 1 } else { 10 };
            (0..FILES)
                .skip(round % every)
                .step_by(every)
                .for_each(|file| write(&seed, file, round));
            git(&seed, &["add", "."]);
            git(&seed, &["commit", "-q", "-m", "round"]);
        }
        git(&seed, &["push", "-q", bare.to_str().unwrap(), "main"]);
        git(&bare, &["repack", "-adq"]);
        // Each clone is deleted behind the quota's back.
        let mut limits = FsLimits::default();
        limits.project_files_max = 1_000_000;
        limits.project_bytes_max = 1 << 40;
        let workspace = Workspace::open(&temp.path().join("projects"), limits).unwrap();
        let allow = HttpAllow::parse(&server.address.to_string()).unwrap();
        let git = Git::new(workspace, Arc::new(SystemClock), GitOptions::new(Reach::Open(allow)))
            .unwrap();
        let tools = StandardTools::new(Arc::new(SystemClock)).with_git(&git).into_tools();
        let mut settings = ProjectSettings::default();
        let url = server.url("tool.git");
        let remote = GitRemote { url, credential: None, push: false, push_prefix: None };
        settings.git.remotes.insert("origin".to_owned(), remote);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self { temp, server, tools, settings: Arc::new(settings), runtime }
    }

    fn project(&self) -> std::path::PathBuf {
        self.temp.path().join("projects").join(cx("1").project_id.to_string())
    }

    fn call(&self, step: usize, name: &str, arguments: Value) {
        let tool = self.tools.iter().find(|tool| tool.info().spec.name == name).unwrap();
        let cx = cx(&step.to_string()).with_settings(Arc::clone(&self.settings));
        self.runtime.block_on(tool.call(arguments, &cx)).unwrap();
    }
}

fn took(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

fn compare(what: &str, alone: Vec<Duration>, tool: Vec<Duration>) {
    let (alone, tool) = (median(alone), median(tool));
    println!("{what:<34} git2 alone {alone:>8.2} ms   tool {tool:>8.2} ms   {:.2}x", tool / alone);
}

fn clones(world: &World) {
    let (mut alone, mut tool) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let into = world.temp.path().join("alone");
        let url = world.server.url("tool.git");
        alone.push(took(|| drop(git2::build::RepoBuilder::new().clone(&url, &into).unwrap())));
        fs::remove_dir_all(&into).unwrap();
        tool.push(took(|| world.call(round, "git.clone", json!({"dir": "t"}))));
        fs::remove_dir_all(world.project().join("t")).unwrap();
    }
    compare(&format!("clone, {FILES} files, {COMMITS} commits"), alone, tool);
}

/// A commit with libgit2 alone, as its examples make one.
fn commit_alone(dir: &Path, files: &[String]) {
    let repo = git2::Repository::open(dir).unwrap();
    let mut index = repo.index().unwrap();
    for file in files {
        index.add_path(Path::new(file)).unwrap();
    }
    index.write().unwrap();
    let tree = repo.find_tree(index.write_tree().unwrap()).unwrap();
    let parent = repo.head().unwrap().peel_to_commit().unwrap();
    let who = git2::Signature::now("a", "a@example.com").unwrap();
    repo.commit(Some("HEAD"), &who, &who, "round", &tree, &[&parent]).unwrap();
}

fn commits(world: &World, changed: usize) {
    let into = world.temp.path().join("alone");
    git2::build::RepoBuilder::new().clone(&world.server.url("tool.git"), &into).unwrap();
    world.call(1_000_000 + changed, "git.clone", json!({"dir": "t"}));
    let files: Vec<String> =
        (0..changed).map(|file| format!("src/part{}/file{file}.rs", file / 25)).collect();
    let (mut alone, mut tool) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let content = 1_000 + round;
        (0..changed).for_each(|file| write(&into, file, content));
        alone.push(took(|| commit_alone(&into, &files)));
        (0..changed).for_each(|file| write(&world.project().join("t"), file, content));
        let arguments = json!({"dir": "t", "message": "round", "paths": files});
        tool.push(took(|| {
            world.call(2_000_000 + 1_000 * changed + round, "git.commit", arguments);
        }));
    }
    compare(&format!("commit, {changed} of {FILES} files"), alone, tool);
    fs::remove_dir_all(&into).unwrap();
    fs::remove_dir_all(world.project().join("t")).unwrap();
}

fn main() {
    let world = World::new();
    clones(&world);
    commits(&world, CHANGED);
    commits(&world, 1);
}
