//! Stops calls that would cost more than was allowed.

mod ledger;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use agent_runner_core::{
    agent::ModelName,
    llm::{
        BoxStream, CallCx, Capabilities, Cost, ErrorKind, LlmEvent, LlmFinished, LlmLayer,
        LlmProvider, LlmRequest, MicroUsd, ModelCatalog, ModelInfo, ProviderError, Recovery,
        SendState, Usage, estimate_tokens,
    },
    time::Clock,
};
use async_trait::async_trait;

pub use self::ledger::{BudgetLimits, Spent};
use self::ledger::{Exceeded, Ledger};
use super::call::{Observer, lock, watch};

/// Output that is set aside for a request that does not bound it, and whose model nobody knows.
const OUTPUT_ASSUMED: u32 = 4_096;

/// Bytes of delivered output that are about one token.
const BYTES_PER_TOKEN: u64 = 4;

/// What a call costs, if somebody knows.
type PriceFn = dyn Fn(&ModelName, &Usage) -> Option<Cost> + Send + Sync;

/// A budget. Clones, and the providers they wrap, share what is spent.
#[derive(Clone)]
pub struct BudgetOptions {
    ledger: Arc<Mutex<Ledger>>,
    price: Option<Arc<PriceFn>>,
    output_assumed: u32,
}

impl BudgetOptions {
    /// A budget of which nothing is spent, without prices.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        Self {
            ledger: Arc::new(Mutex::new(Ledger::new(limits))),
            price: None,
            output_assumed: OUTPUT_ASSUMED,
        }
    }

    /// With what calls cost. What a service itself says of a call counts more.
    #[must_use]
    pub fn with_price(
        mut self,
        price: impl Fn(&ModelName, &Usage) -> Option<Cost> + Send + Sync + 'static,
    ) -> Self {
        self.price = Some(Arc::new(price));
        self
    }

    /// With the prices of a catalog, as they are at the moment of a call.
    #[must_use]
    pub fn with_catalog(self, catalog: Arc<dyn ModelCatalog>, clock: Arc<dyn Clock>) -> Self {
        self.with_price(move |model, usage| catalog.price(model, clock.now())?.cost(usage))
    }

    /// With the tokens of output that are set aside for a request that does not bound its own.
    /// Default 4,096.
    #[must_use]
    pub const fn with_output_assumed(mut self, tokens: u32) -> Self {
        self.output_assumed = tokens;
        self
    }

    /// What is spent; calls under way are not in it.
    #[must_use]
    pub fn spent(&self) -> Spent {
        lock(&self.ledger).spent()
    }

    /// Counts what an earlier process spent.
    pub fn restore(&self, spent: Spent) {
        lock(&self.ledger).add(spent);
    }

    fn cost(&self, model: &ModelName, usage: &Usage) -> Option<MicroUsd> {
        self.price.as_ref()?(model, usage).map(|cost| cost.micro_usd)
    }
}

impl fmt::Debug for BudgetOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetOptions")
            .field("ledger", &self.ledger)
            .field("has_price", &self.price.is_some())
            .field("output_assumed", &self.output_assumed)
            .finish()
    }
}

impl LlmLayer for BudgetOptions {
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(BudgetedProvider::new(inner, self.clone()))
    }
}

/// Refuses calls that the budget does not allow.
///
/// What a call may use is set aside before it is made: an estimate of its prompt ([`estimate_tokens`]), and the output
/// that it may have. So calls at once never spend more than there is, as long as none uses more
/// than was set aside. Afterwards its real usage counts. A call that failed or was dropped counts
/// for what is known of it: a request that was sent, tokens that the service named or that had
/// arrived. A call whose price nobody knows counts with its tokens only, and its reply says so.
///
/// A refused call fails as [`ErrorKind::QuotaExhausted`] with the code `budget_exceeded`; to try
/// again does not help.
#[derive(Debug, Clone)]
pub struct BudgetedProvider {
    inner: Arc<dyn LlmProvider>,
    budget: BudgetOptions,
}

