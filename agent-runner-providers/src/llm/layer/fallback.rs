//! Asks the next model when one fails.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    llm::{
        BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmFinished, LlmLayer, LlmProvider,
        LlmRequest, ModelInfo, ProviderError, Recovery, SendState,
    },
    time::{Clock, SystemClock},
};
use async_trait::async_trait;

use super::call::{Bounds, Items, Source, reopening};

/// A model of a provider.
type Member = (Arc<dyn LlmProvider>, String);

/// The models to ask after the one of the wrapped provider, whichever that is.
#[derive(Debug, Clone)]
pub struct FallbackOptions {
    /// In the order in which they are asked. Default: none.
    pub then: Vec<(Arc<dyn LlmProvider>, String)>,
    /// Default: the machine's.
    pub clock: Arc<dyn Clock>,
}

impl Default for FallbackOptions {
    fn default() -> Self {
        Self { then: Vec::new(), clock: Arc::new(SystemClock) }
    }
}

impl FallbackOptions {
    /// Adds a model to the end.
    #[must_use]
    pub fn then(mut self, provider: Arc<dyn LlmProvider>, model: impl Into<String>) -> Self {
        self.then.push((provider, model.into()));
        self
    }
}

impl LlmLayer for FallbackOptions {
    fn layer(&self, inner: Arc<dyn LlmProvider>) -> Arc<dyn LlmProvider> {
        Arc::new(FallbackProvider {
            id: inner.id().to_owned(),
            routes: Routes::After { first: inner, then: self.then.clone() },
            clock: Arc::clone(&self.clock),
        })
    }
}

#[derive(Debug, Clone)]
enum Routes {
    /// By the name that is asked for.
    Named(BTreeMap<String, Vec<Member>>),
    /// The same for every model of a provider.
    After { first: Arc<dyn LlmProvider>, then: Vec<Member> },
}

/// A provider whose models are names for lists of other providers' models.
///
/// It asks the first model of the list, and goes on to the next after an error whose [`Recovery`]
/// is [`Recovery::Retry`] or [`Recovery::Mend`], as long as nothing of the reply was delivered.
/// Every other error is passed on: a conversation that is too long is too long for the next one
/// as well, or was filtered for a reason.
///
/// [`LlmFinished::answered_by`] names the model that answered, and [`LlmFinished::notices`] those
/// that failed before, by the kind of the error alone.
///
/// ```
/// use std::sync::Arc;
/// use agent_runner_core::{
///     llm::{CallCx, ErrorKind, LlmProvider, LlmProviderExt as _, LlmRequest},
///     testing::{ScriptedModel, Turn},
/// };
/// use agent_runner_providers::layer::FallbackProvider;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let text = Box::new(Turn::text("Hello."));
/// let busy: Arc<dyn LlmProvider> =
///     Arc::new(ScriptedModel::new([Turn::Fails(9, ErrorKind::Overloaded, text)]));
/// let idle: Arc<dyn LlmProvider> = Arc::new(ScriptedModel::new([Turn::text("Hello.")]));
/// let fast = vec![(busy, "large".to_owned()), (idle, "small".to_owned())];
/// let chain = FallbackProvider::new("chain", [("fast".to_owned(), fast)]);
///
/// let reply = chain.complete(&LlmRequest::new("fast", Vec::new()), &CallCx::new("1")).await?;
/// assert_eq!(reply.answered_by.map(|model| model.to_string()).as_deref(), Some("test/small"));
/// assert_eq!(reply.notices, ["test/large did not answer: overloaded"]);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FallbackProvider {
    id: String,
    routes: Routes,
    clock: Arc<dyn Clock>,
}

