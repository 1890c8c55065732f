//! Implementations that talk to something outside the process: models and stores.
//!
//! Every one sits behind a feature of its own and implements a trait of `agent-runner-core`.

#[cfg(feature = "_http")]
mod http;
#[cfg(any(feature = "_http", feature = "scripted"))]
mod llm;

#[cfg(feature = "_http")]
pub use self::http::Timeouts;
#[cfg(feature = "openai")]
pub use self::llm::openai::OpenAiProvider;
