//! Contract suites and doubles for authors of stores, providers and tools.
//!
//! Nothing here is meant for production: suites panic when a contract is broken, because that is
//! how a test fails.

mod faulty_store;
mod manual_clock;
mod sequential_ids;

#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the suite runs inside tests: it fails by panicking"
)]
pub mod llm_contract;
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the suite runs inside tests: it fails by panicking"
)]
pub mod store_contract;
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the comparison runs inside tests: it fails by panicking"
)]
pub mod store_model;
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the suite runs inside tests: it fails by panicking"
)]
pub mod tool_contract;

pub use self::{
    faulty_store::{Fault, FaultyStore, PausedCall, WriteCall},
    manual_clock::ManualClock,
    sequential_ids::SequentialIds,
};
