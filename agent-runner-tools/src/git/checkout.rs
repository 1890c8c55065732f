//! Other commits into the project: checkout, merge, restore.

use std::collections::BTreeMap;

use agent_runner_core::tool::ToolError;
use git2::{FileFavor, MergeOptions, Oid};

use super::{
    commit::Within,
    error::{conflict, failed, go_on, not_found},
    files::mode,
    name::{BranchName, Rev},
    repo::{GitRepo, Head},
    status::index_entry,
    tree::{Change, Item, Use, changes},
    write::{Local, apply, told, unseen},
};

/// What a checkout did.
#[derive(Debug)]
pub(super) struct CheckedOut {
    pub(super) from: Option<Oid>,
    pub(super) to: Head,
    pub(super) files: usize,
}

/// Whose lines are taken where both sides of a merge changed the same ones.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a merge has two sides")]
pub enum Prefer {
    /// Those of the branch that is checked out.
    Ours,
    /// Those of the branch that is merged.
    Theirs,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// It was in already.
    Nothing(Oid),
    /// The branch moved on.
    FastForward { from: Option<Oid>, to: Oid },
    /// There is a new commit.
    Commit { from: Oid, to: Oid },
}

impl GitRepo<'_> {
    /// Checks out a branch, or a commit.
    pub(super) fn checkout(&self, rev: &Rev, local: Local) -> Result<CheckedOut, ToolError> {
        let branch = BranchName::parse(&rev.to_string()).ok();
        let branch = match branch {
            Some(name) => self.tip(&name)?.map(|tip| (name, tip)),
            None => None,
        };
        let to = match branch {
            Some((name, tip)) => Head { branch: Some(name.to_string()), commit: Some(tip) },
            None => match self.of_remote(rev)? {
                Some(head) => head,
                None => Head { branch: None, commit: Some(self.resolve(rev)?.id()) },
            },
        };
        self.check_out(to, local)
    }

    /// Makes a branch and checks it out.
    pub(super) fn checkout_new(
        &self,
        name: &BranchName,
        start: &Rev,
    ) -> Result<CheckedOut, ToolError> {
        let head = self.head()?;
        // While nothing is committed there is nothing that a branch could begin at.
        if head.commit.is_none() && *start == Rev::head() {
            let to = Head { branch: Some(name.to_string()), commit: None };
            self.set_head(&to)?;
            return Ok(CheckedOut { from: None, to, files: 0 });
        }
        let again = head.branch.as_deref() == Some(name.as_str());
        if !again {
            self.make_branch(name, start)?;
        }
        let to = Head { branch: Some(name.to_string()), commit: self.tip(name)? };
        self.check_out(to, Local::Keep)
    }

    /// The branch of that name that a remote has, which becomes one here.
    fn of_remote(&self, rev: &Rev) -> Result<Option<Head>, ToolError> {
        let Ok(name) = BranchName::parse(&rev.to_string()) else { return Ok(None) };
        let mut found = None;
        for remote in self.call.settings().git.remotes.keys() {
            let Some(tip) = self.commit_at(&format!("refs/remotes/{remote}/{name}"))? else {
                continue;
            };
            if found.is_some_and(|other| other != tip) {
                return Err(conflict(format!(
                    "several remotes have a branch `{name}`: name it with its remote"
                )));
            }
            found = Some(tip);
        }
        let Some(tip) = found else { return Ok(None) };
        self.check_free(&name)?;
        self.repo
            .reference(&name.reference(), tip, false, "checkout")
            .map_err(failed("make the branch"))?;
        Ok(Some(Head { branch: Some(name.to_string()), commit: Some(tip) }))
    }

    fn check_out(&self, to: Head, local: Local) -> Result<CheckedOut, ToolError> {
        if let Some(branch) = &to.branch
            && let Some(dir) = self.elsewhere(branch)?
        {
            return Err(conflict(format!("`{branch}` is checked out in `{dir}` already")));
        }
        let from = self.head()?.commit;
        let files = self.switch(&to, local)?;
        Ok(CheckedOut { from, to, files })
    }

    /// Merges a commit into the branch that is checked out.
    ///
    /// # Errors
    /// `Conflict` when both sides changed the same lines, naming the files, or when something that
    /// nobody committed would be lost; nothing is done then.
    pub(super) fn merge(
        &self,
        rev: &Rev,
        prefer: Option<Prefer>,
        message: Option<&str>,
    ) -> Result<Merged, ToolError> {
        let (head, theirs) = (self.head()?, self.resolve(rev)?);
        let Some(ours) = head.commit.map(|id| self.commit(id)).transpose()? else {
            return self.forward(&head, theirs.id());
        };
        let descends =
            |a, b| self.repo.graph_descendant_of(a, b).map_err(failed("compare branches"));
        if ours.id() == theirs.id() || descends(ours.id(), theirs.id())? {
            return Ok(Merged::Nothing(ours.id()));
        }
        if descends(theirs.id(), ours.id())? {
            return self.forward(&head, theirs.id());
        }
        let text = self.signed_off(message.unwrap_or(&format!("Merge {rev}")))?;
        // Within bounds before libgit2 reads them as a whole.
        for commit in [&ours, &theirs] {
            changes(
                &self.repo,
                (None, Some(commit.tree_id())),
                (self.limits(), self.stop()),
                Use::Write,
            )?;
        }
        let mut options = MergeOptions::new();
        options.find_renames(false).recursion_limit(4).target_limit(100);
        match prefer {
            None => {}
            Some(Prefer::Ours) => drop(options.file_favor(FileFavor::Ours)),
            Some(Prefer::Theirs) => drop(options.file_favor(FileFavor::Theirs)),
        }
        let mut merged =
            self.repo.merge_commits(&ours, &theirs, Some(&options)).map_err(failed("merge"))?;
        if merged.has_conflicts() {
            return Err(in_conflict(&merged, rev)?);
        }
        let tree = merged.write_tree_to(&self.repo).map_err(failed("write the merged tree"))?;
        self.rewrite((Some(ours.tree_id()), Some(tree)), Local::Keep)?;
        let id = self.create(&text, tree, &[&ours, &theirs]).map_err(ToolError::may_have_run)?;
        self.advance(&head, id, "merge").map_err(ToolError::may_have_run)?;
        Ok(Merged::Commit { from: ours.id(), to: id })
    }

    /// Moves the branch that is checked out on to a commit that follows its newest one.
    pub(super) fn forward(&self, head: &Head, to: Oid) -> Result<Merged, ToolError> {
        let tree = |id: Option<Oid>| {
            id.map(|id| Ok::<_, ToolError>(self.commit(id)?.tree_id())).transpose()
        };
        self.rewrite((tree(head.commit)?, tree(Some(to))?), Local::Keep)?;
        self.advance(head, to, "fast-forward").map_err(ToolError::may_have_run)?;
        Ok(Merged::FastForward { from: head.commit, to })
    }

    /// Makes files what they are in a commit, or in the index when none is named; with `staged`,
    /// makes the index so, and leaves the files.
    pub(super) fn restore(
        &self,
        paths: &[Within],
        from: Option<&Rev>,
        staged: bool,
    ) -> Result<usize, ToolError> {
        let mut index = self.index()?;
        let from = match from {
            Some(rev) => Some(self.resolve(rev)?.tree_id()),
            None if staged => self
                .head()?
                .commit
                .map(|id| Ok::<_, ToolError>(self.commit(id)?.tree_id()))
                .transpose()?,
            None => None,
        };
        let noted = |entry: &git2::IndexEntry| {
            (String::from_utf8_lossy(&entry.path).into_owned(), (entry.mode, entry.id))
        };
        let mut wanted: BTreeMap<String, Option<Item>> = index
            .iter()
            .map(|entry| noted(&entry))
            .map(|(path, item)| {
                let stays = from.is_none() && !staged;
                (path, stays.then_some(item))
            })
            .collect();
        for file in changes(&self.repo, (None, from), (self.limits(), self.stop()), Use::Write)? {
            wanted.insert(file.path, file.new);
        }
        let wanted = wanted.into_iter().map(|(path, new)| Change { path, old: None, new });
        let mut wanted: Vec<Change> = wanted.collect();
        wanted.retain(|change| paths.iter().any(|within| within.holds(&change.path)));
        if wanted.is_empty() {
            return Err(not_found(
                "git knows no file of that path there; git.status shows what it knows",
            ));
        }
        let written = self.index_written();
        let mut differing = Vec::new();
        for change in wanted {
            go_on(self.stop())?;
            let noted = index_entry(&index, &change.path);
            let as_noted = noted.as_ref().map(|entry| (entry.mode, entry.id)) == change.new;
            let as_file = staged
                || change.new.is_some_and(|(mode, _)| mode == mode::MODULE)
                || self
                    .item_now(&change.path, noted.as_ref(), written)
                    .is_ok_and(|now| now == change.new);
            if !as_noted || !as_file {
                differing.push(change);
            }
        }
        if differing.is_empty() {
            return Ok(0);
        }
        if staged {
            for change in &differing {
                match change.new {
                    Some((mode, id)) => index.add(&unseen(&change.path, mode, id)),
                    None => index.remove_path(change.path.as_ref()),
                }
                .map_err(failed("write the index"))?;
            }
        } else {
            apply((&self.repo, &self.files), &mut index, &differing, || go_on(self.stop()))
                .map_err(ToolError::may_have_run)?;
        }
        index.write().map_err(failed("write the index"))?;
        Ok(differing.len())
    }
}

fn in_conflict(merged: &git2::Index, rev: &Rev) -> Result<ToolError, ToolError> {
    let mut paths = Vec::new();
    for found in merged.conflicts().map_err(failed("list what is in conflict"))? {
        let found = found.map_err(failed("list what is in conflict"))?;
        if let Some(entry) = found.our.or(found.their).or(found.ancestor) {
            paths.push(super::tree::shown(&entry.path));
        }
    }
    paths.sort();
    paths.dedup();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    Ok(conflict(format!(
        "both sides changed the same lines of {}; nothing was done. Make those files here what they are to be (git.show \
         tells what `{rev}` has), commit, and merge with `prefer`: `ours`",
        told(&paths)
    )))
}
