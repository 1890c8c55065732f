//! What the engine does for a tool while it runs.

use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Fact, KeptArtifact, NewArtifact, ToolError, ToolErrorKind};
use crate::{artifact::Artifact, llm::BoxStream};

/// Bytes as they come.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// What the engine does for a tool while it runs.
#[async_trait]
pub trait ToolHost: fmt::Debug + Send + Sync + 'static {
    /// Shows a piece of output to whoever watches. Never journalled, dropped for watchers that
    /// are slow, never waits.
    fn show(&self, text: &str);

    /// Writes a fact into the journal now, before what it announces is done. When this returns,
    /// the fact survives everything.
    ///
    /// # Errors
    /// `Cancelled` when the run does not want the call any more: do nothing then.
    async fn record(&self, fact: Fact) -> Result<(), ToolError>;

    /// Keeps bytes. They become an artifact of the run when the call ends well with them in
    /// [`ToolOutput::artifacts`](super::ToolOutput::artifacts); else they are collected.
    ///
    /// # Errors
    /// `Conflict` where nothing keeps artifacts; `TooLarge`; `Internal`; an error of `content`.
    async fn keep(&self, new: NewArtifact, content: ByteStream) -> Result<KeptArtifact, ToolError>;

    /// The run's artifacts.
    ///
    /// # Errors
    /// `Conflict` where there are none; `Internal`.
    async fn artifacts(&self) -> Result<Vec<Artifact>, ToolError> {
        Err(no_run())
    }

    /// The bytes of an artifact.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where there are none.
    async fn open(&self, _artifact: &Artifact) -> Result<ByteStream, ToolError> {
        Err(no_run())
    }
}

fn no_run() -> ToolError {
    ToolError::new(
        ToolErrorKind::Conflict,
        "artifacts belong to runs; call this tool from a run, in a program that keeps artifacts",
    )
}

/// A host for calls that no run makes and for tests: nobody watches, and nothing is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

#[async_trait]
impl ToolHost for NoHost {
    fn show(&self, _text: &str) {}

    async fn record(&self, _fact: Fact) -> Result<(), ToolError> {
        Ok(())
    }

    async fn keep(
        &self,
        _new: NewArtifact,
        _content: ByteStream,
    ) -> Result<KeptArtifact, ToolError> {
        Err(no_run())
    }
}
