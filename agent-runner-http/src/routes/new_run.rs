//! Starting runs.

use std::time::Duration;

use agent_runner_core::store::Created;
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    api::Api,
    dto::{event::Event, new_run::NewRun, run::Run},
    extract::{Body, FromQuery, IdempotencyKey, Parameters, Query, sha256_hex},
    idempotency::REPLAYED,
    observe::RequestId,
    problem::{Code, Problem, ProblemBody},
    stream::{StreamQuery, attach},
};

/// How long a client waits for a run when it does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// How long to wait.
#[derive(Debug)]
pub(crate) struct WaitQuery(pub(crate) Duration);

impl FromQuery for WaitQuery {
    fn from_query(parameters: &mut Parameters) -> Self {
        Self(parameters.seconds("timeout").unwrap_or(WAIT_DEFAULT))
    }
}

/// Creates the run, once per key: the three routes share keys, so that a client whose connection
/// broke can come back by any of them.
async fn accept(
    api: &Api,
    IdempotencyKey(key): IdempotencyKey,
    Body(new, body): Body<NewRun>,
) -> Result<Created, Problem> {
    let mut new = agent_runner_core::engine::NewRun::from(new);
    if key.is_some() {
        new.request_hash = Some(sha256_hex(&[body.to_string().as_bytes()]));
        new.idempotency_key = key;
    }
    Ok(api.engine().create_run(new).await?)
}

/// Says where a created run is, and whether it is new.
pub(super) fn mark(headers: &mut HeaderMap, created: &Created) {
    if let Ok(location) = HeaderValue::from_str(&format!("/runs/{}", created.run.id)) {
        headers.insert(header::LOCATION, location);
    }
    if created.existing {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

/// Starts a run. When this answers 201, the run survives everything.
#[utoipa::path(post, path = "/runs", tag = "runs", request_body = NewRun,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again give the same run")),
    responses(
        (status = 201, description = "Accepted", body = Run, headers(
            ("Location" = String, description = "The run"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the run was accepted before"))),
        (status = 404, description = "Unknown project", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(api): State<Api>,
    Query(()): Query<()>,
    key: IdempotencyKey,
    body: Body<NewRun>,
) -> Result<Response, Problem> {
    let created = accept(&api, key, body).await?;
    let mut response = (StatusCode::CREATED, Json(Run::from(created.run.clone()))).into_response();
    mark(response.headers_mut(), &created);
    Ok(response)
}

/// Starts a run and waits until it ends.
#[utoipa::path(post, path = "/runs/wait", tag = "runs", request_body = NewRun,
    params(
        ("timeout" = Option<u64>, Query, description = "Most seconds to wait, 0 to 300; default 60"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again give the same run"),
    ),
    responses(
        (status = 200, description = "It ended; its status says how", body = Run),
        (status = 408, description = "It has not ended yet and goes on; `Location` names it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn wait(
    State(api): State<Api>,
    Query(WaitQuery(timeout)): Query<WaitQuery>,
    key: IdempotencyKey,
    body: Body<NewRun>,
) -> Result<Response, Problem> {
    let created = accept(&api, key, body).await?;
    let run = api.join(created.run.id, timeout).await?;
    let mut response = if run.status.is_terminal() {
        Json(Run::from(run)).into_response()
    } else {
        let id = run.id;
        Problem::new(
            Code::RequestTimeout,
            format!("run {id} goes on; wait for it at /runs/{id}/join"),
        )
        .into_response()
    };
    mark(response.headers_mut(), &created);
    Ok(response)
}

/// Starts a run and streams its events from the first on.
#[utoipa::path(post, path = "/runs/stream", tag = "runs", request_body = NewRun,
    params(
        ("types" = Option<String>, Query, description = "Event types, separated by commas; all when missing"),
        ("include_deltas" = Option<bool>, Query, description = "Whether pieces of model output come as `llm.delta`; default true"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again attach to the same run"),
    ),
    responses(
        (status = 200, description = "Events; see GET /runs/{id}/events/stream", content(
            (Event = "text/event-stream"), (Event = "application/x-ndjson"))),
        (status = 406, description = "No such format", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn stream(
    State(api): State<Api>,
    Query(query): Query<StreamQuery>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    key: IdempotencyKey,
    body: Body<NewRun>,
) -> Result<Response, Problem> {
    // Before the run exists: a client that cannot read the answer must not start one.
    crate::stream::Format::wanted(&headers)?;
    let created = accept(&api, key, body).await?;
    let mut response = attach(&api, &created.run, &headers, request_id, query)?;
    mark(response.headers_mut(), &created);
    Ok(response)
}
