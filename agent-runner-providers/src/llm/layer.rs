//! Layers: providers that wrap providers.
//!
//! They are for programs that use providers directly, for chains of several providers, and for
//! limits that belong before anybody sees an error. The engine tries again by itself, durably: each
//! of its attempts is an event of the run.
//!
//! Every layer streams, keeps the contract of [`LlmProvider`], and ends its waits when the call is
//! cancelled or dropped; none spawns a task. Time comes from a `Clock` and randomness from an
//! `IdSource`, both of `agent-runner-core`.
//!
//! | Options | Provider | What it does |
//! |---|---|---|
//! | [`CacheOptions`] | [`CachingProvider`] | answers what was answered before; the same calls at once are one |
//! | [`RetryOptions`] | [`RetryingProvider`] | tries again, until the first word is delivered |
//! | [`FallbackOptions`] | [`FallbackProvider`] | asks the next model, until the first word is delivered |
//! | [`BreakerOptions`] | [`BreakerProvider`] | fails at once while the service does not answer |
//! | [`BudgetOptions`] | [`BudgetedProvider`] | refuses calls that would cost too much |
//! | [`LimitOptions`] | [`RateLimitedProvider`] | waits until the service would take the call |
//! | [`RecordOptions`] | [`RecordingProvider`] | writes calls down in a [`Cassette`] |
//! | [`ReplayOptions`] | [`ReplayProvider`] | answers from a cassette, or from a run's journal |
//!
//! # Order
//!
//! The table is the order in which they belong on top of each other, the outermost first, and
//! [`stack`] takes them in that order:
//!
//! - What is in the cache needs nothing of the rest.
//! - Retries stand around the fallback, so that the next model is asked before anybody waits. Put
//!   another one inside, around one member, where a member is worth waiting for.
//! - An open breaker refuses before anything is set aside or waited for.
//! - The budget and the limits stand inside retries, so that every try counts against them. A call
//!   that the budget refuses takes no place in the queue.
//! - The recording is the innermost: it has what the service really said, every try of it.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use agent_runner_core::{
//!     llm::{CallCx, LlmProvider, LlmProviderExt as _, LlmRequest},
//!     message::{Message, Role},
//!     testing::{ScriptedModel, Turn},
//! };
//! use agent_runner_providers::layer::{
//!     BreakerOptions, BudgetLimits, BudgetOptions, CacheOptions, RetryOptions, stack,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let model: Arc<dyn LlmProvider> = Arc::new(ScriptedModel::new([Turn::text("Good morning.")]));
//! let budget = BudgetOptions::new(BudgetLimits { requests: Some(100), ..BudgetLimits::default() });
//! let provider = stack(
//!     model,
//!     &[&CacheOptions::default(), &RetryOptions::default(), &BreakerOptions::default(), &budget],
//! );
//!
//! let request = LlmRequest::new("model", vec![Message::text(Role::User, "Greet me.")]);
//! let reply = provider.complete(&request, &CallCx::new("1")).await?;
//! assert_eq!(reply.message.plain_text(), "Good morning.");
//!
//! let again = provider.complete(&request, &CallCx::new("2")).await?;
//! assert_eq!(again.notices, ["from the response cache"]);
//! assert_eq!(budget.spent().requests, 1);
//! # Ok(())
//! # })
//! # }
//! ```

mod breaker;
mod budget;
mod cache;
mod call;
mod canonical;
mod cassette;
mod fallback;
mod limit;
mod record;
mod replay;
mod retry;

use std::sync::Arc;

use agent_runner_core::llm::{LlmLayer, LlmProvider};

pub use self::{
    breaker::{BreakerOptions, BreakerProvider, BreakerState},
    budget::{BudgetLimits, BudgetOptions, BudgetedProvider, Spent},
    cache::{CacheOptions, CachingProvider},
    canonical::RequestKey,
    cassette::{Cassette, CassetteError, Interaction, RecordedError, RecordedEvent, Scope},
    fallback::{FallbackOptions, FallbackProvider},
    limit::{LimitOptions, RateLimitedProvider},
    record::{RecordOptions, RecordingProvider, Tape},
    replay::{ReplayMode, ReplayOptions, ReplayPace, ReplayProvider},
    retry::{RetryOptions, RetryingProvider},
};

/// Puts layers around a provider; the first one is the outermost.
#[must_use]
pub fn stack(inner: Arc<dyn LlmProvider>, layers: &[&dyn LlmLayer]) -> Arc<dyn LlmProvider> {
    layers.iter().rev().fold(inner, |inner, layer| layer.layer(inner))
}
