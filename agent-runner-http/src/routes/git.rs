//! Git repositories of a project, for people and programs: the tools of the same names, outside of
//! any run.

use axum::{Json, extract::State};

use crate::{
    api::Api,
    dto::git::{GitAction, GitAnswer, GitArguments, GitLook, GitView},
    extract::{Body, GitActionPath, GitViewPath, Query},
    problem::{Problem, ProblemBody},
};

/// Looks at a repository.
#[utoipa::path(get, path = "/projects/{id}/git/{verb}", tag = "git",
    params(
        ("id" = String, Path, description = "The project"),
        ("verb" = inline(GitView), Path, description = "What to look at"),
        GitLook,
    ),
    responses(
        (status = 200, description = "What there is", body = GitAnswer),
        (status = 404, description = "No such project, repository, branch or commit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "A parameter that this view does not have, or that makes no sense", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn look(
    State(api): State<Api>,
    GitViewPath(project, view): GitViewPath,
    Query(look): Query<GitLook>,
) -> Result<Json<GitAnswer>, Problem> {
    let made = api.engine().invoke_tool(project, view.tool(), look.arguments()).await?;
    Ok(Json(made.output.into()))
}

/// Does something in a repository, or with a remote of the project's settings. The body has the
/// arguments of the tool `git.<action>`, as `GET /tools/git.<action>` describes them.
#[utoipa::path(post, path = "/projects/{id}/git/{verb}", tag = "git", request_body = GitArguments,
    params(
        ("id" = String, Path, description = "The project"),
        ("verb" = inline(GitAction), Path, description = "What to do"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    responses(
        (status = 200, description = "What was done", body = GitAnswer),
        (status = 403, description = "The project has no such remote, or its policy does not allow it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such project, repository, branch or commit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The repository is not in a state for it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The arguments do not fit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "The remote cannot be reached", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn act(
    State(api): State<Api>,
    GitActionPath(project, action): GitActionPath,
    Query(()): Query<()>,
    Body(arguments, _): Body<GitArguments>,
) -> Result<Json<GitAnswer>, Problem> {
    let made = api.engine().invoke_tool(project, action.tool(), arguments.into()).await?;
    Ok(Json(made.output.into()))
}
