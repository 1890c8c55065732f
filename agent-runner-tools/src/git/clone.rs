//! New repositories: empty ones, and clones. Both are made where nobody can reach them and take
//! their place in the project when they are whole.

use agent_runner_core::tool::ToolError;
use cap_fs_ext::DirExt as _;
use cap_std::fs::Dir;
use git2::{Oid, Repository, RepositoryInitOptions};
use serde::{Deserialize, Serialize};

use super::{
    error::{conflict, disk, failed, go_on, not_found},
    files::Files,
    hold::{DOT_GIT, Workbench, configure, internal, replace, small_file},
    name::BranchName,
    remote::Remote,
    repo::open_at,
    service::Call,
    transfer::fetch,
    tree::{Use, changes},
    write::{apply, usage},
};
use crate::fs::{Missing, ProjectDir, RelPath, Usage};

/// A file of Git's own that says which call made the repository.
const MADE_BY: &str = "agent-runner";
/// The branch of a repository in which nothing is committed.
const FIRST_BRANCH: &str = "main";

/// What a clone made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cloned {
    /// The call that made it.
    by: String,
    pub(super) branch: Option<String>,
    pub(super) commit: Option<String>,
    pub(super) files: usize,
    pub(super) branches: usize,
}

/// What to clone.
#[derive(Debug)]
pub(super) struct CloneWanted {
    pub(super) remote: Remote,
    pub(super) url: String,
    pub(super) branch: Option<BranchName>,
    pub(super) depth: Option<u32>,
}

/// Makes an empty repository at `path`, a directory for Git's own files.
#[expect(clippy::disallowed_methods, reason = "what is made is opened by `open_at`")]
fn init(path: &std::path::Path, dir: &Dir, branch: &str) -> Result<Repository, ToolError> {
    let mut options = RepositoryInitOptions::new();
    options
        .bare(true)
        .no_dotgit_dir(true)
        .mkdir(false)
        .mkpath(false)
        .external_template(false)
        .initial_head(branch);

    drop(Repository::init_opts(path, &options).map_err(failed("make a repository"))?);
    configure(dir)?;
    open_at(path, &path.join("config"))
}

/// Makes an empty repository in a directory of the project; whether it is new.
pub(super) fn init_in_project(call: &Call, branch: Option<&BranchName>) -> Result<bool, ToolError> {
    let project = call.project()?;
    let home = match call.dir.main() {
        None => project.dir().try_clone().map_err(disk)?,
        Some(path) => project.descend(path, path.components(), Missing::Create)?,
    };
    let workbench = Workbench::take(&call.place())?;
    if workbench.has_left() {
        return Ok(false);
    }
    match home.symlink_metadata(DOT_GIT) {
        Ok(metadata) if metadata.is_dir() => return Ok(false),
        Ok(_) => {
            return Err(conflict("`.git` is a link or a file there: no repository can be made"));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(disk(error)),
    }
    project.fits(Usage { bytes: 1024, entries: 16 }, 0, &call.stop)?;
    let (dir, path) = workbench.fresh()?;
    drop(init(&path, &dir, branch.map_or(FIRST_BRANCH, BranchName::as_str))?);
    workbench.publish(&home, DOT_GIT).map_err(disk)?;
    Ok(true)
}

/// Clones a remote into a directory of the project that is not there yet.
pub(super) fn clone(call: &Call, wanted: &CloneWanted) -> Result<Cloned, ToolError> {
    let project = call.project()?;
    let Some(path) = call.dir.main().filter(|_| call.dir.worktree().is_none()) else {
        return Err(conflict(
            "a clone gets a directory of its own: name one as `dir` that is not there yet",
        ));
    };
    let workbench = Workbench::take(&call.place())?;
    if let Some(made) = made_already(call, &project, path)? {
        return Ok(made);
    }
    let made = fill(call, &workbench, &project, wanted).and_then(|made| {
        let (parents, name) = path.split_name();
        let parent = project.descend(path, parents, Missing::Create)?;
        // An empty directory makes room; another one does not, and the rename fails.
        workbench.publish(&parent, name).map_err(|error| match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty
            | std::io::ErrorKind::AlreadyExists
            | std::io::ErrorKind::NotADirectory => there(path),
            _ => disk(error),
        })?;
        Ok(made)
    });
    if made.is_err() {
        workbench.discard_fresh();
    }
    made
}

