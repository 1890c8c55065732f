//! What a run changed.

use agent_runner_core::id::{ProjectId, RunId};
use cap_std::fs::Dir;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    baseline::{Baseline, Before},
    error::{FileError, FileErrorKind},
    project_dir::ProjectDir,
    rel_path::RelPath,
};

/// Longest diff, in bytes.
const DIFF_BYTES_MAX: usize = 256 * 1024;
/// Largest text that is compared line by line, in bytes.
const COMPARED_BYTES_MAX: usize = 512 * 1024;

/// How a file differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was not there.
    Created,
    /// It has other content.
    Modified,
    /// It is not there any more.
    Deleted,
}

/// A file that differs from what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangedFile {
    /// Its path.
    pub path: String,
    /// How it differs.
    pub change: ChangeKind,
}

/// What a run changed, as far as it still stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunDiff {
    /// The files.
    pub files: Vec<ChangedFile>,
    /// The changes of texts as one unified diff.
    pub diff: String,
    /// Whether the diff was cut.
    pub truncated: bool,
}

pub(super) fn run_diff(
    root: &Dir,
    project: &ProjectDir,
    id: (ProjectId, RunId),
    only: Option<&RelPath>,
    stop: &CancellationToken,
) -> Result<RunDiff, FileError> {
    let mut found = RunDiff::default();
    let Some(baseline) = Baseline::find(root, id.0, id.1) else { return Ok(found) };
    let kept = baseline.all().map_err(|error| {
        let said = "what the run changed cannot be read; tell the operator";
        FileError::new(FileErrorKind::Internal, said).with_source(error)
    })?;
    for (path, before) in kept {
        if stop.is_cancelled() {
            return Err(FileError::cancelled());
        }
        if only.is_some_and(|only| !within(only, &path)) {
            continue;
        }
        let now = match project.read(&path, stop) {
            Ok(content) => Before::Content(content),
            Err(error) if error.kind() == FileErrorKind::NotFound => Before::Absent,
            Err(error) if error.kind() == FileErrorKind::Cancelled => return Err(error),
            Err(_) => Before::Large,
        };
        let change = match (&before, &now) {
            (Before::Absent, Before::Absent) => continue,
            (Before::Absent, _) => ChangeKind::Created,
            (_, Before::Absent) => ChangeKind::Deleted,
            (Before::Content(a), Before::Content(b)) if a == b => continue,
            _ => ChangeKind::Modified,
        };
        let shown = diff_of(&path, &before, &now);
        if found.diff.len().saturating_add(shown.len()) > DIFF_BYTES_MAX {
            found.truncated = true;
        } else {
            found.diff.push_str(&shown);
        }
        found.files.push(ChangedFile { path: path.to_string(), change });
    }
    Ok(found)
}

fn within(outer: &RelPath, path: &RelPath) -> bool {
    let rest = path.as_str().strip_prefix(outer.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn diff_of(path: &RelPath, before: &Before, now: &Before) -> String {
    let side = |content: &Before, name: &str| match content {
        Before::Absent => ("/dev/null".to_owned(), Some(String::new())),
        Before::Large => (format!("{name}/{path}"), None),
        Before::Content(bytes) => {
            let text = String::from_utf8(bytes.clone()).ok();
            let text = text.filter(|t| t.len() <= COMPARED_BYTES_MAX && !t.contains('\0'));
            (format!("{name}/{path}"), text)
        }
    };
    let ((old_name, old), (new_name, new)) = (side(before, "a"), side(now, "b"));
    match (old, new) {
        (Some(old), Some(new)) => {
            let mut options = diffy::DiffOptions::new();
            options.set_original_filename(old_name).set_modified_filename(new_name);
            options.create_patch(&old, &new).to_string()
        }
        _ => format!("--- {old_name}\n+++ {new_name}\n(not shown: not a text, or too large)\n"),
    }
}
