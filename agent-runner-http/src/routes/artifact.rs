//! Artifacts of runs.

use std::{io, time::Duration};

use agent_runner_core::{
    engine::{Engine, EngineError},
    id::{ArtifactId, RunId},
    limits,
    tool::{ByteStream, NewArtifact},
};
use axum::{
    Json,
    body::Body,
    extract::{OriginalUri, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;

use crate::{
    api::Api,
    archive, download,
    dto::{artifact::Artifact, page::List},
    extract::{ArtifactPath, FromQuery, Page, Parameters, Query, RunPath},
    problem::{Problem, ProblemBody},
};

/// Longest silence of a client that sends an artifact.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a signed address works.
const SIGNED_TTL: Duration = Duration::from_secs(300);

/// What to list.
#[derive(Debug)]
pub(crate) struct Wanted {
    page: Page,
    name: Option<String>,
    after: Option<ArtifactId>,
}

impl FromQuery for Wanted {
    fn from_query(parameters: &mut Parameters) -> Self {
        let page = Page::from_query(parameters);
        let after = page.cursor.as_deref().and_then(|cursor| {
            let parsed = cursor.parse().ok();
            if parsed.is_none() {
                parameters.wrong("cursor", "not a cursor of this list; take `next_cursor`");
            }
            parsed
        });
        Self { page, name: parameters.text("name"), after }
    }
}

/// What is added.
#[derive(Debug)]
pub(crate) struct Described {
    name: Option<String>,
    kind: Option<String>,
}

impl FromQuery for Described {
    fn from_query(parameters: &mut Parameters) -> Self {
        let name = parameters.text("name");
        if name.is_none() {
            parameters.wrong("name", "query parameter `name` is the artifact's name");
        }
        Self { name, kind: parameters.text("kind") }
    }
}

/// `?redirect`.
#[derive(Debug)]
pub(crate) struct Redirect(bool);

impl FromQuery for Redirect {
    fn from_query(parameters: &mut Parameters) -> Self {
        Self(parameters.parsed("redirect", "`true` or `false`").unwrap_or(false))
    }
}

/// Lists the artifacts of a run in the order of their making.
#[utoipa::path(get, path = "/runs/{id}/artifacts", tag = "artifacts",
    params(
        ("id" = String, Path, description = "The run"),
        ("name" = Option<String>, Query, description = "Only those of this name"),
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of artifacts", body = List<Artifact>),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    RunPath(run): RunPath,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let limit = wanted.page.limit;
    let most = limit.saturating_add(1);
    let found = api.engine().artifacts(run, wanted.name, wanted.after, most).await?;
    let artifacts = found.into_iter().map(Artifact::from).collect();
    Ok(List::page(artifacts, limit, |artifact| artifact.id.clone()).respond(&uri))
}

/// The bytes of a request as they come, from a client that does not fall silent.
fn received(body: Body) -> ByteStream {
    let data = body.into_data_stream();
    futures::stream::unfold(Some(data), |data| async move {
        let mut data = data?;
        match tokio::time::timeout(SILENCE_MAX, data.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(data))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::Error::from(io::ErrorKind::TimedOut)), None)),
        }
    })
    .boxed()
}