fn there(path: &RelPath) -> ToolError {
    conflict(format!(
        "there is something at `{path}` already: choose a `dir` that is not there yet"
    ))
}

/// What an earlier try of the same step made.
fn made_already(
    call: &Call,
    project: &ProjectDir,
    path: &RelPath,
) -> Result<Option<Cloned>, ToolError> {
    let dir = match project.descend(path, path.components(), Missing::Refuse) {
        Ok(dir) => dir,
        Err(error) if error.kind() == crate::fs::FileErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if dir.entries().map_err(disk)?.next().is_none() {
        return Ok(None);
    }
    let Ok(git) = dir.open_dir_nofollow(DOT_GIT) else { return Err(there(path)) };
    let made =
        small_file(&git, MADE_BY)?.and_then(|text| serde_json::from_slice::<Cloned>(&text).ok());
    made.filter(|made| made.by == call.key()).map(Some).ok_or_else(|| there(path))
}

fn fill(
    call: &Call,
    workbench: &Workbench,
    project: &ProjectDir,
    wanted: &CloneWanted,
) -> Result<Cloned, ToolError> {
    let (root, path) = workbench.fresh()?;
    root.create_dir(DOT_GIT).map_err(disk)?;
    let git = root.open_dir_nofollow(DOT_GIT).map_err(disk)?;
    let own = path.join(DOT_GIT);
    let repo = init(&own, &git, FIRST_BRANCH)?;
    let branch = wanted.branch.as_ref().map(BranchName::as_str);
    let found = fetch(&repo, (&wanted.remote, &wanted.url), (branch, wanted.depth), &call.stop)?;
    project.fits(found.fetched, 0, &call.stop)?;
    let branch = branch.or(found.default.as_deref()).map(BranchName::parse).transpose()?;
    let commit = match &branch {
        None => None,
        Some(branch) => {
            let name = format!("{}{branch}", wanted.remote.space());
            Some(repo.refname_to_id(&name).map_err(|_| {
                not_found(
                    "the branch that the remote suggests is not there; name another as `branch`",
                )
            })?)
        }
    };
    let files = match (&branch, commit) {
        (Some(branch), Some(commit)) => fill_files(call, (&repo, root, project), branch, commit)?,
        _ => 0,
    };
    go_on(&call.stop)?;
    let made = Cloned {
        by: call.key().to_owned(),
        branch: branch.map(|branch| branch.to_string()),
        commit: commit.map(|id| id.to_string()),
        files,
        branches: found.branches.len(),
    };
    project.took(found.fetched, 0);
    let text = serde_json::to_vec(&made)
        .map_err(|error| internal("the clone could not be noted", error))?;
    replace(&git, MADE_BY, &text)?;
    Ok(made)
}

fn fill_files(
    call: &Call,
    (repo, root, project): (&Repository, Dir, &ProjectDir),
    branch: &BranchName,
    commit: Oid,
) -> Result<usize, ToolError> {
    repo.reference(&branch.reference(), commit, true, "clone")
        .map_err(failed("make the branch"))?;
    repo.set_head(&branch.reference()).map_err(failed("check the branch out"))?;
    let tree = repo.find_commit(commit).map_err(failed("read the commit"))?.tree_id();
    let changed =
        changes(repo, (None, Some(tree)), (&call.options.limits, &call.stop), Use::Write)?;
    let odb = repo.odb().map_err(failed("open its objects"))?;
    let usage = usage(&odb, &changed)?;
    project.fits(usage, 0, &call.stop)?;
    let mut index = repo.index().map_err(failed("read the index"))?;
    apply((repo, &Files::fresh(root)), &mut index, &changed, || go_on(&call.stop))?;
    index.write().map_err(failed("write the index"))?;
    project.took(usage, 0);
    Ok(changed.len())
}
