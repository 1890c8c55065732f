//! Files of commits, written into the project.

use agent_runner_core::tool::ToolError;
use git2::{Index, IndexEntry, ObjectType, Odb, Oid, Repository};

use super::{
    error::{conflict, failed, go_on},
    files::{Files, Seen, mode},
    repo::{GitRepo, Head},
    status::index_entry,
    tree::{Change, Item, Use, changes},
};
use crate::fs::Usage;

/// Most paths that an error names.
const TOLD_MAX: usize = 10;

/// What happens to what the project has and no commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// It stays; where a commit has something else, nothing is done.
    Keep,
    /// It goes, where a commit has something else.
    Discard,
}

/// Reads a file of a commit.
pub(super) fn blob(odb: &Odb<'_>, id: Oid) -> Result<Vec<u8>, ToolError> {
    let object = odb.read(id).map_err(failed("read a file of the commit"))?;
    if object.kind() != ObjectType::Blob {
        return Err(conflict("a file of the commit is none in the repository, which is damaged"));
    }
    Ok(object.data().to_vec())
}

/// Writes the files of `changes` and notes them in the index, which is not saved yet.
pub(super) fn apply(
    (repo, files): (&Repository, &Files),
    index: &mut Index,
    changes: &[Change],
    go_on: impl Fn() -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let odb = repo.odb().map_err(failed("open its objects"))?;
    // What goes makes room: a file may become a directory.
    for change in changes.iter().filter(|change| change.new.is_none()) {
        go_on()?;
        files.remove(&change.path)?;
        index.remove_path(change.path.as_ref()).map_err(failed("note a file that is gone"))?;
    }
    for change in changes {
        let Some((mode, id)) = change.new else { continue };
        go_on()?;
        let entry = match mode {
            // Other repositories are data here: they are noted, and nothing is written.
            mode::MODULE => unseen(&change.path, mode, id),
            _ => files.write(&change.path, &blob(&odb, id)?, mode)?.entry(&change.path, mode, id),
        };
        index.add(&entry).map_err(failed("note a file that is new"))?;
    }
    Ok(())
}

/// An entry of an index for what is not on the disk.
pub(super) fn unseen(path: &str, mode: u32, id: Oid) -> IndexEntry {
    Seen::nothing().entry(path, mode, id)
}

impl GitRepo<'_> {
    /// Makes the files and the index those of another commit, and checks it out.
    ///
    /// # Errors
    /// `Conflict` when something that nobody committed would be lost; nothing is done then.
    pub(super) fn switch(&self, to: &Head, local: Local) -> Result<usize, ToolError> {
        let tree_of = |id: Option<Oid>| -> Result<Option<Oid>, ToolError> {
            id.map(|id| Ok(self.commit(id)?.tree_id())).transpose()
        };
        let (old, new) = (tree_of(self.head()?.commit)?, tree_of(to.commit)?);
        let written = self.rewrite((old, new), local)?;
        self.set_head(to)?;
        Ok(written)
    }

    /// Makes the files and the index those of another tree; the number of files that changed.
    pub(super) fn rewrite(
        &self,
        (old, new): (Option<Oid>, Option<Oid>),
        local: Local,
    ) -> Result<usize, ToolError> {
        let bounds = (self.limits(), self.stop());
        let mut index = self.index()?;
        let changed = match local {
            Local::Keep => changes(&self.repo, (old, new), bounds, Use::Write)?,
            // Whatever differs from the new tree, for whatever reason.
            Local::Discard => self.differing(new, &index)?,
        };
        if local == Local::Keep {
            self.check_untouched(&changed, &index)?;
        }
        self.make_room(&changed)?;
        apply((&self.repo, &self.files), &mut index, &changed, || go_on(self.stop()))
            .map_err(ToolError::may_have_run)?;
        index.write().map_err(failed("write the index"))?;
        Ok(changed.len())
    }

    /// Files of the index or the project that are not as in a tree; files that only the project has
    /// are left alone.
    fn differing(&self, tree: Option<Oid>, index: &Index) -> Result<Vec<Change>, ToolError> {
        let mut all = changes(&self.repo, (None, tree), (self.limits(), self.stop()), Use::Write)?;
        let written = self.index_written();
        let mut found = Vec::new();
        for entry in index.iter() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            if all.binary_search_by(|change| change.path.cmp(&path)).is_err() {
                found.push(Change { path, old: Some((entry.mode, entry.id)), new: None });
            }
        }
        for change in all.drain(..) {
            go_on(self.stop())?;
            let noted = index_entry(index, &change.path).map(|entry| (entry.mode, entry.id));
            if noted != change.new || self.item(&change.path, index, written)? != change.new {
                found.push(change);
            }
        }
        Ok(found)
    }

    /// What a file of the project would be as an item of a tree.
    fn item(
        &self,
        path: &str,
        index: &Index,
        written: Option<(i64, u32)>,
    ) -> Result<Option<Item>, ToolError> {
        let noted = index_entry(index, path);
        if let Some(entry) = noted.as_ref().filter(|entry| entry.mode == mode::MODULE) {
            return Ok(Some((entry.mode, entry.id)));
        }
        self.item_now(path, noted.as_ref(), written)
    }

    /// Refuses to write over what nobody committed.
    fn check_untouched(&self, changed: &[Change], index: &Index) -> Result<(), ToolError> {
        let written = self.index_written();
        let mut in_the_way = Vec::new();
        for change in changed {
            go_on(self.stop())?;
            let noted = index_entry(index, &change.path).map(|entry| (entry.mode, entry.id));
            let now = self.item(&change.path, index, written).unwrap_or(None);
            let there = self.files.see(&change.path).map_or(true, |seen| seen.is_some());
            let as_before = noted == change.old && (now == change.old || (now.is_none() && !there));
            // A call that was broken off may have written it already.
            let as_after = now == change.new && (noted == change.old || noted == change.new);
            if !as_before && !as_after {
                in_the_way.push(change.path.as_str());
            }
        }
        if in_the_way.is_empty() {
            return Ok(());
        }
        Err(conflict(format!(
            "changes that are not committed would be lost: {}; commit them, or undo them with git.restore",
            told(&in_the_way)
        )))
    }

    fn make_room(&self, changed: &[Change]) -> Result<(), ToolError> {
        let odb = self.repo.odb().map_err(failed("open its objects"))?;
        let usage = usage(&odb, changed)?;
        let project = self.call.project()?;
        project.fits(usage, 0, self.stop())?;
        project.took(usage, 0);
        Ok(())
    }
}

/// What the files of `changes` take, at most.
pub(super) fn usage(odb: &Odb<'_>, changes: &[Change]) -> Result<Usage, ToolError> {
    let mut usage = Usage::default();
    for (mode, id) in changes.iter().filter_map(|change| change.new) {
        if mode != mode::MODULE {
            let (size, _) = odb.read_header(id).map_err(failed("find a file of the commit"))?;
            usage.bytes = usage.bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        }
    }
    let added = changes.iter().filter(|change| change.old.is_none()).count();
    usage.entries = u64::try_from(added).unwrap_or(u64::MAX);
    Ok(usage)
}

/// Some paths, for an error.
pub(super) fn told(paths: &[&str]) -> String {
    let some: Vec<_> = paths.iter().take(TOLD_MAX).map(|path| format!("`{path}`")).collect();
    let more = paths.len().saturating_sub(TOLD_MAX);
    if more == 0 { some.join(", ") } else { format!("{} and {more} more", some.join(", ")) }
}
