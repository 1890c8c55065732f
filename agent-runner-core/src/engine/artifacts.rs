//! Artifacts of runs: kept, listed, read, collected.

use std::{ops::Range, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::{
    Engine, EngineError, EngineErrorKind, FieldError, Inner,
    control::{busy, refuse},
    journal,
};
use crate::{
    artifact::{self, Artifact},
    blob::{BlobError, BlobErrorKind, BlobStore, is_sha256},
    event::EventBody,
    id::{ArtifactId, RunId},
    limits,
    store::ArtifactQuery,
    time,
    tool::{ByteStream, KeptArtifact, NewArtifact, ToolError, ToolErrorKind, ToolOutput},
};

/// Blobs that are looked at in one go when nobody needs them any more.
const COLLECTED_AT_ONCE: usize = 500;
/// Text of a large output that is shown at its beginning and at its end, in bytes.
const SHOWN_BYTES: usize = 2_000;

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Blobs that were looked at.
    pub seen: u64,
    /// Blobs that nobody needed and are gone.
    pub deleted: u64,
}

impl From<BlobError> for EngineError {
    fn from(error: BlobError) -> Self {
        let kind = match error.kind() {
            BlobErrorKind::NotFound => EngineErrorKind::NotFound,
            BlobErrorKind::TooLarge => EngineErrorKind::TooLarge,
            BlobErrorKind::Source => EngineErrorKind::BrokenOff,
            BlobErrorKind::Full => EngineErrorKind::StoreFull,
            BlobErrorKind::Unavailable => EngineErrorKind::StoreUnavailable,
        };
        let context = error.to_string();
        Self::new(kind, context).with_source(error)
    }
}

impl Inner {
    fn blobs(&self) -> Result<&Arc<dyn BlobStore>, EngineError> {
        self.blobs.as_ref().ok_or_else(|| {
            let what = "this program keeps no artifacts; give it a blob store";
            EngineError::new(EngineErrorKind::NotFound, what)
        })
    }

    /// Keeps bytes that may become an artifact.
    pub(super) async fn keep(
        &self,
        new: NewArtifact,
        content: ByteStream,
    ) -> Result<KeptArtifact, EngineError> {
        let NewArtifact { name, kind, media_type } = new;
        artifact::check(&name, &kind, &media_type).map_err(|(field, detail)| {
            let (pointer, detail) = (format!("/{field}"), detail.to_owned());
            EngineError::validation(vec![FieldError { pointer, detail }])
        })?;
        let blob = self.blobs()?.put(content, limits::ARTIFACT_BYTES_MAX).await?;
        Ok(KeptArtifact {
            name,
            kind,
            media_type,
            size: blob.size,
            sha256: blob.sha256,
            uri: blob.uri,
        })
    }

    /// The same for a tool.
    pub(super) async fn keep_for_tool(
        &self,
        new: NewArtifact,
        content: ByteStream,
    ) -> Result<KeptArtifact, ToolError> {
        self.keep(new, content).await.map_err(|error| {
            let kind = match error.kind() {
                EngineErrorKind::NotFound => ToolErrorKind::Conflict,
                EngineErrorKind::Validation => ToolErrorKind::InvalidArgs,
                EngineErrorKind::TooLarge => ToolErrorKind::TooLarge,
                EngineErrorKind::StoreFull => ToolErrorKind::NoSpace,
                _ => ToolErrorKind::Internal,
            };
            let said = match kind {
                ToolErrorKind::Internal => "the artifact could not be kept".to_owned(),
                _ => error.to_string(),
            };
            ToolError::new(kind, said).with_source(error)
        })
    }

    /// Puts an output that is too large for the model into an artifact, and a summary in its
    /// place. Where nothing keeps artifacts, the output stays as it is.
    pub(super) async fn spill(
        &self,
        step: &str,
        tool: &str,
        model_bytes_max: usize,
        mut output: ToolOutput,
    ) -> Result<ToolOutput, ToolError> {
        let (text, media_type, ending) = match &output.value {
            Value::String(text) => (text.clone(), "text/plain", "txt"),
            other => (other.to_string(), "application/json", "json"),
        };
        if self.blobs.is_none() || text.len() <= model_bytes_max {
            return Ok(output);
        }
        let new = NewArtifact {
            name: format!("{tool}-{step}.{ending}"),
            kind: "output".to_owned(),
            media_type: media_type.to_owned(),
        };
        let (head, tail) = (head(&text).to_owned(), tail(&text).to_owned());
        let bytes = text.len();
        let content = stream::iter([Ok(text.into_bytes().into())]).boxed();
        let kept = self.keep_for_tool(new, content).await.map_err(ToolError::may_have_run)?;
        output.value = json!({
            "artifact": kept.name,
            "bytes": bytes,
            "note": "The output is too large to show. All of it is in the artifact.",
            "beginning": head,
            "end": tail,
        });
        Ok(output.with_artifact(kept))
    }

