//! Approvals.

use agent_runner_core::{
    approval::ApprovalStatus,
    engine::{ApprovalFilter, NewDecision},
    id::{ApprovalId, ProjectId, RunId},
};
use axum::{
    Json,
    extract::{OriginalUri, State},
    response::Response,
};

use crate::{
    api::Api,
    dto::{
        approval::{Approval, Resolve},
        page::List,
    },
    extract::{ApprovalPath, Body, FromQuery, Page, Parameters, Query},
    problem::{Problem, ProblemBody},
};

/// What to list.
#[derive(Debug)]
pub(crate) struct Wanted {
    filter: ApprovalFilter,
    limit: usize,
}

impl FromQuery for Wanted {
    fn from_query(parameters: &mut Parameters) -> Self {
        let page = Page::from_query(parameters);
        let status = parameters.text("status").and_then(|text| {
            let status = ApprovalStatus::parse(&text);
            if status.is_none() {
                parameters.wrong(
                    "status",
                    "query parameter `status` is one of pending, approved, rejected, answered, \
                     expired, withdrawn",
                );
            }
            status
        });
        let after = page.cursor.as_deref().and_then(|cursor| {
            let parsed = cursor.parse::<ApprovalId>().ok();
            if parsed.is_none() {
                parameters.wrong("cursor", "not a cursor of this list; take `next_cursor`");
            }
            parsed
        });
        let run_id = parameters.parsed::<RunId>("run_id", "a UUID");
        let project_id = parameters.parsed::<ProjectId>("project_id", "a UUID");
        Self { filter: ApprovalFilter { status, run_id, project_id, after }, limit: page.limit }
    }
}

/// Lists approvals, oldest first.
#[utoipa::path(get, path = "/approvals", tag = "approvals",
    params(
        ("status" = Option<String>, Query, description = "`pending`, `approved`, `rejected`, `answered`, `expired` or `withdrawn`"),
        ("run_id" = Option<String>, Query, description = "Of this run"),
        ("project_id" = Option<String>, Query, description = "Of this project"),
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of approvals", body = List<Approval>),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let Wanted { filter, limit } = wanted;
    let found = api.engine().approvals(&filter, limit.saturating_add(1)).await?;
    let approvals = found.into_iter().map(Approval::from).collect();
    Ok(List::page(approvals, limit, |approval| approval.id.clone()).respond(&uri))
}

/// One approval.
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals",
    params(("id" = String, Path, description = "The approval")),
    responses(
        (status = 200, description = "The approval", body = Approval),
        (status = 404, description = "Unknown approval", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    ApprovalPath(id): ApprovalPath,
    Query(()): Query<()>,
) -> Result<Json<Approval>, Problem> {
    Ok(Json(api.engine().approval(id).await?.into()))
}

/// Decides about an approval. The run goes on at once.
#[utoipa::path(post, path = "/approvals/{id}/resolve", tag = "approvals", request_body = Resolve,
    params(
        ("id" = String, Path, description = "The approval"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer"),
    ),
    responses(
        (status = 200, description = "The approval, decided", body = Approval),
        (status = 404, description = "Unknown approval", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It was decided before, or is for other arguments", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "It expired, or its run ended", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The payload does not fit", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn resolve(
    State(api): State<Api>,
    ApprovalPath(id): ApprovalPath,
    Query(()): Query<()>,
    Body(resolve, _): Body<Resolve>,
) -> Result<Json<Approval>, Problem> {
    let decision =
        NewDecision::try_from(resolve).map_err(|wrong| Problem::field("/payload", wrong))?;
    Ok(Json(api.engine().resolve_approval(id, decision).await?.into()))
}
