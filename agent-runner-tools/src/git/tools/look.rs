//! `git.status`, `git.log`, `git.diff`, `git.show`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{EffectPolicy, Footprint, ToolCx, ToolError, ToolOutput, TypedTool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{BESIDE, git_tool, reads};
use crate::{
    fs::RelPath,
    git::{
        commit::Within, diff::Wanted, error::invalid, history::LogWanted, hold::internal, name::Rev,
    },
};

git_tool! {
    /// Tells what differs between the newest commit, the index and the files.
    GitStatusTool
}
git_tool! {
    /// Lists commits.
    GitLog
}
git_tool! {
    /// Shows differences.
    GitDiffTool
}
git_tool! {
    /// Shows a commit, or a file of one.
    GitShow
}

/// Commits that are listed unless a call says otherwise.
const LIMIT: usize = 20;
/// Most commits that one call lists.
const LIMIT_MAX: usize = 200;
/// Most commits that are skipped.
const SKIP_MAX: usize = 100_000;
/// Lines around a change unless a call says otherwise.
const CONTEXT: u32 = 3;
/// Most lines around a change.
const CONTEXT_MAX: u32 = 50;

/// Arguments of `git.status`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
}

impl TypedTool for GitStatusTool {
    const NAME: &'static str = "git.status";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = StatusArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Tells the branch that is checked out in a repository, what the next commit changes, what else \
         differs in the files, and which files git does not know."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn footprint(&self, _args: &StatusArgs) -> Footprint {
        reads()
    }

    async fn run(&self, args: StatusArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        self.git.look(cx, args.dir.as_deref(), |repo| repo.status()).await
    }
}

/// Arguments of `git.log`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// Where to begin: `HEAD` (if left out), a branch, `<remote>/<branch>`, a tag or an id.
    rev: Option<String>,
    /// Only commits that changed this file or directory.
    path: Option<String>,
    /// Most commits, 1 to 200; 20 if left out.
    limit: Option<usize>,
    /// Leaves out so many of the newest.
    skip: Option<usize>,
}

fn rev(text: Option<&str>) -> Result<Rev, ToolError> {
    text.map_or_else(|| Ok(Rev::head()), Rev::parse)
}

impl TypedTool for GitLog {
    const NAME: &'static str = "git.log";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = LogArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Lists commits of a repository with author, date and message, the newest first.".into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn footprint(&self, _args: &LogArgs) -> Footprint {
        reads()
    }

    async fn run(&self, args: LogArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let (limit, skip) = (args.limit.unwrap_or(LIMIT), args.skip.unwrap_or(0));
        if !(1..=LIMIT_MAX).contains(&limit) || skip > SKIP_MAX {
            return Err(invalid("`limit` is 1 to 200, `skip` at most 100,000"));
        }
        let path = args.path.as_deref().map(RelPath::parse).transpose()?;
        let wanted = LogWanted { from: rev(args.rev.as_deref())?, path, skip, limit };
        self.git
            .look(cx, args.dir.as_deref(), move |repo| {
                let (commits, more) = repo.log(&wanted)?;
                Ok(json!({"commits": json_of(commits)?, "more": more}))
            })
            .await
    }
}

/// Arguments of `git.diff`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// What to compare with; the newest commit if left out.
    from: Option<String>,
    /// The commit to compare; the files as they are now if left out.
    to: Option<String>,
    /// Compares the newest commit with what the next one would be. Not together with `from` and `to`.
    #[serde(default)]
    staged: bool,
    /// Only these files and directories, taken literally.
    #[serde(default)]
    paths: Vec<String>,
    /// Lines around each change, at most 50; 3 if left out.
    context_lines: Option<u32>,
}

impl TypedTool for GitDiffTool {
    const NAME: &'static str = "git.diff";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = DiffArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Shows differences as a unified diff: all that is not committed yet, only what is staged, or \
         between two commits. Files that git does not know are not in it; git.status lists them."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn footprint(&self, _args: &DiffArgs) -> Footprint {
        reads()
    }

    async fn run(&self, args: DiffArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        if args.staged && (args.from.is_some() || args.to.is_some()) {
            return Err(invalid("give `staged`, or `from` and `to`"));
        }
        let wanted = Wanted {
            paths: Within::parse_all(&args.paths)?,
            context: context(args.context_lines)?,
            bytes_max: self.git.options().limits.output_bytes_max,
        };
        let from = args.from.as_deref().map(Rev::parse).transpose()?;
        let to = args.to.as_deref().map(Rev::parse).transpose()?;
        let staged = args.staged;
        self.git
            .look(cx, args.dir.as_deref(), move |repo| match (from, to) {
                _ if staged => repo.diff_staged(&wanted),
                (from, Some(to)) => {
                    let from = from
                        .as_ref()
                        .map_or_else(|| repo.head_commit(), |from| repo.resolve(from))?;
                    repo.diff_commits(&from, &repo.resolve(&to)?, &wanted)
                }
                (Some(from), None) => repo.diff_files(Some(&repo.resolve(&from)?), &wanted),
                (None, None) => repo.diff_files(None, &wanted),
            })
            .await
    }
}

fn context(lines: Option<u32>) -> Result<u32, ToolError> {
    let lines = lines.unwrap_or(CONTEXT);
    if lines > CONTEXT_MAX {
        return Err(invalid("`context_lines` is at most 50"));
    }
    Ok(lines)
}

/// Arguments of `git.show`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// The commit: `HEAD` (if left out), a branch, `<remote>/<branch>`, a tag or an id.
    rev: Option<String>,
    /// Shows this file as it was in the commit, and not what the commit changed.
    path: Option<String>,
    /// Lines around each change, at most 50; 3 if left out.
    context_lines: Option<u32>,
}

impl TypedTool for GitShow {
    const NAME: &'static str = "git.show";
    const POLICY: EffectPolicy = EffectPolicy::Pure;
    type Args = ShowArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Shows a commit and what it changed, or a file as it was in a commit.".into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.local + BESIDE
    }

    fn footprint(&self, _args: &ShowArgs) -> Footprint {
        reads()
    }

    async fn run(&self, args: ShowArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let rev = rev(args.rev.as_deref())?;
        let path = args.path.as_deref().map(RelPath::parse).transpose()?;
        let bytes_max = self.git.options().limits.output_bytes_max;
        let wanted = Wanted { paths: Vec::new(), context: context(args.context_lines)?, bytes_max };
        self.git
            .look(cx, args.dir.as_deref(), move |repo| match path {
                Some(path) => json_of(repo.show_file(&rev, &path, bytes_max)?),
                None => json_of(repo.show(&rev, &wanted)?),
            })
            .await
    }
}

fn json_of(told: impl Serialize) -> Result<Value, ToolError> {
    serde_json::to_value(told).map_err(|error| internal("what was found cannot be told", error))
}
