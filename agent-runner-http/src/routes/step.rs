//! Steps of a run.

use axum::{
    Json,
    extract::{OriginalUri, State},
    response::Response,
};

use crate::{
    api::Api,
    dto::{
        control::ResolveStep,
        page::List,
        run::Run,
        step::{Step, StepDetail},
    },
    extract::{Body, Page, Query, RunPath, RunStepPath},
    problem::{Problem, ProblemBody},
};

/// Lists the steps of a run in the order they began.
#[utoipa::path(get, path = "/runs/{id}/steps", tag = "steps",
    params(
        ("id" = String, Path, description = "The run"),
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of steps", body = List<Step>),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    RunPath(id): RunPath,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    let steps = api.engine().steps(id).await?.into_iter().map(Step::from).collect();
    Ok(List::slice(steps, &page, |step| step.id.clone()).respond(&uri))
}

/// One step with what went in and what came out.
#[utoipa::path(get, path = "/runs/{id}/steps/{key}", tag = "steps",
    params(
        ("id" = String, Path, description = "The run"),
        ("key" = String, Path, description = "The step's `id`"),
    ),
    responses(
        (status = 200, description = "The step", body = StepDetail),
        (status = 404, description = "Unknown run or step", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    RunStepPath(id, key): RunStepPath,
    Query(()): Query<()>,
) -> Result<Json<StepDetail>, Problem> {
    Ok(Json(api.engine().step(id, &key).await?.into()))
}

/// Says what became of a step whose outcome is unknown. The run goes on.
#[utoipa::path(post, path = "/runs/{id}/steps/{key}/resolve", tag = "steps",
    params(
        ("id" = String, Path, description = "The run"),
        ("key" = String, Path, description = "The step's `id`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    request_body = ResolveStep,
    responses(
        (status = 200, description = "The run, which goes on", body = Run),
        (status = 404, description = "Unknown run or step", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The step's outcome is not in question", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn resolve(
    State(api): State<Api>,
    RunStepPath(id, key): RunStepPath,
    Query(()): Query<()>,
    Body(resolve, _): Body<ResolveStep>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(api.engine().resolve(id, &key, resolve.into()).await?.into()))
}
