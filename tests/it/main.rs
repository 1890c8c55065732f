//! Everything that needs more than one crate: scenarios on every store, real processes, the wire.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod crash;
mod engine;
mod service;
mod support;
