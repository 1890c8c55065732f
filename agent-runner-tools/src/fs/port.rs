//! The workspace as the engine's port for clients.

use std::time::UNIX_EPOCH;

use agent_runner_core::{
    files::{FileExpect, FileInfo, ProjectFiles},
    tool::{ToolCx, ToolError},
};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    error::FileError,
    project_dir::{Expected, Missing, ProjectDir, sha256_hex},
    rel_path::RelPath,
    workspace::Workspace,
};

impl From<FileExpect> for Expected {
    fn from(expect: FileExpect) -> Self {
        match expect {
            FileExpect::Anything => Self::Anything,
            FileExpect::Absent => Self::Absent,
            FileExpect::Present => Self::Present,
            FileExpect::Sha256(sha256) => Self::Sha256(sha256),
        }
    }
}

impl ProjectDir {
    fn modified_at(&self, path: &RelPath) -> Result<Option<Timestamp>, FileError> {
        let (parents, name) = path.split_name();
        let parent = self.descend(path, parents, Missing::Refuse)?;
        let modified = parent.symlink_metadata(name).and_then(|metadata| metadata.modified());
        let since = modified.ok().and_then(|at| at.into_std().duration_since(UNIX_EPOCH).ok());
        Ok(since.and_then(|since| {
            Timestamp::from_second(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)).ok()
        }))
    }
}

#[async_trait]
impl ProjectFiles for Workspace {
    fn write_bytes_max(&self) -> usize {
        self.limits().write_bytes_max
    }

    async fn read(&self, cx: &ToolCx, path: &str) -> Result<(FileInfo, Bytes), ToolError> {
        let path = RelPath::parse(path)?;
        let read = self.call(cx, move |project, stop| {
            let content = project.read(&path, stop)?;
            let info = FileInfo {
                path: path.to_string(),
                bytes: u64::try_from(content.len()).unwrap_or(u64::MAX),
                sha256: sha256_hex(&content),
                modified_at: project.modified_at(&path)?,
            };
            Ok((info, Bytes::from(content)))
        });
        Ok(read.await?)
    }

    async fn write(
        &self,
        cx: &ToolCx,
        path: &str,
        content: Bytes,
        expect: FileExpect,
    ) -> Result<(FileInfo, bool), ToolError> {
        let (path, expected) = (RelPath::parse(path)?, Expected::from(expect));
        let written = self.call(cx, move |project, stop| {
            let written = match expected {
                Expected::Anything => project.write(&path, &content, stop)?,
                _ => project.update(&path, &expected, stop, |_| Ok(content.to_vec()))?,
            };
            let info = FileInfo {
                path: path.to_string(),
                bytes: written.bytes,
                sha256: written.sha256,
                modified_at: project.modified_at(&path)?,
            };
            Ok((info, written.created))
        });
        Ok(written.await?)
    }
}
