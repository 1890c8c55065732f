//! MCP servers as sources of tools: real programs, and a real service on the loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub,
    clippy::too_many_lines,
    missing_debug_implementations,
    reason = "tests"
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
