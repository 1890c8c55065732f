//! Durable agent runs: how many a second, how much of the machine each takes, how soon one begins.
//! Every figure stands beside a floor measured in the same process: the same HTTP calls made with
//! bare `reqwest` and nothing else, or the bare disk.
//!
//! The workload "agent-4x3" is 4 model calls and 3 calls of a trivial tool in each run. The model is
//! this program again, in a process of its own, that answers over loopback without latency.
//!
//! `cargo bench --features sqlite,openai,http --bench runs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program that measures and prints"
)]

mod disk;
mod engine;
mod floor;
mod machine;
mod model;
#[path = "../shared/served.rs"]
mod served;
mod throughput;

fn main() {
    if std::env::args().any(|argument| argument == model::ARGUMENT) {
        model::serve();
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(throughput::run());
}
