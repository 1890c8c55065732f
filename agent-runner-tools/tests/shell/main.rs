//! `shell.run` with real processes, on the kernel of this machine.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and one tells another where it works"
)]

mod arguments;
mod confinement;
mod contract;
mod ending;
mod limits;
mod output;
mod world;
