//! The engine on the in-memory store: the loop, its rules, its recovery.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod control;
mod fixture;
mod lifecycle;
mod models;
mod recovery;
mod watching;
