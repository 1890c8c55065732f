//! MCP servers as sources of tools: real programs, and a real service on the loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "the lints are for the library, and clippy.toml frees only functions marked as tests"
)]

mod calls;
mod connections;
mod contract;
mod http;
mod offers;
mod outputs;
mod private;
#[path = "server/strange.rs"]
mod strange;
mod world;
