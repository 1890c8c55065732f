//! Replays runs from their journals.

use super::{Engine, EngineError, EngineErrorKind, journal};
use crate::{
    event::EventBody,
    id::RunId,
    limits,
    machine::{Divergence, Replay},
    run::RunStatus,
    store::EventQuery,
};

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Where the run stands after the events that were replayed.
    pub status: RunStatus,
    /// Events that were replayed.
    pub events: u64,
    /// Decisions among them that came out again: what to ask the model, what to call, how to end.
    pub decisions: u64,
    /// The first event that this program would not have written; `None` when all came out again.
    pub differs: Option<Divergence>,
}

impl Engine {
    /// Takes a run's decisions again, from its journal alone: no model is asked, no tool is called,
    /// nothing is written. A run that has not ended is replayed as far as it is.
    ///
    /// # Errors
    /// `NotFound`; `Internal` for a journal that cannot be read.
    pub async fn replay(&self, id: RunId) -> Result<Replayed, EngineError> {
        let store = &*self.inner.store;
        let mut replay = Replay::default();
        let mut differs = None;
        let mut after = 0;
        'journal: loop {
            let page = store.events(id, &EventQuery::after(after)).await?;
            let full = page.len() >= limits::EVENT_PAGE;
            for event in page {
                let event = journal::whole(store, event).await?;
                after = event.seq;
                let body = EventBody::from_event(&event).map_err(|error| {
                    EngineError::new(
                        EngineErrorKind::Internal,
                        format!("event {after} of run {id} cannot be read: {error}"),
                    )
                })?;
                // An event of a newer program says nothing to this one.
                let Some(body) = body else { continue };
                if let Err(divergence) = replay.take(after, &body) {
                    differs = Some(divergence);
                    break 'journal;
                }
            }
            if !full {
                break;
            }
        }
        if after == 0 {
            let _ = store.run(id).await?;
        }
        Ok(Replayed {
            status: replay.status(),
            events: replay.events(),
            decisions: replay.decisions(),
            differs,
        })
    }
}
