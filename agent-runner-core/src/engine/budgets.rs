//! Budgets that runs share: of a tree, a project, and a day. What a run alone may spend is decided
//! by its driver from its journal; these need the store.

use super::{
    Engine, EngineError, Inner,
    control::refuse,
    journal,
    new_run::{Wrong, check_budget},
};
use crate::{
    agent::ModelName,
    budget::{Account, Budget, BudgetScope, Day, Spend},
    event::EventBody,
    id::{RunId, StepKey},
    limits,
    llm::{Cost, LlmFinished, Price, ProviderError, SendState, Usage, estimate_messages},
    machine::{OpenCall, RunState},
    project::Project,
    run::{ParkReason, Run},
    store::{Ready, SpendLine, SpendQuery, Spent, StoreError},
};

/// What a call may take at most, in tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    pub(super) prompt: u64,
    pub(super) reply: u64,
}

impl Estimate {
    pub(super) const fn usage(self) -> Usage {
        Usage {
            input: Some(self.prompt),
            output: Some(self.reply),
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
            reasoning: None,
        }
    }

    pub(super) fn spend(self, price: Option<&Price>) -> Spend {
        let cost = price.and_then(|price| price.cost(&self.usage())).map(|cost| cost.micro_usd);
        Spend::of_call(&self.usage(), cost, 0)
    }
}

/// The name under which an attempt's tokens are reserved and booked.
pub(super) fn call_id(step: &StepKey, attempt: u32) -> String {
    format!("{step}#{attempt}")
}

/// What a reply that broke off after so many pieces used: as its service said, else the estimated
/// prompt, and no less than was heard, because services tell the length of a reply at its end.
pub(super) fn broken_off(reported: Option<Usage>, prompt: u64, pieces: u64) -> Usage {
    let mut usage = reported.unwrap_or_default();
    if usage.prompt().is_none() {
        usage.input = Some(prompt);
    }
    usage.output = usage.output.max(Some(pieces));
    usage
}

/// What a call of a run used whose end nobody saw.
pub(super) fn lost_call(state: &RunState, call: &OpenCall, reported: Option<Usage>) -> Usage {
    broken_off(reported, state.machine().corrected(call.estimated), call.pieces)
}

/// Whether a call that failed after so many pieces took nothing: it never reached the service, or
/// the service refused it.
pub(super) fn took_nothing(problem: &ProviderError, pieces: u64) -> bool {
    problem.sent() == SendState::NotSent || (problem.http_status().is_some() && pieces == 0)
}

/// Estimates the tokens of a reply whose service did not count them, and says so.
pub(super) fn estimate_missing(finished: &mut LlmFinished, prompt: u64) {
    if finished.usage.total().is_none() {
        finished.usage.input = Some(prompt);
        let said = estimate_messages(std::slice::from_ref(&finished.message));
        finished.usage.output = Some(said);
        let notice = "the service did not say how many tokens it used; they are estimated";
        finished.notices.push(notice.to_owned());
    }
}

/// A budget that a run shares with others, and what counts for it.
#[derive(Debug, Clone)]
pub(super) struct SharedLimit {
    pub(super) scope: BudgetScope,
    pub(super) query: SpendQuery,
    pub(super) budget: Budget,
}

impl Inner {
    /// The budgets that a run shares, if they are known without asking the store.
    pub(super) fn shared_limits_now(&self, run: &Run) -> Option<Vec<SharedLimit>> {
        let known = self.project_now(run.project_id)?;
        Some(self.limits(run, known.project.as_deref()))
    }

    /// The budgets that a run shares.
    pub(super) async fn shared_limits(&self, run: &Run) -> Result<Vec<SharedLimit>, StoreError> {
        let project = self.project(run.project_id).await?;
        Ok(self.limits(run, project.as_deref()))
    }

    fn limits(&self, run: &Run, project: Option<&Project>) -> Vec<SharedLimit> {
        let now = self.clock.now();
        let today = Some(Day::of(now));
        let account = Some(Account::Project(run.project_id));
        let tree = Some(Account::Tree(run.root_id));
        // Time of a tree counts from its beginning, which is no matter of adding up.
        let tree_budget = run.spec.tree_budget.map(|budget| Budget { seconds: None, ..budget });
        [
            (BudgetScope::Tree, tree_budget, tree, None),
            (BudgetScope::Project, project.and_then(|p| p.budget), account.clone(), None),
            (BudgetScope::ProjectDay, project.and_then(|p| p.daily_budget), account, today),
            (BudgetScope::Day, self.options.daily_budget, None, today),
        ]
        .into_iter()
        .filter_map(|(scope, budget, account, day)| {
            let budget = budget.filter(Budget::is_limited)?;
            Some(SharedLimit { scope, query: SpendQuery { account, day }, budget })
        })
        .collect()
    }

