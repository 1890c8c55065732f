//! `git.init`, `git.branch`, `git.worktree`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{
    EffectPolicy, Footprint, Risk, ToolCx, ToolError, ToolOutput, TypedTool,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{BESIDE, Done, git_tool, output, reads, writes};
use crate::git::{
    clone::init_in_project,
    error::invalid,
    name::{BranchName, Rev},
    place::RepoDir,
    worktree::worktree_name,
};

git_tool! {
    /// Makes an empty repository.
    GitInit
}
git_tool! {
    /// Lists, makes and deletes branches.
    GitBranch
}
git_tool! {
    /// Lists, makes and removes worktrees.
    GitWorktree
}

/// Arguments of `git.init`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitArgs {
    /// The directory that becomes a repository; the project's own if left out.
    dir: Option<String>,
    /// Its first branch; `main` if left out.
    branch: Option<String>,
}

impl TypedTool for GitInit {
    const NAME: &'static str = "git.init";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = InitArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Makes a directory of the project a repository in which nothing is committed yet. Files that \
         are there stay as they are."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, _args: &InitArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: InitArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let dir = RepoDir::parse(args.dir.as_deref().unwrap_or("."))?;
        if dir.worktree().is_some() {
            return Err(invalid("worktrees are made by git.worktree"));
        }
        let branch = args.branch.as_deref().map(BranchName::parse).transpose()?;
        let told = dir.to_string();
        let created =
            self.git.local(cx, dir, move |call| init_in_project(call, branch.as_ref())).await?;
        let output = ToolOutput::new(json!({"dir": told, "created": created}));
        Ok(if created { output.with_fact(Done::default().fact("init")) } else { output })
    }
}

/// What `git.branch` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BranchAction {
    /// Lists all branches, those of remotes as last seen.
    #[default]
    List,
    /// Makes a branch and leaves what is checked out as it is.
    Create,
    /// Deletes a branch whose commits are in what is checked out or at a remote.
    Delete,
}

/// Arguments of `git.branch`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// What to do; `list` if left out.
    #[serde(default)]
    action: BranchAction,
    /// The branch to make or delete.
    name: Option<String>,
    /// Where a new branch begins; `HEAD` if left out.
    start: Option<String>,
}

impl TypedTool for GitBranch {
    const NAME: &'static str = "git.branch";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = BranchArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Lists the branches of a repository, makes one, or deletes one that is merged.".into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &BranchArgs) -> Risk {
        match args.action {
            BranchAction::List => Risk::Read,
            BranchAction::Create => Risk::Write,
            BranchAction::Delete => Risk::Destructive,
        }
    }

    fn footprint(&self, args: &BranchArgs) -> Footprint {
        if args.action == BranchAction::List { reads() } else { writes() }
    }

    async fn run(&self, args: BranchArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let name = args.name.as_deref().map(BranchName::parse).transpose()?;
        let start = args.start.as_deref().map(Rev::parse).transpose()?;
        let dir = args.dir.as_deref();
        match (args.action, name) {
            (BranchAction::List, None) if start.is_none() => {
                let told =
                    self.git.on(cx, dir, |repo| Ok((repo.branches()?, repo.origin()?))).await?;
                let ((branches, truncated), origin) = told;
                output(json!({"branches": branches, "truncated": truncated}), origin)
            }
            (BranchAction::Create, Some(name)) => {
                self.create(cx, dir, name, start.unwrap_or_else(Rev::head)).await
            }
            (BranchAction::Delete, Some(name)) if start.is_none() => {
                self.delete(cx, dir, name).await
            }
            _ => Err(invalid(
                "`list` takes neither `name` nor `start`; `create` and `delete` need a `name`, and only \
                 `create` takes a `start`",
            )),
        }
    }
}

