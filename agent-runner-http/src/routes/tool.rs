//! Tools.

use axum::{
    Json,
    extract::{OriginalUri, State},
    response::Response,
};

use crate::{
    api::Api,
    dto::{
        page::List,
        tool::{Invoke, Invoked, Tool, ToolServer},
    },
    extract::{Body, Name, Page, Query, nearest},
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

/// The servers whose tools projects may allow, how they are, and what they offer now.
#[utoipa::path(get, path = "/mcp/servers", tag = "tools",
    params(
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of servers", body = List<ToolServer>),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn servers(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(page): Query<Page>,
) -> Response {
    let sources = api.engine().tools().sources();
    let servers = sources.iter().map(|source| ToolServer::from(&**source)).collect();
    List::slice(servers, &page, |server: &ToolServer| server.name.clone()).respond(&uri)
}

/// Calls a tool in a project, outside of any run. What the project's policy denies is refused; what
/// it has people approve is made, because a person asks for it.
#[utoipa::path(post, path = "/tools/{name}/invoke", tag = "tools", request_body = Invoke,
    params(
        ("name" = String, Path, description = "The tool"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    responses(
        (status = 200, description = "What the call produced", body = Invoked),
        (status = 403, description = "The policy, a setting or a guard does not allow it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Unknown tool or project, or what the call names is not there", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The arguments do not fit", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn invoke(
    State(api): State<Api>,
    Name(name): Name,
    Query(()): Query<()>,
    Body(invoke, _): Body<Invoke>,
) -> Result<Json<Invoked>, Problem> {
    let engine = api.engine();
    let project = match invoke.project_id {
        Some(id) => id,
        None => engine.default_project().await?.id,
    };
    let preview = engine.preview_tool(project, &name, &invoke.arguments).await?;
    let mut invoked = Invoked {
        output: serde_json::Value::Null,
        untrusted: None,
        elapsed_ms: 0,
        verdict: preview.verdict.as_str(),
        reason: preview.verdict.reason().map(str::to_owned),
        risk: preview.risk.as_str(),
    };
    if !invoke.dry_run {
        let made = engine.invoke_tool(project, &name, invoke.arguments).await?;
        invoked.output = made.output.value;
        invoked.untrusted = made.output.untrusted;
        invoked.elapsed_ms = u64::try_from(made.elapsed.as_millis()).unwrap_or(u64::MAX);
    }
    Ok(Json(invoked))
}