    /// Where spending of a run counts.
    pub(super) fn spend_lines(&self, run: &Run, provider: &str) -> Vec<SpendLine> {
        let day = Day::of(self.clock.now());
        let tree = run.spec.tree_budget.is_some().then_some(Account::Tree(run.root_id));
        [Account::Project(run.project_id), Account::Provider(provider.to_owned())]
            .into_iter()
            .chain(tree)
            .map(|account| SpendLine { account, day })
            .collect()
    }

    /// What a reply cost: what its service says, else what the price list says.
    pub(super) fn cost(&self, asked: &ModelName, finished: &LlmFinished) -> Option<Cost> {
        if finished.cost.is_some() {
            return finished.cost.clone();
        }
        let now = self.clock.now();
        let answered = finished.answered_by.as_ref();
        let price = answered.and_then(|model| self.providers.price(model, now));
        price.or_else(|| self.providers.price(asked, now))?.cost(&finished.usage)
    }

    /// What a run is charged for a call without a good end.
    pub(super) fn charge(
        &self,
        model: &ModelName,
        usage: &Usage,
        busy_ms: u64,
    ) -> (Spend, Option<Cost>) {
        let price = self.providers.price(model, self.clock.now());
        let cost = price.and_then(|price| price.cost(usage));
        let money = cost.as_ref().map(|cost| cost.micro_usd);
        (Spend::of_call(usage, money, busy_ms), cost)
    }
}

/// What was spent on a day and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spending {
    /// The day.
    pub day: Day,
    /// On that day.
    pub today: Spent,
    /// In all.
    pub total: Spent,
}

impl Engine {
    /// What was spent on an account, today (UTC) and in all; of all projects for `None`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn spending(&self, account: Option<Account>) -> Result<Spending, EngineError> {
        let day = Day::of(self.inner.clock.now());
        let of = |day| SpendQuery { account: account.clone(), day };
        Ok(Spending {
            day,
            today: self.inner.store.spent(&of(Some(day))).await?,
            total: self.inner.store.spent(&of(None)).await?,
        })
    }

    /// Gives a run another budget, or none. A run that waits for its budget goes on.
    ///
    /// # Errors
    /// `NotFound`; `InvalidTransition` for a run that ended; `Validation` for a budget of nothing.
    pub async fn change_budget(
        &self,
        id: RunId,
        budget: Option<Budget>,
    ) -> Result<Run, EngineError> {
        let mut wrong = Wrong::default();
        check_budget("/budget", budget.as_ref(), &mut wrong);
        wrong.into_result()?;
        let budget = budget.filter(Budget::is_limited);
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            let inner = &self.inner;
            let run = inner.store.run(id).await?;
            if run.status.is_terminal() || run.cancel_requested {
                return refuse(&run, "get another budget");
            }
            let mut batch = inner.command(&run);
            journal::push(&mut batch, &EventBody::BudgetChanged { budget }, inner.clock.now());
            if run.park.as_ref().is_some_and(|park| park.reason == ParkReason::Budget) {
                batch.patch.park = Some(None);
                if !run.pause_requested {
                    batch.ready = Ready::At(inner.clock.now());
                }
            }
            if inner.write(&run, batch).await? {
                return Ok(inner.store.run(id).await?);
            }
        }
        Err(super::control::busy(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::ErrorKind;

    #[test]
    fn a_broken_reply_costs_what_was_reported_or_heard_whichever_is_more() {
        let of = |input, output| Some(Usage { input, output, ..Usage::default() });
        let table = [
            (None, (Some(70), Some(5))),
            (of(Some(90), Some(1)), (Some(90), Some(5))),
            (of(Some(90), Some(8)), (Some(90), Some(8))),
            (of(None, Some(8)), (Some(70), Some(8))),
            (of(Some(90), None), (Some(90), Some(5))),
        ];
        for (reported, expected) in table {
            let usage = broken_off(reported, 70, 5);
            assert_eq!((usage.input, usage.output), expected, "{reported:?}");
        }
    }

    #[test]
    fn only_what_never_arrived_or_was_refused_takes_nothing() {
        let lost = || ProviderError::new(ErrorKind::Network, "p", "lost");
        assert!(took_nothing(&lost().with_sent(SendState::NotSent), 0));
        assert!(!took_nothing(&lost(), 0));
        assert!(took_nothing(&lost().with_http_status(529), 0));
        assert!(!took_nothing(&lost().with_http_status(200), 1));
    }
}
