//! What a driver does for its tools while they run.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Driver, Stop};
use crate::{
    artifact::Artifact,
    blob::BlobError,
    engine::{Inner, live::Topic},
    event::EventBody,
    id::{RunId, StepKey},
    limits,
    store::ArtifactQuery,
    tool::{
        ByteStream, Fact, KeptArtifact, NewArtifact, NoHost, ToolError, ToolErrorKind, ToolHost,
    },
};

/// Facts of one run that wait for its driver at once.
pub(super) const ANNOUNCED_MAX: usize = 16;

/// A fact that a tool wants in the journal before it goes on.
#[derive(Debug)]
pub(super) struct Announced {
    step: StepKey,
    fact: Fact,
    durable: oneshot::Sender<()>,
}

/// The host of one call.
pub(super) struct RunHost {
    pub(super) inner: Arc<Inner>,
    pub(super) run: RunId,
    pub(super) topic: Arc<Topic>,
    pub(super) step: StepKey,
    pub(super) attempt: u32,
    pub(super) shown: AtomicUsize,
    pub(super) cancel: CancellationToken,
    /// Boxed, because a channel makes room for 32 of what goes through it.
    pub(super) announce: mpsc::Sender<Box<Announced>>,
}

impl fmt::Debug for RunHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunHost").field("step", &self.step).finish_non_exhaustive()
    }
}

#[async_trait]
impl ToolHost for RunHost {
    fn show(&self, text: &str) {
        let offset = self.shown.fetch_add(text.len(), Ordering::Relaxed);
        self.topic.show(&self.step, self.attempt, offset, text);
    }

    async fn record(&self, fact: Fact) -> Result<(), ToolError> {
        let (durable, written) = oneshot::channel();
        let announced = Announced { step: self.step.clone(), fact, durable };
        let recorded = async {
            self.announce.send(Box::new(announced)).await.ok()?;
            written.await.ok()
        };
        self.cancel.run_until_cancelled(recorded).await.flatten().ok_or_else(|| {
            ToolError::new(ToolErrorKind::Cancelled, "the run does not want the call any more")
        })
    }

    async fn keep(&self, new: NewArtifact, content: ByteStream) -> Result<KeptArtifact, ToolError> {
        self.inner.keep_for_tool(new, content).await
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, ToolError> {
        let query =
            ArtifactQuery { run_id: self.run, name: None, after: None, limit: limits::PAGE_MAX };
        self.inner.store.artifacts(&query).await.map_err(|error| {
            ToolError::new(ToolErrorKind::Internal, "the artifacts cannot be read now")
                .with_source(error)
        })
    }

    async fn open(&self, artifact: &Artifact) -> Result<ByteStream, ToolError> {
        let gone = |error: BlobError| {
            let said = format!("the artifact `{}` cannot be read", artifact.name);
            ToolError::new(ToolErrorKind::NotFound, said).with_source(error)
        };
        match &self.inner.blobs {
            Some(blobs) => blobs.get(&artifact.sha256, None).await.map_err(gone),
            None => NoHost.open(artifact).await,
        }
    }
}

impl Driver {
    /// Writes what a tool announces; the tool goes on once it is durable.
    pub(super) fn take_announced(&mut self, announced: Announced) -> Result<(), Stop> {
        let Announced { step, fact, durable } = announced;
        self.emit(EventBody::of_fact(step, fact))?;
        self.outbox.announced.push(durable);
        Ok(())
    }
}
