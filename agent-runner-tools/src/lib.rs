//! What agents can do: tools for the engine of `agent-runner-core`.
//!
//! Every tool is closed by default and opened by the operator: files inside one directory, HTTP
//! to listed hosts. [`StandardTools`] builds those that the enabled features offer.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests look at what the guards did from outside")
)]

#[cfg(feature = "fs")]
pub mod artifact;
#[cfg(feature = "fs")]
pub mod fs;
#[cfg(feature = "git")]
pub mod git;
#[cfg(feature = "web")]
pub mod http;
#[cfg(feature = "mcp")]
pub mod mcp;
#[cfg(feature = "web")]
pub mod net;
#[cfg(all(feature = "shell", target_os = "linux"))]
pub mod shell;
mod standard;
mod time_now;
#[cfg(feature = "web")]
pub mod web;

pub use self::{standard::StandardTools, time_now::TimeNow};
