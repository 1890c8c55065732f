//! Files into the index, and the index into commits.

use agent_runner_core::tool::ToolError;
use git2::{Commit, Index, ObjectType, Oid};

use super::{
    error::{conflict, failed, go_on, invalid, not_found, too_large},
    files::mode,
    ignored::Ignored,
    repo::{GitRepo, Head},
    status::index_entry,
};
use crate::fs::{RelPath, Usage};

/// Longest message of a commit, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// What the last lines of a commit begin with that a run made: its id, and the key of the step, by
/// which a call that is repeated finds the commit of the first.
const RUN: &str = "Run-Id";
const STEP: &str = "Run-Step";
/// How many commits a repeated call looks through for its own.
const LOOKED_AT_MAX: usize = 100;
/// Most bytes that one call adds.
const ADDED_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// A path of a repository that a call names, taken literally: `.` for everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Within {
    All,
    Path(RelPath),
}

impl Within {
    pub(super) fn parse(text: &str) -> Result<Self, ToolError> {
        match text {
            "." => Ok(Self::All),
            text if text.starts_with(['-', ':']) => {
                Err(invalid("a path begins with neither `-` nor `:`"))
            }
            text => Ok(Self::Path(RelPath::parse(text.strip_suffix('/').unwrap_or(text))?)),
        }
    }

    pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Self>, ToolError> {
        texts.iter().map(|text| Self::parse(text)).collect()
    }

