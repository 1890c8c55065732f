//! Everything that needs more than one crate: scenarios on every store, real processes, the wire.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, say what they did, and read their settings from the environment"
)]

mod artifacts;
mod bad_providers;
mod cli;
mod crash;
mod disk;
mod documents;
mod each_wire;
mod engine;
mod files;
mod git;
mod mcp;
mod providers;
mod public_api;
mod scenarios;
mod secrets;
mod service;
mod shell;
mod sim;
mod streams;
mod support;
mod web;
