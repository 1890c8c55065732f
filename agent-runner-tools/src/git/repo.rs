//! An open repository.

use std::{fmt, rc::Rc};

use agent_runner_core::tool::ToolError;
use cap_fs_ext::DirExt as _;
use cap_std::fs::Dir;
use git2::{Commit, Config, Index, ObjectType, Oid, Repository, RepositoryOpenFlags};
use tokio_util::sync::CancellationToken;

use super::{
    error::{conflict, denied, disk, failed, not_found},
    files::Files,
    hold::{DOT_GIT, Held, Workbench, replace, small_file},
    name::{BranchName, Rev},
    options::GitLimits,
    place::{RepoDir, WORKTREES},
    service::Call,
};

/// A repository of a project, or one of its worktrees: the only thing that opens what an agent
/// names. As long as it is open, its `.git` is out of the project, and nobody else works in it.
pub struct GitRepo<'c> {
    // Closed before `held` puts the directory back.
    pub(super) repo: Repository,
    pub(super) files: Files,
    pub(super) held: Rc<Held>,
    pub(super) call: &'c Call,
    dir: RepoDir,
}

impl fmt::Debug for GitRepo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitRepo").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The content of a worktree's `.git`: a link that nothing here follows, for programs that use git
/// in the worktree.
pub(super) fn link_to(name: &str) -> String {
    format!("gitdir: ../../{DOT_GIT}/worktrees/{name}\n")
}

/// What a worktree has in common with its repository, as git writes it.
pub(super) const COMMON: &str = "../..\n";

impl<'c> GitRepo<'c> {
    /// Opens the repository that the call is about.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Denied` for one that leads elsewhere; `Conflict` while
    /// somebody else works in it.
    pub(super) fn open(call: &'c Call) -> Result<Self, ToolError> {
        let project = call.project()?;
        let home = call.dir.open(&project)?;
        let workbench = Workbench::take(&call.place())?;
        let held = Held::take(workbench, home, &call.stop)?.ok_or_else(|| {
            not_found("there is no repository: make one with git.init or git.clone, or name another `dir`")
        })?;
        Self::of(Rc::new(held), call, call.dir.clone())
    }

    /// The same repository, or another worktree of it.
    pub(super) fn other(&self, worktree: Option<&str>) -> Result<Self, ToolError> {
        let dir = match worktree {
            None => self.dir.of_main(),
            Some(name) => self.dir.of_worktree(name),
        };
        Self::of(Rc::clone(&self.held), self.call, dir)
    }

    fn of(held: Rc<Held>, call: &'c Call, dir: RepoDir) -> Result<Self, ToolError> {
        let mut path = held.path();
        let root = match dir.worktree() {
            None => held.home().try_clone().map_err(disk)?,
            Some(name) => {
                path.push("worktrees");
                path.push(name);
                worktree_root(&held, name)?
            }
        };
        let repo = open_at(&path, &held.path().join("config"))?;
        Ok(Self { repo, files: Files::new(root), held, call, dir })
    }

    pub(super) const fn limits(&self) -> &GitLimits {
        &self.call.options.limits
    }

    pub(super) const fn stop(&self) -> &CancellationToken {
        &self.call.stop
    }

    /// What is open: the repository or a worktree of it.
    pub(super) const fn dir(&self) -> &RepoDir {
        &self.dir
    }

    /// Git's own files of what is open.
    pub(super) fn own(&self) -> Result<Dir, ToolError> {
        let git = self.held.git();
        match self.dir().worktree() {
            None => git.try_clone().map_err(disk),
            Some(name) => own_of(git, name),
        }
    }

    /// The branch that is checked out, and its newest commit, if it has one.
    pub(super) fn head(&self) -> Result<Head, ToolError> {
        let text = small_file(&self.own()?, "HEAD")?.unwrap_or_default();
        head_of(&self.repo, &text)
    }

