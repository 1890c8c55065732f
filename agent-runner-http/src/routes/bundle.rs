//! Runs on their way to other databases and back.

use agent_runner_core::id::ProjectId;
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::TryStreamExt as _;
use tracing::warn;

use super::new_run::mark;
use crate::{
    api::Api,
    download,
    dto::run::Run,
    extract::{Bundle, FromQuery, IdempotencyKey, Parameters, Query, RunPath},
    problem::{Problem, ProblemBody},
};

/// `?project_id`.
#[derive(Debug)]
pub(crate) struct Place(Option<ProjectId>);

impl FromQuery for Place {
    fn from_query(parameters: &mut Parameters) -> Self {
        Self(parameters.parsed("project_id", "a UUID"))
    }
}

/// A run that has ended as a bundle, which another server takes in with `POST /runs/import`: its whole
/// journal as lines of JSON, with hashes. The bytes of artifacts are not in it.
#[utoipa::path(get, path = "/runs/{id}/export", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The bundle, as it is made; it is whole if its last line is there", content_type = "application/x-ndjson", body = String),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run has not ended", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn export(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
) -> Result<Response, Problem> {
    let pieces = api.engine().export(id).await?;
    let pieces = pieces.inspect_err(move |error| warn!(run = %id, %error, "an export broke off"));
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let disposition = download::disposition(&format!("{id}.ndjson"));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// Takes in a run that ended elsewhere, whole or not at all. It has a new id and the same journal. The
/// same bundle in the same project is the same run: it is its own idempotency key.
#[utoipa::path(post, path = "/runs/import", tag = "runs",
    params(("project_id" = Option<String>, Query, description = "Where; the default project when missing")),
    request_body(content = String, content_type = "application/x-ndjson", description = "What `GET /runs/{id}/export` answered, up to 64 MiB"),
    responses(
        (status = 201, description = "It is there; `imported_from` says where it comes from", body = Run, headers(
            ("Location" = String, description = "The run"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the bundle was imported before"))),
        (status = 404, description = "Unknown project", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "Larger than 64 MiB", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not declared as lines of JSON", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The bundle is cut, damaged, forged or of another version; the line is named", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn import(
    State(api): State<Api>,
    Query(Place(project)): Query<Place>,
    _: IdempotencyKey,
    bundle: Bundle,
) -> Result<Response, Problem> {
    let created = api.engine().import(&bundle.bytes, project).await?;
    let mut response = (StatusCode::CREATED, Json(Run::from(created.run.clone()))).into_response();
    mark(response.headers_mut(), &created);
    Ok(response)
}
