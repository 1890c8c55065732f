//! Worktrees: directories of a repository with a branch of their own, such as one for each run.
//!
//! A worktree is `<repository>/.worktrees/<name>`. What git keeps of it is in the repository's own
//! `.git`, laid out as git lays it out, so that programs in the worktree may use git. Nothing here
//! follows the links between the two: where they lead is known from the name.

use agent_runner_core::tool::ToolError;
use cap_fs_ext::DirExt as _;
use cap_std::fs::Dir;
use serde::Serialize;

use super::{
    error::{conflict, disk, failed, go_on, invalid},
    files::Files,
    hold::{DOT_GIT, replace},
    name::{BranchName, Rev},
    place::WORKTREES,
    repo::{COMMON, GitRepo, Head, link_to, open_at, own_of},
    tree::{Use, changes},
    write::{apply, usage},
};
use crate::fs::RelPath;

/// Most worktrees of a repository.
const WORKTREES_MAX: usize = 64;

/// A worktree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorktreeInfo {
    /// Its directory within the project: the `dir` of other calls.
    pub dir: String,
    /// Its name.
    pub name: String,
    /// The branch that is checked out there.
    pub branch: Option<String>,
    /// That branch's newest commit.
    pub head: Option<String>,
}

/// The name of a worktree: one name of a path.
pub(super) fn worktree_name(text: &str) -> Result<&str, ToolError> {
    let one = RelPath::parse(text).is_ok_and(|path| path.components().count() == 1);
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if one && text.len() <= 100 && text.chars().all(legal) && !text.starts_with(['-', '.']) {
        Ok(text)
    } else {
        Err(invalid(
            "a worktree's name has 1 to 100 letters, digits and `. _ -`, and begins with a letter or a digit",
        ))
    }
}

impl GitRepo<'_> {
    /// Makes a worktree with a branch of its own, made at `start` if there is none of that name;
    /// whether it is new.
    pub(super) fn make_worktree(
        &self,
        name: &str,
        branch: &BranchName,
        start: &Rev,
    ) -> Result<bool, ToolError> {
        let git = self.held.git();
        let home = self.held.home();
        let there =
            home.open_dir_nofollow(WORKTREES).and_then(|dir| dir.open_dir_nofollow(name)).is_ok();
        let names = self.worktrees()?;
        if names.iter().any(|known| known == name) && there {
            let head = self.other(Some(name))?.head()?;
            if head.branch.as_deref() == Some(branch.as_str()) {
                return Ok(false);
            }
            return Err(conflict(format!(
                "there is a worktree `{name}` already, with another branch"
            )));
        }
        if there {
            return Err(conflict(format!(
                "`{WORKTREES}/{name}` is there already, and no worktree"
            )));
        }
        if names.len() >= WORKTREES_MAX {
            return Err(conflict(
                "the repository has too many worktrees; remove some with git.worktree",
            ));
        }
        self.forget(name)?;
        if let Some((_, dir)) = self.checked_out()?.iter().find(|(out, _)| out == branch.as_str()) {
            return Err(conflict(format!("`{branch}` is checked out in `{dir}` already")));
        }
        if self.tip(branch)?.is_none() {
            self.make_branch(branch, start)?;
        }
        let made = self.fill_worktree(git, name, branch).and_then(|()| {
            let parent = match home.create_dir(WORKTREES) {
                Ok(()) => home.open_dir_nofollow(WORKTREES),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    home.open_dir_nofollow(WORKTREES)
                }
                Err(error) => Err(error),
            };
            self.held.workbench().publish(&parent.map_err(disk)?, name).map_err(disk)
        });
        if made.is_err() {
            self.held.workbench().discard_fresh();
            self.forget(name)?;
        }
        made.map(|()| true)
    }

    /// Makes what git keeps of a worktree, and its files where nobody sees them yet.
    fn fill_worktree(&self, git: &Dir, name: &str, branch: &BranchName) -> Result<(), ToolError> {
        git.create_dir_all(format!("worktrees/{name}")).map_err(disk)?;
        let own = own_of(git, name)?;
        let back = format!("../../../{WORKTREES}/{name}/{DOT_GIT}\n");
        for (file, text) in [
            ("HEAD", format!("ref: {}\n", branch.reference())),
            ("commondir", COMMON.to_owned()),
            ("gitdir", back),
            ("locked", "it is removed by what made it\n".to_owned()),
        ] {
            replace(&own, file, text.as_bytes())?;
        }
        let path = self.held.path();
        let repo = open_at(&path.join("worktrees").join(name), &path.join("config"))?;
        let tip = self.tip(branch)?.map(|id| self.commit(id)).transpose()?;
        let tree = tip.map(|commit| commit.tree_id());
        let changed = changes(&repo, (None, tree), (self.limits(), self.stop()), Use::Write)?;
        let odb = repo.odb().map_err(failed("open its objects"))?;
        let usage = usage(&odb, &changed)?;
        let project = self.call.project()?;
        project.fits(usage, 0, self.stop())?;
        let (fresh, _) = self.held.workbench().fresh()?;
        let files = Files::fresh(fresh);
        let mut index = repo.index().map_err(failed("read the index"))?;
        apply((&repo, &files), &mut index, &changed, || go_on(self.stop()))?;
        index.write().map_err(failed("write the index"))?;
        files.write_link(&link_to(name)).map_err(disk)?;
        project.took(usage, 0);
        Ok(())
    }

    /// Removes a worktree with its files; its branch stays. Whether there was one.
    pub(super) fn remove_worktree(&self, name: &str, discard: bool) -> Result<bool, ToolError> {
        if !self.worktrees()?.iter().any(|known| known == name) {
            return Ok(false);
        }
        if let Ok(parent) = self.held.home().open_dir_nofollow(WORKTREES) {
            if !discard
                && parent.symlink_metadata(name).is_ok()
                && !self.other(Some(name))?.status()?.clean
            {
                return Err(conflict(format!(
                    "the worktree `{name}` has changes that are not committed: commit them, or remove it with `force`"
                )));
            }
            self.held.workbench().remove(&parent, name)?;
        }
        self.forget(name)?;
        Ok(true)
    }

    /// Removes what git keeps of a worktree.
    fn forget(&self, name: &str) -> Result<(), ToolError> {
        match self.held.git().open_dir_nofollow("worktrees") {
            Ok(dir) => self.held.workbench().remove(&dir, name),
            Err(_) => Ok(()),
        }
    }

    /// The worktrees.
    pub(super) fn list_worktrees(&self) -> Result<Vec<WorktreeInfo>, ToolError> {
        let mut found = Vec::new();
        for name in self.worktrees()? {
            let head = self.other(Some(&name)).and_then(|worktree| worktree.head());
            let Head { branch, commit } = head.unwrap_or(Head { branch: None, commit: None });
            let dir = self.dir().of_worktree(&name).to_string();
            found.push(WorktreeInfo { dir, name, branch, head: commit.map(|id| id.to_string()) });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktrees_name_is_one_plain_name() {
        for name in ["a", "0193-aa", "run.1"] {
            assert_eq!(worktree_name(name).unwrap(), name);
        }
        for name in ["", ".", "..", "a/b", "-a", ".git", ".x", "a b", "a\n", "ü", &"a".repeat(101)]
        {
            assert!(worktree_name(name).is_err(), "{name:?}");
        }
    }
}