/// Adds an artifact to a run that has not ended. The body is its bytes, up to 5 GiB.
#[utoipa::path(post, path = "/runs/{id}/artifacts", tag = "artifacts",
    params(
        ("id" = String, Path, description = "The run"),
        ("name" = String, Query, description = "Its name within the run; a second one of that name is its next version"),
        ("kind" = Option<String>, Query, description = "What it is for people; `document` when missing"),
        ("Content-Type" = Option<String>, Header, description = "Its media type"),
    ),
    request_body(content = String, content_type = "application/octet-stream", description = "Its bytes"),
    responses(
        (status = 201, description = "Kept", body = Artifact),
        (status = 404, description = "Unknown run, or this server keeps no artifacts", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run has ended", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "Larger than 5 GiB", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "A bad name or kind", body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "No room left", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn add(
    State(api): State<Api>,
    RunPath(run): RunPath,
    Query(described): Query<Described>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let new = NewArtifact {
        name: described.name.unwrap_or_default(),
        kind: described.kind.unwrap_or_else(|| "document".to_owned()),
        media_type: media_type.unwrap_or("application/octet-stream").to_owned(),
    };
    let artifact = api.engine().add_artifact(run, new, received(body)).await?;
    let location = format!("/runs/{run}/artifacts/{}", artifact.id);
    let mut response = (StatusCode::CREATED, Json(Artifact::from(artifact))).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// One artifact.
#[utoipa::path(get, path = "/runs/{id}/artifacts/{artifact_id}", tag = "artifacts",
    params(
        ("id" = String, Path, description = "The run"),
        ("artifact_id" = String, Path, description = "The artifact"),
    ),
    responses(
        (status = 200, description = "The artifact", body = Artifact),
        (status = 404, description = "Unknown run or artifact", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    ArtifactPath(run, id): ArtifactPath,
    Query(()): Query<()>,
) -> Result<Json<Artifact>, Problem> {
    Ok(Json(api.engine().artifact(run, id).await?.into()))
}

/// Removes an artifact from its run. Its bytes go when nothing else needs them.
#[utoipa::path(delete, path = "/runs/{id}/artifacts/{artifact_id}", tag = "artifacts",
    params(
        ("id" = String, Path, description = "The run"),
        ("artifact_id" = String, Path, description = "The artifact"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "Unknown run or artifact", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(
    State(api): State<Api>,
    ArtifactPath(run, id): ArtifactPath,
    Query(()): Query<()>,
) -> Result<StatusCode, Problem> {
    api.engine().remove_artifact(run, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All artifacts of the run with the same name, the first version first.
#[utoipa::path(get, path = "/runs/{id}/artifacts/{artifact_id}/versions", tag = "artifacts",
    params(
        ("id" = String, Path, description = "The run"),
        ("artifact_id" = String, Path, description = "One of them"),
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of artifacts", body = List<Artifact>),
        (status = 404, description = "Unknown run or artifact", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn versions(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    ArtifactPath(run, id): ArtifactPath,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    let name = api.engine().artifact(run, id).await?.name;
    let found = api.engine().artifacts(run, Some(name), None, limits::PAGE_MAX).await?;
    let artifacts = found.into_iter().map(Artifact::from).collect();
    Ok(List::slice(artifacts, &page, |artifact: &Artifact| artifact.id.clone()).respond(&uri))
}

/// The bytes of an artifact, or a range of them.
#[utoipa::path(get, path = "/runs/{id}/artifacts/{artifact_id}/download", tag = "artifacts",
    params(
        ("id" = String, Path, description = "The run"),
        ("artifact_id" = String, Path, description = "The artifact"),
        ("redirect" = Option<bool>, Query, description = "Whether to answer with a signed address of the storage, where it has such"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has"),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream", headers(("ETag" = String, description = "SHA-256 of the bytes"))),
        (status = 206, description = "A range of them", content_type = "application/octet-stream"),
        (status = 302, description = "They are there"),
        (status = 304, description = "The client has it"),
        (status = 404, description = "Unknown run or artifact", body = ProblemBody, content_type = "application/problem+json"),
        (status = 416, description = "The range is outside of it", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn download(
    State(api): State<Api>,
    ArtifactPath(run, id): ArtifactPath,
    Query(Redirect(redirect)): Query<Redirect>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let artifact = api.engine().artifact(run, id).await?;
    if download::is_known(&headers, &artifact.sha256) {
        return Ok(download::not_modified(&artifact.sha256));
    }
    if redirect
        && let Some(url) = api.engine().artifact_url(&artifact, SIGNED_TTL).await?
        && let Ok(location) = HeaderValue::from_str(&url)
    {
        return Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response());
    }
    let range = download::range(&headers, artifact.size, &artifact.sha256)?;
    let content = api.engine().open_artifact(&artifact, range.clone()).await?;
    let name = artifact.name.rsplit('/').next().unwrap_or_default();
    let meta = download::Meta {
        name,
        media_type: &artifact.media_type,
        bytes: artifact.size,
        sha256: &artifact.sha256,
    };
    Ok(download::respond(&meta, range.as_ref(), Body::from_stream(content)))
}

/// All artifacts of a run in one archive: the latest version of each name.
#[utoipa::path(get, path = "/runs/{id}/artifacts.zip", tag = "artifacts",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The archive, as it is made", content_type = "application/zip"),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn zip(
    State(api): State<Api>,
    RunPath(run): RunPath,
    Query(()): Query<()>,
) -> Result<Response, Problem> {
    let artifacts = latest(api.engine(), run).await?;
    let body = archive::stream(api.engine().clone(), artifacts);
    let disposition = download::disposition(&format!("{run}.zip"));
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// The latest version of each name.
async fn latest(
    engine: &Engine,
    run: RunId,
) -> Result<Vec<agent_runner_core::artifact::Artifact>, EngineError> {
    let mut latest = std::collections::BTreeMap::new();
    let mut after = None;
    loop {
        let page = engine.artifacts(run, None, after, limits::PAGE_MAX).await?;
        let full = page.len() >= limits::PAGE_MAX;
        after = page.last().map(|artifact| artifact.id);
        for artifact in page {
            latest.insert(artifact.name.clone(), artifact);
        }
        if !full || latest.len() >= archive::ENTRIES_MAX {
            return Ok(latest.into_values().collect());
        }
    }
}