impl FallbackProvider {
    /// A provider of that id whose models are the names of `routes`. A name with an empty list
    /// does not exist.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        routes: impl IntoIterator<Item = (String, Vec<(Arc<dyn LlmProvider>, String)>)>,
    ) -> Self {
        let routes = routes.into_iter().filter(|(_, members)| !members.is_empty()).collect();
        Self { id: id.into(), routes: Routes::Named(routes), clock: Arc::new(SystemClock) }
    }

    /// With another clock, which only bounds calls that have a timeout.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whom to ask for a model, in order; nobody when there is no such model.
    fn members(&self, model: &str) -> Vec<Member> {
        match &self.routes {
            Routes::Named(routes) => routes.get(model).cloned().unwrap_or_default(),
            Routes::After { first, then } => {
                let mut members = vec![(Arc::clone(first), model.to_owned())];
                members.extend(then.iter().cloned());
                members
            }
        }
    }

    fn no_such_model(&self, model: &str) -> ProviderError {
        let names: Vec<&str> = match &self.routes {
            Routes::Named(routes) => routes.keys().map(String::as_str).collect(),
            Routes::After { .. } => Vec::new(),
        };
        let context = format!("there is no model `{model}`; there are {}", names.join(", "));
        ProviderError::new(ErrorKind::ModelNotFound, self.id.clone(), context)
            .with_sent(SendState::NotSent)
    }
}

