//! Commits and branches, to look at.

use agent_runner_core::tool::ToolError;
use git2::{BranchType, Commit, ObjectType, Sort};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    diff::{GitDiff, Wanted},
    error::{conflict, failed, go_on, not_found, too_large},
    name::{BranchName, Rev},
    place::RepoDir,
    repo::GitRepo,
    tree::shown,
};
use crate::fs::RelPath;

/// Longest message that is told of a commit, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Most commits that one call looks at.
const LOOKED_AT_MAX: usize = 20_000;
/// Most branches that are told.
const BRANCHES_MAX: usize = 500;

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommitInfo {
    /// Its id.
    pub id: String,
    /// Ids of those before it.
    pub parents: Vec<String>,
    /// Who wrote it: a name and an address.
    pub author: String,
    /// When it was committed (UTC).
    pub date: String,
    /// Its message; the beginning of a long one.
    pub message: String,
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BranchInfo {
    /// Its name; `<remote>/<branch>` for one of a remote, as last seen.
    pub name: String,
    /// Its newest commit.
    pub commit: String,
    /// Where it is checked out, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_out: Option<String>,
}

/// A commit and what it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Shown {
    /// The commit.
    pub commit: CommitInfo,
    /// What it changed against its first parent.
    #[serde(flatten)]
    pub diff: GitDiff,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShownFile {
    /// The commit.
    pub commit: String,
    /// The path within the repository.
    pub path: String,
    /// Bytes in the file.
    pub bytes: usize,
    /// Its text.
    pub text: String,
}

/// Which commits to list.
#[derive(Debug, Clone)]
pub(super) struct LogWanted {
    pub(super) from: Rev,
    pub(super) path: Option<RelPath>,
    pub(super) skip: usize,
    pub(super) limit: usize,
}

impl CommitInfo {
    pub(super) fn of(commit: &Commit<'_>) -> Self {
        let author = commit.author();
        let (name, email) = (shown(author.name_bytes()), shown(author.email_bytes()));
        let at = Timestamp::from_second(commit.time().seconds()).ok();
        let message = String::from_utf8_lossy(commit.message_bytes());
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
        Self {
            id: commit.id().to_string(),
            parents: commit.parent_ids().take(16).map(|id| id.to_string()).collect(),
            author: format!("{name} <{email}>").chars().take(400).collect(),
            date: at.map(|at| at.to_string()).unwrap_or_default(),
            message: message.get(..end).unwrap_or_default().trim_end().to_owned(),
        }
    }
}

impl GitRepo<'_> {
    /// Commits, the newest first; whether there are more.
    pub(super) fn log(&self, wanted: &LogWanted) -> Result<(Vec<CommitInfo>, bool), ToolError> {
        let from = self.resolve(&wanted.from)?;
        let mut walk = self.repo.revwalk().map_err(failed("read the history"))?;
        walk.set_sorting(Sort::TIME).map_err(failed("read the history"))?;
        walk.push(from.id()).map_err(failed("read the history"))?;
        let (mut found, mut skipped) = (Vec::new(), 0);
        for (looked_at, id) in walk.enumerate() {
            go_on(self.stop())?;
            if looked_at == LOOKED_AT_MAX {
                return Ok((found, true));
            }
            let commit = self.commit(id.map_err(failed("read the history"))?)?;
            if let Some(path) = &wanted.path
                && !touches(&commit, path)
            {
                continue;
            }
            if skipped < wanted.skip {
                skipped += 1;
                continue;
            }
            if found.len() == wanted.limit {
                return Ok((found, true));
            }
            found.push(CommitInfo::of(&commit));
        }
        Ok((found, false))
    }

    /// A commit and what it changed.
    pub(super) fn show(&self, rev: &Rev, wanted: &Wanted) -> Result<Shown, ToolError> {
        let commit = self.resolve(rev)?;
        Ok(Shown { commit: CommitInfo::of(&commit), diff: self.diff_of(commit.id(), wanted)? })
    }

    /// A file as it was in a commit.
    pub(super) fn show_file(
        &self,
        rev: &Rev,
        path: &RelPath,
        bytes_max: usize,
    ) -> Result<ShownFile, ToolError> {
        let commit = self.resolve(rev)?;
        let missing = || not_found(format!("there is no file `{path}` in `{rev}`"));
        let tree = commit.tree().map_err(failed("read the tree"))?;
        let entry = tree.get_path(path.as_str().as_ref()).map_err(|_| missing())?;
        let odb = self.repo.odb().map_err(failed("open its objects"))?;
        match odb.read_header(entry.id()) {
            Ok((size, ObjectType::Blob)) if size > bytes_max => {
                return Err(too_large(format!(
                    "`{path}` has {size} bytes; {bytes_max} can be shown"
                )));
            }
            Ok((_, ObjectType::Blob)) => {}
            _ => return Err(missing()),
        }
        let content = super::write::blob(&odb, entry.id())?;
        let bytes = content.len();
        let text =
            String::from_utf8(content).map_err(|_| conflict(format!("`{path}` is no text")))?;
        Ok(ShownFile { commit: commit.id().to_string(), path: path.to_string(), bytes, text })
    }

    /// All branches, those of remotes last; whether there are more.
    pub(super) fn branches(&self) -> Result<(Vec<BranchInfo>, bool), ToolError> {
        let out = self.checked_out()?;
        let mut found = Vec::new();
        for kind in [BranchType::Local, BranchType::Remote] {
            let branches = self.repo.branches(Some(kind)).map_err(failed("list its branches"))?;
            for branch in branches {
                let (branch, _) = branch.map_err(failed("list its branches"))?;
                let reference = branch.get();
                let Ok(commit) = reference.peel(ObjectType::Commit) else { continue };
                let name = shown(branch.name_bytes().unwrap_or_default());
                if kind == BranchType::Remote && name.ends_with("/HEAD") {
                    continue;
                }
                let place =
                    out.iter().find(|(branch, _)| kind == BranchType::Local && *branch == name);
                if found.len() == BRANCHES_MAX {
                    return Ok((found, true));
                }
                found.push(BranchInfo {
                    commit: commit.id().to_string(),
                    checked_out: place.map(|(_, dir)| dir.to_string()),
                    name,
                });
            }
        }
        Ok((found, false))
    }

    /// Makes a branch; whether it is new.
    pub(super) fn make_branch(&self, name: &BranchName, start: &Rev) -> Result<bool, ToolError> {
        let start = self.resolve(start)?;
        match self.tip(name)? {
            Some(tip) if tip == start.id() => Ok(false),
            Some(_) => {
                Err(conflict(format!("there is a branch `{name}` already, at another commit")))
            }
            None => {
                self.check_free(name)?;
                let made = self.repo.reference(&name.reference(), start.id(), false, "branch");
                made.map(|_| true).map_err(failed("make the branch"))
            }
        }
    }

    /// Whether a branch of that name can be: a branch is a file, and what is before a `/` a directory.
    pub(super) fn check_free(&self, name: &BranchName) -> Result<(), ToolError> {
        let in_the_way = |other: &str| {
            conflict(format!("the branch `{other}` is in the way of `{name}`: choose another name"))
        };
        for (at, _) in name.as_str().match_indices('/') {
            let above = name.as_str().get(..at).unwrap_or_default();
            if self.commit_at(&format!("refs/heads/{above}"))?.is_some() {
                return Err(in_the_way(above));
            }
        }
        let below = format!("{}/*", name.reference());
        let mut found = self.repo.references_glob(&below).map_err(failed("list its branches"))?;
        match found.names().next() {
            Some(Ok(other)) => Err(in_the_way(other.trim_start_matches("refs/heads/"))),
            _ => Ok(()),
        }
    }

    /// Deletes a branch whose commits are in the one that is checked out or in a remote's, as last
    /// seen; its newest commit, if there was one.
    pub(super) fn delete_branch(&self, name: &BranchName) -> Result<Option<git2::Oid>, ToolError> {
        let Some(tip) = self.tip(name)? else { return Ok(None) };
        let out = self.checked_out()?;
        if let Some((_, dir)) = out.iter().find(|(branch, _)| branch == name.as_str()) {
            return Err(conflict(format!(
                "`{name}` is checked out in `{dir}`: check out another branch there"
            )));
        }
        if !self.is_merged(tip)? {
            return Err(conflict(format!(
                "`{name}` has commits that are neither in the branch that is checked out nor at a remote: merge or push it first"
            )));
        }
        let mut reference =
            self.repo.find_reference(&name.reference()).map_err(failed("find the branch"))?;
        reference.delete().map_err(failed("delete the branch"))?;
        Ok(Some(tip))
    }

    fn is_merged(&self, tip: git2::Oid) -> Result<bool, ToolError> {
        let mut others: Vec<git2::Oid> = self.head()?.commit.into_iter().collect();
        let remotes =
            self.repo.branches(Some(BranchType::Remote)).map_err(failed("list its branches"))?;
        for branch in remotes.take(BRANCHES_MAX).flatten() {
            others.extend(branch.0.get().peel(ObjectType::Commit).map(|commit| commit.id()));
        }
        for other in others {
            go_on(self.stop())?;
            let holds = other == tip
                || self.repo.graph_descendant_of(other, tip).map_err(failed("compare branches"))?;
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where a branch is checked out besides here.
    pub(super) fn elsewhere(&self, branch: &str) -> Result<Option<RepoDir>, ToolError> {
        let out = self.checked_out()?;
        Ok(out
            .into_iter()
            .find(|(name, dir)| name == branch && dir != self.dir())
            .map(|(_, dir)| dir))
    }
}

/// Whether a commit has another file or directory at `path` than each of its parents.
fn touches(commit: &Commit<'_>, path: &RelPath) -> bool {
    let at = |commit: &Commit<'_>| {
        commit
            .tree()
            .ok()?
            .get_path(path.as_str().as_ref())
            .ok()
            .map(|entry| (entry.id(), entry.filemode()))
    };
    let now = at(commit);
    if commit.parent_count() == 0 {
        return now.is_some();
    }
    commit.parents().all(|parent| at(&parent) != now)
}
