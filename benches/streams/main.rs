//! Streams of models: how fast bytes become events, how soon the first delta is there, and whether
//! a thousand streams at once stall. Every figure stands beside a floor measured in the same run.
//!
//! `cargo bench --features openai,_bench --bench streams`. The loopback server is this program
//! again, in a process of its own.

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

mod decode;
mod live;
mod serve;
#[path = "../shared/served.rs"]
mod served;

fn main() {
    if std::env::args().any(|argument| argument == serve::ARGUMENT) {
        serve::run();
        return;
    }
    decode::run();
    live::run();
}
