//! `git.checkout`, `git.merge`, `git.restore`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{
    EffectPolicy, Footprint, Risk, ToolCx, ToolError, ToolOutput, TypedTool,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{BESIDE, Done, git_tool, writes};
use crate::git::{
    checkout::{Merged, Prefer},
    commit::Within,
    error::invalid,
    name::{BranchName, Rev},
    write::Local,
};

git_tool! {
    /// Checks out a branch or a commit.
    GitCheckout
}
git_tool! {
    /// Merges a branch into the one that is checked out.
    GitMerge
}
git_tool! {
    /// Undoes changes that are not committed.
    GitRestore
}

/// Arguments of `git.checkout`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// The branch to check out; one that only a remote has is made here. A tag or an id checks out
    /// that commit without a branch.
    branch: String,
    /// Makes the branch first.
    #[serde(default)]
    create: bool,
    /// Where a new branch begins; `HEAD` if left out.
    start: Option<String>,
    /// Loses changes of files that are not committed. Without it nothing is done where some would be lost.
    #[serde(default)]
    force: bool,
}

impl TypedTool for GitCheckout {
    const NAME: &'static str = "git.checkout";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = CheckoutArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Checks out a branch of a repository, or makes one and checks it out.".into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &CheckoutArgs) -> Risk {
        if args.force { Risk::Destructive } else { Risk::Write }
    }

    fn footprint(&self, _args: &CheckoutArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: CheckoutArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let start = args.start.as_deref().map(Rev::parse).transpose()?;
        let local = if args.force { Local::Discard } else { Local::Keep };
        let dir = args.dir.as_deref();
        let done = match (args.create, args.force, start) {
            (true, true, _) => return Err(invalid("`create` and `force` do not go together")),
            (false, _, Some(_)) => {
                return Err(invalid("`start` is for a branch that is made: set `create`"));
            }
            (true, false, start) => {
                let (name, start) =
                    (BranchName::parse(&args.branch)?, start.unwrap_or_else(Rev::head));
                self.git.on(cx, dir, move |repo| repo.checkout_new(&name, &start)).await?
            }
            (false, _, None) => {
                let rev = Rev::parse(&args.branch)?;
                self.git.on(cx, dir, move |repo| repo.checkout(&rev, local)).await?
            }
        };
        let (branch, to) = (done.to.branch, done.to.commit);
        let fact = Done { branch: branch.as_deref(), from: done.from, to, ..Done::default() }
            .fact("checkout");
        let told = json!({"branch": branch, "commit": to.map(|id| id.to_string()), "files_changed": done.files});
        Ok(ToolOutput::new(told).with_fact(fact))
    }
}

/// Arguments of `git.merge`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// What to merge: a branch, `<remote>/<branch>`, a tag or an id.
    branch: String,
    /// The message of the commit that a merge makes.
    message: Option<String>,
    /// Whose lines to take where both sides changed the same ones: `ours` are those of the branch that
    /// is checked out. If left out, such a merge is refused.
    prefer: Option<Prefer>,
}

impl TypedTool for GitMerge {
    const NAME: &'static str = "git.merge";
    // What is merged already is not merged again.
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = MergeArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Merges a branch into the one that is checked out. Where both changed the same lines, nothing is \
         done and the files are named."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, _args: &MergeArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: MergeArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let rev = Rev::parse(&args.branch)?;
        let (prefer, message) = (args.prefer, args.message);
        let (merged, branch) = self
            .git
            .on(cx, args.dir.as_deref(), move |repo| {
                Ok((repo.merge(&rev, prefer, message.as_deref())?, repo.head()?.branch))
            })
            .await?;
        let (result, from, to) = match merged {
            Merged::Nothing(id) => {
                return Ok(ToolOutput::new(
                    json!({"result": "already_merged", "commit": id.to_string()}),
                ));
            }
            Merged::FastForward { from, to } => ("fast_forward", from, to),
            Merged::Commit { from, to } => ("merged", Some(from), to),
        };
        let fact =
            Done { branch: branch.as_deref(), from, to: Some(to), ..Done::default() }.fact("merge");
        Ok(ToolOutput::new(json!({"result": result, "commit": to.to_string()})).with_fact(fact))
    }
}

/// Arguments of `git.restore`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// The files and directories, taken literally; `.` for all.
    paths: Vec<String>,
    /// Makes the files what they are in this commit. If left out: what they were when they were added last.
    from: Option<String>,
    /// Undoes git.add, and leaves the files as they are.
    #[serde(default)]
    staged: bool,
}

impl TypedTool for GitRestore {
    const NAME: &'static str = "git.restore";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = RestoreArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Undoes changes of files that are not committed, or, with `staged`, takes them out of the next \
         commit."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &RestoreArgs) -> Risk {
        if args.staged { Risk::Write } else { Risk::Destructive }
    }

    fn footprint(&self, _args: &RestoreArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: RestoreArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let paths = Within::parse_all(&args.paths)?;
        if paths.is_empty() {
            return Err(invalid("name at least one path, or `.` for all"));
        }
        let from = args.from.as_deref().map(Rev::parse).transpose()?;
        let staged = args.staged;
        let work =
            move |repo: &crate::git::GitRepo<'_>| repo.restore(&paths, from.as_ref(), staged);
        let files = self.git.on(cx, args.dir.as_deref(), work).await?;
        let output = ToolOutput::new(json!({"files": files}));
        Ok(if files > 0 { output.with_fact(Done::default().fact("restore")) } else { output })
    }
}