/// What all of them can do: certainly only what each certainly can, and no more than the least.
fn weakest(all: impl Iterator<Item = Capabilities>) -> Capabilities {
    const fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
        match (a, b) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }
    fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
        a.into_iter().chain(b).min()
    }
    all.reduce(|a, b| Capabilities {
        tools: both(a.tools, b.tools),
        json_schema: both(a.json_schema, b.json_schema),
        schema_with_tools: both(a.schema_with_tools, b.schema_with_tools),
        vision: both(a.vision, b.vision),
        reasoning: both(a.reasoning, b.reasoning),
        context_window: least(a.context_window, b.context_window),
        max_output: least(a.max_output, b.max_output),
    })
    .unwrap_or_default()
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LlmProvider for FallbackProvider {
    fn id(&self) -> &str {
        &self.id
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        weakest(self.members(model).iter().map(|(provider, model)| provider.capabilities(model)))
    }

    /// The names; an error when none of the providers is there.
    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        let routes = match &self.routes {
            Routes::After { first, .. } => return first.models(cx).await,
            Routes::Named(routes) => routes,
        };
        let mut asked: Vec<&str> = Vec::new();
        let mut failed = None;
        for (provider, _) in routes.values().flatten() {
            if asked.contains(&provider.id()) {
                continue;
            }
            asked.push(provider.id());
            match provider.models(cx).await {
                Ok(_) => {
                    failed = None;
                    break;
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(renamed(&self.id, error)),
            None => Ok(routes
                .keys()
                .map(|name| ModelInfo { id: name.clone(), capabilities: self.capabilities(name) })
                .collect()),
        }
    }

    /// As the first provider counts that does.
    async fn count_tokens(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        let mut failed = None;
        for (provider, model) in self.members(&request.model) {
            let request = LlmRequest { model, ..request.clone() };
            match provider.count_tokens(&request, cx).await {
                Ok(None) => {}
                Ok(Some(count)) => return Ok(Some(count)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), |error| Err(renamed(&self.id, error)))
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let members = self.members(&request.model);
        if members.is_empty() {
            return Err(self.no_such_model(&request.model));
        }
        reopening(Chain {
            id: self.id.clone(),
            bounds: Bounds::of(&self.id, cx, &self.clock),
            alias: request.model.clone(),
            request: request.clone(),
            cx: cx.clone(),
            left: members.into_iter(),
            asked: None,
            failures: Vec::new(),
        })
        .await
    }
}

/// A member that failed.
#[derive(Debug)]
struct Failure {
    model: ModelName,
    kind: ErrorKind,
    http_status: Option<u16>,
    recovery: Recovery,
    retry_after: Option<Duration>,
}

impl Failure {
    /// The kind alone: what a service says does not belong into a reply.
    fn sentence(&self) -> String {
        let mut text = format!("{} did not answer: {}", self.model, self.kind.as_str());
        if let Some(status) = self.http_status {
            let _ = write!(text, " (HTTP {status})");
        }
        text
    }
}

/// One call, member by member.
struct Chain {
    id: String,
    bounds: Bounds,
    alias: String,
    request: LlmRequest,
    cx: CallCx,
    left: std::vec::IntoIter<Member>,
    asked: Option<ModelName>,
    failures: Vec<Failure>,
}

impl Chain {
    /// Notes that the member failed; an error that the next one would not mend is passed on.
    fn take(&mut self, error: ProviderError) -> Result<(), ProviderError> {
        let recovery = error.recovery();
        if let Some(model) = self.asked.take() {
            self.failures.push(Failure {
                model,
                kind: error.kind(),
                http_status: error.http_status(),
                recovery,
                retry_after: error.retry_after(),
            });
        }
        let out_of_time = self.bounds.left().is_some_and(|left| left.is_zero());
        match recovery {
            Recovery::Retry | Recovery::Mend if self.left.len() > 0 && !out_of_time => Ok(()),
            Recovery::Retry | Recovery::Mend if self.failures.len() > 1 => Err(self.all(error)),
            _ => Err(renamed(&self.id, error)),
        }
    }

    /// The error of a call that every member failed: one that may be tried again, if there is any.
    fn all(&self, last: ProviderError) -> ProviderError {
        let worth = self.failures.iter().find(|failure| failure.recovery == Recovery::Retry);
        let waits = self.failures.iter().filter(|failure| failure.recovery == Recovery::Retry);
        let wait = waits.map(|failure| failure.retry_after.unwrap_or_default()).min();
        let told: Vec<String> = self.failures.iter().map(Failure::sentence).collect();
        let context = format!("no model of `{}` answered: {}", self.alias, told.join("; "));
        let mut error = ProviderError::new(
            worth.map_or(last.kind(), |failure| failure.kind),
            self.id.clone(),
            context,
        )
        .with_recovery(worth.map_or(last.recovery(), |failure| failure.recovery))
        .with_sent(last.sent());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            error = error.with_retry_after(wait);
        }
        error.with_source(last)
    }
}

#[async_trait]
impl Source for Chain {
    async fn open(&mut self, mut failed: Option<ProviderError>) -> Result<Items, ProviderError> {
        loop {
            if let Some(error) = failed.take() {
                self.take(error)?;
            }
            let Some((provider, model)) = self.left.next() else {
                return Err(self.bounds.error(ErrorKind::Internal, "nobody is left to ask"));
            };
            self.asked = Some(ModelName::new(provider.id(), model.clone()));
            self.request.model = model;
            match provider.stream(&self.request, &self.bounds.cx(&self.cx)).await {
                Ok(items) => return Ok(items),
                Err(error) => failed = Some(error),
            }
        }
    }

    fn error(&self, error: ProviderError) -> ProviderError {
        renamed(&self.id, error)
    }

    fn finish(&mut self, finished: &mut LlmFinished) {
        let asked = self.asked.take();
        if finished.answered_by.is_none() {
            let wanted = ModelName::new(self.id.as_str(), self.alias.as_str());
            finished.answered_by = asked.filter(|asked| *asked != wanted);
        }
        let told = self.failures.iter().map(Failure::sentence);
        finished.notices.splice(0..0, told);
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// The error under the chain's own name, with the member's as its cause.
fn renamed(id: &str, error: ProviderError) -> ProviderError {
    if error.provider() == id {
        return error;
    }
    let context = format!("{}: {}", error.provider(), error.context());
    let mut named = ProviderError::new(error.kind(), id.to_owned(), context)
        .with_sent(error.sent())
        .with_recovery(error.recovery());
    if let Some(status) = error.http_status() {
        named = named.with_http_status(status);
    }
    if let Some(code) = error.code() {
        named = named.with_code(code);
    }
    if let Some(request_id) = error.request_id() {
        named = named.with_request_id(request_id);
    }
    if let Some(wait) = error.retry_after() {
        named = named.with_retry_after(wait);
    }
    named.with_source(error)
}
