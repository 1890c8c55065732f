//! `git.add`, `git.commit`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{
    EffectPolicy, Footprint, KeptArtifact, NewArtifact, Risk, ToolCx, ToolError, ToolErrorKind,
    ToolOutput, TypedTool,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tracing::warn;

use super::{BESIDE, Done, git_tool, writes};
use crate::git::{
    commit::{Committed, Within},
    error::invalid,
    repo::GitRepo,
};

git_tool! {
    /// Notes files for the next commit.
    GitAdd
}
git_tool! {
    /// Commits.
    GitCommit
}

/// Arguments of `git.add`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// The files and directories, taken literally; `.` for all. Files that are gone are noted as gone.
    paths: Vec<String>,
}

impl TypedTool for GitAdd {
    const NAME: &'static str = "git.add";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = AddArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Notes files of a repository for the next commit: new, changed and deleted ones.".into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, _args: &AddArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: AddArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let paths = Within::parse_all(&args.paths)?;
        if paths.is_empty() {
            return Err(invalid("name at least one path, or `.` for all"));
        }
        let files = self.git.on(cx, args.dir.as_deref(), move |repo| repo.add(&paths)).await?;
        let output = ToolOutput::new(json!({"files": files}));
        Ok(if files > 0 { output.with_fact(Done::default().fact("add")) } else { output })
    }
}

/// Arguments of `git.commit`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// The message: a short first line, and more after an empty one if need be.
    message: String,
    /// Files and directories to add first, taken literally; `.` for all.
    #[serde(default)]
    paths: Vec<String>,
}

impl TypedTool for GitCommit {
    const NAME: &'static str = "git.commit";
    // A repeated call finds its commit by the step's key, which is in the message.
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = CommitArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Commits what was added to the branch that is checked out, and `paths` with it.".into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, _args: &CommitArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: CommitArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let paths = Within::parse_all(&args.paths)?;
        let (message, keep) = (args.message, cx.run_id.is_some());
        let work = move |repo: &GitRepo<'_>| {
            let made = commit(repo, &paths, &message)?;
            // The commit is made; that it cannot be shown as a text changes nothing about it.
            let patch = if keep { repo.patch(made.id).ok() } else { None };
            Ok((made, patch))
        };
        let (made, patch) = self.git.on(cx, args.dir.as_deref(), work).await?;
        let kept = match patch {
            Some(patch) => kept(cx, &made, patch).await,
            None => None,
        };
        let done = Done {
            branch: made.branch.as_deref(),
            from: made.parent,
            to: Some(made.id),
            ..Done::default()
        };
        let output = ToolOutput::new(json!({
            "commit": made.id.to_string(), "branch": made.branch, "files_changed": made.files,
            "artifact": kept.as_ref().map(|kept| &kept.name),
        }));
        let output = output.with_fact(done.fact("commit"));
        Ok(match kept {
            Some(kept) => output.with_artifact(kept),
            None => output,
        })
    }
}

fn commit(repo: &GitRepo<'_>, paths: &[Within], message: &str) -> Result<Committed, ToolError> {
    if let Some(made) = repo.committed_already()? {
        return Ok(made);
    }
    let message = repo.signed_off(message)?;
    if !paths.is_empty() {
        repo.add(paths)?;
    }
    repo.commit_index(&message)
}

/// The commit as an artifact of the run, where artifacts are kept.
async fn kept(cx: &ToolCx, made: &Committed, patch: String) -> Option<KeptArtifact> {
    let id = made.id.to_string();
    let new = NewArtifact {
        name: format!("commit-{}.patch", id.chars().take(12).collect::<String>()),
        kind: "commit".to_owned(),
        media_type: "text/x-patch".to_owned(),
    };
    let content = stream::once(async { Ok(Bytes::from(patch)) }).boxed();
    match cx.host.keep(new, content).await {
        Ok(kept) => Some(kept),
        Err(error) if error.kind() == ToolErrorKind::Conflict => None,
        Err(error) => {
            warn!(%error, "a commit could not be kept as an artifact");
            None
        }
    }
}
