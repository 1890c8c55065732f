//! What agents' hands cost beside bare calls: files, the web, artifacts. Every figure stands beside
//! a floor measured in the same run, the two taking turns.
//!
//! `cargo bench --features server,testing --bench hands`. Say `files`, `web` or `artifacts` for a
//! part of it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program that measures and prints"
)]

mod artifacts;
mod files;
mod web;

use std::time::Duration;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| asked.is_empty() || asked.iter().any(|name| name == part);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        if wanted("files") {
            files::run().await;
        }
        if wanted("web") {
            web::run().await;
        }
        if wanted("artifacts") {
            artifacts::run().await;
        }
    });
}

/// The middle one of some durations.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A line of the report: a figure, its floor, and their ratio.
fn report(what: &str, ours: Duration, floor: Duration, each: u32) {
    let ratio = ours.as_secs_f64() / floor.as_secs_f64();
    println!("{what:<58} {:>10.1?}  floor {:>10.1?}  {ratio:.2} x", ours / each, floor / each);
}
