//! The REST service over the agent-runner engine.
//!
//! [`Api`] turns an [`agent_runner_core::engine::Engine`] into an [`axum::Router`]; [`serve`] runs
//! that router on a socket with bounds on everything a client can hold on to.
//!
//! A route extracts, converts, makes one call to the engine, and converts back. Rules live in the
//! engine, wire types live in `dto`, and errors have one map, `problem`.

mod api;
mod archive;
mod download;
mod dto;
mod extract;
mod idempotency;
mod limit;
mod observe;
mod openapi;
mod options;
mod problem;
mod provider_health;
mod routes;
mod serve;
mod stream;
mod unconfigured;

pub use self::{
    api::{Api, ApiBuilder},
    options::ApiOptions,
    serve::serve,
    unconfigured::Unconfigured,
};