impl GitBranch {
    async fn create(
        &self,
        cx: &ToolCx,
        dir: Option<&str>,
        name: BranchName,
        start: Rev,
    ) -> Result<ToolOutput, ToolError> {
        let made = name.clone();
        let work = move |repo: &crate::git::GitRepo<'_>| {
            Ok((repo.make_branch(&made, &start)?, repo.tip(&made)?))
        };
        let (created, tip) = self.git.on(cx, dir, work).await?;
        let done = Done { branch: Some(name.as_str()), to: tip, ..Done::default() };
        let commit = tip.map(|id| id.to_string());
        let output =
            ToolOutput::new(json!({"branch": name.as_str(), "commit": commit, "created": created}));
        Ok(if created { output.with_fact(done.fact("branch")) } else { output })
    }

    async fn delete(
        &self,
        cx: &ToolCx,
        dir: Option<&str>,
        name: BranchName,
    ) -> Result<ToolOutput, ToolError> {
        let gone = name.clone();
        let from = self.git.on(cx, dir, move |repo| repo.delete_branch(&gone)).await?;
        let done = Done { branch: Some(name.as_str()), from, ..Done::default() };
        let output = ToolOutput::new(json!({"branch": name.as_str(), "deleted": from.is_some()}));
        Ok(if from.is_some() { output.with_fact(done.fact("delete_branch")) } else { output })
    }
}

/// What `git.worktree` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WorktreeAction {
    /// Lists all worktrees.
    #[default]
    List,
    /// Makes a worktree, or finds it when it is there.
    Create,
    /// Removes a worktree with its files; its branch stays.
    Remove,
}

/// Arguments of `git.worktree`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorktreeArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// What to do; `list` if left out.
    #[serde(default)]
    action: WorktreeAction,
    /// The worktree's name; the run's id if left out.
    name: Option<String>,
    /// Its branch; `agents/<name>` if left out. It is made if it is not there.
    branch: Option<String>,
    /// Where a new branch begins; `HEAD` if left out.
    start: Option<String>,
    /// Removes a worktree with what is not committed in it.
    #[serde(default)]
    force: bool,
}

impl TypedTool for GitWorktree {
    const NAME: &'static str = "git.worktree";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = WorktreeArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Makes a directory with a branch of its own for a repository, so that several runs can work in it \
         without being in each other's way. Its path is the `dir` of other git calls, and the files in it \
         are used like any others. Also lists and removes them."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Destructive
    }

    fn risk_of(&self, args: &WorktreeArgs) -> Risk {
        match args.action {
            WorktreeAction::List => Risk::Read,
            WorktreeAction::Create => Risk::Write,
            WorktreeAction::Remove => Risk::Destructive,
        }
    }

    fn footprint(&self, args: &WorktreeArgs) -> Footprint {
        if args.action == WorktreeAction::List { reads() } else { writes() }
    }

    async fn run(&self, args: WorktreeArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let dir = args.dir.as_deref();
        if args.action == WorktreeAction::List {
            let told =
                self.git.on(cx, dir, |repo| Ok((repo.list_worktrees()?, repo.origin()?))).await?;
            return output(json!({"worktrees": told.0}), told.1);
        }
        let name = match (args.name, cx.run_id) {
            (Some(name), _) => name,
            (None, Some(run)) => run.to_string(),
            (None, None) => return Err(invalid("give the worktree a `name`")),
        };
        let name = worktree_name(&name)?.to_owned();
        if args.action == WorktreeAction::Remove {
            let (gone, force) = (name.clone(), args.force);
            let removed = self
                .git
                .on(cx, dir, move |repo| repo.other(None)?.remove_worktree(&gone, force))
                .await?;
            let output = ToolOutput::new(json!({"name": name, "removed": removed}));
            return Ok(if removed {
                output.with_fact(Done::default().fact("remove_worktree"))
            } else {
                output
            });
        }
        let branch = BranchName::parse(&args.branch.unwrap_or_else(|| format!("agents/{name}")))?;
        let start = args.start.as_deref().map_or_else(|| Ok(Rev::head()), Rev::parse)?;
        let (made, at) = (name.clone(), branch.clone());
        let (created, dir, tip) = self
            .git
            .on(cx, dir, move |repo| {
                let main = repo.other(None)?;
                let created = main.make_worktree(&made, &at, &start)?;
                Ok((created, main.dir().of_worktree(&made), main.tip(&at)?))
            })
            .await?;
        let done = Done { branch: Some(branch.as_str()), to: tip, ..Done::default() };
        let output = ToolOutput::new(json!({
            "dir": dir.to_string(), "name": name, "branch": branch.as_str(),
            "commit": tip.map(|id| id.to_string()), "created": created,
        }));
        Ok(if created { output.with_fact(done.fact("worktree")) } else { output })
    }
}
