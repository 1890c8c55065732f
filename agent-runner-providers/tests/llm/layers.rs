//! Layers around a double, against a clock that stands still.

mod breaker;
mod budget;
mod cache;
mod cassette;
mod contract;
mod double;
mod fallback;
mod journal;
mod limit;
mod retry;
mod stack;
