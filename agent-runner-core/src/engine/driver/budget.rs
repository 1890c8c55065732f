//! What a model call may cost: asked before it is made, booked when it is over.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use super::{Driver, Outcome, Stop, commit::stop, turn::Turn};
use crate::{
    budget::{Budget, BudgetResource, BudgetScope, Day, OnExceeded, Spend},
    engine::{Inner, budgets::SharedLimit},
    event::EventBody,
    id::StepKey,
    limits,
    llm::{MicroUsd, Price, ProviderError, SendState, Usage},
    run::Run,
    store::{Booking, Reserve, Reserved, StoreError},
    time,
};

/// A budget that forbids a call, in words for people.
#[derive(Debug, Clone)]
pub(super) struct Exceeded {
    scope: BudgetScope,
    resource: BudgetResource,
    limit: u64,
    spent: u64,
    on_exceeded: OnExceeded,
    /// Nobody knows what the model costs.
    unpriced: bool,
}

/// What the shared budgets say.
pub(super) enum Grant {
    /// It may be made; whether something is reserved for it.
    Granted { reserved: bool },
    /// It may not.
    Exceeded(Exceeded),
}

/// What a call may take at most.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    prompt: u64,
    reply: u64,
}

impl Estimate {
    const fn usage(self) -> Usage {
        Usage {
            input: Some(self.prompt),
            output: Some(self.reply),
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
            reasoning: None,
        }
    }

    fn spend(self, price: Option<&Price>) -> Spend {
        let cost = price.and_then(|price| price.cost(&self.usage())).map(|cost| cost.micro_usd);
        Spend::of_call(&self.usage(), cost, 0)
    }
}

/// The name of the reservation of an attempt.
fn reservation(step: &StepKey, attempt: u32) -> String {
    format!("{step}#{attempt}")
}

