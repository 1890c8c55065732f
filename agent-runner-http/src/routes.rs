//! The routes, in groups that differ in how long they may take.

pub(crate) mod approval;
pub(crate) mod artifact;
pub(crate) mod bulk;
pub(crate) mod bundle;
pub(crate) mod control;
pub(crate) mod count_tokens;
pub(crate) mod docs;
pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod generate;
pub(crate) mod git;
pub(crate) mod health;
pub(crate) mod new_run;
pub(crate) mod project;
pub(crate) mod provider;
pub(crate) mod run;
pub(crate) mod step;
pub(crate) mod tool;
pub(crate) mod web;
pub(crate) mod worker;

use axum::{Router, http::Uri, middleware::from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{api::Api, idempotency, limit, observe, problem::Problem};

/// All routes with all layers.
pub(crate) fn router(api: Api) -> Router {
    let keyed = from_fn_with_state(api.clone(), idempotency::idempotent);
    let bounded = from_fn_with_state(api.clone(), limit::short);
    Router::from(short())
        .layer(keyed.clone())
        .layer(bounded)
        .merge(Router::from(waiting()).layer(keyed))
        .merge(Router::from(probes()))
        .fallback(unknown)
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(from_fn_with_state(api.clone(), limit::head))
        .layer(from_fn_with_state(api.clone(), observe::observe))
        .with_state(api)
}

/// What the routes say of themselves.
pub(crate) fn openapi() -> OpenApi {
    short().merge(waiting()).merge(probes()).into_openapi()
}

async fn unknown(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!("there is nothing at {path}; /docs lists what there is"))
}

/// Routes that answer soon.
fn short() -> OpenApiRouter<Api> {
    about_service()
        .merge(about_runs())
        .merge(about_control())
        .merge(about_approvals())
        .merge(about_files())
        .merge(about_artifacts())
}

fn about_service() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(docs::home))
        .routes(routes!(docs::page))
        .routes(routes!(docs::asset))
        .routes(routes!(docs::openapi))
        .routes(routes!(health::version))
        .routes(routes!(provider::list))
        .routes(routes!(provider::get))
        .routes(routes!(provider::check))
        .routes(routes!(provider::models))
        .routes(routes!(count_tokens::count_tokens))
        .routes(routes!(project::list, project::create))
        .routes(routes!(project::get, project::patch, project::delete))
        .routes(routes!(worker::list))
        .routes(routes!(tool::list))
        .routes(routes!(tool::get))
        .routes(routes!(tool::servers))
}

fn about_runs() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(run::list, new_run::create))
        .routes(routes!(run::get, run::patch, run::delete))
        .routes(routes!(bulk::create))
        .routes(routes!(bulk::cancel))
        .routes(routes!(bulk::rerun))
        .routes(routes!(fork::fork))
        .routes(routes!(fork::rerun))
        .routes(routes!(fork::diff))
        .routes(routes!(run::usage))
        .routes(routes!(run::tree))
        .routes(routes!(run::transcript))
        .routes(routes!(step::list))
        .routes(routes!(step::get))
        .routes(routes!(step::resolve))
        .routes(routes!(event::list))
        .routes(routes!(event::get))
}

fn about_control() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(control::cancel))
        .routes(routes!(control::stop))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::directive))
        .routes(routes!(control::signal))
}

fn about_artifacts() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(artifact::get, artifact::delete))
        .routes(routes!(artifact::versions))
}

fn about_files() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(file::list))
        .routes(routes!(file::get, file::put, file::delete))
        .routes(routes!(file::rename))
        .routes(routes!(file::copy))
        .routes(routes!(file::make_dir))
        .routes(routes!(file::search))
        .routes(routes!(file::diff))
}

fn about_approvals() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(approval::list))
        .routes(routes!(approval::get))
        .routes(routes!(approval::resolve))
}

/// Routes that wait or stream: each bounds its own time, and connections bound their number.
fn waiting() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(new_run::wait))
        .routes(routes!(new_run::stream))
        .routes(routes!(run::join))
        .routes(routes!(bundle::export))
        .routes(routes!(bundle::import))
        .routes(routes!(event::stream))
        .routes(routes!(generate::generate))
        .routes(routes!(tool::invoke))
        .routes(routes!(web::fetch))
        .routes(routes!(web::extract))
        .routes(routes!(git::look, git::act))
        .routes(routes!(artifact::list, artifact::add))
        .routes(routes!(artifact::download))
        .routes(routes!(artifact::zip))
}

/// Routes that must answer however busy the service is.
fn probes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::startupz))
}
