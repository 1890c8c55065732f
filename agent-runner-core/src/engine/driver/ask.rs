//! Asks the store whether a model call fits the budgets that its run shares with others.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::budget::{Exceeded, exceeds};
use crate::{
    budget::Spend,
    engine::{Inner, budgets::SharedLimit},
    run::Run,
    store::{Reserve, Reserved, StoreError},
};

/// First and longest pause between two questions.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Waits for other calls until the driver is asked to look at everything anew.
const WAITS_MAX: u32 = 16;

/// What the shared budgets say.
pub(super) enum Grant {
    /// The call may be made.
    Granted {
        /// The longest reply that is paid for, in tokens, if tokens or money are limited.
        reply_max: Option<u64>,
    },
    /// It may not.
    Exceeded(Exceeded),
    /// Other calls have reserved what is left; what they do not use is free again soon.
    Later,
    /// Nobody wants it any more.
    Withdrawn,
}

/// A question about one call.
pub(super) struct Asking {
    pub(super) inner: Arc<Inner>,
    pub(super) run: Run,
    /// Name of the reservation.
    pub(super) id: String,
    pub(super) provider: String,
    /// The most that the call may take.
    pub(super) amount: Spend,
    /// The longest reply in that amount, in tokens.
    pub(super) reply_max: u64,
    pub(super) priced: bool,
}

impl Asking {
    /// Asks until there is an answer.
    pub(super) async fn ask(self) -> Result<Grant, StoreError> {
        let mut pause = PAUSE_MIN;
        let mut waits = 0;
        loop {
            match self.attempt().await {
                Err(problem) if problem.kind().is_retryable() => {
                    warn!(error = %problem, "the budgets cannot be read now");
                }
                Ok(Grant::Later) if waits < WAITS_MAX => {
                    waits += 1;
                    debug!("other calls have reserved what is left of a budget");
                }
                done => return done,
            }
            self.inner.clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self) -> Result<Grant, StoreError> {
        let shared: Vec<SharedLimit> = self.inner.shared_limits(&self.run).await?;
        if shared.is_empty() {
            return Ok(Grant::Granted { reply_max: None });
        }
        let unpriced = shared.iter().find(|limit| limit.budget.micro_usd.is_some() && !self.priced);
        if let Some(limit) = unpriced {
            let spent = self.inner.store.spent(&limit.query).await?.booked;
            let exceeded = exceeds(limit.scope, &limit.budget, spent, self.amount, false);
            return Ok(exceeded.map_or(Grant::Later, Grant::Exceeded));
        }
        let reserve = Reserve {
            run: self.run.id,
            worker: self.inner.worker,
            epoch: self.run.epoch,
            id: self.id.clone(),
            amount: self.amount,
            lines: self.inner.spend_lines(&self.run, &self.provider),
            limits: shared.iter().map(|limit| (limit.query.clone(), limit.budget)).collect(),
        };
        match self.inner.store.reserve(reserve).await? {
            Reserved::Exceeded { limit, spent } => {
                // Only what is spent forbids a call; what is reserved makes it wait.
                let exceeded = shared.get(limit).and_then(|limit| {
                    exceeds(limit.scope, &limit.budget, spent.booked, self.amount, true)
                });
                Ok(exceeded.map_or(Grant::Later, Grant::Exceeded))
            }
            _ => {
                let bounded = shared
                    .iter()
                    .any(|limit| limit.budget.tokens.is_some() || limit.budget.micro_usd.is_some());
                Ok(Grant::Granted { reply_max: bounded.then_some(self.reply_max) })
            }
        }
    }
}