    /// Checks out: what is committed next is committed there.
    pub(super) fn set_head(&self, head: &Head) -> Result<(), ToolError> {
        let text = match (&head.branch, head.commit) {
            (Some(branch), _) => format!("ref: refs/heads/{branch}\n"),
            (None, Some(id)) => format!("{id}\n"),
            (None, None) => return Err(conflict("there is no commit to check out")),
        };
        replace(&self.own()?, "HEAD", text.as_bytes())
    }

    pub(super) fn head_commit(&self) -> Result<Commit<'_>, ToolError> {
        let id = self.head()?.commit.ok_or_else(|| conflict("nothing is committed yet"))?;
        self.commit(id)
    }

    pub(super) fn commit(&self, id: Oid) -> Result<Commit<'_>, ToolError> {
        self.repo.find_commit(id).map_err(failed("read the commit"))
    }

    pub(super) fn index(&self) -> Result<Index, ToolError> {
        self.repo.index().map_err(failed("read the index"))
    }

    /// The newest commit of a branch, if there is one.
    pub(super) fn tip(&self, branch: &BranchName) -> Result<Option<Oid>, ToolError> {
        self.commit_at(&branch.reference())
    }

    /// The commit that a reference leads to, if there is one.
    pub(super) fn commit_at(&self, reference: &str) -> Result<Option<Oid>, ToolError> {
        match self.repo.find_reference(reference) {
            Ok(found) => Ok(found.peel(ObjectType::Commit).ok().map(|commit| commit.id())),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(failed("read a reference")(error)),
        }
    }

    /// The commit that `rev` names.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn resolve(&self, rev: &Rev) -> Result<Commit<'_>, ToolError> {
        let missing = || {
            not_found(format!(
                "there is no commit `{rev}`; git.branch and git.log show what there is"
            ))
        };
        let mut commit = match self.find(rev)? {
            Some(id) => self.commit(id)?,
            None => return Err(missing()),
        };
        for _ in 0..rev.back {
            commit = commit.parent(0).map_err(|_| missing())?;
        }
        Ok(commit)
    }

    fn find(&self, rev: &Rev) -> Result<Option<Oid>, ToolError> {
        if rev.base == "HEAD" {
            return Ok(self.head()?.commit);
        }
        for space in ["heads", "remotes", "tags"] {
            if let Some(id) = self.commit_at(&format!("refs/{space}/{}", rev.base))? {
                return Ok(Some(id));
            }
        }
        if !rev.is_hex() {
            return Ok(None);
        }
        match self.repo.find_commit_by_prefix(&rev.base) {
            Ok(commit) => Ok(Some(commit.id())),
            Err(error) if error.code() == git2::ErrorCode::Ambiguous => {
                Err(conflict(format!("`{}` begins several ids: write more of it", rev.base)))
            }
            Err(_) => Ok(None),
        }
    }

    /// Branches that are checked out in the repository and its worktrees, with where.
    pub(super) fn checked_out(&self) -> Result<Vec<(String, RepoDir)>, ToolError> {
        let mut found = Vec::new();
        let git = self.held.git();
        let mut look = |own: &Dir, dir: RepoDir| -> Result<(), ToolError> {
            let text = small_file(own, "HEAD")?.unwrap_or_default();
            if let Some(branch) = head_of(&self.repo, &text)?.branch {
                found.push((branch, dir));
            }
            Ok(())
        };
        let main = self.dir.of_main();
        look(git, main.clone())?;
        for name in self.worktrees()? {
            look(&own_of(git, &name)?, main.of_worktree(&name))?;
        }
        Ok(found)
    }

    /// Names of the repository's worktrees.
    pub(super) fn worktrees(&self) -> Result<Vec<String>, ToolError> {
        let Ok(dir) = self.held.git().open_dir_nofollow("worktrees") else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in dir.entries().map_err(disk)? {
            let name = entry.map_err(disk)?.file_name();
            if let Some(name) = name.to_str() {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Where what is fetched came from: what is shown of it was written by people there.
    pub(super) fn origin(&self) -> Result<Option<String>, ToolError> {
        let mut found =
            self.repo.references_glob("refs/remotes/*").map_err(failed("list its references"))?;
        let Some(first) = found.names().next() else { return Ok(None) };
        let name = first.map_err(failed("list its references"))?;
        let remote = name.split('/').nth(2).unwrap_or_default();
        Ok(Some(origin_of(self.call, remote)))
    }
}

/// Where a remote's commits come from, as taint says it.
pub(super) fn origin_of(call: &Call, remote: &str) -> String {
    let url = call
        .settings()
        .git
        .remotes
        .get(remote)
        .and_then(|remote| url::Url::parse(&remote.url).ok());
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or(remote);
    format!("git:{host}")
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// `None` when a commit is checked out, and no branch.
    pub(super) branch: Option<String>,
    /// `None` while nothing is committed.
    pub(super) commit: Option<Oid>,
}

fn head_of(repo: &Repository, text: &[u8]) -> Result<Head, ToolError> {
    let text = std::str::from_utf8(text).unwrap_or_default().trim_end();
    let damaged = || conflict("the repository's HEAD names neither a branch nor a commit");
    if let Some(reference) = text.strip_prefix("ref: ") {
        let branch = reference.strip_prefix("refs/heads/").ok_or_else(damaged)?;
        if !git2::Reference::is_valid_name(reference) {
            return Err(damaged());
        }
        let commit = match repo.find_reference(reference) {
            Ok(found) => Some(found.peel(ObjectType::Commit).map_err(failed("read HEAD"))?.id()),
            Err(error) if error.code() == git2::ErrorCode::NotFound => None,
            Err(error) => return Err(failed("read HEAD")(error)),
        };
        return Ok(Head { branch: Some(branch.to_owned()), commit });
    }
    let id = Oid::from_str(text).ok().filter(|_| text.len() == 40).ok_or_else(damaged)?;
    Ok(Head { branch: None, commit: Some(id) })
}

/// Git's own files of a worktree.
pub(super) fn own_of(git: &Dir, name: &str) -> Result<Dir, ToolError> {
    let open = || git.open_dir_nofollow("worktrees")?.open_dir_nofollow(name);
    open().map_err(|_| {
        not_found(format!("there is no worktree `{name}`; git.worktree lists those there are"))
    })
}

/// The directory of a worktree, which must be one that was made here.
fn worktree_root(held: &Held, name: &str) -> Result<Dir, ToolError> {
    let own = own_of(held.git(), name)?;
    let open = || held.home().open_dir_nofollow(WORKTREES)?.open_dir_nofollow(name);
    let root = open().map_err(|_| {
        not_found(format!(
            "the directory of the worktree `{name}` is gone; remove it with git.worktree"
        ))
    })?;
    let ours = small_file(&own, "commondir")?.as_deref() == Some(COMMON.as_bytes())
        && root.symlink_metadata(DOT_GIT).is_ok_and(|metadata| metadata.is_file())
        && small_file(&root, DOT_GIT)?.as_deref() == Some(link_to(name).as_bytes());
    if ours {
        Ok(root)
    } else {
        Err(denied("the worktree's `.git` is not what git.worktree made: it is not opened"))
    }
}

/// Opens a directory of Git's own with one file as its whole configuration: neither the machine's
/// nor the user's is read from then on.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub(super) fn open_at(
    path: &std::path::Path,
    config: &std::path::Path,
) -> Result<Repository, ToolError> {
    let flags =
        RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::NO_DOTGIT | RepositoryOpenFlags::BARE;
    let none: [&str; 0] = [];
    let repo = Repository::open_ext(path, flags, none).map_err(failed("open the repository"))?;
    let config = Config::open(config).map_err(failed("read its configuration"))?;
    repo.set_config(&config).map_err(failed("read its configuration"))?;
    Ok(repo)
}
