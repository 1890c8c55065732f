//! The documentation of the service, from the service.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};

use crate::{
    extract::{Name, Query},
    problem::{Problem, ProblemBody},
};

/// What the page may do: only what this server gives it, and no inline script.
const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'; object-src 'none'";

static OPENAPI: LazyLock<String> = LazyLock::new(crate::openapi::document);

/// The files of the page, by name.
const ASSETS: [(&str, &str, &str); 2] = [
    ("docs.js", "text/javascript; charset=utf-8", include_str!("../../ui/docs.js")),
    ("docs.css", "text/css; charset=utf-8", include_str!("../../ui/docs.css")),
];

fn file(media_type: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Leads to the documentation.
#[utoipa::path(get, path = "/", tag = "docs", responses((status = 307, description = "To /docs")))]
pub(crate) async fn home() -> Redirect {
    Redirect::temporary("/docs")
}

/// This documentation as a page that can try requests.
#[utoipa::path(get, path = "/docs", tag = "docs", responses(
    (status = 200, description = "The page", body = String, content_type = "text/html"),
))]
pub(crate) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("../../ui/docs.html"))
}

/// A file of the page.
#[utoipa::path(get, path = "/docs/{name}", tag = "docs",
    params(("name" = String, Path, description = "The file")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/plain"),
        (status = 404, description = "No such file", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn asset(Name(name): Name) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(known, ..)| *known == name);
    let (_, media_type, text) =
        found.ok_or_else(|| Problem::not_found("the documentation has no such file"))?;
    Ok(file(media_type, text))
}

/// This description of the service.
#[utoipa::path(get, path = "/openapi.json", tag = "docs", responses(
    (status = 200, description = "The description", body = serde_json::Value),
))]
pub(crate) async fn openapi(Query(()): Query<()>) -> Response {
    file("application/json", OPENAPI.as_str())
}
