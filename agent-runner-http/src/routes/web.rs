//! The web, for people and programs: the tools of the same names, outside of any run.

use agent_runner_core::id::ProjectId;
use axum::{Json, extract::State};
use serde_json::Value;

use crate::{
    api::Api,
    dto::web::{WebAnswer, WebExtract, WebFetch},
    extract::{Body, Query},
    problem::{Problem, ProblemBody},
};

/// Reads a page, or sends something with `POST`, behind the guard that agents have.
#[utoipa::path(post, path = "/web/fetch", tag = "web", request_body = WebFetch,
    responses(
        (status = 200, description = "What the server answered, whatever its status", body = WebAnswer),
        (status = 403, description = "The guard, robots.txt or the project's policy does not allow it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The answer is too much", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The arguments do not fit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "The host is asked too often", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "The host cannot be reached", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "The host does not answer in time", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn fetch(
    State(api): State<Api>,
    Query(()): Query<()>,
    Body(fetch, _): Body<WebFetch>,
) -> Result<Json<WebAnswer>, Problem> {
    let project = fetch.project_id;
    let (tool, arguments) = fetch.call();
    ask(&api, project, tool, arguments).await
}

/// Picks parts of a page or of a JSON document.
#[utoipa::path(post, path = "/web/extract", tag = "web", request_body = WebExtract,
    responses(
        (status = 200, description = "What was picked", body = WebAnswer),
        (status = 403, description = "The guard, robots.txt or the project's policy does not allow it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The arguments do not fit, or the document is of another kind", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn extract(
    State(api): State<Api>,
    Query(()): Query<()>,
    Body(extract, _): Body<WebExtract>,
) -> Result<Json<WebAnswer>, Problem> {
    let project = extract.project_id;
    ask(&api, project, "web.extract", extract.arguments()).await
}

async fn ask(
    api: &Api,
    project: Option<ProjectId>,
    tool: &str,
    arguments: Value,
) -> Result<Json<WebAnswer>, Problem> {
    let engine = api.engine();
    let project = match project {
        Some(id) => id,
        None => engine.default_project().await?.id,
    };
    let made = engine.invoke_tool(project, tool, arguments).await?;
    Ok(Json(made.output.into()))
}