impl BudgetedProvider {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn LlmProvider>, budget: BudgetOptions) -> Self {
        Self { inner, budget }
    }

    /// What is spent of its budget; calls under way are not in it.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.budget.spent()
    }

    /// Counts what an earlier process spent.
    pub fn restore(&self, spent: Spent) {
        self.budget.restore(spent);
    }

    fn reserve(&self, request: &LlmRequest) -> Result<Charge, ProviderError> {
        let model = ModelName::new(self.inner.id(), request.model.as_str());
        let prompt = estimate_tokens(request);
        let output = request.max_output_tokens.unwrap_or(self.budget.output_assumed);
        let usage = estimated(prompt, u64::from(output));
        let wanted = Spent {
            requests: 1,
            tokens: prompt.saturating_add(u64::from(output)),
            micro_usd: self.budget.cost(&model, &usage).unwrap_or_default(),
            unpriced: 0,
        };
        lock(&self.budget.ledger).reserve(wanted).map_err(|exceeded| self.refusal(&exceeded))?;
        Ok(Charge {
            budget: self.budget.clone(),
            model,
            reserved: wanted,
            prompt,
            heard: Heard::Nothing,
            delivered: 0,
            usage: None,
            used: None,
        })
    }

    fn refusal(&self, exceeded: &Exceeded) -> ProviderError {
        let Exceeded { what, limit, spent, reserved, wanted } = exceeded;
        let context = format!(
            "the budget of {limit} {what} does not allow this call: {spent} are spent, {reserved} \
             are set aside for calls under way, and this one may use {wanted}; raise the budget, or \
             bound the call's output"
        );
        ProviderError::new(ErrorKind::QuotaExhausted, self.inner.id().to_owned(), context)
            .with_code("budget_exceeded")
            .with_recovery(Recovery::GiveUp)
            .with_sent(SendState::NotSent)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for BudgetedProvider {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        self.inner.capabilities(model)
    }

    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        self.inner.models(cx).await
    }

    async fn count_tokens(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        self.inner.count_tokens(request, cx).await
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let charge = self.reserve(request)?;
        watch(self.id(), self.inner.stream(request, cx).await, charge)
    }
}

const fn estimated(prompt: u64, output: u64) -> Usage {
    Usage {
        input: Some(prompt),
        output: Some(output),
        cache_read: None,
        cache_write: None,
        cache_write_1h: None,
        reasoning: None,
    }
}

/// What came of a call until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Nothing; it may have been sent.
    Nothing,
    /// It was certainly not sent.
    NotSent,
    /// The service began to answer.
    Something,
}

/// A call that set something aside. When it is dropped it is settled.
struct Charge {
    budget: BudgetOptions,
    model: ModelName,
    reserved: Spent,
    prompt: u64,
    heard: Heard,
    /// Bytes of output that arrived.
    delivered: u64,
    usage: Option<Usage>,
    /// What a complete reply used.
    used: Option<Spent>,
}

impl Charge {
    fn finish(&mut self, finished: &mut LlmFinished) {
        let counted = finished.usage.total().is_some();
        let usage = if counted { finished.usage } else { self.estimate() };
        let model = finished.answered_by.as_ref().unwrap_or(&self.model);
        let said = finished.cost.as_ref().map(|cost| cost.micro_usd);
        let cost = said.or_else(|| self.budget.cost(model, &usage));
        let money = lock(&self.budget.ledger).limits().micro_usd;
        if cost.is_none() && money.is_some() {
            finished.notices.push(format!(
                "the price of {model} is not known: only its tokens count against the budget"
            ));
        }
        self.used = Some(spent(usage, cost));
    }

    /// What is known of a reply that is not complete or was not counted.
    fn estimate(&self) -> Usage {
        let arrived = estimated(self.prompt, self.delivered.div_ceil(BYTES_PER_TOKEN));
        match self.usage {
            Some(said) if said.total() >= arrived.total() => said,
            _ => arrived,
        }
    }

    /// What the call counts for.
    fn used(&self) -> Spent {
        match (self.used, self.heard) {
            (Some(used), _) => used,
            (None, Heard::NotSent) => Spent::default(),
            (None, Heard::Nothing) => Spent { requests: 1, ..Spent::default() },
            (None, Heard::Something) => {
                let usage = self.estimate();
                spent(usage, self.budget.cost(&self.model, &usage))
            }
        }
    }
}

fn spent(usage: Usage, cost: Option<MicroUsd>) -> Spent {
    Spent {
        requests: 1,
        tokens: usage.total().unwrap_or(0),
        micro_usd: cost.unwrap_or_default(),
        unpriced: u64::from(cost.is_none()),
    }
}

impl Observer for Charge {
    fn event(&mut self, event: &mut LlmEvent) {
        let arrived = match event {
            // A provider may say so before the service has taken the request.
            LlmEvent::Keepalive => return,
            LlmEvent::TextDelta { text } | LlmEvent::ReasoningDelta { text } => text.len(),
            LlmEvent::ToolCallDelta { json, .. } => json.len(),
            LlmEvent::Usage { usage } => {
                self.usage = Some(*usage);
                0
            }
            LlmEvent::Finished(finished) => {
                self.finish(finished);
                0
            }
            _ => 0,
        };
        self.heard = Heard::Something;
        self.delivered = self.delivered.saturating_add(u64::try_from(arrived).unwrap_or(u64::MAX));
    }

    fn error(&mut self, error: &ProviderError) {
        if self.heard == Heard::Nothing && error.sent() == SendState::NotSent {
            self.heard = Heard::NotSent;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let used = self.used();
        lock(&self.budget.ledger).settle(self.reserved, used);
    }
}
