//! Reading, waiting for and deleting runs.

use agent_runner_core::{
    id::{ProjectId, RunId},
    store::{Order, RunQuery},
};
use axum::{
    Json,
    extract::{OriginalUri, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;

use super::new_run::WaitQuery;
use crate::{
    api::Api,
    dto::{
        budget::PatchRun,
        message::{Message, Transcript},
        page::List,
        run::{Run, RunDetail, StepsSummary, parse_status},
        tree::Tree,
        usage::RunUsage,
    },
    extract::{Body, FromQuery, Page, Parameters, Query, RunPath},
    problem::{Problem, ProblemBody},
};

/// `?order` of a list.
pub(crate) fn order(parameters: &mut Parameters, default: Order) -> Order {
    match parameters.text("order").as_deref() {
        None => default,
        Some("asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(_) => {
            parameters.wrong("order", "query parameter `order` must be `asc` or `desc`");
            default
        }
    }
}

impl FromQuery for RunQuery {
    fn from_query(parameters: &mut Parameters) -> Self {
        let page = Page::from_query(parameters);
        let mut statuses = Vec::new();
        for text in parameters.list("status") {
            match parse_status(&text) {
                Some(status) => statuses.push(status),
                None => parameters.wrong(
                    "status",
                    "query parameter `status` takes QUEUED, RUNNING, COMPLETED, FAILED and \
                     CANCELED, separated by commas",
                ),
            }
        }
        let after = page.cursor.as_deref().and_then(|cursor| {
            let parsed = cursor.parse::<RunId>().ok();
            if parsed.is_none() {
                parameters.wrong("cursor", "not a cursor of this list; take `next_cursor`");
            }
            parsed
        });
        Self {
            statuses,
            project_id: parameters.parsed::<ProjectId>("project_id", "a UUID"),
            agent: parameters.text("agent"),
            tag: parameters.text("tag"),
            parent_id: parameters.parsed::<RunId>("parent_id", "a UUID"),
            text: parameters.text("q"),
            created_after: parameters
                .parsed::<Timestamp>("created_after", "a time such as 2026-11-22T08:00:00Z"),
            after,
            order: order(parameters, Order::Descending),
            limit: page.limit,
        }
    }
}

/// Lists runs, newest first.
#[utoipa::path(get, path = "/runs", tag = "runs",
    params(
        ("status" = Option<String>, Query, description = "Statuses, separated by commas"),
        ("project_id" = Option<String>, Query, description = "Of this project"),
        ("agent" = Option<String>, Query, description = "Of this agent"),
        ("tag" = Option<String>, Query, description = "With this tag"),
        ("parent_id" = Option<String>, Query, description = "Started by this run"),
        ("q" = Option<String>, Query, description = "With this text in goal or name"),
        ("created_after" = Option<String>, Query, description = "Accepted at or after this time"),
        ("order" = Option<String>, Query, description = "`asc` or `desc`; default `desc`"),
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of runs", body = List<Run>),
        (status = 422, description = "A wrong parameter", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(mut query): Query<RunQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit;
    query.limit = limit.saturating_add(1);
    let runs = api.engine().runs(&query).await?.into_iter().map(Run::from).collect();
    Ok(List::page(runs, limit, |run| run.id.clone()).respond(&uri))
}

/// One run.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The run", body = RunDetail),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
) -> Result<Json<RunDetail>, Problem> {
    let run = api.engine().run(id).await?;
    let steps = api.engine().steps(id).await?;
    let mut children = RunQuery { parent_id: Some(id), ..RunQuery::default() };
    children.order = Order::Ascending;
    children.limit = agent_runner_core::limits::PAGE_MAX;
    let children = api.engine().runs(&children).await?;
    Ok(Json(RunDetail {
        run: run.into(),
        steps_summary: StepsSummary::of(&steps),
        children: children.into_iter().map(|child| child.id.to_string()).collect(),
    }))
}

/// Gives a run another budget. A run that waits for its budget goes on.
#[utoipa::path(patch, path = "/runs/{id}", tag = "runs", request_body = PatchRun,
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The run", body = Run),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It ended", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong or unknown fields", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn patch(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
    Body(patch, _): Body<PatchRun>,
) -> Result<Json<Run>, Problem> {
    Ok(Json(api.engine().change_budget(id, Some(patch.budget.into())).await?.into()))
}

/// Deletes a run that ended, with all that belongs to it.
#[utoipa::path(delete, path = "/runs/{id}", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It has not ended, or a run that it started has not", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
) -> Result<StatusCode, Problem> {
    api.engine().delete_run(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Waits until a run ends.
#[utoipa::path(get, path = "/runs/{id}/join", tag = "runs",
    params(
        ("id" = String, Path, description = "The run"),
        ("timeout" = Option<u64>, Query, description = "Most seconds to wait, 0 to 300; default 60"),
    ),
    responses(
        (status = 200, description = "It ended; its status says how", body = Run),
        (status = 202, description = "It has not ended yet", body = Run),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn join(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(WaitQuery(timeout)): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let run = api.join(id, timeout).await?;
    let status = if run.status.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Run::from(run))).into_response())
}

/// What a run used and what it cost.
#[utoipa::path(get, path = "/runs/{id}/usage", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "In all and by model call", body = RunUsage),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn usage(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
) -> Result<Json<RunUsage>, Problem> {
    Ok(Json(RunUsage::new(id.to_string(), api.engine().usage(id).await?)))
}

/// A run and all that descends from it.
#[utoipa::path(get, path = "/runs/{id}/tree", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The family from this run down, with the totals of each branch", body = Tree),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn tree(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
) -> Result<Json<Tree>, Problem> {
    Ok(Json(api.engine().family(id).await?.into()))
}

/// The conversation of a run.
#[utoipa::path(get, path = "/runs/{id}/transcript", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "Its messages, instructions first", body = Transcript),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn transcript(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(()): Query<()>,
) -> Result<Json<Transcript>, Problem> {
    let messages = api.engine().transcript(id).await?;
    let messages = messages.into_iter().map(Message::from).collect();
    Ok(Json(Transcript { run_id: id.to_string(), messages }))
}
