//! Where in a project a repository is.

use std::{fmt, path::PathBuf};

use agent_runner_core::{id::ProjectId, tool::ToolError};
use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};

use super::{
    error::{conflict, disk, invalid, not_found},
    hold::{DOT_GIT, HELD},
};
use crate::fs::{Missing, ProjectDir, RelPath, Workspace};

/// The directory of a repository in which its worktrees are.
pub(super) const WORKTREES: &str = ".worktrees";
/// The directory beside the projects in which repositories are worked on.
const BESIDE: &str = ".git-work";
/// Most entries of a project's directory that are looked at to find its one repository.
const LOOKED_AT_MAX: usize = 1_000;

/// A directory of a project that is a repository, or one of a repository's worktrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoDir {
    /// `None` for the project's own directory.
    main: Option<RelPath>,
    worktree: Option<String>,
}

impl RepoDir {
    /// Parses a directory as a model or client names it: `.`, `tool`, `tool/.worktrees/fix`.
    ///
    /// # Errors
    /// As [`RelPath::parse`]; `InvalidArgs` for a path below a worktree.
    pub fn parse(text: &str) -> Result<Self, ToolError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text == "." {
            return Ok(Self { main: None, worktree: None });
        }
        let path = RelPath::parse(text)?;
        let names: Vec<&str> = path.components().collect();
        let (main, worktree) = match names.as_slice() {
            [main @ .., dir, name] if *dir == WORKTREES => (main, Some((*name).to_owned())),
            main => (main, None),
        };
        if main.contains(&WORKTREES) {
            return Err(invalid("a worktree is `<repository>/.worktrees/<name>`"));
        }
        let main = if main.is_empty() { None } else { Some(RelPath::parse(&main.join("/"))?) };
        Ok(Self { main, worktree })
    }

    /// The project's own directory, if it is a repository, or the only one below it that is.
    pub(super) fn find(
        workspace: &Workspace,
        id: ProjectId,
        project: &ProjectDir,
    ) -> Result<Self, ToolError> {
        let (work, _) = workspace.beside(&[BESIDE, &id.to_string()]).map_err(disk)?;
        let is_repo = |dir: &Dir, place: &Self| {
            let there = || dir.symlink_metadata(DOT_GIT).is_ok();
            let held = |place: &Self| {
                let found = work.symlink_metadata(format!("{}/{HELD}", place.key()));
                found.is_ok_and(|found| found.is_dir())
            };
            // Another call may be at work in it, and may put it back between two looks.
            there() || held(place) || there()
        };
        let root = project.dir();
        let whole = Self { main: None, worktree: None };
        if is_repo(root, &whole) {
            return Ok(whole);
        }
        let mut found = Vec::new();
        for entry in root.entries().map_err(disk)?.take(LOOKED_AT_MAX) {
            let entry = entry.map_err(disk)?;
            let name = entry.file_name();
            let Some(path) = name.to_str().and_then(|name| RelPath::parse(name).ok()) else {
                continue;
            };
            let place = Self { main: Some(path), worktree: None };
            let open = || cap_fs_ext::DirExt::open_dir_nofollow(root, &name);
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && open().is_ok_and(|dir| is_repo(&dir, &place)) {
                found.push(place);
            }
        }
        match found.as_slice() {
            [] => Err(not_found(
                "the project has no repository: make one with git.init or git.clone, or name its directory as `dir`",
            )),
            [one] => Ok(one.clone()),
            _ => {
                let mut names: Vec<_> =
                    found.iter().take(20).map(|place| format!("`{place}`")).collect();
                names.sort();
                Err(conflict(format!(
                    "the project has several repositories; name one as `dir`: {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// The directory of the repository itself, `None` for the project's own.
    pub(super) const fn main(&self) -> Option<&RelPath> {
        self.main.as_ref()
    }

    pub(super) fn worktree(&self) -> Option<&str> {
        self.worktree.as_deref()
    }

    /// The repository itself.
    pub(super) fn of_main(&self) -> Self {
        Self { main: self.main.clone(), worktree: None }
    }

    /// The same repository's worktree of that name.
    pub(super) fn of_worktree(&self, name: &str) -> Self {
        Self { main: self.main.clone(), worktree: Some(name.to_owned()) }
    }

    /// What all worktrees of a repository have in common.
    pub(super) fn key(&self) -> String {
        let name = self.main.as_ref().map_or(".", RelPath::as_str);
        let digest = Sha256::digest(name.as_bytes());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The repository's directory, by handle.
    pub(super) fn open(&self, project: &ProjectDir) -> Result<Dir, ToolError> {
        match &self.main {
            None => project.dir().try_clone().map_err(disk),
            Some(path) => Ok(project.descend(path, path.components(), Missing::Refuse)?),
        }
    }
}

impl fmt::Display for RepoDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.main, &self.worktree) {
            (None, None) => f.write_str("."),
            (Some(main), None) => main.fmt(f),
            (None, Some(name)) => write!(f, "{WORKTREES}/{name}"),
            (Some(main), Some(name)) => write!(f, "{main}/{WORKTREES}/{name}"),
        }
    }
}

/// Where a repository is worked on.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) workspace: Workspace,
    pub(super) project: ProjectId,
    pub(super) dir: RepoDir,
}

impl Place {
    pub(super) fn beside(&self) -> Result<(Dir, PathBuf), ToolError> {
        let project = self.project.to_string();
        self.workspace.beside(&[BESIDE, &project, &self.dir.key()]).map_err(disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_as_they_are_parsed() {
        for text in [".", "tool", "a/b", ".worktrees/x", "a/b/.worktrees/x"] {
            assert_eq!(RepoDir::parse(text).unwrap().to_string(), text);
        }
        let (main, tree) =
            (RepoDir::parse("a").unwrap(), RepoDir::parse("a/.worktrees/x").unwrap());
        assert_eq!(main.key(), tree.key(), "one repository");
        assert_ne!(main.key(), RepoDir::parse("b").unwrap().key());
        assert_eq!(main.of_worktree("x"), tree);
    }

    #[test]
    fn a_directory_outside_is_none() {
        for text in [
            "",
            "..",
            "../x",
            "/etc",
            "a/../b",
            ".git",
            "a/.git",
            "a\0",
            ".worktrees/a/b",
            "a/.worktrees/b/.worktrees/c",
        ] {
            assert!(RepoDir::parse(text).is_err(), "{text:?}");
        }
    }
}
