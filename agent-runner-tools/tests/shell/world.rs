//! A workspace with a project that allows some programs, and a place outside of it.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use agent_runner_core::{
    id::ProjectId,
    project::{ProjectSettings, ShellSettings},
    testing::tool_contract,
    tool::{
        ByteStream, Fact, KeptArtifact, NewArtifact, NoHost, Tool, ToolCx, ToolError, ToolHost,
        ToolOutput, Typed,
    },
};
use agent_runner_tools::{
    fs::{FsLimits, Workspace},
    shell::{Launcher, Shell, ShellLimits, missing_confinement},
};
use async_trait::async_trait;
use futures::StreamExt as _;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

/// What the tests run. Every Debian has them.
pub(crate) const PROGRAMS: [&str; 15] = [
    "bash",
    "cat",
    "dd",
    "echo",
    "env",
    "false",
    "head",
    "perl",
    "pwd",
    "setsid",
    "sh",
    "sleep",
    "true",
    "unshare",
    "not-installed",
];

pub(crate) fn launcher() -> Launcher {
    Launcher::program(PathBuf::from(env!("CARGO_BIN_EXE_agent-runner-launcher")))
}

pub(crate) struct World {
    pub(crate) temp: TempDir,
    pub(crate) workspace: Workspace,
    pub(crate) id: ProjectId,
    pub(crate) limits: ShellLimits,
    pub(crate) settings: ProjectSettings,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_files(FsLimits::default())
    }

    pub(crate) fn with_files(files: FsLimits) -> Self {
        let temp = TempDir::new().unwrap();
        let workspace = Workspace::open(&temp.path().join("data/projects"), files).unwrap();
        let mut limits = ShellLimits::default();
        limits.scratch = temp.path().join("scratch");
        let mut settings = ProjectSettings::default();
        let programs = PROGRAMS.map(str::to_owned).into();
        settings.shell = Some(ShellSettings { programs, ..ShellSettings::default() });
        let id = tool_contract::cx("1").project_id;
        let world = Self { temp, workspace, id, limits, settings };
        for dir in [world.outside(), world.project(), world.limits.scratch.clone()] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(world.outside().join("secret"), "SECRET").unwrap();
        world
    }

    /// The same, on a machine that can confine programs; anything else is said aloud.
    pub(crate) fn confined() -> Self {
        let missing = missing_confinement();
        assert!(missing.is_empty(), "this machine cannot prove it, it lacks {missing:?}");
        Self::new()
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.temp.path().join("data/projects").join(self.id.to_string())
    }

    pub(crate) fn allow_network(&mut self) {
        self.limits.network = true;
        self.settings.shell.as_mut().unwrap().network = true;
    }

    pub(crate) fn tool(&self) -> Arc<dyn Tool> {
        let shell = Shell::new(self.workspace.clone(), self.limits.clone(), launcher()).unwrap();
        Arc::new(Typed::new(shell))
    }

    pub(crate) fn cx(&self) -> ToolCx {
        tool_contract::cx("1").with_settings(Arc::new(self.settings.clone()))
    }

    pub(crate) async fn call(&self, arguments: Value) -> Result<ToolOutput, ToolError> {
        let call = async { self.tool().call(arguments, &self.cx()).await };
        tokio::time::timeout(Duration::from_secs(60), call).await.expect("the call hangs")
    }

    /// Runs a program that is expected to be started.
    pub(crate) async fn run<const N: usize>(&self, argv: [&str; N]) -> Value {
        self.call(json!({"argv": argv.as_slice()})).await.expect("it is started").value
    }

    /// Runs a script of `sh`.
    pub(crate) async fn sh(&self, script: &str) -> Value {
        self.run(["sh", "-c", script]).await
    }
}

/// A host that writes everything down.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    pub(crate) shown: watch::Sender<String>,
    pub(crate) kept: Mutex<Vec<(NewArtifact, Vec<u8>)>>,
}

impl Witness {
    pub(crate) fn kept(&self) -> Vec<(NewArtifact, Vec<u8>)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ToolHost for Witness {
    fn show(&self, text: &str) {
        self.shown.send_modify(|shown| shown.push_str(text));
    }

    async fn record(&self, fact: Fact) -> Result<(), ToolError> {
        NoHost.record(fact).await
    }

    async fn keep(
        &self,
        new: NewArtifact,
        mut content: ByteStream,
    ) -> Result<KeptArtifact, ToolError> {
        let mut all = Vec::new();
        while let Some(piece) = content.next().await {
            all.extend(piece.unwrap());
        }
        let kept = KeptArtifact {
            name: new.name.clone(),
            kind: new.kind.clone(),
            media_type: new.media_type.clone(),
            size: u64::try_from(all.len()).unwrap(),
            sha256: "00".repeat(32),
            uri: "memory:1".to_owned(),
        };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push((new, all));
        Ok(kept)
    }
}

/// Makes a call in a thread for which the kernel seems to have no Landlock: a filter answers.
pub(crate) fn without_landlock(world: World, arguments: Value) -> Result<ToolOutput, ToolError> {
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || {
        let rules = [(libc::SYS_landlock_create_ruleset, Vec::new())].into_iter().collect();
        let no = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, no, arch).unwrap();
        let filter: BpfProgram = filter.try_into().unwrap();
        apply_filter(&filter).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        answer.send(runtime.block_on(world.call(arguments))).unwrap();
    });
    answered.recv().unwrap()
}
