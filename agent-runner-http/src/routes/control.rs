//! What can be asked of a run that exists.

use agent_runner_core::{engine::NewMessage, id::RunId, run::RunStatus};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    api::Api,
    dto::{
        control::{Cancel, NewDirective, NewSignal, Nothing},
        event::Event,
        run::Run,
    },
    extract::{Body, IdempotencyKey, OptionalBody, Query, RunPath, RunSignalPath},
    problem::{Problem, ProblemBody},
};

async fn end(api: &Api, id: RunId, cancel: Cancel) -> Result<Response, Problem> {
    // Told apart before: afterwards a run that nobody executed is CANCELED as well.
    let already = api.engine().run(id).await?.status == RunStatus::Canceled;
    let run = api.engine().cancel(id, cancel.reason).await?;
    let status = if already { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Run::from(run))).into_response())
}

/// Ends a run. Acknowledged at once; the run is CANCELED when its worker has stopped.
#[utoipa::path(post, path = "/runs/{id}/cancel", tag = "control",
    params(
        ("id" = String, Path, description = "The run"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    request_body = Option<Cancel>,
    responses(
        (status = 202, description = "It will end, or has just ended", body = Run),
        (status = 200, description = "It was CANCELED before", body = Run),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It ended otherwise", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn cancel(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    OptionalBody(cancel): OptionalBody<Cancel>,
) -> Result<Response, Problem> {
    end(&api, id, cancel).await
}

/// Ends a run; another name for cancel.
#[utoipa::path(post, path = "/runs/{id}/stop", tag = "control",
    params(
        ("id" = String, Path, description = "The run"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    request_body = Option<Cancel>,
    responses(
        (status = 202, description = "It will end, or has just ended", body = Run),
        (status = 200, description = "It was CANCELED before", body = Run),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It ended otherwise", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn stop(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    OptionalBody(cancel): OptionalBody<Cancel>,
) -> Result<Response, Problem> {
    end(&api, id, cancel).await
}

/// Lets a run stand still after the step in execution. Its status does not change.
#[utoipa::path(post, path = "/runs/{id}/pause", tag = "control",
    params(
        ("id" = String, Path, description = "The run"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "The run; `phase` says whether it stands still yet", body = Run),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It ended or is being canceled", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn pause(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(api.engine().pause(id).await?.into()))
}

/// Lets a paused run go on.
#[utoipa::path(post, path = "/runs/{id}/resume", tag = "control",
    params(
        ("id" = String, Path, description = "The run"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "The run", body = Run),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It ended", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn resume(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(api.engine().resume(id).await?.into()))
}

/// Sends the agent a message, to be read with its next model call or at once.
#[utoipa::path(post, path = "/runs/{id}/directive", tag = "control",
    params(
        ("id" = String, Path, description = "The run"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again is the same message again"),
    ),
    request_body = NewDirective,
    responses(
        (status = 201, description = "The event that recorded it", body = Event),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It ended or is being canceled", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn directive(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    key: IdempotencyKey,
    Body(new, _): Body<NewDirective>,
) -> Result<Response, Problem> {
    let message =
        NewMessage { id: new.id.or(key.inbox_id()), text: new.text, mode: new.mode.into() };
    let (event, _) = api.engine().send_message(id, message).await?;
    Ok((StatusCode::CREATED, Json(Event::from(event))).into_response())
}

/// Tells a run that something happened. Kept until the run waits for it.
#[utoipa::path(post, path = "/runs/{id}/signals/{name}", tag = "control",
    params(
        ("id" = String, Path, description = "The run"),
        ("name" = String, Path, description = "The signal"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again is the same signal again"),
    ),
    request_body = Option<NewSignal>,
    responses(
        (status = 202, description = "The event that recorded it", body = Event),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It ended or is being canceled", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn signal(
    State(api): State<Api>,
    RunSignalPath(id, name): RunSignalPath,
    Query(()): Query<()>,
    key: IdempotencyKey,
    OptionalBody(new): OptionalBody<NewSignal>,
) -> Result<Response, Problem> {
    let signal_id = new.id.or(key.inbox_id());
    let (event, _) = api.engine().signal(id, &name, new.payload, signal_id).await?;
    Ok((StatusCode::ACCEPTED, Json(Event::from(event))).into_response())
}
