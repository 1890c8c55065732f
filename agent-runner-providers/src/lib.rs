//! Implementations that talk to something outside the process: models and stores.
//!
//! Every one sits behind a feature of its own and implements a trait of `agent-runner-core`. Only the
//! [layers](layer) are always there, which wrap any provider.

#![cfg_attr(
    not(all(feature = "anthropic", feature = "gemini", feature = "ollama", feature = "openai")),
    allow(
        dead_code,
        unused_imports,
        reason = "providers share code of which each uses a part; with all of them everything has a user"
    )
)]

#[cfg(feature = "_bench")]
#[doc(hidden)]
pub mod bench_support;
#[cfg(feature = "blob")]
mod blob;
#[cfg(feature = "prices")]
mod catalog;
#[cfg(test)]
#[cfg(feature = "_http")]
mod fuzz;
#[cfg(feature = "_http")]
mod http;
mod llm;
#[cfg(feature = "sqlite")]
mod store;

#[cfg(feature = "_cloud")]
pub use self::blob::BlobUrlError;
#[cfg(feature = "blob")]
pub use self::blob::ObjectBlobs;
#[cfg(feature = "prices")]
pub use self::catalog::{GenaiPrices, ModelsFile, ModelsFileError};
#[cfg(feature = "_http")]
pub use self::http::Timeouts;
#[cfg(feature = "anthropic")]
pub use self::llm::anthropic::{AnthropicProvider, CacheLifetime};
#[cfg(feature = "gemini")]
pub use self::llm::gemini::GeminiProvider;
pub use self::llm::layer;
#[cfg(feature = "ollama")]
pub use self::llm::ollama::{OllamaProvider, PullProgress};
#[cfg(feature = "openai")]
pub use self::llm::openai::{
    CallIdRule, Echo, Effort, EffortWords, InstructionRole, OpenAiApi, OpenAiProvider, OutputLimit,
    Profile, ReasoningField,
};
#[cfg(feature = "scripted")]
pub use self::llm::scripted::ScriptedProvider;
#[cfg(feature = "sqlite")]
pub use self::store::{Finding, Severity, SqliteOptions, SqliteStats, SqliteStore, Synchronous};
