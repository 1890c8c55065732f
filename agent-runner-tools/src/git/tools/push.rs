//! `git.push`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::{
    project::ProjectSettings,
    tool::{
        EffectPolicy, Footprint, Reconciled, Risk, Tool, ToolCx, ToolError, ToolInfo, ToolOutput,
        Typed, TypedTool,
    },
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BESIDE, Done, remote::ORIGIN, writes};
use crate::git::{
    Git,
    error::{conflict, invalid},
    name::BranchName,
    relay::Service,
    remote::Remote,
    repo::GitRepo,
    service::Call,
    transfer::{Intended, Pushed},
};

/// Pushes a branch to a remote that the project's settings allow it for.
#[derive(Debug)]
pub struct GitPush {
    push: Push,
    tool: Typed<Push>,
}

impl GitPush {
    /// The tool on the repositories of `git`.
    #[must_use]
    pub fn new(git: Git) -> Self {
        let push = Push { git };
        Self { tool: Typed::new(push.clone()), push }
    }
}

#[derive(Debug, Clone)]
struct Push {
    git: Git,
}

/// Arguments of `git.push`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PushArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// Name of the remote in the project's settings; `origin` if left out.
    remote: Option<String>,
    /// The branch; the one that is checked out if left out.
    branch: Option<String>,
}

impl PushArgs {
    fn remote(&self) -> &str {
        self.remote.as_deref().unwrap_or(ORIGIN)
    }
}

fn branch_of(repo: &GitRepo<'_>, named: Option<BranchName>) -> Result<BranchName, ToolError> {
    match named {
        Some(branch) => Ok(branch),
        None => {
            let out = repo.head()?.branch;
            BranchName::parse(&out.ok_or_else(|| {
                conflict("a commit is checked out, and no branch: name a `branch`")
            })?)
        }
    }
}

impl Push {
    /// Does `work` with the branch while the remote can be reached.
    async fn with<T, F>(&self, args: &PushArgs, cx: &ToolCx, work: F) -> Result<T, ToolError>
    where
        T: Send + 'static,
        F: FnOnce(&GitRepo<'_>, (&Remote, &str), &BranchName) -> Result<T, ToolError>
            + Send
            + 'static,
    {
        let remote = self.git.remote(&cx.settings, args.remote(), Service::Push)?;
        let named = args.branch.as_deref().map(BranchName::parse).transpose()?;
        let dir = self.git.place(cx, args.dir.as_deref()).await?;
        let relay = self.git.relay(&remote, Service::Push).await?;
        let url = relay.url();
        let work = move |call: &Call| {
            let repo = GitRepo::open(call)?;
            work(&repo, (&remote, &url), &branch_of(&repo, named)?)
        };
        self.git.transfer(cx, dir, &relay, work).await
    }

    /// What became of a push.
    async fn ask(&self, args: &PushArgs, cx: &ToolCx) -> Result<Reconciled, ToolError> {
        let found = self.with(args, cx, |repo, remote, branch| repo.pushed(remote, branch)).await?;
        Ok(match found {
            Pushed::Yes(done) => Reconciled::Done(told(args, &done, true)),
            Pushed::No => Reconciled::NotDone,
            Pushed::Unknown => Reconciled::Unknown,
        })
    }
}

fn told(args: &PushArgs, done: &Intended, pushed: bool) -> ToolOutput {
    let output = ToolOutput::new(json!({
        "remote": args.remote(), "branch": done.branch.as_str(), "commit": done.to.to_string(), "pushed": pushed,
    }));
    if pushed { output.with_fact(noted(args, done).fact("push")) } else { output }
}

fn noted<'a>(args: &'a PushArgs, done: &'a Intended) -> Done<'a> {
    Done {
        branch: Some(done.branch.as_str()),
        remote: Some(args.remote()),
        from: done.from,
        to: Some(done.to),
    }
}

/// Asking has no effect, however it ends.
fn nothing_pushed(error: ToolError) -> ToolError {
    if !error.effect_possible() {
        return error;
    }
    let plain = ToolError::new(error.kind(), format!("{error}; nothing was pushed"));
    let plain = match error.retry_after() {
        Some(wait) => plain.with_retry_after(wait),
        None => plain,
    };
    plain.with_source(error)
}

impl TypedTool for Push {
    const NAME: &'static str = "git.push";
    // Whether it happened is asked of the remote.
    const POLICY: EffectPolicy = EffectPolicy::Reconcile;
    type Args = PushArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Pushes a branch to a remote of the project's settings. Never overwrites or deletes what is there. The \
         settings may give the branch a prefix there, such as `agents/`."
            .into()
    }

    fn timeout(&self) -> Duration {
        // It asks the remote first, then pushes.
        self.git.options().limits.transfer * 2 + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Outward
    }

    fn footprint(&self, _args: &PushArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: PushArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let intended =
            self.with(&args, cx, |repo, remote, branch| repo.intend(remote, branch)).await;
        let intended = intended.map_err(nothing_pushed)?;
        if intended.from == Some(intended.to) {
            return Ok(told(&args, &intended, false));
        }
        cx.host.record(noted(&args, &intended).fact("push_intended")).await?;
        let what = intended.clone();
        self.with(&args, cx, move |repo, remote, _| repo.push(remote, &what)).await?;
        Ok(told(&args, &intended, true))
    }
}

#[async_trait]
impl Tool for GitPush {
    fn info(&self) -> &ToolInfo {
        self.tool.info()
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        self.tool.call(arguments, cx).await
    }

    fn risk(&self, arguments: &Value) -> Risk {
        self.tool.risk(arguments)
    }

    fn footprint(&self, arguments: &Value) -> Footprint {
        self.tool.footprint(arguments)
    }

    fn available(&self, settings: &ProjectSettings) -> bool {
        self.tool.available(settings)
    }

    async fn reconcile(&self, arguments: &Value, cx: &ToolCx) -> Result<Reconciled, ToolError> {
        let args = serde_json::from_value(arguments.clone())
            .map_err(|error| invalid(error.to_string()))?;
        self.push.ask(&args, cx).await
    }
}
