//! Runs that go on from others, and how they differ from them.

use agent_runner_core::{engine, id::RunId};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::new_run::mark;
use crate::{
    api::Api,
    dto::{
        diff::RunDiff,
        fork::{NewFork, NewRerun},
        run::Run,
    },
    extract::{Body, IdempotencyKey, Query, RunPairPath, RunPath, sha256_hex},
    problem::{Problem, ProblemBody},
};

async fn accept(
    api: &Api,
    source: RunId,
    (mut new, asked): (engine::NewFork, &str),
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Response, Problem> {
    if key.is_some() {
        let event = new.event.map(u64::to_be_bytes).unwrap_or_default();
        let id = source.to_string();
        new.request_hash = Some(sha256_hex(&[id.as_bytes(), &event, asked.as_bytes()]));
        new.idempotency_key = key;
    }
    let created = api.engine().fork(source, new).await?;
    let mut response = (StatusCode::CREATED, Json(Run::from(created.run.clone()))).into_response();
    mark(response.headers_mut(), &created);
    Ok(response)
}

/// Starts a run that goes on from some moment of another one, finished or not, with another goal,
/// model, prompt or set of tools. The other run stays as it is.
#[utoipa::path(post, path = "/runs/{id}/fork", tag = "runs", request_body = NewFork,
    params(
        ("id" = String, Path, description = "The run to go on from"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again give the same run"),
    ),
    responses(
        (status = 201, description = "Accepted; `forked_from` says where it comes from", body = Run, headers(
            ("Location" = String, description = "The run"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the run was accepted before"))),
        (status = 404, description = "No such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong fields, or an event after which nothing is left to be done", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn fork(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    key: IdempotencyKey,
    Body(new, body): Body<NewFork>,
) -> Result<Response, Problem> {
    accept(&api, id, (new.into(), &body.to_string()), key).await
}

/// How two runs differ: where their journals part, what was asked for, and what their steps came
/// to.
#[utoipa::path(get, path = "/runs/{id}/diff/{other}", tag = "runs",
    params(
        ("id" = String, Path, description = "The first run"),
        ("other" = String, Path, description = "The second run, such as a fork of the first"),
    ),
    responses(
        (status = 200, description = "How they differ; long values are shortened", body = RunDiff),
        (status = 404, description = "One of them is unknown", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn diff(
    State(api): State<Api>,
    RunPairPath(left, right): RunPairPath,
    Query(()): Query<()>,
) -> Result<Json<RunDiff>, Problem> {
    Ok(Json(api.engine().diff(left, right).await?.into()))
}

/// Starts a run anew with what it was asked for, or with changes.
#[utoipa::path(post, path = "/runs/{id}/rerun", tag = "runs", request_body = NewRerun,
    params(
        ("id" = String, Path, description = "The run to start anew"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again give the same run"),
    ),
    responses(
        (status = 201, description = "Accepted; `forked_from` says where it comes from", body = Run, headers(
            ("Location" = String, description = "The run"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the run was accepted before"))),
        (status = 404, description = "No such run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn rerun(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    key: IdempotencyKey,
    Body(new, body): Body<NewRerun>,
) -> Result<Response, Problem> {
    let new = engine::NewFork { event: Some(1), ..new.into() };
    accept(&api, id, (new, &body.to_string()), key).await
}
