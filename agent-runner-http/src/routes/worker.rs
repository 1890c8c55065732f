//! Workers.

use axum::{
    extract::{OriginalUri, State},
    response::Response,
};

use crate::{
    api::Api,
    dto::{page::List, worker::Worker},
    extract::{Page, Query},
    problem::{Problem, ProblemBody},
};

/// Lists the processes that execute runs.
#[utoipa::path(get, path = "/workers", tag = "workers",
    params(
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of workers", body = List<Worker>),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    let workers = api.engine().workers().await?.into_iter().map(Worker::from).collect();
    Ok(List::slice(workers, &page, |worker: &Worker| worker.id.clone()).respond(&uri))
}
