//! Trees of commits, looked at within bounds: a tree may come from a stranger, and a dozen objects
//! can stand for ten thousand million files.

use std::collections::BTreeMap;

use agent_runner_core::tool::ToolError;
use git2::{ObjectType, Odb, Oid, Repository};
use tokio_util::sync::CancellationToken;

use super::{
    error::{conflict, denied, failed, go_on, too_large},
    files::mode,
    options::GitLimits,
};
use crate::fs::check_component;

/// Largest tree object, in bytes.
const TREE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A file as a tree has it.
pub(super) type Item = (u32, Oid);

/// A path whose file is not the same in two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) path: String,
    pub(super) old: Option<Item>,
    pub(super) new: Option<Item>,
}

impl Change {
    pub(super) const fn as_str(&self) -> &'static str {
        match (self.old, self.new) {
            (None, _) => "added",
            (_, None) => "deleted",
            _ => "modified",
        }
    }
}

/// What is done with the files of the new tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// They are written into the project: names and sizes are checked.
    Write,
    /// They are shown.
    Show,
}

/// The files that differ between two trees, by path. What both have in common is not looked at.
///
/// # Errors
/// `TooLarge` beyond the bounds; with [`Use::Write`], `Denied` for names that no project may have.
pub(super) fn changes(
    repo: &Repository,
    (old, new): (Option<Oid>, Option<Oid>),
    (limits, stop): (&GitLimits, &CancellationToken),
    purpose: Use,
) -> Result<Vec<Change>, ToolError> {
    let odb = repo.odb().map_err(failed("open its objects"))?;
    let mut walk = Walk { repo, odb, limits, stop, purpose, seen: 0, bytes: 0, found: Vec::new() };
    walk.directory("", (old, new), 0)?;
    let mut found = walk.found;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

struct Walk<'a> {
    repo: &'a Repository,
    odb: Odb<'a>,
    limits: &'a GitLimits,
    stop: &'a CancellationToken,
    purpose: Use,
    seen: usize,
    bytes: u64,
    found: Vec<Change>,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        above: &str,
        (old, new): (Option<Oid>, Option<Oid>),
        depth: usize,
    ) -> Result<(), ToolError> {
        if old == new {
            return Ok(());
        }
        go_on(self.stop)?;
        if depth > self.limits.depth_max {
            let max = self.limits.depth_max;
            return Err(too_large(format!("the commit has directories more than {max} deep")));
        }
        let old = self.entries(old, Use::Show)?;
        let mut new = self.entries(new, self.purpose)?;
        for (name, before) in &old {
            let after = new.remove(name);
            self.entry(above, name, (Some(*before), after), depth)?;
        }
        for (name, after) in &new {
            self.entry(above, name, (None, Some(*after)), depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        above: &str,
        name: &[u8],
        (old, new): (Option<Item>, Option<Item>),
        depth: usize,
    ) -> Result<(), ToolError> {
        if old == new {
            return Ok(());
        }
        let shown = shown(name);
        let path = if above.is_empty() { shown } else { format!("{above}/{shown}") };
        let tree =
            |item: Option<Item>| item.filter(|(mode, _)| *mode == mode::TREE).map(|(_, id)| id);
        let file = |item: Option<Item>| item.filter(|(mode, _)| *mode != mode::TREE);
        if file(old).is_some() || file(new).is_some() {
            if self.purpose == Use::Write
                && let Some((mode, id)) = file(new)
            {
                self.measure(&path, mode, id)?;
            }
            self.found.push(Change { path: path.clone(), old: file(old), new: file(new) });
        }
        if tree(old).is_some() || tree(new).is_some() {
            self.directory(&path, (tree(old), tree(new)), depth + 1)?;
        }
        Ok(())
    }

    /// Whether a file may be written, as far as its size goes.
    fn measure(&mut self, path: &str, mode: u32, id: Oid) -> Result<(), ToolError> {
        if mode == mode::MODULE {
            return Ok(());
        }
        let (size, kind) = self.odb.read_header(id).map_err(failed("find a file of the commit"))?;
        if kind != ObjectType::Blob {
            return Err(conflict(format!(
                "`{path}` is no file in the repository, which is damaged"
            )));
        }
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(size);
        let (one, all) = (self.limits.blob_bytes_max, self.limits.tree_bytes_max);
        if size > one {
            return Err(too_large(format!("`{path}` has {size} bytes; a file may have {one}")));
        }
        if self.bytes > all {
            return Err(too_large(format!("the files have more than {all} bytes together")));
        }
        Ok(())
    }

    fn entries(
        &mut self,
        id: Option<Oid>,
        purpose: Use,
    ) -> Result<BTreeMap<Vec<u8>, Item>, ToolError> {
        let mut entries = BTreeMap::new();
        let Some(id) = id else { return Ok(entries) };
        let (size, _) =
            self.odb.read_header(id).map_err(failed("find a directory of the commit"))?;
        if size > TREE_BYTES_MAX {
            return Err(too_large("a directory of the commit has too many entries"));
        }
        let tree = self.repo.find_tree(id).map_err(failed("read a directory of the commit"))?;
        for entry in &tree {
            self.seen += 1;
            if self.seen > self.limits.entries_max {
                let max = self.limits.entries_max;
                return Err(too_large(format!(
                    "the commit has more than {max} files and directories"
                )));
            }
            let name = entry.name_bytes();
            let mode = u32::try_from(entry.filemode()).unwrap_or(0);
            if purpose == Use::Write {
                check(name, mode)?;
            }
            if entries.insert(name.to_vec(), (mode, entry.id())).is_some() && purpose == Use::Write
            {
                return Err(denied(
                    "a directory of the commit has two entries of one name: it is not written",
                ));
            }
        }
        Ok(entries)
    }
}

/// Whether an entry may be written into a project.
fn check(name: &[u8], mode: u32) -> Result<(), ToolError> {
    let text = std::str::from_utf8(name).ok();
    if text.is_none_or(|text| text.contains('/') || check_component(text).is_err()) {
        let name: String = shown(name).chars().take(100).collect();
        return Err(denied(format!(
            "the commit holds `{name}`, a name that files of a project may not have: it is not written"
        )));
    }
    match mode {
        mode::FILE | mode::PROGRAM | mode::LINK | mode::TREE | mode::MODULE => Ok(()),
        _ => Err(denied(format!("the commit holds `{}`, which is no kind of file", shown(name)))),
    }
}

/// A name for people and models, whatever it holds.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if text.chars().any(odd) {
        text.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
    } else {
        text.into_owned()
    }
}
