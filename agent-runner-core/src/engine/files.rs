//! Files of projects, read and written by people.

use std::sync::Arc;

use bytes::Bytes;

use super::{Engine, EngineError, EngineErrorKind, InvokeError};
use crate::{
    files::{FileExpect, FileInfo, ProjectFiles},
    id::ProjectId,
};

impl Engine {
    /// Where the files of projects are, if this program keeps any.
    #[must_use]
    pub fn files(&self) -> Option<&Arc<dyn ProjectFiles>> {
        self.inner.files.as_ref()
    }

    fn kept_files(&self) -> Result<&Arc<dyn ProjectFiles>, EngineError> {
        self.files().ok_or_else(|| {
            let what = "this program keeps no files of projects; build it with the feature `fs`";
            EngineError::new(EngineErrorKind::NotFound, what)
        })
    }

    /// Reads a file of a project.
    ///
    /// # Errors
    /// `NotFound` for an unknown project; as [`ProjectFiles::read`].
    pub async fn read_file(
        &self,
        project: ProjectId,
        path: &str,
    ) -> Result<(FileInfo, Bytes), InvokeError> {
        let files = self.kept_files()?;
        let project = self.project(project).await?.project;
        let (cx, _cancel_when_dropped) = self.inner.by_hand(&project);
        Ok(files.read(&cx, path).await?)
    }

    /// Writes a file of a project; what it is then, and whether it is new.
    ///
    /// # Errors
    /// `NotFound` for an unknown project; as [`ProjectFiles::write`].
    pub async fn write_file(
        &self,
        project: ProjectId,
        path: &str,
        content: Bytes,
        expect: FileExpect,
    ) -> Result<(FileInfo, bool), InvokeError> {
        let files = self.kept_files()?;
        let project = self.project(project).await?.project;
        let (cx, _cancel_when_dropped) = self.inner.by_hand(&project);
        Ok(files.write(&cx, path, content, expect).await?)
    }
}
