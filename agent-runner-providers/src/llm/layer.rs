//! Layers.
mod breaker;
mod budget;
mod cache;
mod call;
mod canonical;
mod cassette;
mod estimate;
mod fallback;
mod limit;
mod record;
mod replay;
mod retry;

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
