//! Replays runs from their journals.

use std::ops::ControlFlow;

use super::{Engine, EngineError, journal};
use crate::{
    id::RunId,
    machine::{Divergence, Replay},
    run::RunStatus,
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
        self.run(id).await?;
        let (mut replay, mut differs) = (Replay::default(), None);
        journal::walk(&*self.inner.store, id, 0, |event, body| {
            differs = replay.take(event.seq, &body).err();
            Ok(if differs.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .await?;
        Ok(Replayed {
            status: replay.status(),
            events: replay.events(),
            decisions: replay.decisions(),
            differs,
        })
    }
}
