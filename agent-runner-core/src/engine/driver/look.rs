//! Takes in what others did to the run.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use super::{Driver, Stop};
use crate::{
    directive::DirectiveMode,
    engine::{EngineError, journal},
    event::EventBody,
    limits,
    store::StoreErrorKind,
};

impl Driver {
    /// Reads what others wrote. Only while nothing of our own is on its way.
    pub(super) async fn sync(&mut self) -> Result<(), Stop> {
        debug_assert!(self.appending.is_none(), "own events would be taken for others'");
        self.look = false;
        let run = match self.inner.store.run(self.run.id).await {
            Ok(run) => run,
            Err(problem) if problem.kind() == StoreErrorKind::NotFound => return Err(Stop::Fenced),
            Err(problem) => {
                warn!(error = %problem, "the store does not answer");
                self.look = true;
                self.inner.clock.sleep(Duration::from_millis(100)).await;
                return Ok(());
            }
        };
        if run.owner != Some(self.inner.worker) || run.epoch != self.run.epoch {
            return Err(Stop::Fenced);
        }
        if run.last_seq > self.known_seq {
            self.read_foreign(run.last_seq).await?;
        }
        self.note_control(run.control, run.pause_requested, run.cancel_requested);
        Ok(())
    }

    pub(super) fn note_control(&mut self, control: u64, pause: bool, cancel: bool) {
        self.control = control;
        self.pause = pause;
        self.cancel = cancel;
        self.signalled.control.store(control, std::sync::atomic::Ordering::Release);
    }

    /// Takes in others' events up to that number.
    pub(super) async fn read_foreign(&mut self, upto: u64) -> Result<(), Stop> {
        let store = Arc::clone(&self.inner.store);
        while self.known_seq < upto {
            let mut query = crate::store::EventQuery::after(self.known_seq);
            query.limit = usize::try_from(upto - self.known_seq)
                .unwrap_or(limits::EVENT_PAGE)
                .min(limits::EVENT_PAGE);
            let page = store.events(self.run.id, &query).await.map_err(EngineError::from)?;
            if page.is_empty() {
                return Ok(());
            }
            for event in page {
                self.known_seq = event.seq;
                let event = journal::whole(&*store, event).await?;
                self.growth.add(&event.payload);
                let Some(body) = journal::read(&event)? else { continue };
                journal::take(&mut self.state, &event, &body)?;
                let mode = DirectiveMode::Interrupt;
                if matches!(body, EventBody::DirectiveReceived { mode: m, .. } if m == mode) {
                    self.interrupt_models();
                }
            }
        }
        Ok(())
    }

    fn interrupt_models(&self) {
        for active in self.active.values().filter(|active| active.progress.is_some()) {
            active.cancel.cancel();
        }
    }
}
