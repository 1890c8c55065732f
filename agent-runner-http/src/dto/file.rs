//! Files of a project as clients see and send them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A file or directory.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Entry {
    /// Its path within the project.
    pub(crate) path: String,
    /// `file`, `directory`, `symlink` or `special`; the last two are never followed or opened.
    pub(crate) kind: String,
    /// Bytes in a file.
    #[serde(default)]
    pub(crate) size: Option<u64>,
}

/// A file that was written.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Written {
    /// Its path within the project.
    pub(crate) path: String,
    /// Bytes in it.
    pub(crate) bytes: u64,
    /// SHA-256 of its content, lower-case hex; the `ETag` in quotes.
    pub(crate) sha256: String,
    /// Whether there was no file of that name before.
    pub(crate) created: bool,
}

/// What to move or copy.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    /// What there is.
    from: String,
    /// The new path. Directories are made as needed.
    to: String,
    /// Whether a file of that name is replaced.
    #[serde(default)]
    overwrite: bool,
}

/// A directory to make.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeDir {
    /// Its path; those above it are made as needed.
    path: String,
}

/// Lines to look for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    /// The regular expression that a line must fit.
    pattern: String,
    /// The directory to look into; the whole project when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// A pattern of the files to look into, such as `**/*.rs`; all when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    glob: Option<String>,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// Most lines, 1 to 1,000; default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

/// The arguments of the tool that does the same.
pub(crate) fn arguments(dto: &impl Serialize) -> Value {
    serde_json::to_value(dto).unwrap_or_else(|_| Value::Object(Map::new()))
}
