//! Health of providers: asked live, all at once, and remembered for a few seconds.

use std::{fmt, panic::AssertUnwindSafe, time::Duration};

use agent_runner_core::{
    agent::ModelName,
    engine::Engine,
    llm::{CallCx, ErrorKind, LlmProvider, ModelInfo, ProviderError},
};
use futures::{FutureExt as _, future::join_all};
use tokio::{sync::Mutex, time::Instant};
use tracing::error;

use crate::{
    api::Api,
    dto::provider::{Model, Provider, ProviderFault},
};

/// What was found out last.
#[derive(Default)]
pub(crate) struct ProviderHealth {
    // Held while providers are asked, so that many clients ask them once.
    last: Mutex<Option<(Instant, Vec<Provider>)>>,
}

impl fmt::Debug for ProviderHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderHealth").finish_non_exhaustive()
    }
}

/// All providers, as of the last few seconds.
pub(crate) async fn all(api: &Api) -> Vec<Provider> {
    let mut last = api.provider_health().last.lock().await;
    if let Some((at, providers)) = &*last
        && at.elapsed() < api.options().provider_cache
    {
        return providers.clone();
    }
    let timeout = api.options().provider_timeout;
    let engine = api.engine();
    let asked = engine.providers().iter().map(|provider| async move {
        let (answer, latency) = ask(engine, &**provider, timeout).await;
        describe(engine, provider.id(), answer, latency)
    });
    let mut providers = join_all(asked).await;
    providers.extend(api.unconfigured().iter().map(Provider::unconfigured));
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    *last = Some((Instant::now(), providers.clone()));
    providers
}

/// One provider, asked now.
pub(crate) async fn check(
    api: &Api,
    provider: &dyn LlmProvider,
) -> Result<Provider, ProviderError> {
    let (answer, latency) = ask(api.engine(), provider, api.options().provider_timeout).await;
    // The next list shows what was just found out.
    *api.provider_health().last.lock().await = None;
    Ok(describe(api.engine(), provider.id(), Ok(answer?), latency))
}

async fn ask(
    engine: &Engine,
    provider: &dyn LlmProvider,
    timeout: Duration,
) -> (Result<Vec<ModelInfo>, ProviderError>, Duration) {
    let mut cx = CallCx::new(engine.ids().next().to_string());
    cx.timeout = Some(timeout);
    let start = Instant::now();
    let failed = |kind, what| ProviderError::new(kind, provider.id().to_owned(), what);
    // A provider that panics must not take the others with it.
    let asked = AssertUnwindSafe(provider.models(&cx)).catch_unwind();
    let answer = match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            error!(
                provider = provider.id(),
                "a provider panicked when it was asked for its models"
            );
            Err(failed(ErrorKind::Internal, "its implementation is broken".to_owned()))
        }
        Err(_) => Err(failed(ErrorKind::Timeout, format!("did not answer within {timeout:?}"))),
    };
    (answer, start.elapsed())
}

fn describe(
    engine: &Engine,
    name: &str,
    answer: Result<Vec<ModelInfo>, ProviderError>,
    latency: Duration,
) -> Provider {
    let default = engine.default_model().provider() == name;
    let (models, error) = match answer {
        Ok(models) => (models, None),
        Err(error) => {
            let fault =
                ProviderFault { code: error.kind().as_str().to_owned(), message: error.report() };
            (Vec::new(), Some(fault))
        }
    };
    Provider {
        name: name.to_owned(),
        configured: true,
        healthy: error.is_none(),
        latency_ms: u64::try_from(latency.as_millis()).ok(),
        error,
        default,
        default_model: default.then(|| engine.default_model().to_string()),
        notice: engine.options().default_model_notice.clone().filter(|_| default),
        models: models.into_iter().map(|model| describe_model(engine, name, model)).collect(),
    }
}

fn describe_model(engine: &Engine, provider: &str, model: ModelInfo) -> Model {
    let name = ModelName::new(provider, &model.id);
    let registry = engine.providers();
    let known = registry.capabilities_with(&name, model.capabilities);
    let price = registry.price(&name, engine.clock().now());
    Model::new(provider, model.id, known, price)
}
