//! Implementations that talk to something outside the process: models and stores.
//!
//! Every one sits behind a feature of its own and implements a trait of `agent-runner-core`.

#[cfg(feature = "prices")]
mod catalog;
#[cfg(feature = "_http")]
mod http;
#[cfg(any(feature = "_http", feature = "scripted"))]
mod llm;
#[cfg(feature = "sqlite")]
mod store;

#[cfg(feature = "prices")]
pub use self::catalog::{GenaiPrices, ModelsFile, ModelsFileError};
#[cfg(feature = "_http")]
pub use self::http::Timeouts;
#[cfg(feature = "ollama")]
pub use self::llm::ollama::OllamaProvider;
#[cfg(feature = "openai")]
pub use self::llm::openai::OpenAiProvider;
#[cfg(feature = "scripted")]
pub use self::llm::scripted::ScriptedProvider;
#[cfg(feature = "sqlite")]
pub use self::store::{Finding, Severity, SqliteOptions, SqliteStats, SqliteStore, Synchronous};
