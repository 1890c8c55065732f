//! Providers and their models.

use std::sync::Arc;

use agent_runner_core::{budget::Account, llm::LlmProvider};
use axum::{
    Json,
    extract::{OriginalUri, State},
    response::Response,
};

use crate::{
    api::Api,
    dto::{
        control::Nothing,
        page::List,
        provider::{DailyBudget, Model, Provider, ProviderDetail},
    },
    extract::{Name, OptionalBody, Page, Query},
    problem::{Problem, ProblemBody},
    provider_health,
};

/// The provider of that name.
pub(crate) fn find(api: &Api, name: &str) -> Result<Arc<dyn LlmProvider>, Problem> {
    let found = api.engine().providers().get(name).map(Arc::clone);
    found.ok_or_else(|| {
        if let Some(lacking) = api.unconfigured().iter().find(|it| it.name() == name) {
            let hint = lacking.hint();
            return Problem::not_found(format!("`{name}` is not set up here: {hint}"));
        }
        let known: Vec<&str> = api.engine().providers().ids().collect();
        let shown: String = name.chars().take(80).collect();
        Problem::not_found(format!(
            "there is no provider `{shown}`; configured are: {}",
            known.join(", ")
        ))
    })
}

/// Lists the providers with their health.
#[utoipa::path(get, path = "/providers", tag = "providers",
    params(
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of providers", body = List<Provider>),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(page): Query<Page>,
) -> Response {
    let providers = provider_health::all(&api).await;
    List::slice(providers, &page, |provider| provider.name.clone()).respond(&uri)
}

/// One provider with its health and what was spent there.
#[utoipa::path(get, path = "/providers/{name}", tag = "providers",
    params(("name" = String, Path, description = "The provider")),
    responses(
        (status = 200, description = "The provider", body = ProviderDetail),
        (status = 404, description = "Unknown provider", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    Name(name): Name,
    Query(()): Query<()>,
) -> Result<Json<ProviderDetail>, Problem> {
    if api.unconfigured().iter().all(|provider| provider.name() != name) {
        find(&api, &name)?;
    }
    let all = provider_health::all(&api).await;
    let found = all.into_iter().find(|provider| provider.name == name);
    let provider = found.ok_or_else(Problem::internal)?;
    let engine = api.engine();
    let spending = engine.spending(Some(Account::Provider(name))).await?.into();
    let daily_budget = match engine.options().daily_budget {
        Some(limit) => Some(DailyBudget::new(limit, engine.spending(None).await?.today)),
        None => None,
    };
    Ok(Json(ProviderDetail { provider, spending, daily_budget }))
}

/// Asks a provider now whether it is there.
#[utoipa::path(post, path = "/providers/{name}/check", tag = "providers",
    params(("name" = String, Path, description = "The provider")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "It answered", body = Provider),
        (status = 404, description = "Unknown provider", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "It did not answer well", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn check(
    State(api): State<Api>,
    Name(name): Name,
    Query(()): Query<()>,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<Provider>, Problem> {
    let provider = find(&api, &name)?;
    Ok(Json(provider_health::check(&api, &*provider).await?))
}

/// Lists the models of all providers that answer.
#[utoipa::path(get, path = "/models", tag = "providers",
    params(
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of models", body = List<Model>),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn models(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(page): Query<Page>,
) -> Response {
    let providers = provider_health::all(&api).await;
    let models = providers.into_iter().flat_map(|provider| provider.models).collect();
    List::slice(models, &page, |model: &Model| model.name.clone()).respond(&uri)
}
