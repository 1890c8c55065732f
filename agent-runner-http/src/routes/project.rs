//! Projects.

use agent_runner_core::{
    engine::{EngineErrorKind, VersionedProject},
    id::ProjectId,
};
use axum::{
    Json,
    extract::{OriginalUri, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    api::Api,
    dto::{
        page::List,
        project::{NewProject, PatchProject, Project},
    },
    extract::{Body, IfMatch, Page, ProjectPath, Query},
    problem::{Code, Problem, ProblemBody},
};

fn with_etag(status: StatusCode, project: VersionedProject) -> Response {
    let project = Project::from(project);
    let (etag, location) =
        (format!("\"v{}\"", project.version), format!("/projects/{}", project.id));
    let mut response = (status, Json(project)).into_response();
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    if status == StatusCode::CREATED
        && let Ok(location) = HeaderValue::from_str(&location)
    {
        headers.insert(header::LOCATION, location);
    }
    response
}

/// The version that a change expects: what `If-Match` says, if that is the present one.
async fn expected(
    api: &Api,
    id: ProjectId,
    IfMatch(wanted): IfMatch,
) -> Result<Option<u64>, Problem> {
    let current = api.engine().project(id).await?.version;
    match wanted {
        Some(version) if version != current => Err(Problem::new(
            Code::EtagMismatch,
            format!("the project has version \"v{current}\"; read it again"),
        )),
        other => Ok(other),
    }
}

/// Lists projects by id.
#[utoipa::path(get, path = "/projects", tag = "projects",
    params(
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of projects", body = List<Project>),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    let after =
        page.cursor.as_deref().map(str::parse::<ProjectId>).transpose().map_err(|_| {
            Problem::field("/cursor", "not a cursor of this list; take `next_cursor`")
        })?;
    let found = api.engine().projects(after, page.limit.saturating_add(1)).await?;
    let projects = found.into_iter().map(Project::from).collect();
    Ok(List::page(projects, page.limit, |project| project.id.clone()).respond(&uri))
}

/// Makes a project.
#[utoipa::path(post, path = "/projects", tag = "projects", request_body = NewProject,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer")),
    responses(
        (status = 201, description = "Made", body = Project),
        (status = 409, description = "The name is taken", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(api): State<Api>,
    Query(()): Query<()>,
    Body(new, _): Body<NewProject>,
) -> Result<Response, Problem> {
    let project = api.engine().create_project(new.into()).await?;
    Ok(with_etag(StatusCode::CREATED, project))
}

/// One project.
#[utoipa::path(get, path = "/projects/{id}", tag = "projects",
    params(("id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "The project", body = Project, headers(("ETag" = String, description = "Its version"))),
        (status = 404, description = "Unknown project", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    ProjectPath(id): ProjectPath,
    Query(()): Query<()>,
) -> Result<Response, Problem> {
    Ok(with_etag(StatusCode::OK, api.engine().project(id).await?))
}

/// Changes a project.
#[utoipa::path(patch, path = "/projects/{id}", tag = "projects", request_body = PatchProject,
    params(
        ("id" = String, Path, description = "The project"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it must still have"),
    ),
    responses(
        (status = 200, description = "The changed project", body = Project, headers(("ETag" = String, description = "Its version"))),
        (status = 404, description = "Unknown project", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "It changed since it was read", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn patch(
    State(api): State<Api>,
    ProjectPath(id): ProjectPath,
    Query(()): Query<()>,
    wanted: IfMatch,
    Body(patch, _): Body<PatchProject>,
) -> Result<Response, Problem> {
    let version = expected(&api, id, wanted).await?;
    match api.engine().update_project(id, patch.into(), version).await {
        Err(error) if version.is_some() && error.kind() == EngineErrorKind::Conflict => {
            Err(Problem::new(Code::EtagMismatch, "the project changed just now; read it again"))
        }
        changed => Ok(with_etag(StatusCode::OK, changed?)),
    }
}

/// Deletes a project that has no unfinished run.
#[utoipa::path(delete, path = "/projects/{id}", tag = "projects",
    params(
        ("id" = String, Path, description = "The project"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it must still have"),
    ),
    responses(
        (status = 204, description = "It is gone; its files stay"),
        (status = 404, description = "Unknown project", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It has unfinished runs, or is the default project", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "It changed since it was read", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(
    State(api): State<Api>,
    ProjectPath(id): ProjectPath,
    Query(()): Query<()>,
    wanted: IfMatch,
) -> Result<StatusCode, Problem> {
    let version = expected(&api, id, wanted).await?;
    api.engine().delete_project(id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}
