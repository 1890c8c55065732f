//! What differs between the newest commit, the index and the files.

use std::collections::BTreeMap;

use agent_runner_core::tool::ToolError;
use cap_fs_ext::DirExt as _;
use cap_std::fs::Dir;
use git2::{Index, IndexEntry, ObjectType, Oid};
use serde::Serialize;

use super::{
    error::{failed, go_on},
    files::{mode, written_at},
    hold::DOT_GIT,
    ignored::Ignored,
    place::WORKTREES,
    repo::GitRepo,
    tree::{Change, Item, Use, changes, shown},
};
use crate::fs::check_component;

/// Most paths of each kind that are told.
const TOLD_MAX: usize = 500;
/// Most branches of remotes that one is compared with.
const COMPARED_MAX: usize = 5;

/// A path and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedPath {
    /// The path within the repository.
    pub path: String,
    /// `added`, `modified` or `deleted`.
    pub change: &'static str,
}

/// How a branch stands to the one of the same name at a remote, as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tracked {
    /// `<remote>/<branch>`.
    pub branch: String,
    /// Commits that the remote lacks.
    pub ahead: usize,
    /// Commits that are missing here.
    pub behind: usize,
}

/// What differs between the newest commit, the index and the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GitStatus {
    /// The directory of the repository or worktree.
    pub dir: String,
    /// The branch that is checked out; none when a commit is.
    pub branch: Option<String>,
    /// The newest commit; none while nothing is committed.
    pub head: Option<String>,
    /// How the branch stands to those of the same name at remotes.
    pub remotes: Vec<Tracked>,
    /// Whether nothing differs.
    pub clean: bool,
    /// What the next commit changes.
    pub staged: Vec<ChangedPath>,
    /// What differs from that in the files.
    pub changed: Vec<ChangedPath>,
    /// Files that git does not know; a directory that holds nothing else ends in `/`.
    pub untracked: Vec<String>,
    /// Whether there is more than is told.
    pub truncated: bool,
}

/// The entry of a path.
pub(super) fn index_entry(index: &Index, path: &str) -> Option<IndexEntry> {
    index.get_path(path.as_ref(), 0)
}

