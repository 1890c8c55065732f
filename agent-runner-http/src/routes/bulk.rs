//! Many runs with one request.

use agent_runner_core::engine;
use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use crate::{
    api::Api,
    dto::{
        bulk::{BatchAnswer, CancelMany, ManyAnswer, RerunMany},
        new_run::NewRun,
    },
    extract::{Bodies, Body, IdempotencyKey, Query, sha256_hex},
    observe::RequestId,
    problem::{Problem, ProblemBody},
};

/// Starts several runs, each as `POST /runs` does. One that is refused does not keep the others from
/// being accepted.
#[utoipa::path(post, path = "/runs/batch", tag = "runs", operation_id = "batch", request_body = Vec<NewRun>,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again give the same runs")),
    responses(
        (status = 201, description = "All were accepted", body = BatchAnswer),
        (status = 207, description = "Some were refused; `items` says which and why", body = BatchAnswer),
        (status = 422, description = "Not an array of 1 to 100 runs", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(api): State<Api>,
    Query(()): Query<()>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    IdempotencyKey(key): IdempotencyKey,
    Bodies(bodies): Bodies<NewRun>,
) -> Result<Response, Problem> {
    let (mut runs, mut refused) = (Vec::new(), Vec::new());
    for body in bodies {
        refused.push(match body {
            Ok(Body(new, value)) => {
                let mut new = engine::NewRun::from(new);
                new.request_hash =
                    key.as_ref().map(|_| sha256_hex(&[value.to_string().as_bytes()]));
                runs.push(new);
                None
            }
            Err(problem) => Some(problem),
        });
    }
    let mut created = api.engine().create_runs(runs, key.as_deref()).await?.into_iter();
    let answers = refused.into_iter().map(|problem| match problem {
        Some(problem) => Err(problem),
        None => Ok(created.next().ok_or_else(Problem::internal)??.run),
    });
    let answer = BatchAnswer::new(answers.collect(), &request_id);
    let status = if answer.failed == 0 { StatusCode::CREATED } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(answer)).into_response())
}

/// Ends all runs that fit and have not ended, newest first; each as `POST /runs/{id}/cancel` does.
#[utoipa::path(post, path = "/runs/cancel", tag = "control", operation_id = "cancel_many", request_body = CancelMany,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer")),
    responses(
        (status = 200, description = "What became of each", body = ManyAnswer),
        (status = 422, description = "No filter, or wrong fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn cancel(
    State(api): State<Api>,
    Query(()): Query<()>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Body(mut asked, _): Body<CancelMany>,
) -> Result<Json<ManyAnswer>, Problem> {
    let many = asked.many();
    let dry_run = many.dry_run;
    let done = api.engine().cancel_many(many, asked.reason).await?;
    Ok(Json(ManyAnswer::new(done, dry_run, &request_id)))
}

/// Starts all runs that fit anew, newest first, with the same changes; each as `POST /runs/{id}/rerun`
/// does.
#[utoipa::path(post, path = "/runs/rerun", tag = "runs", operation_id = "rerun_many", request_body = RerunMany,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again start nothing twice")),
    responses(
        (status = 200, description = "What became of each", body = ManyAnswer),
        (status = 422, description = "No filter, or wrong fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn rerun(
    State(api): State<Api>,
    Query(()): Query<()>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(mut asked, value): Body<RerunMany>,
) -> Result<Json<ManyAnswer>, Problem> {
    let many = asked.many();
    let dry_run = many.dry_run;
    let mut changes = asked.changes.map(engine::NewFork::from).unwrap_or_default();
    changes.request_hash = key.as_ref().map(|_| sha256_hex(&[value.to_string().as_bytes()]));
    let done = api.engine().rerun_many(many, changes, key.as_deref()).await?;
    Ok(Json(ManyAnswer::new(done, dry_run, &request_id)))
}
