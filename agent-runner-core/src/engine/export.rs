//! Writes a run as a bundle.

use std::collections::VecDeque;

use futures::{StreamExt as _, stream};

use super::{
    Engine, EngineError, EngineErrorKind,
    bundle::{BundledArtifact, BundledEvent, Hashes, Head, Line},
    journal,
};
use crate::{
    event::Event,
    id::{ArtifactId, RunId},
    limits,
    llm::BoxStream,
    run::Run,
    store::{ArtifactQuery, EventQuery},
};

/// A piece of a bundle ends with the first line after so many bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Where a bundle that is being written stands.
#[derive(Debug)]
enum Place {
    Head,
    Events { after: u64, page: VecDeque<Event> },
    Artifacts { after: Option<ArtifactId> },
    End,
    Over,
}

/// A bundle that is being written.
#[derive(Debug)]
struct Writer {
    engine: Engine,
    run: Run,
    place: Place,
    hashes: Hashes,
}

impl Engine {
    /// A run that has ended as a bundle, which another database takes in with [`Engine::import`]:
    /// lines of JSON (`docs/EXPORT.md`), some lines at a time. A page of events and one payload are in
    /// memory at once.
    ///
    /// Payloads are whole. The bytes of artifacts and files are not in it, nor are idempotency keys.
    ///
    /// # Errors
    /// `NotFound`; `InvalidTransition` for a run that has not ended. The stream ends with an error,
    /// and the bundle lacks its last line, when the store fails or the run is deleted meanwhile.
    pub async fn export(
        &self,
        id: RunId,
    ) -> Result<BoxStream<'static, Result<Vec<u8>, EngineError>>, EngineError> {
        let run = self.run(id).await?;
        if !run.status.is_terminal() {
            let said = format!("run {id} is {}: it can be exported when it has ended", run.status);
            return Err(EngineError::new(EngineErrorKind::InvalidTransition, said));
        }
        let hashes = Hashes::default();
        let writer = Writer { engine: self.clone(), run, place: Place::Head, hashes };
        let pieces = stream::try_unfold(writer, |mut writer| async move {
            let piece = writer.next().await?;
            Ok::<_, EngineError>(piece.map(|piece| (piece, writer)))
        });
        Ok(pieces.boxed())
    }
}

impl Writer {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, EngineError> {
        let mut piece = Vec::new();
        match std::mem::replace(&mut self.place, Place::Over) {
            Place::Head => {
                self.write(&Line::Run(Box::new(Head::of(&self.run))), &mut piece)?;
                self.place = Place::Events { after: 0, page: VecDeque::new() };
            }
            Place::Events { after, page } => {
                self.place = self.events(after, page, &mut piece).await?;
            }
            Place::Artifacts { after } => self.place = self.artifacts(after, &mut piece).await?,
            Place::End => {
                let end = std::mem::take(&mut self.hashes).end();
                self.write(&Line::End(end), &mut piece)?;
            }
            Place::Over => return Ok(None),
        }
        Ok(Some(piece))
    }

    async fn events(
        &mut self,
        mut after: u64,
        mut page: VecDeque<Event>,
        piece: &mut Vec<u8>,
    ) -> Result<Place, EngineError> {
        let engine = self.engine.clone();
        let store = &*engine.inner.store;
        while piece.len() < PIECE_BYTES {
            if after >= self.run.last_seq {
                return Ok(Place::Artifacts { after: None });
            }
            let Some(event) = page.pop_front() else {
                let query = EventQuery { limit: limits::BUNDLE_PAGE, ..EventQuery::after(after) };
                page = store.events(self.run.id, &query).await?.into();
                if page.is_empty() {
                    let gone = format!("run {} was deleted while it was exported", self.run.id);
                    return Err(EngineError::new(EngineErrorKind::Gone, gone));
                }
                continue;
            };
            after = event.seq;
            let event = journal::whole(store, event).await?;
            self.write(&Line::Event(BundledEvent::from(event)), piece)?;
        }
        Ok(Place::Events { after, page })
    }

    async fn artifacts(
        &mut self,
        after: Option<ArtifactId>,
        piece: &mut Vec<u8>,
    ) -> Result<Place, EngineError> {
        let limit = limits::EVENT_PAGE;
        let query = ArtifactQuery { run_id: self.run.id, name: None, after, limit };
        let page = self.engine.inner.store.artifacts(&query).await?;
        let after = page.last().map(|artifact| artifact.id);
        let full = page.len() >= limit;
        for artifact in page {
            self.write(&Line::Artifact(BundledArtifact::from(artifact)), piece)?;
        }
        Ok(if full { Place::Artifacts { after } } else { Place::End })
    }

    fn write(&mut self, line: &Line, piece: &mut Vec<u8>) -> Result<(), EngineError> {
        let start = piece.len();
        line.write(piece)?;
        let bytes = piece.get(start..).unwrap_or_default();
        self.hashes.take(bytes);
        if matches!(line, Line::Event(_)) {
            self.hashes.take_event(bytes);
        }
        Ok(())
    }
}

impl Line {
    /// Appends the line and its end to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        serde_json::to_writer(&mut *out, self).map_err(|error| {
            EngineError::new(EngineErrorKind::Internal, "a line of a bundle cannot be written")
                .with_source(error)
        })?;
        out.push(b'\n');
        Ok(())
    }
}