impl Driver {
    /// Makes a model call if the budgets allow it; whether anything happened. The run's own budget
    /// is asked at once, those it shares with others in the store.
    pub(super) fn begin_within_budget(&mut self, mut turn: Turn) -> Result<bool, Stop> {
        let price = self.inner.providers.price(&turn.model, self.inner.clock.now());
        if let Some(exceeded) = self.over_own_budget(&turn, price.as_ref()) {
            return self.tell_exceeded(&exceeded);
        }
        self.cut_reply(&mut turn, price.as_ref());
        turn.time_left = self.time_left();
        if self.inner.shared_limits_now(&self.run).is_some_and(|limits| limits.is_empty()) {
            return self.start_turn(turn, false);
        }
        let reply = turn.request.max_output_tokens.map_or(limits::REPLY_TOKENS, u64::from);
        let estimate = Estimate { prompt: turn.corrected, reply };
        let asking = Asking {
            inner: Arc::clone(&self.inner),
            run: self.run.clone(),
            id: reservation(&turn.step, turn.attempt),
            provider: turn.model.provider().to_owned(),
            amount: estimate.spend(price.as_ref()),
            priced: price.is_some(),
        };
        let step = turn.step.clone();
        let cancel = tokio_util::sync::CancellationToken::new();
        let stopped = cancel.clone();
        self.enter(&step, crate::step::EffectPolicy::Pure, turn.attempt, cancel, None);
        self.in_flight.push(Box::pin(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => Outcome::Again { step },
                grant = asking.ask() => Outcome::Budgeted { turn: Box::new(turn), grant },
            }
        }));
        Ok(true)
    }

    /// Takes in what the shared budgets say.
    pub(super) fn take_grant(
        &mut self,
        turn: Turn,
        grant: Result<Grant, StoreError>,
    ) -> Result<(), Stop> {
        self.active.remove(&turn.step);
        match grant.map_err(stop)? {
            Grant::Granted { reserved } => self.start_turn(turn, reserved).map(drop),
            Grant::Exceeded(exceeded) => self.tell_exceeded(&exceeded).map(drop),
        }
    }

    fn over_own_budget(&self, turn: &Turn, price: Option<&Price>) -> Option<Exceeded> {
        let least = Estimate { prompt: turn.corrected, reply: 1 }.spend(price);
        let elapsed = time::until(self.run.created_at, self.inner.clock.now());
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let spent = Spend { busy_ms: elapsed, ..self.state.spend() };
        let own = self.state.budget().map(|budget| (BudgetScope::Run, *budget));
        // The time of a tree is that of its first run, which is this one as long as it has no parent.
        let tree = self.run.spec.tree_budget.filter(|_| self.run.parent_id.is_none());
        let tree = tree.map(|budget| {
            (
                BudgetScope::Tree,
                Budget {
                    seconds: budget.seconds,
                    on_exceeded: budget.on_exceeded,
                    ..Budget::default()
                },
            )
        });
        [own, tree]
            .into_iter()
            .flatten()
            .find_map(|(scope, budget)| exceeds(scope, &budget, spent, least, price.is_some()))
    }

    /// Makes a reply no longer than what is left of the run's budget.
    fn cut_reply(&self, turn: &mut Turn, price: Option<&Price>) {
        let Some(budget) = self.state.budget() else { return };
        let spent = self.state.spend();
        let by_tokens = budget
            .tokens
            .map(|limit| limit.saturating_sub(spent.tokens).saturating_sub(turn.corrected));
        let by_money = budget.micro_usd.zip(price).and_then(|(limit, price)| {
            let prompt = Estimate { prompt: turn.corrected, reply: 0 }.spend(Some(price));
            let left = limit.0.saturating_sub(spent.micro_usd.0).saturating_sub(prompt.micro_usd.0);
            let rate = price.rates_for(turn.corrected).output;
            left.saturating_mul(1_000_000).checked_div(rate)
        });
        if let Some(most) = [by_tokens, by_money].into_iter().flatten().min() {
            let most = u32::try_from(most.max(1)).unwrap_or(u32::MAX);
            let asked = turn.request.max_output_tokens;
            turn.request.max_output_tokens = Some(asked.map_or(most, |asked| asked.min(most)));
        }
    }

    /// The time that the run's budget leaves for a call.
    fn time_left(&self) -> Option<Duration> {
        let seconds = self.state.budget().and_then(|budget| budget.seconds)?;
        let elapsed = time::until(self.run.created_at, self.inner.clock.now());
        Some(Duration::from_secs(seconds).saturating_sub(elapsed))
    }

    fn tell_exceeded(&mut self, exceeded: &Exceeded) -> Result<bool, Stop> {
        let daily = matches!(exceeded.scope, BudgetScope::ProjectDay | BudgetScope::Day);
        let renews_at = daily.then(|| Day::of(self.inner.clock.now()).next());
        let message = exceeded.message(&self.run);
        warn!(scope = exceeded.scope.as_str(), %message, "budget exceeded");
        self.emit(EventBody::BudgetExceeded {
            scope: exceeded.scope,
            resource: exceeded.resource,
            limit: exceeded.limit,
            spent: exceeded.spent,
            message,
            on_exceeded: exceeded.on_exceeded,
            renews_at,
        })?;
        Ok(true)
    }

    /// Says, once, that much of the run's budget is spent.
    pub(super) fn warn_of_budget(&mut self) -> Result<(), Stop> {
        let Some(budget) = self.state.budget().filter(|_| !self.state.is_warned()) else {
            return Ok(());
        };
        let used_per_mille = budget.used_per_mille(self.state.spend());
        if used_per_mille < limits::BUDGET_WARNING_PER_MILLE {
            return Ok(());
        }
        self.emit(EventBody::BudgetWarning { scope: BudgetScope::Run, used_per_mille })
    }

    /// Books what an attempt took, in place of what was reserved for it.
    pub(super) fn book(&mut self, step: &StepKey, attempt: u32, amount: Spend) {
        let lines = self.inner.spend_lines(&self.run, self.run.spec.agent.model.provider());
        let id = reservation(step, attempt);
        self.outbox.bookings.push(Booking { id, amount, lines });
    }

    /// Gives back what was reserved for an attempt that took nothing.
    pub(super) fn unreserve(&mut self, step: &StepKey, attempt: u32) {
        let id = reservation(step, attempt);
        self.outbox.bookings.push(Booking { id, amount: Spend::default(), lines: Vec::new() });
    }

    /// Records what an attempt without a good end is taken for: what its service reported until
    /// then, else the estimated prompt and what was heard of the reply.
    pub(super) fn charge(
        &mut self,
        step: &StepKey,
        attempt: u32,
        reported: Option<Usage>,
        busy: Duration,
    ) -> Result<(), Stop> {
        let Some(call) = self.state.call().filter(|call| call.step == *step).cloned() else {
            return Ok(());
        };
        let estimate =
            Estimate { prompt: self.state.machine().corrected(call.estimated), reply: call.pieces };
        let usage = reported.filter(|usage| usage.total().is_some()).unwrap_or(estimate.usage());
        let model = &self.run.spec.agent.model;
        let price = self.inner.providers.price(model, self.inner.clock.now());
        let cost = price.and_then(|price| price.cost(&usage));
        let money = cost.as_ref().map(|cost| cost.micro_usd);
        let spend = Spend::of_call(&usage, money, super::millis(busy));
        let step = step.clone();
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
        let refused = problem.http_status().is_some() && heard.pieces == 0;
        if problem.sent() == SendState::NotSent || refused {
            self.unreserve(step, attempt);
            return Ok(());
        }
        self.state.hear(step, heard.pieces);
        self.charge(step, attempt, heard.usage, heard.busy)
    }
}

