//! Whether a model call may be made, and how long its reply may be.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use super::{
    Driver, Outcome, Stop,
    ask::{Asking, Grant},
    commit::stop,
    turn::Turn,
};
use crate::{
    agent::ModelName,
    budget::{Budget, BudgetResource, BudgetScope, Day, OnExceeded, Spend},
    engine::budgets::{Estimate, call_id},
    event::EventBody,
    id::StepKey,
    limits,
    llm::{MicroUsd, Price},
    step::{EffectPolicy, StepError},
    store::StoreError,
    time,
};

/// Code of a step that ended because no budget allows another attempt.
const BUDGET: &str = "budget";

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

impl Driver {
    /// Makes a model call if the budgets allow it; whether anything happened. The run's own budget
    /// is asked at once, those it shares with others in the store.
    pub(super) fn begin_within_budget(&mut self, mut turn: Turn) -> Result<bool, Stop> {
        let price = self.inner.providers.price(&turn.model, self.inner.clock.now());
        if let Some(exceeded) = self.over_own_budget(&turn, price.as_ref()) {
            return self.tell_exceeded(&turn.step, turn.attempt, &exceeded);
        }
        self.cut_reply(&mut turn, price.as_ref());
        turn.time_left = self.time_left();
        if self.inner.shared_limits_now(&self.run).is_some_and(|limits| limits.is_empty()) {
            return self.start_turn(turn);
        }
        let reply_max = turn.reply_max();
        let estimate = Estimate { prompt: turn.corrected, reply: reply_max };
        let asking = Asking {
            inner: Arc::clone(&self.inner),
            run: self.run.clone(),
            id: call_id(&turn.step, turn.attempt),
            provider: turn.model.provider().to_owned(),
            amount: estimate.spend(price.as_ref()),
            reply_max,
            priced: price.is_some(),
        };
        let cancel = tokio_util::sync::CancellationToken::new();
        let stopped = cancel.clone();
        self.enter(&turn.step, EffectPolicy::Pure, turn.attempt, cancel, None);
        self.in_flight.push(Box::pin(async move {
            let grant = tokio::select! {
                biased;
                () = stopped.cancelled() => Ok(Grant::Withdrawn),
                grant = asking.ask() => grant,
            };
            Outcome::Budgeted { turn: Box::new(turn), grant }
        }));
        Ok(true)
    }

    /// Takes in what the shared budgets say.
    pub(super) fn take_grant(
        &mut self,
        mut turn: Turn,
        grant: Result<Grant, StoreError>,
    ) -> Result<(), Stop> {
        self.active.remove(&turn.step);
        match grant.map_err(stop)? {
            Grant::Granted { reply_max } => {
                if let Some(most) = reply_max {
                    turn.request.max_output_tokens = u32::try_from(most).ok();
                }
                self.look |= self.signalled.take_changed();
                if self.is_stale(&turn) {
                    // Asked again, the same reservation is used; at rest it is given back.
                    self.granted.insert(turn.step, turn.attempt);
                    return Ok(());
                }
                self.start_turn(turn).map(drop)
            }
            Grant::Exceeded(exceeded) => {
                self.tell_exceeded(&turn.step, turn.attempt, &exceeded).map(drop)
            }
            Grant::Later => Ok(()),
            Grant::Withdrawn => {
                self.unreserve(&turn.step, turn.attempt);
                Ok(())
            }
        }
    }

    /// Whether something came up while the budgets were asked.
    fn is_stale(&self, turn: &Turn) -> bool {
        let held = self.pause || self.cancel || self.look || self.inner.active.is_draining();
        held || (!turn.compacts() && self.state.machine().unread_upto() > turn.directives_upto)
    }

    /// Gives back what was reserved for calls that were not begun.
    pub(super) fn give_back_grant(&mut self) {
        for (step, attempt) in std::mem::take(&mut self.granted) {
            self.unreserve(&step, attempt);
        }
    }

    fn over_own_budget(&self, turn: &Turn, price: Option<&Price>) -> Option<Exceeded> {
        let reply = turn.reply_max().min(limits::REPLY_TOKENS_MIN);
        let least = Estimate { prompt: turn.corrected, reply }.spend(price);
        // The code of a workflow may have other calls under way.
        let open = self.state.calls().filter(|call| call.step != turn.step);
        let spent = open.fold(self.spent(), |spent, call| {
            spent.plus(Spend { requests: 1, tokens: call.estimated, ..Spend::default() })
        });
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

    /// What the run spent, with its time since it was accepted.
    fn spent(&self) -> Spend {
        Spend { busy_ms: super::millis(self.age()), ..self.state.spend() }
    }

    fn age(&self) -> Duration {
        time::until(self.run.created_at, self.inner.clock.now())
    }

    /// Makes a reply no longer than what is left of the run's budget. Where that is more than the
    /// model can say anyway the request stays as it is.
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
        let Some(left) = [by_tokens, by_money].into_iter().flatten().min() else { return };
        if turn.longest.is_none_or(|longest| left < longest) {
            let most = left.min(turn.reply_max()).max(1);
            turn.request.max_output_tokens = u32::try_from(most).ok();
        }
    }

    /// The time that the budgets of the run and of its tree leave for a call.
    fn time_left(&self) -> Option<Duration> {
        let own = self.state.budget().and_then(|budget| budget.seconds);
        let tree = self.run.spec.tree_budget.filter(|_| self.run.parent_id.is_none());
        let seconds = own.into_iter().chain(tree.and_then(|budget| budget.seconds)).min()?;
        Some(Duration::from_secs(seconds).saturating_sub(self.age()))
    }

    fn tell_exceeded(
        &mut self,
        step: &StepKey,
        attempt: u32,
        exceeded: &Exceeded,
    ) -> Result<bool, Stop> {
        self.granted.remove(step);
        self.unreserve(step, attempt);
        let daily = matches!(exceeded.scope, BudgetScope::ProjectDay | BudgetScope::Day);
        let renews_at = daily.then(|| Day::of(self.inner.clock.now()).next());
        let message = exceeded.message(&self.model_of(step));
        warn!(scope = exceeded.scope.as_str(), %message, "budget exceeded");
        let open = self.state.step(step).is_some_and(|step| !step.status.is_terminal());
        if open && exceeded.on_exceeded == OnExceeded::Fail {
            let error = StepError { code: BUDGET.to_owned(), message: message.clone() };
            self.emit(EventBody::StepFailed { step: step.clone(), error })?;
        }
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
        let used_per_mille = budget.used_per_mille(self.spent());
        if used_per_mille < limits::BUDGET_WARNING_PER_MILLE {
            return Ok(());
        }
        self.emit(EventBody::BudgetWarning { scope: BudgetScope::Run, used_per_mille })
    }
}

impl Exceeded {
    fn message(&self, model: &ModelName) -> String {
        if self.unpriced {
            return format!(
                "{} limits money, but nobody knows the price of {}; say what it costs in the \
                 models file, or limit tokens instead",
                self.scope, model
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
pub(super) fn exceeds(
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
