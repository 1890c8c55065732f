//! The outermost layer: names each request, writes the body of each problem, adds the headers that
//! every answer has, and leaves a line in the log.

use std::any::Any;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{api::Api, problem::Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The id of the request in hand.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// An id that a client or proxy gave, if it is harmless in logs and headers.
fn inbound_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sane = !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.chars().all(legal);
    sane.then(|| text.to_owned())
}

/// The layer.
pub(crate) async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = inbound_id(request.headers()).unwrap_or_else(|| api.engine().ids().next().to_string());
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(RequestId(id.clone()));
    let start = Instant::now();
    let response = next.run(request).await;
    let mut response = with_problem_body(response, &path, &id);
    common_headers(response.headers_mut(), &id);
    log(&method, &path, &response, &id, start);
    response
}

/// Turns a panic into a problem; axum would drop the connection.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    error!(panic = what, "a request ran into a defect");
    Problem::internal().into_response()
}

fn with_problem_body(mut response: Response, path: &str, id: &str) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // Health answers carry a status of their own and are no problems.
        None if response.headers().get(header::CONTENT_TYPE).is_some_and(is_json) => {
            return response;
        }
        None => Problem::from_response(&response),
    };
    let mut rendered = (problem.code().status(), Json(problem.body(path, id))).into_response();
    for name in [header::ALLOW, header::RETRY_AFTER, header::LOCATION, header::ETAG] {
        if let Some(value) = response.headers_mut().remove(&name) {
            rendered.headers_mut().insert(name, value);
        }
    }
    let problem_json = HeaderValue::from_static("application/problem+json");
    rendered.headers_mut().insert(header::CONTENT_TYPE, problem_json);
    rendered
}

fn is_json(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"application/json")
}

fn common_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn log(method: &Method, path: &str, response: &Response, id: &str, start: Instant) {
    let status = response.status().as_u16();
    let elapsed_ms = start.elapsed().as_millis();
    let probe = matches!(path, "/healthz" | "/readyz" | "/startupz");
    if response.status().is_server_error() {
        warn!(%method, path, status, elapsed_ms, request_id = id, "request");
    } else if probe {
        tracing::trace!(%method, path, status, elapsed_ms, request_id = id, "request");
    } else {
        info!(%method, path, status, elapsed_ms, request_id = id, "request");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_harmless_request_id_is_taken_over() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(value));
            inbound_id(&headers)
        };
        assert_eq!(with("abc-1.2_3").as_deref(), Some("abc-1.2_3"));
        assert_eq!(with("a b"), None);
        assert_eq!(with("<script>"), None);
        assert_eq!(with(""), None);
        let long: &'static str =
            "0123456789012345678901234567890123456789012345678901234567890123456789";
        assert_eq!(with(long), None);
    }
}
