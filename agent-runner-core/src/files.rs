//! The files of projects, for clients that read and write them as bytes. Agents use tools.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::tool::{ToolCx, ToolError};

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an implementation has to fill in all of it")]
pub struct FileInfo {
    /// Its path within the project.
    pub path: String,
    /// Bytes in it.
    pub bytes: u64,
    /// SHA-256 of its content, lower-case hex.
    pub sha256: String,
    /// When it was last written, as far as the disk knows.
    pub modified_at: Option<Timestamp>,
}

/// What a writer expects to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are the conditions of HTTP (RFC 9110, 13.1)")]
pub enum FileExpect {
    /// Whatever is there.
    #[default]
    Anything,
    /// Nothing.
    Absent,
    /// A file.
    Present,
    /// A file with this SHA-256.
    Sha256(String),
}

/// The files of projects.
///
/// # Contract
/// 1. A path is relative to the project's directory and never leads out of it: `Denied` with the
///    code `path_escape`.
/// 2. A write is whole or nothing, and durable when it returns.
/// 3. Errors name neither the host's paths nor anything of other projects.
#[async_trait]
pub trait ProjectFiles: fmt::Debug + Send + Sync + 'static {
    /// Largest content that [`ProjectFiles::write`] takes, in bytes.
    fn write_bytes_max(&self) -> usize;

    /// Reads a whole file.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Conflict` for a directory; `TooLarge`.
    async fn read(&self, cx: &ToolCx, path: &str) -> Result<(FileInfo, Bytes), ToolError>;

    /// Writes a whole file; what it is then, and whether it is new.
    ///
    /// # Errors
    /// `Conflict` with the code `etag_mismatch` when the file is not what is expected; `Denied`;
    /// `TooLarge`; `NoSpace`.
    async fn write(
        &self,
        cx: &ToolCx,
        path: &str,
        content: Bytes,
        expect: FileExpect,
    ) -> Result<(FileInfo, bool), ToolError>;
}
