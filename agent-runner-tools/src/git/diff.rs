//! Differences as text.

use agent_runner_core::tool::ToolError;
use git2::{Commit, DiffOptions, ObjectType, Odb, Oid, Patch};
use serde::Serialize;

use super::{
    commit::Within,
    error::{failed, go_on},
    files::mode,
    history::CommitInfo,
    repo::GitRepo,
    status::{ChangedPath, index_entry},
    tree::{Change, Item, Use, changes},
    write::blob,
};

/// Largest file that is compared line by line, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Largest patch that is kept of a commit, in bytes.
const PATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most files that are told.
const FILES_MAX: usize = 500;
/// Bytes in which a NUL tells that it is no text; git looks at as many.
const LOOKED_AT_BYTES: usize = 8_000;
/// Digits of an id in a header.
const SHORT: usize = 7;

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GitDiff {
    /// The files.
    pub files: Vec<ChangedPath>,
    /// Lines that were added.
    pub insertions: usize,
    /// Lines that are gone.
    pub deletions: usize,
    /// The difference in the unified format.
    pub diff: String,
    /// Whether there is more than is told.
    pub truncated: bool,
}

/// Where the content of the newer side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// In the repository.
    Kept,
    /// In the project.
    Files,
}

/// Which of the differences.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Only these paths; all while empty.
    pub(super) paths: Vec<Within>,
    /// Lines around each change.
    pub(super) context: u32,
    /// Most bytes of text.
    pub(super) bytes_max: usize,
}

impl Wanted {
    fn wants(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|within| within.holds(path))
    }
}

impl GitRepo<'_> {
    /// What a commit changed, against its first parent.
    pub(super) fn changed_by(&self, id: Oid) -> Result<Vec<Change>, ToolError> {
        let commit = self.commit(id)?;
        let parent = commit.parent(0).ok().map(|parent| parent.tree_id());
        self.changed((parent, Some(commit.tree_id())))
    }

    pub(super) fn changed(
        &self,
        trees: (Option<Oid>, Option<Oid>),
    ) -> Result<Vec<Change>, ToolError> {
        changes(&self.repo, trees, (self.limits(), self.stop()), Use::Show)
    }

    /// What two commits differ in.
    pub(super) fn diff_commits(
        &self,
        old: &Commit<'_>,
        new: &Commit<'_>,
        wanted: &Wanted,
    ) -> Result<GitDiff, ToolError> {
        let changes = self.changed((Some(old.tree_id()), Some(new.tree_id())))?;
        self.text(&changes, Side::Kept, wanted)
    }

    /// What a commit changed.
    pub(super) fn diff_of(&self, id: Oid, wanted: &Wanted) -> Result<GitDiff, ToolError> {
        self.text(&self.changed_by(id)?, Side::Kept, wanted)
    }

    /// A commit as mail, as `git am` takes it.
    pub(super) fn patch(&self, id: Oid) -> Result<String, ToolError> {
        let commit = CommitInfo::of(&self.commit(id)?);
        let wanted = Wanted { context: 3, bytes_max: PATCH_BYTES_MAX, ..Wanted::default() };
        let diff = self.diff_of(id, &wanted)?;
        let (subject, rest) = commit.message.split_once('\n').unwrap_or((&commit.message, ""));
        let cut = if diff.truncated { "(more was changed than is shown here)\n" } else { "" };
        Ok(format!(
            "From {id} Mon Sep 17 00:00:00 2001\nFrom: {}\nDate: {}\nSubject: [PATCH] {subject}\n\n{}\n---\n{cut}\n{}",
            commit.author,
            commit.date,
            rest.trim(),
            diff.diff,
        ))
    }

    /// What the next commit would change.
    pub(super) fn diff_staged(&self, wanted: &Wanted) -> Result<GitDiff, ToolError> {
        self.text(&self.staged(&self.index()?)?, Side::Kept, wanted)
    }

    /// What differs between a commit, the newest one by default, and the files that git knows.
    pub(super) fn diff_files(
        &self,
        from: Option<&Commit<'_>>,
        wanted: &Wanted,
    ) -> Result<GitDiff, ToolError> {
        let index = self.index()?;
        let tree = match from {
            Some(commit) => Some(commit.tree_id()),
            None => self
                .head()?
                .commit
                .map(|id| Ok::<_, ToolError>(self.commit(id)?.tree_id()))
                .transpose()?,
        };
        let written = self.index_written();
        let mut found = Vec::new();
        let mut before = std::collections::BTreeMap::new();
        for change in self.changed((None, tree))? {
            before.insert(change.path, change.new);
        }
        for entry in index.iter() {
            if let Ok(path) = std::str::from_utf8(&entry.path) {
                before.entry(path.to_owned()).or_insert(None);
            }
        }
        for (path, old) in before {
            go_on(self.stop())?;
            let noted = index_entry(&index, &path);
            let module = |item: Option<Item>| item.is_some_and(|(mode, _)| mode == mode::MODULE);
            if !wanted.wants(&path)
                || module(old)
                || noted.as_ref().is_some_and(|e| e.mode == mode::MODULE)
            {
                continue;
            }
            let new = self.item_now(&path, noted.as_ref(), written).unwrap_or(None);
            if new != old {
                found.push(Change { path, old, new });
            }
        }
        self.text(&found, Side::Files, wanted)
    }

    fn text(&self, changes: &[Change], side: Side, wanted: &Wanted) -> Result<GitDiff, ToolError> {
        let odb = self.repo.odb().map_err(failed("open its objects"))?;
        let mut told = GitDiff {
            files: Vec::new(),
            insertions: 0,
            deletions: 0,
            diff: String::new(),
            truncated: false,
        };
        for change in changes.iter().filter(|change| wanted.wants(&change.path)) {
            go_on(self.stop())?;
            if told.files.len() == FILES_MAX {
                told.truncated = true;
                break;
            }
            told.files.push(ChangedPath { path: change.path.clone(), change: change.as_str() });
            if told.truncated {
                continue;
            }
            let (text, added, gone) = self.one(&odb, change, side, wanted.context)?;
            told.insertions += added;
            told.deletions += gone;
            if told.diff.len() + text.len() > wanted.bytes_max {
                told.truncated = true;
            } else {
                told.diff.push_str(&text);
            }
        }
        Ok(told)
    }

    fn one(
        &self,
        odb: &Odb<'_>,
        change: &Change,
        side: Side,
        context: u32,
    ) -> Result<(String, usize, usize), ToolError> {
        let mut text = header(change);
        let old = kept(odb, change.old)?;
        let new = match (side, change.new) {
            (Side::Files, Some((mode, _))) if mode != mode::MODULE => {
                let read = self.files.read(&change.path, self.limits().blob_bytes_max)?;
                read.map_or(Content::Text(Vec::new()), |(content, _)| Content::of(content))
            }
            (_, new) => kept(odb, new)?,
        };
        let (Content::Text(old), Content::Text(new)) = (old, new) else {
            let path = &change.path;
            text.push_str(&format!("Binary or large files a/{path} and b/{path} differ\n"));
            return Ok((text, 0, 0));
        };
        let mut options = DiffOptions::new();
        options.context_lines(context);
        let mut patch = Patch::from_buffers(&old, None, &new, None, Some(&mut options))
            .map_err(failed("compare a file"))?;
        let (_, added, gone) = patch.line_stats().map_err(failed("compare a file"))?;
        let whole = patch.to_buf().map_err(failed("compare a file"))?;
        let whole = String::from_utf8_lossy(&whole);
        if let Some((_, hunks)) = whole.split_once("\n@@ ") {
            let name = |prefix: &str, item: Option<Item>| match item {
                Some(_) => format!("{prefix}/{}", change.path),
                None => "/dev/null".to_owned(),
            };
            text.push_str(&format!(
                "--- {}\n+++ {}\n@@ {hunks}",
                name("a", change.old),
                name("b", change.new)
            ));
        }
        Ok((text, added, gone))
    }
}

