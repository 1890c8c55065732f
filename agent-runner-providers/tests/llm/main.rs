//! Providers against services on the loopback interface, scripts against a paused clock, and layers
//! around a double.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "tests fail by panicking, and a test binary has no public surface"
)]

#[cfg(any(feature = "anthropic", feature = "gemini", feature = "ollama", feature = "openai"))]
mod service;
#[cfg(any(feature = "anthropic", feature = "gemini", feature = "ollama", feature = "openai"))]
mod wire;

#[cfg(feature = "anthropic")]
mod anthropic;
#[cfg(any(feature = "ollama", feature = "openai"))]
mod embeddings;
#[cfg(feature = "gemini")]
mod gemini;
mod layers;
#[cfg(feature = "ollama")]
mod ollama;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "openai")]
mod openai_responses;
#[cfg(feature = "scripted")]
mod scripted;
