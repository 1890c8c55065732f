//! Events of a run, by page and as they happen.

use agent_runner_core::store::{EventQuery, Order};
use axum::{
    Extension, Json,
    extract::{OriginalUri, State},
    http::HeaderMap,
    response::Response,
};

use super::run::order;
use crate::{
    api::Api,
    dto::{event::Event, page::List},
    extract::{FromQuery, Page, Parameters, Query, RunEventPath, RunPath},
    observe::RequestId,
    problem::{Problem, ProblemBody},
    stream::{StreamQuery, attach, event_types},
};

impl FromQuery for EventQuery {
    fn from_query(parameters: &mut Parameters) -> Self {
        let page = Page::from_query(parameters);
        let after = parameters.parsed("after", "the number of an event");
        let cursor = page.cursor.as_deref().and_then(|cursor| {
            let parsed = cursor.parse().ok();
            if parsed.is_none() {
                parameters.wrong("cursor", "not a cursor of this list; take `next_cursor`");
            }
            parsed
        });
        let mut query = Self::after(cursor.or(after).unwrap_or(0));
        query.kinds = event_types(parameters);
        query.order = order(parameters, Order::Ascending);
        query.limit = page.limit;
        query
    }
}

/// Lists the events of a run, oldest first.
#[utoipa::path(get, path = "/runs/{id}/events", tag = "events",
    params(
        ("id" = String, Path, description = "The run"),
        ("after" = Option<u64>, Query, description = "Events after this number; before it with `order=desc`"),
        ("types" = Option<String>, Query, description = "Event types, separated by commas; all when missing"),
        ("order" = Option<String>, Query, description = "`asc` or `desc`; default `asc`"),
        ("limit" = Option<u16>, Query, description = "1 to 500; default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of events", body = List<Event>),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    RunPath(id): RunPath,
    Query(mut query): Query<EventQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit;
    query.limit = limit.saturating_add(1);
    let events = api.engine().events(id, &query).await?.into_iter().map(Event::from).collect();
    Ok(List::page(events, limit, |event| event.id.to_string()).respond(&uri))
}

/// One event with its whole payload.
#[utoipa::path(get, path = "/runs/{id}/events/{event_id}", tag = "events",
    params(
        ("id" = String, Path, description = "The run"),
        ("event_id" = u64, Path, description = "The event's number"),
    ),
    responses(
        (status = 200, description = "The event", body = Event),
        (status = 404, description = "Unknown run or event", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn get(
    State(api): State<Api>,
    RunEventPath(id, seq): RunEventPath,
    Query(()): Query<()>,
) -> Result<Json<Event>, Problem> {
    Ok(Json(api.engine().event(id, seq).await?.into()))
}

/// Streams the events of a run, those that happened and those that will, until it ends.
///
/// Server-sent events: `id` is the event's number, `event` its type, `data` the event as JSON.
/// Pieces of model output come as `llm.delta` without id. `stream.end` says that the run ended and
/// all was delivered; `stream.closing` that the server goes away and the client should come back;
/// `reset` that the client knew events that do not exist and gets all from the first.
#[utoipa::path(get, path = "/runs/{id}/events/stream", tag = "events",
    params(
        ("id" = String, Path, description = "The run"),
        ("after" = Option<u64>, Query, description = "Events after this number"),
        ("types" = Option<String>, Query, description = "Event types, separated by commas; all when missing"),
        ("include_deltas" = Option<bool>, Query, description = "Whether pieces of model output come as `llm.delta`; default true"),
        ("until" = Option<String>, Query, description = "`terminal`, which is the default"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Counts more than `after`"),
    ),
    responses(
        (status = 200, description = "Events", content(
            (Event = "text/event-stream"), (Event = "application/x-ndjson"))),
        (status = 204, description = "The run ended and all its events were delivered before"),
        (status = 404, description = "Unknown run", body = ProblemBody, content_type = "application/problem+json"),
        (status = 406, description = "No such format", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Any other error", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn stream(
    State(api): State<Api>,
    RunPath(id): RunPath,
    Query(query): Query<StreamQuery>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = api.engine().run(id).await?;
    attach(&api, &run, &headers, request_id, query)
}