    /// Deletes blobs that no artifact needs and that nobody wrote within `grace`.
    pub(super) async fn collect_blobs(&self, grace: Duration) -> Result<Collected, EngineError> {
        let blobs = self.blobs()?;
        let before = time::earlier(self.clock.now(), grace);
        let mut done = Collected::default();
        let mut chunks = blobs.list().chunks(COLLECTED_AT_ONCE);
        while let Some(chunk) = chunks.next().await {
            let mut old = Vec::new();
            for entry in chunk {
                let entry = entry?;
                done.seen += 1;
                if entry.modified_at < before {
                    old.push(entry.name);
                }
            }
            let hashes: Vec<String> = old.iter().filter(|name| is_sha256(name)).cloned().collect();
            let used = self.store.used_blobs(&hashes).await?;
            for name in old {
                if !used.contains(&name) && blobs.delete_if_old(&name, before).await? {
                    done.deleted += 1;
                    debug!(blob = %name, "a blob that nobody needs was deleted");
                }
            }
        }
        Ok(done)
    }
}

/// Collects from time to time, until dropped.
pub(super) async fn collect(inner: Arc<Inner>) {
    let grace = inner.options.blob_grace;
    loop {
        inner.clock.sleep((grace / 4).max(Duration::from_secs(1))).await;
        match inner.collect_blobs(grace).await {
            Ok(done) if done.deleted > 0 => debug!(?done, "blobs were collected"),
            Ok(_) => {}
            Err(problem) => warn!(error = %problem, "blobs cannot be collected now"),
        }
    }
}

fn head(text: &str) -> &str {
    let end = (0..=SHOWN_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(SHOWN_BYTES);
    let start = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    text.get(start.unwrap_or(text.len())..).unwrap_or_default()
}

impl Engine {
    /// Whether this program keeps artifacts.
    #[must_use]
    pub fn keeps_artifacts(&self) -> bool {
        self.inner.blobs.is_some()
    }

    /// Artifacts of a run in the order of their making, at most `limit` after `after`.
    ///
    /// # Errors
    /// `NotFound` for an unknown run.
    pub async fn artifacts(
        &self,
        run: RunId,
        name: Option<String>,
        after: Option<ArtifactId>,
        limit: usize,
    ) -> Result<Vec<Artifact>, EngineError> {
        self.run(run).await?;
        let query = ArtifactQuery { run_id: run, name, after, limit };
        Ok(self.inner.store.artifacts(&query).await?)
    }

    /// One artifact of a run.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn artifact(&self, run: RunId, id: ArtifactId) -> Result<Artifact, EngineError> {
        match self.inner.store.artifact(id).await {
            Ok(artifact) if artifact.run_id == run => Ok(artifact),
            Ok(_) => Err(EngineError::new(
                EngineErrorKind::NotFound,
                format!("run {run} has no artifact {id}"),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of an artifact, or a range of them.
    ///
    /// # Errors
    /// `NotFound`; what the blob store says.
    pub async fn open_artifact(
        &self,
        artifact: &Artifact,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, EngineError> {
        Ok(self.inner.blobs()?.get(&artifact.sha256, range).await?)
    }

    /// An address under which anybody may read the bytes for a while, where the store has such.
    ///
    /// # Errors
    /// What the blob store says.
    pub async fn artifact_url(
        &self,
        artifact: &Artifact,
        ttl: Duration,
    ) -> Result<Option<String>, EngineError> {
        Ok(self.inner.blobs()?.signed_url(&artifact.sha256, ttl).await?)
    }

    /// Adds an artifact to a run that has not ended.
    ///
    /// # Errors
    /// `NotFound`; `Validation`; `InvalidTransition` for a run that ended; `TooLarge`;
    /// `BrokenOff`; what the stores say.
    pub async fn add_artifact(
        &self,
        run: RunId,
        new: NewArtifact,
        content: ByteStream,
    ) -> Result<Artifact, EngineError> {
        let inner = &self.inner;
        let found = inner.store.run(run).await?;
        if found.status.is_terminal() {
            return refuse(&found, "get artifacts");
        }
        let kept = inner.keep(new, content).await?;
        let id = ArtifactId::from_uuid(inner.ids.next());
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            let found = inner.store.run(run).await?;
            if found.status.is_terminal() || found.cancel_requested {
                return refuse(&found, "get artifacts");
            }
            let mut batch = inner.command(&found);
            let body = EventBody::of_artifact(None, id, kept.clone());
            let now = inner.clock.now();
            journal::push(&mut batch, &body, now);
            if inner.write(&found, batch).await? {
                return self.artifact(run, id).await;
            }
        }
        Err(busy(run))
    }

    /// Removes an artifact from its run. Its bytes go when nothing else needs them.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_artifact(&self, run: RunId, id: ArtifactId) -> Result<(), EngineError> {
        self.artifact(run, id).await?;
        self.inner.store.remove_artifact(id, self.inner.clock.now()).await?;
        Ok(())
    }

    /// Deletes bytes that no artifact needs and that nobody wrote within `grace`. A worker does
    /// this from time to time.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn collect_blobs(&self, grace: Duration) -> Result<Collected, EngineError> {
        self.inner.collect_blobs(grace).await
    }
}
