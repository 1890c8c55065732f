//! `git.clone`, `git.pull`.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::tool::{
    EffectPolicy, Footprint, Risk, ToolCx, ToolError, ToolOutput, TypedTool,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{BESIDE, Done, git_tool, output, writes};
use crate::{
    fs::Usage,
    git::{
        Git,
        checkout::Merged,
        clone::{CloneWanted, clone},
        error::{conflict, failed, invalid},
        name::BranchName,
        place::RepoDir,
        relay::Service,
        remote::Remote,
        repo::GitRepo,
        service::Call,
        transfer::fetch,
    },
};

git_tool! {
    /// Clones a remote into the project.
    GitClone
}
git_tool! {
    /// Fetches a remote's branches and moves the one that is checked out on.
    GitPull
}

/// The remote that is meant when none is named.
pub(super) const ORIGIN: &str = "origin";
/// Most commits that a clone can be limited to.
const DEPTH_MAX: u32 = 100_000;

/// Arguments of `git.clone`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneArgs {
    /// Name of the remote in the project's settings; `origin` if left out.
    remote: Option<String>,
    /// The address of a remote in the project's settings, in place of its name.
    url: Option<String>,
    /// The new directory; named as the repository if left out.
    dir: Option<String>,
    /// The branch to check out; the one that the remote suggests if left out.
    branch: Option<String>,
    /// Only so many commits of each branch; all if left out.
    depth: Option<u32>,
}

impl TypedTool for GitClone {
    const NAME: &'static str = "git.clone";
    // It takes its place when it is whole, and says which call made it.
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = CloneArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Clones a remote of the project's settings into a new directory of the project.".into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.transfer + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, _args: &CloneArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: CloneArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let branch = args.branch.as_deref().map(BranchName::parse).transpose()?;
        if args.depth.is_some_and(|depth| !(1..=DEPTH_MAX).contains(&depth)) {
            return Err(invalid("`depth` is 1 to 100,000"));
        }
        let name = match (args.remote, args.url) {
            (Some(_), Some(_)) => return Err(invalid("give `remote` or `url`, not both")),
            (remote, None) => remote.unwrap_or_else(|| ORIGIN.to_owned()),
            (None, Some(url)) => Git::remote_at(&cx.settings, &url)?,
        };
        let remote = self.git.remote(&cx.settings, &name, Service::Fetch)?;
        let dir = RepoDir::parse(&args.dir.map_or_else(|| remote.directory(), Ok)?)?;
        let relay = self.git.relay(&remote, Service::Fetch).await?;
        let (told, origin) = (dir.to_string(), remote.origin());
        let wanted = CloneWanted { remote, url: relay.url(), branch, depth: args.depth };
        let made = self.git.transfer(cx, dir, &relay, move |call| clone(call, &wanted)).await?;
        let commit = made.commit.as_deref().and_then(|id| git2::Oid::from_str(id).ok());
        let done = Done {
            branch: made.branch.as_deref(),
            remote: Some(&name),
            to: commit,
            ..Done::default()
        };
        let told = json!({
            "dir": told, "remote": name, "branch": made.branch, "commit": made.commit, "files": made.files,
            "branches": made.branches,
        });
        Ok(output(told, Some(origin))?.with_fact(done.fact("clone")))
    }
}

/// Arguments of `git.pull`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PullArgs {
    /// The repository's directory; not needed when the project has one repository.
    dir: Option<String>,
    /// Name of the remote in the project's settings; `origin` if left out.
    remote: Option<String>,
    /// The remote's branch; the one of the same name as the one that is checked out if left out.
    branch: Option<String>,
}

impl TypedTool for GitPull {
    const NAME: &'static str = "git.pull";
    const POLICY: EffectPolicy = EffectPolicy::Idempotent;
    type Args = PullArgs;
    type Output = ToolOutput;

    fn description(&self) -> Cow<'_, str> {
        "Fetches the branches of a remote and moves the branch that is checked out on to the remote's newest \
         commit, if nothing else was committed here (fast-forward). Otherwise the remote's branches are \
         fetched, and git.merge can merge `<remote>/<branch>`."
            .into()
    }

    fn timeout(&self) -> Duration {
        self.git.options().limits.transfer + BESIDE
    }

    fn risk(&self) -> Risk {
        Risk::Write
    }

    fn footprint(&self, _args: &PullArgs) -> Footprint {
        writes()
    }

    async fn run(&self, args: PullArgs, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let name = args.remote.unwrap_or_else(|| ORIGIN.to_owned());
        let branch = args.branch.as_deref().map(BranchName::parse).transpose()?;
        let remote = self.git.remote(&cx.settings, &name, Service::Fetch)?;
        let dir = self.git.place(cx, args.dir.as_deref()).await?;
        let relay = self.git.relay(&remote, Service::Fetch).await?;
        let (url, origin) = (relay.url(), remote.origin());
        let work = move |call: &Call| {
            let repo = GitRepo::open(call)?;
            let merged = pull(&repo, (&remote, &url), branch)?;
            Ok((merged, repo.head()?.branch))
        };
        let (merged, branch) = self.git.transfer(cx, dir, &relay, work).await?;
        let (result, from, to) = match merged {
            Merged::Nothing(id) => ("up_to_date", Some(id), id),
            Merged::FastForward { from, to } => ("fast_forward", from, to),
            Merged::Commit { from, to } => ("merged", Some(from), to),
        };
        let told = json!({"result": result, "branch": branch, "commit": to.to_string()});
        let done = Done { branch: branch.as_deref(), remote: Some(&name), from, to: Some(to) };
        Ok(output(told, Some(origin))?.with_fact(done.fact("pull")))
    }
}

fn pull(
    repo: &GitRepo<'_>,
    from: (&Remote, &str),
    branch: Option<BranchName>,
) -> Result<Merged, ToolError> {
    let head = repo.head()?;
    let branch = match branch {
        Some(branch) => branch,
        None => {
            let out = head.branch.as_deref();
            BranchName::parse(out.ok_or_else(|| {
                conflict("a commit is checked out, and no branch: name a `branch`")
            })?)?
        }
    };
    let project = repo.call.project()?;
    project.fits(Usage { bytes: 1, entries: 1 }, 0, repo.stop())?;
    let found = fetch(&repo.repo, from, (Some(branch.as_str()), None), repo.stop())?;
    project.took(found.fetched, 0);
    let name = format!("{}{branch}", from.0.space());
    let theirs =
        repo.commit_at(&name)?.ok_or_else(|| conflict("the remote's branch has no commit"))?;
    let Some(ours) = head.commit else { return repo.forward(&head, theirs) };
    let descends = |a, b| repo.repo.graph_descendant_of(a, b).map_err(failed("compare branches"));
    if ours == theirs || descends(ours, theirs)? {
        return Ok(Merged::Nothing(ours));
    }
    if !descends(theirs, ours)? {
        let remote = &from.0.name;
        return Err(conflict(format!(
            "both sides have commits of their own; they are fetched: merge `{remote}/{branch}` with git.merge"
        ))
        .may_have_run());
    }
    repo.forward(&head, theirs)
}
