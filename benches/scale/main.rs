//! What grows: runs that wait, runs that are over, journals, watchers, restarts. Every figure that
//! depends on the machine stands beside a floor of the same run.
//!
//! The server is the bundled one, a process of its own that is asked over HTTP and measured from
//! outside; the model is this program again, in another process.
//!
//! `cargo bench --features server,testing --bench scale`. Say `restart`, `takeover`, `claim`, `start`,
//! `parked`, `resume`, `flat`, `fanout` or `waiting` for a part of it. `waiting` needs 10,000 connections (`ulimit -n`).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program that measures and prints"
)]

mod fanout;
mod fill;
mod flat;
mod model;
mod process;
mod restart;
mod resume;
#[path = "../shared/served.rs"]
mod served;
mod server;
mod start;
mod waiting;

use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match words.first().map(String::as_str) {
        Some(model::ARGUMENT) => return model::serve(),
        Some(waiting::ARGUMENT) => return runtime.block_on(waiting::floor(&words[1])),
        _ => {}
    }
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    // No connection here is encrypted; the client wants to be able to.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(async {
        if wanted("restart") {
            restart::restart().await;
        }
        if wanted("takeover") {
            restart::takeover().await;
        }
        if wanted("claim") {
            start::claim().await;
        }
        if wanted("start") {
            start::cold().await;
        }
        if wanted("parked") {
            start::parked().await;
        }
        if wanted("resume") {
            resume::run().await;
        }
        if wanted("flat") {
            flat::run(if words.is_empty() { 4 } else { 5 }).await;
        }
        if wanted("fanout") {
            fanout::run().await;
        }
        if wanted("waiting") {
            waiting::run().await;
        }
    });
}

/// The durations below which so many per cent of them are.
fn percentile(times: &mut [Duration], per_cent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * per_cent / 100).min(times.len() - 1)]
}
