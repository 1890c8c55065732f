//! Models behind [`LlmProvider`](agent_runner_core::llm::LlmProvider).

#[cfg(feature = "anthropic")]
pub(crate) mod anthropic;
#[cfg(feature = "_http")]
mod call_ids;
#[cfg(feature = "_http")]
mod fault;
#[cfg(feature = "gemini")]
pub(crate) mod gemini;
#[cfg(any(feature = "_http", feature = "scripted"))]
mod json;
pub mod layer;
#[cfg(feature = "_http")]
mod names;
#[cfg(feature = "ollama")]
pub(crate) mod ollama;
#[cfg(feature = "openai")]
pub(crate) mod openai;
#[cfg(feature = "_http")]
mod outgoing;
#[cfg(any(feature = "_http", feature = "scripted"))]
mod reply;
#[cfg(feature = "scripted")]
pub(crate) mod scripted;
#[cfg(feature = "_http")]
mod stream;
#[cfg(feature = "_http")]
mod vectors;

#[cfg(feature = "_http")]
pub(crate) use self::fault::Fault;