enum Content {
    Text(Vec<u8>),
    Other,
}

impl Content {
    fn of(content: Vec<u8>) -> Self {
        let binary = content.iter().take(LOOKED_AT_BYTES).any(|byte| *byte == 0);
        if binary || content.len() > FILE_BYTES_MAX { Self::Other } else { Self::Text(content) }
    }
}

fn kept(odb: &Odb<'_>, item: Option<Item>) -> Result<Content, ToolError> {
    let Some((mode, id)) = item else { return Ok(Content::Text(Vec::new())) };
    if mode == mode::MODULE {
        return Ok(Content::Text(format!("Subproject commit {id}\n").into_bytes()));
    }
    let (size, kind) = odb.read_header(id).map_err(failed("find a file of the commit"))?;
    if size > FILE_BYTES_MAX || kind != ObjectType::Blob {
        return Ok(Content::Other);
    }
    Ok(Content::of(blob(odb, id)?))
}

fn header(change: &Change) -> String {
    let path = &change.path;
    let short = |item: Option<Item>| {
        item.map_or("0".repeat(SHORT), |(_, id)| id.to_string().chars().take(SHORT).collect())
    };
    let (old, new) = (short(change.old), short(change.new));
    let mut text = format!("diff --git a/{path} b/{path}\n");
    match (change.old, change.new) {
        (None, Some((mode, _))) => {
            text.push_str(&format!("new file mode {mode:06o}\nindex {old}..{new}\n"));
        }
        (Some((mode, _)), None) => {
            text.push_str(&format!("deleted file mode {mode:06o}\nindex {old}..{new}\n"));
        }
        (Some((from, _)), Some((to, _))) if from != to => {
            text.push_str(&format!("old mode {from:06o}\nnew mode {to:06o}\nindex {old}..{new}\n"));
        }
        (Some((mode, _)), _) => text.push_str(&format!("index {old}..{new} {mode:06o}\n")),
        (None, None) => {}
    }
    text
}
