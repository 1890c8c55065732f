//! Tools.

use axum::{
    Json,
    extract::{OriginalUri, State},
    response::Response,
};

use crate::{
    api::Api,
    dto::{page::List, tool::Tool},
    extract::{Name, Page, Query, nearest},
    problem::{Problem, ProblemBody},
};

/// Lists the tools that agents can have.
#[utoipa::path(get, path = "/tools", tag = "tools",
    params(
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of tools", body = List<Tool>),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(page): Query<Page>,
) -> Response {
    let tools = api.engine().tools().all().iter().map(|tool| Tool::from(tool.info())).collect();
    List::slice(tools, &page, |tool: &Tool| tool.name.clone()).respond(&uri)
}

/// One tool.
#[utoipa::path(get, path = "/tools/{name}", tag = "tools",
    params(("name" = String, Path, description = "The tool")),
    responses(
        (status = 200, description = "The tool", body = Tool),
        (status = 404, description = "Unknown tool", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    Name(name): Name,
    Query(()): Query<()>,
) -> Result<Json<Tool>, Problem> {
    if let Some(tool) = api.engine().tools().get(&name) {
        return Ok(Json(tool.info().into()));
    }
    let tools = api.engine().tools().all();
    let known = tools.iter().map(|tool| tool.info().spec.name.as_str());
    let meant = nearest(&name, known).map(|meant| format!("; did you mean `{meant}`?"));
    let shown: String = name.chars().take(80).collect();
    Err(Problem::not_found(format!("there is no tool `{shown}`{}", meant.unwrap_or_default())))
}