/// What was heard of a reply until it broke off.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    pub(super) pieces: u64,
    pub(super) usage: Option<Usage>,
    pub(super) busy: Duration,
}

impl Exceeded {
    fn message(&self, run: &Run) -> String {
        if self.unpriced {
            return format!(
                "{} limits money, but nobody knows the price of {}; say what it costs in the \
                 models file, or limit tokens instead",
                self.scope, run.spec.agent.model
            );
        }
        let (limit, spent) = (self.shown(self.limit), self.shown(self.spent));
        let what = match self.on_exceeded {
            OnExceeded::Fail => "raise it and start the run anew",
            OnExceeded::Park => "raise it, or resume the run when there is more",
        };
        format!("{} of {limit} is spent ({spent} until now): {what}", self.scope)
    }

    fn shown(&self, amount: u64) -> String {
        match self.resource {
            BudgetResource::MicroUsd => {
                format!("{}.{:06} USD", amount / 1_000_000, amount % 1_000_000)
            }
            BudgetResource::Requests => format!("{amount} requests"),
            BudgetResource::Tokens => format!("{amount} tokens"),
            BudgetResource::Seconds => format!("{amount} seconds"),
        }
    }
}

/// Whether a budget forbids to spend so much more.
fn exceeds(
    scope: BudgetScope,
    budget: &Budget,
    spent: Spend,
    more: Spend,
    priced: bool,
) -> Option<Exceeded> {
    let of = |resource, limit, unpriced| Exceeded {
        scope,
        resource,
        limit,
        spent: match resource {
            BudgetResource::Requests => spent.requests,
            BudgetResource::Tokens => spent.tokens,
            BudgetResource::MicroUsd => spent.micro_usd.0,
            BudgetResource::Seconds => spent.busy_ms / 1_000,
        },
        on_exceeded: budget.on_exceeded,
        unpriced,
    };
    if let Some(MicroUsd(limit)) = budget.micro_usd.filter(|_| !priced) {
        return Some(of(BudgetResource::MicroUsd, limit, true));
    }
    budget.exceeded(spent, more).map(|(resource, limit)| of(resource, limit, false))
}

/// Asks the store for what a call may take.
struct Asking {
    inner: Arc<Inner>,
    run: Run,
    id: String,
    provider: String,
    amount: Spend,
    priced: bool,
}

impl Asking {
    async fn ask(self) -> Result<Grant, StoreError> {
        let mut pause = Duration::from_millis(20);
        loop {
            match self.attempt().await {
                Err(problem) if problem.kind().is_retryable() => {
                    warn!(error = %problem, "the budgets cannot be read now");
                    self.inner.clock.sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                done => return done,
            }
        }
    }

    async fn attempt(&self) -> Result<Grant, StoreError> {
        let shared: Vec<SharedLimit> = self.inner.shared_limits(&self.run).await?;
        if shared.is_empty() {
            return Ok(Grant::Granted { reserved: false });
        }
        let unpriced = shared.iter().find(|limit| limit.budget.micro_usd.is_some() && !self.priced);
        if let Some(limit) = unpriced {
            let spent = self.inner.store.spent(&limit.query).await?.booked;
            let exceeded = exceeds(limit.scope, &limit.budget, spent, self.amount, false);
            return Ok(exceeded.map_or(Grant::Granted { reserved: false }, Grant::Exceeded));
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
        let reserved = self.inner.store.reserve(reserve).await?;
        let Reserved::Exceeded { limit, spent } = reserved else {
            return Ok(Grant::Granted { reserved: true });
        };
        let exceeded = shared.get(limit).and_then(|limit| {
            let sum = spent.booked.plus(spent.reserved);
            exceeds(limit.scope, &limit.budget, sum, self.amount, true)
        });
        Ok(exceeded.map_or(Grant::Granted { reserved: false }, Grant::Exceeded))
    }
}
