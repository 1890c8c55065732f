//! Contract suites and doubles for authors of stores, providers, tools, memory and blob stores;
//! `docs/TESTING_PLUGINS.md` leads through them.
//!
//! Nothing here is meant for production: suites panic when a contract is broken, because that is
//! how a test fails.

mod faulty_store;
mod gate;
mod ledger_tool;
mod manual_clock;
mod scripted_model;
mod sequential_ids;

#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the suite runs inside tests: it fails by panicking"
)]
pub mod blob_contract;
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
pub mod memory_contract;
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the suite runs inside tests: it fails by panicking"
)]
pub mod provider_conformance;
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
    faulty_store::{Fault, FaultyStore, PausedCall, StoreCall, Weather},
    gate::Gate,
    ledger_tool::{Effect, LedgerTool},
    manual_clock::ManualClock,
    scripted_model::{ScriptedModel, Turn},
    sequential_ids::SequentialIds,
};