impl GitRepo<'_> {
    /// When the index was written: what was touched later is looked at closely.
    pub(super) fn index_written(&self) -> Option<(i64, u32)> {
        self.own().ok().and_then(|own| written_at(&own, "index"))
    }

    /// What the next commit changes.
    pub(super) fn staged(&self, index: &Index) -> Result<Vec<Change>, ToolError> {
        let mut noted: BTreeMap<String, Item> = BTreeMap::new();
        for entry in index.iter() {
            noted.insert(shown(&entry.path), (entry.mode, entry.id));
        }
        let tree = self
            .head()?
            .commit
            .map(|id| Ok::<_, ToolError>(self.commit(id)?.tree_id()))
            .transpose()?;
        let mut found = Vec::new();
        for file in changes(&self.repo, (None, tree), (self.limits(), self.stop()), Use::Show)? {
            let new = noted.remove(&file.path);
            if new != file.new {
                found.push(Change { path: file.path, old: file.new, new });
            }
        }
        found.extend(noted.into_iter().map(|(path, item)| Change {
            path,
            old: None,
            new: Some(item),
        }));
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// What a file of the project would be as an item of a tree, next to what is noted of it.
    pub(super) fn item_now(
        &self,
        path: &str,
        noted: Option<&IndexEntry>,
        written: Option<(i64, u32)>,
    ) -> Result<Option<Item>, ToolError> {
        let Some(seen) = self.files.see(path)? else { return Ok(None) };
        let mode = seen.mode(noted.map(|entry| entry.mode));
        if let Some(entry) = noted
            && seen.is_as_in(entry, written)
        {
            return Ok(Some((mode, entry.id)));
        }
        let Some((content, _)) = self.files.read(path, self.limits().blob_bytes_max)? else {
            return Ok(None);
        };
        let id = Oid::hash_object(ObjectType::Blob, &content).map_err(failed("name a file"))?;
        Ok(Some((mode, id)))
    }

    /// What differs between the index and the files that it knows.
    pub(super) fn unstaged(&self, index: &Index) -> Result<Vec<Change>, ToolError> {
        let written = self.index_written();
        let mut found = Vec::new();
        for entry in index.iter() {
            go_on(self.stop())?;
            let old = (entry.mode, entry.id);
            let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
            if entry.mode == mode::MODULE {
                continue;
            }
            // What cannot be looked at, such as a link, differs: it is not the file.
            let new = self.item_now(path, Some(&entry), written).unwrap_or(None);
            if new != Some(old) {
                found.push(Change { path: path.to_owned(), old: Some(old), new });
            }
        }
        Ok(found)
    }

    /// Files that the index does not know and that are not ignored, below `only` or everywhere.
    /// With `whole`, a directory of such files is told as one.
    pub(super) fn untracked(
        &self,
        index: &Index,
        only: Option<&str>,
        whole: bool,
    ) -> Result<(Vec<String>, bool), ToolError> {
        let mut look = Look {
            repo: self,
            index,
            ignored: Ignored::new(&self.files),
            whole,
            left: self.limits().entries_max,
            found: Vec::new(),
        };
        let below = only.unwrap_or_default();
        let mut root = self.files.root().try_clone();
        for name in below.split('/').filter(|name| !name.is_empty()) {
            root = root.and_then(|dir| dir.open_dir_nofollow(name));
        }
        let complete = match root {
            Ok(root) => look.directory(&root, below, 0)?,
            Err(_) => true,
        };
        let mut found = look.found;
        found.sort();
        Ok((found, complete))
    }

    /// What differs between the newest commit, the index and the files.
    pub(super) fn status(&self) -> Result<GitStatus, ToolError> {
        let index = self.index()?;
        let head = self.head()?;
        let (staged, changed) = (self.staged(&index)?, self.unstaged(&index)?);
        let (mut untracked, complete) = self.untracked(&index, None, true)?;
        let clean = staged.is_empty() && changed.is_empty() && untracked.is_empty();
        let most = [staged.len(), changed.len(), untracked.len()].into_iter().max().unwrap_or(0);
        untracked.truncate(TOLD_MAX);
        let told = |changes: Vec<Change>| {
            let told = changes.into_iter().take(TOLD_MAX);
            told.map(|change| ChangedPath { change: change.as_str(), path: change.path }).collect()
        };
        Ok(GitStatus {
            dir: self.dir().to_string(),
            remotes: self.compared(head.branch.as_deref(), head.commit)?,
            head: head.commit.map(|id| id.to_string()),
            branch: head.branch,
            clean,
            staged: told(staged),
            changed: told(changed),
            untracked,
            truncated: most > TOLD_MAX || !complete,
        })
    }

    fn compared(
        &self,
        branch: Option<&str>,
        commit: Option<Oid>,
    ) -> Result<Vec<Tracked>, ToolError> {
        let (Some(branch), Some(commit)) = (branch, commit) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in self.call.settings().git.remotes.keys() {
            if found.len() == COMPARED_MAX {
                break;
            }
            if let Some(theirs) = self.commit_at(&format!("refs/remotes/{name}/{branch}"))? {
                let (ahead, behind) = self
                    .repo
                    .graph_ahead_behind(commit, theirs)
                    .map_err(failed("compare with the remote's branch"))?;
                found.push(Tracked { branch: format!("{name}/{branch}"), ahead, behind });
            }
        }
        Ok(found)
    }
}

struct Look<'a> {
    repo: &'a GitRepo<'a>,
    index: &'a Index,
    ignored: Ignored<'a>,
    whole: bool,
    left: usize,
    found: Vec<String>,
}

impl Look<'_> {
    /// Looks into a directory; whether all of it could be looked at.
    fn directory(&mut self, dir: &Dir, path: &str, depth: usize) -> Result<bool, ToolError> {
        if depth > self.repo.limits().depth_max {
            return Ok(false);
        }
        let Ok(entries) = dir.entries() else { return Ok(false) };
        let mut complete = true;
        for entry in entries.flatten() {
            go_on(self.repo.stop())?;
            if self.left == 0 {
                return Ok(false);
            }
            self.left -= 1;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Names that no project may have are left alone, `.git` among them.
            if check_component(name).is_err() || (path.is_empty() && name == WORKTREES) {
                continue;
            }
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_file() {
                if index_entry(self.index, &below).is_none() && !self.ignored.is(&below, false) {
                    self.found.push(below);
                }
            } else if kind.is_dir() && !self.ignored.is(&below, true) {
                let Ok(next) = dir.open_dir_nofollow(name) else { continue };
                // A repository of its own.
                if next.symlink_metadata(DOT_GIT).is_ok() {
                    continue;
                }
                let before = self.found.len();
                complete &= self.directory(&next, &below, depth + 1)?;
                if self.whole && self.found.len() > before && !self.knows(&below) {
                    self.found.truncate(before);
                    self.found.push(format!("{below}/"));
                }
            }
        }
        Ok(complete)
    }

    /// Whether the index knows a file in that directory.
    fn knows(&self, dir: &str) -> bool {
        let prefix = format!("{dir}/");
        let at = self.index.find_prefix(prefix.as_str()).ok().and_then(|at| self.index.get(at));
        at.is_some_and(|entry| entry.path.starts_with(prefix.as_bytes()))
    }
}
