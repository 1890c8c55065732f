//! Bounds on one request: the size of its head, how long it may take, how many there may be.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    api::Api,
    problem::{Code, Problem},
};

/// Refuses requests whose head is too large. Hyper's own bounds are a little wider and answer
/// without a body.
pub(crate) async fn head(State(api): State<Api>, request: Request, next: Next) -> Response {
    match check_head(&api, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_head(api: &Api, request: &Request) -> Result<(), Problem> {
    let options = api.options();
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    if uri.path().len() + query.len() > options.uri_bytes_max {
        return Err(Problem::new(
            Code::UriTooLong,
            format!("path and query must not be longer than {} bytes", options.uri_bytes_max),
        ));
    }
    if query.split('&').filter(|pair| !pair.is_empty()).count() > options.query_pairs_max {
        return Err(Problem::field(
            "",
            format!("a query must not have more than {} parameters", options.query_pairs_max),
        ));
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > options.header_fields_max || bytes > options.header_bytes_max {
        return Err(Problem::new(
            Code::HeadersTooLarge,
            format!(
                "a request must not have more than {} header fields or {} bytes of them",
                options.header_fields_max, options.header_bytes_max
            ),
        ));
    }
    Ok(())
}

/// Bounds a request that neither waits nor streams: how many at once, and for how long.
pub(crate) async fn short(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.requests().try_acquire() else {
        return Problem::new(Code::Overloaded, "too many requests are in execution; try again")
            .retry_after(1)
            .into_response();
    };
    let timeout = api.options().request_timeout;
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            Code::Overloaded,
            format!("the request took longer than {} s and was given up", timeout.as_secs()),
        )
        .retry_after(5)
        .into_response(),
    }
}
