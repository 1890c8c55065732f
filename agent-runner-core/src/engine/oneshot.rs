//! Model calls that no run makes. Nothing is set aside for them: the budgets are asked before, and
//! what a call took is booked on the default project and the provider when it is over, however it
//! ends.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{runtime::Handle, task::JoinHandle};
use tracing::warn;

use super::{
    Engine, EngineError, Inner,
    budgets::{broken_off, estimate_missing, took_nothing},
};
use crate::{
    agent::ModelName,
    budget::{Account, Budget, BudgetScope, Day, Spend},
    id::ProjectId,
    llm::{
        Cost, LlmEvent, LlmFinished, LlmRequest, MicroUsd, ProviderError, Usage, estimate_tokens,
    },
    project::Project,
    store::{SpendLine, SpendQuery},
    time,
};

/// Why a call is not made.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "it is forbidden, or nobody can say")]
pub enum OneShotError {
    /// A budget forbids it: which, and what to do.
    #[error("{0}")]
    OverBudget(String),
    /// The budgets cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A model call that no run makes. Dropped before its end it books what was heard until then.
#[derive(Debug)]
pub struct OneShot {
    inner: Arc<Inner>,
    project: ProjectId,
    model: ModelName,
    began: Timestamp,
    /// The estimated prompt.
    prompt: u64,
    pieces: u64,
    /// What the service reported last.
    reported: Option<Usage>,
    settled: bool,
}

impl Engine {
    /// Begins a call that no run makes, if the day's budget of this program and those of the
    /// default project allow it. Needs a tokio runtime.
    ///
    /// # Errors
    /// `OverBudget`; what the store says.
    pub async fn begin_one_shot(
        &self,
        model: ModelName,
        request: &LlmRequest,
    ) -> Result<OneShot, OneShotError> {
        let project = self.default_project().await?;
        if let Some(why) = self.inner.forbidden(&project, &model).await? {
            return Err(OneShotError::OverBudget(why));
        }
        Ok(OneShot {
            inner: Arc::clone(&self.inner),
            project: project.id,
            model,
            began: self.inner.clock.now(),
            prompt: estimate_tokens(request),
            pieces: 0,
            reported: None,
            settled: false,
        })
    }
}

impl Inner {
    /// The sentence that says why a budget forbids a call, if one does.
    async fn forbidden(
        &self,
        project: &Project,
        model: &ModelName,
    ) -> Result<Option<String>, EngineError> {
        let now = self.clock.now();
        let today = Some(Day::of(now));
        let account = Some(Account::Project(project.id));
        let budgets = [
            (BudgetScope::Project, project.budget, account.clone(), None),
            (BudgetScope::ProjectDay, project.daily_budget, account, today),
            (BudgetScope::Day, self.options.daily_budget, None, today),
        ];
        let priced = self.providers.price(model, now).is_some();
        let one = Spend { requests: 1, tokens: 1, micro_usd: MicroUsd(1), ..Spend::default() };
        for (scope, budget, account, day) in budgets {
            let Some(budget) = budget.filter(Budget::is_limited) else { continue };
            if budget.micro_usd.is_some() && !priced {
                return Ok(Some(format!(
                    "{scope} limits money, but nobody knows the price of {model}; say what it \
                     costs in the models file, or limit tokens instead"
                )));
            }
            let spent = self.store.spent(&SpendQuery { account, day }).await?;
            let spent = spent.booked.plus(spent.reserved);
            if let Some((resource, limit)) = budget.exceeded(spent, one) {
                let what = resource.as_str();
                return Ok(Some(format!("{scope} of {limit} {what} is spent; raise it, or wait")));
            }
        }
        Ok(None)
    }
}

impl OneShot {
    /// The model that is asked.
    #[must_use]
    pub const fn model(&self) -> &ModelName {
        &self.model
    }

    /// Takes note of a piece of the reply.
    pub const fn hear(&mut self, event: &LlmEvent) {
        match event {
            LlmEvent::TextDelta { .. }
            | LlmEvent::ReasoningDelta { .. }
            | LlmEvent::ToolCallDelta { .. } => self.pieces = self.pieces.saturating_add(1),
            LlmEvent::Usage { usage } => self.reported = Some(*usage),
            LlmEvent::Started { .. }
            | LlmEvent::Keepalive
            | LlmEvent::Limits(_)
            | LlmEvent::Finished(_) => {}
        }
    }

    /// Books a complete reply and fills in what it took and cost.
    pub async fn finish(mut self, mut finished: LlmFinished) -> LlmFinished {
        estimate_missing(&mut finished, self.prompt);
        finished.cost = self.inner.cost(&self.model, &finished);
        wait(self.book(&finished.usage, finished.cost.as_ref())).await;
        finished
    }

    /// Books a call that failed. What never reached the service, and what the service refused,
    /// took nothing.
    pub async fn fail(mut self, problem: &ProviderError) {
        if took_nothing(problem, self.pieces) {
            self.settled = true;
            return;
        }
        wait(self.break_off()).await;
    }

    /// Books what a reply without an end is taken for: what the service reported, and no less than
    /// what was heard.
    fn break_off(&mut self) -> Option<JoinHandle<()>> {
        let usage = broken_off(self.reported, self.prompt, self.pieces);
        let price = self.inner.providers.price(&self.model, self.inner.clock.now());
        let cost = price.and_then(|price| price.cost(&usage));
        self.book(&usage, cost.as_ref())
    }

    /// Books in a task of its own, which nobody who gives up the call can stop.
    fn book(&mut self, usage: &Usage, cost: Option<&Cost>) -> Option<JoinHandle<()>> {
        self.settled = true;
        let now = self.inner.clock.now();
        let busy = time::until(self.began, now).as_millis();
        let busy = u64::try_from(busy).unwrap_or(u64::MAX);
        let amount = Spend::of_call(usage, cost.map(|cost| cost.micro_usd), busy);
        let provider = self.model.provider().to_owned();
        let lines = [Account::Project(self.project), Account::Provider(provider)]
            .map(|account| SpendLine { account, day: Day::of(now) })
            .to_vec();
        let store = Arc::clone(&self.inner.store);
        let Ok(runtime) = Handle::try_current() else {
            warn!(model = %self.model, "a call could not be booked: there is no runtime");
            return None;
        };
        Some(runtime.spawn(async move {
            if let Err(error) = store.book(amount, lines).await {
                warn!(%error, "a call could not be booked");
            }
        }))
    }
}

impl Drop for OneShot {
    fn drop(&mut self) {
        if !self.settled {
            drop(self.break_off());
        }
    }
}

/// Waits for a booking, so that whoever asks next sees it.
async fn wait(booking: Option<JoinHandle<()>>) {
    if let Some(Err(error)) = futures::future::OptionFuture::from(booking).await {
        warn!(%error, "a call could not be booked");
    }
}
