//! The service as its clients meet it: the router in process, and the server on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests fail by panicking"
)]

mod approvals;
mod bulk;
mod bundles;
mod control;
mod forks;
mod idempotency;
mod known;
mod openapi;
mod problems;
mod projects;
mod providers;
mod runs;
mod server;
mod streams;
mod support;
