//! What a model call that is over took: booked in place of what was reserved for it.

use std::time::Duration;

use super::{Driver, Stop, millis};
use crate::{
    budget::Spend,
    engine::budgets::{call_id, lost_call, took_nothing},
    event::EventBody,
    id::StepKey,
    llm::{ProviderError, Usage},
    store::Booking,
};

/// What was heard of a reply until it broke off.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    pub(super) pieces: u64,
    pub(super) usage: Option<Usage>,
    pub(super) busy: Duration,
}

impl Driver {
    /// Books what an attempt took, in place of what was reserved for it.
    pub(super) fn book(&mut self, step: &StepKey, attempt: u32, amount: Spend) {
        let lines = self.inner.spend_lines(&self.run, self.model_of(step).provider());
        self.outbox.batch.bookings.push(Booking { id: call_id(step, attempt), amount, lines });
    }

    /// Gives back what was reserved for an attempt that took nothing.
    pub(super) fn unreserve(&mut self, step: &StepKey, attempt: u32) {
        let id = call_id(step, attempt);
        self.outbox.batch.bookings.push(Booking {
            id,
            amount: Spend::default(),
            lines: Vec::new(),
        });
    }

    /// Records what an attempt without a good end is taken for: the prompt and the reply as far as
    /// the service reported them or they were heard.
    pub(super) fn charge(&mut self, step: &StepKey, heard: Heard) -> Result<(), Stop> {
        self.state.hear(step, heard.pieces);
        let Some(call) = self.state.call(step) else { return Ok(()) };
        let usage = lost_call(&self.state, call, heard.usage);
        let (step, attempt) = (call.step.clone(), call.attempt);
        let (spend, cost) = self.inner.charge(&call.model, &usage, millis(heard.busy));
        self.emit(EventBody::LlmCharged { step: step.clone(), attempt, usage, spend, cost })?;
        self.book(&step, attempt, spend);
        self.warn_of_budget()
    }

    /// Settles an attempt that failed: what never reached the service, and what the service
    /// refused, took nothing.
    pub(super) fn settle_failed(
        &mut self,
        step: &StepKey,
        attempt: u32,
        problem: &ProviderError,
        heard: Heard,
    ) -> Result<(), Stop> {
        if took_nothing(problem, heard.pieces) {
            self.unreserve(step, attempt);
            return Ok(());
        }
        self.charge(step, heard)
    }
}