    pub(super) fn holds(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Path(dir) => path
                .strip_prefix(dir.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

/// What is committed.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) id: Oid,
    pub(super) parent: Option<Oid>,
    pub(super) branch: Option<String>,
    pub(super) files: usize,
}

impl GitRepo<'_> {
    /// Notes files in the index, and those that are gone; how many.
    pub(super) fn add(&self, paths: &[Within]) -> Result<usize, ToolError> {
        let mut index = self.index()?;
        let written = self.index_written();
        let mut ignored = Ignored::new(&self.files);
        let (mut put, mut gone) = (Vec::new(), Vec::new());
        for within in paths {
            // A file that is in the index and there: nothing else can have its name.
            if let Within::Path(path) = within
                && let Some(entry) = index_entry(&index, path.as_str())
                && let Some(seen) = self.files.see(path.as_str())?
            {
                if entry.mode != mode::MODULE && !seen.is_as_in(&entry, written) {
                    put.push(path.as_str().to_owned());
                }
                continue;
            }
            let mut known = false;
            for entry in index.iter() {
                go_on(self.stop())?;
                let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
                if !within.holds(path) {
                    continue;
                }
                known = true;
                if entry.mode == mode::MODULE {
                    continue;
                }
                match self.files.see(path)? {
                    None => gone.push(path.to_owned()),
                    Some(seen) if seen.is_as_in(&entry, written) => {}
                    Some(_) => put.push(path.to_owned()),
                }
            }
            put.extend(self.unknown(&index, &mut ignored, within, known)?);
        }
        for paths in [&mut put, &mut gone] {
            paths.sort();
            paths.dedup();
        }
        let noted = self.put(&mut index, &put)?;
        for path in &gone {
            index.remove_path(path.as_ref()).map_err(failed("note a file that is gone"))?;
        }
        if !put.is_empty() || !gone.is_empty() {
            index.write().map_err(failed("write the index"))?;
        }
        Ok(noted + gone.len())
    }

    /// Files of a path that the index does not know.
    fn unknown(
        &self,
        index: &Index,
        ignored: &mut Ignored<'_>,
        within: &Within,
        known: bool,
    ) -> Result<Vec<String>, ToolError> {
        let Within::Path(path) = within else {
            return Ok(self.untracked(index, None, false)?.0);
        };
        if !known && ignored.is_or_is_below(path.as_str()) {
            return Err(conflict(format!(
                "`{path}` is ignored by a .gitignore; change that file first"
            )));
        }
        if self.files.see(path.as_str())?.is_some() {
            let new = index_entry(index, path.as_str()).is_none();
            return Ok(if new { vec![path.as_str().to_owned()] } else { Vec::new() });
        }
        let (found, _) = self.untracked(index, Some(path.as_str()), false)?;
        if found.is_empty() && !known {
            return Err(not_found(format!(
                "there is no file `{path}` in the repository's directory"
            )));
        }
        Ok(found)
    }

    /// Keeps files and notes them; how many are not as they were noted before.
    fn put(&self, index: &mut Index, paths: &[String]) -> Result<usize, ToolError> {
        let odb = self.repo.odb().map_err(failed("open its objects"))?;
        let project = self.call.project()?;
        let (mut bytes, mut changed) = (0_u64, 0);
        for path in paths {
            go_on(self.stop())?;
            let Some((content, seen)) = self.files.read(path, self.limits().blob_bytes_max)? else {
                continue;
            };
            bytes = bytes.saturating_add(seen.size);
            if bytes > ADDED_BYTES_MAX {
                return Err(too_large("the files are too large together: add fewer at once"));
            }
            let usage = Usage { bytes: seen.size, entries: 1 };
            project.fits(usage, 0, self.stop())?;
            let id = odb.write(ObjectType::Blob, &content).map_err(failed("keep a file"))?;
            project.took(usage, 0);
            let before = index_entry(index, path).map(|entry| (entry.mode, entry.id));
            let mode = seen.mode(before.map(|(mode, _)| mode));
            changed += usize::from(before != Some((mode, id)));
            index.add(&seen.entry(path, mode, id)).map_err(failed("note a file"))?;
        }
        Ok(changed)
    }

    /// Commits the index, under a message that is [signed off](Self::signed_off).
    ///
    /// # Errors
    /// `Conflict` when there is nothing to commit.
    pub(super) fn commit_index(&self, message: &str) -> Result<Committed, ToolError> {
        let head = self.head()?;
        let parent = head.commit.map(|id| self.commit(id)).transpose()?;
        let mut index = self.index()?;
        if index.has_conflicts() {
            return Err(conflict("files of the index are in conflict; undo that with git.restore"));
        }
        let nothing = || {
            conflict(
                "nothing differs from the newest commit: add files first, or name them as `paths`",
            )
        };
        if parent.is_none() && index.is_empty() {
            return Err(nothing());
        }
        let tree = index.write_tree().map_err(failed("write the tree"))?;
        if parent.as_ref().is_some_and(|parent| parent.tree_id() == tree) {
            return Err(nothing());
        }
        let parents: Vec<&Commit<'_>> = parent.iter().collect();
        let id = self.create(message, tree, &parents)?;
        self.advance(&head, id, "commit")?;
        let files = self.changed_by(id)?.len();
        Ok(Committed { id, parent: head.commit, branch: head.branch, files })
    }

    /// Makes a commit that no branch has yet.
    pub(super) fn create(
        &self,
        message: &str,
        tree: Oid,
        parents: &[&Commit<'_>],
    ) -> Result<Oid, ToolError> {
        let author =
            self.call.options.identity.sign(self.call.now).map_err(failed("name who commits"))?;
        let tree = self.repo.find_tree(tree).map_err(failed("read the tree"))?;
        self.repo
            .commit(None, &author, &author, message, &tree, parents)
            .map_err(failed("make the commit"))
    }

    /// Moves the branch that is checked out to a commit.
    pub(super) fn advance(&self, head: &Head, id: Oid, why: &str) -> Result<(), ToolError> {
        match &head.branch {
            None => self.set_head(&Head { branch: None, commit: Some(id) }),
            Some(branch) => {
                let name = format!("refs/heads/{branch}");
                let moved = match head.commit {
                    Some(from) => self.repo.reference_matching(&name, id, true, from, why),
                    None => self.repo.reference(&name, id, false, why),
                };
                moved.map(|_| ()).map_err(failed("move the branch"))
            }
        }
    }

    /// The commit that an earlier try of the same step made, if there is one.
    pub(super) fn committed_already(&self) -> Result<Option<Committed>, ToolError> {
        let head = self.head()?;
        let Some(from) = head.commit else { return Ok(None) };
        let line = format!("{STEP}: {}", self.call.key());
        let mut walk = self.repo.revwalk().map_err(failed("read the history"))?;
        walk.push(from).map_err(failed("read the history"))?;
        for id in walk.take(LOOKED_AT_MAX) {
            let commit = self.commit(id.map_err(failed("read the history"))?)?;
            // Nobody's message but ours can end in such a line, see `signed_off`.
            let ours = String::from_utf8_lossy(commit.message_bytes())
                .lines()
                .rev()
                .take(3)
                .any(|l| l == line);
            if ours {
                let (id, parent) = (commit.id(), commit.parent_id(0).ok());
                let files = self.changed_by(id)?.len();
                return Ok(Some(Committed { id, parent, branch: head.branch, files }));
            }
        }
        Ok(None)
    }

    /// The message with the lines that say which run made the commit.
    pub(super) fn signed_off(&self, message: &str) -> Result<String, ToolError> {
        let message = message.trim();
        if message.is_empty() || message.len() > MESSAGE_BYTES_MAX || message.contains('\0') {
            return Err(invalid("a message has 1 to 65,536 bytes, without NUL"));
        }
        let ours = |line: &str| {
            let name = line.split(':').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case(RUN) || name.eq_ignore_ascii_case(STEP)
        };
        if message.lines().any(ours) {
            return Err(invalid(
                "a message has no line that begins with `Run-Id:` or `Run-Step:`; they are added",
            ));
        }
        let mut text = format!("{message}\n\n");
        if let Some(run) = self.call.run() {
            text.push_str(&format!("{RUN}: {run}\n"));
        }
        text.push_str(&format!("{STEP}: {}\n", self.call.key()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_literally() {
        let within = |text| Within::parse(text).unwrap();
        assert!(within(".").holds("a/b"));
        assert!(within("a/").holds("a/b") && within("a").holds("a"));
        assert!(!within("a").holds("ab") && !within("*").holds("a"));
        for text in ["", "-A", ":!x", ":(top)x", "..", "/x", "a/../b", ".git/config", "a\0"] {
            assert!(Within::parse(text).is_err(), "{text:?}");
        }
    }
}
