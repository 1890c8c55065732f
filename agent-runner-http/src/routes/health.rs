//! Probes. They are constant, need no authentication, and say nothing about why (HTTP-11).

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tracing::warn;

use crate::{
    api::Api,
    dto::health::{Check, Health, Version},
};

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses(
    (status = 200, description = "It lives", body = Health),
))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health::of(Vec::new()))
}

/// Whether the service has started: its database is migrated and its routes are up.
#[utoipa::path(get, path = "/startupz", tag = "health", responses(
    (status = 200, description = "It has started", body = Health),
))]
pub(crate) async fn startupz() -> Json<Health> {
    Json(Health::of(Vec::new()))
}

/// Whether the service should get traffic: it is not shutting down, takes runs, and its database
/// answers.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It should", body = Health),
    (status = 503, description = "It should not", body = Health),
))]
pub(crate) async fn readyz(State(api): State<Api>) -> Response {
    let store = async {
        let checked = api.engine().store().check();
        match tokio::time::timeout(api.options().readiness_timeout, checked).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                warn!(%error, "not ready: the store does not work");
                false
            }
            Err(_) => {
                warn!("not ready: the store does not answer in time");
                false
            }
        }
    };
    let health = Health::of(vec![
        Check { name: "accepting", ok: !api.is_draining() },
        Check { name: "worker", ok: api.engine().is_working() },
        Check { name: "store", ok: store.await },
    ]);
    let ready = health.checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

/// What is running here.
#[utoipa::path(get, path = "/version", tag = "health", responses(
    (status = 200, description = "Name and version", body = Version),
))]
pub(crate) async fn version() -> Json<Version> {
    Json(Version { name: "agent-runner", version: env!("CARGO_PKG_VERSION"), status: "ok" })
}
