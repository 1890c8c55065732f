//! The contract of [`Store`] as tests, one for each clause and sub-clause.
//!
//! An implementation proves itself with one line in its tests:
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{store::{InMemoryStore, Store}, testing::store_contract::StoreHarness, time::Clock};
//! #[derive(Debug)]
//! struct InMemory(Arc<InMemoryStore>);
//!
//! #[async_trait::async_trait]
//! impl StoreHarness for InMemory {
//!     const REOPENS: bool = false;
//!
//!     async fn open(clock: Arc<dyn Clock>) -> Self {
//!         Self(Arc::new(InMemoryStore::with_clock(clock)))
//!     }
//!
//!     fn store(&self) -> Arc<dyn Store> {
//!         self.0.clone()
//!     }
//!
//!     async fn reopen(&self) -> Option<Arc<dyn Store>> {
//!         None
//!     }
//! }
//!
//! agent_runner_core::store_contract!(InMemory);
//! # fn main() {}
//! ```
//!
//! Cases named `i1_…` to `i14_…` prove the invariants of the durability design.

pub mod creation;
mod fixture;
pub mod journal;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{store::Store, time::Clock};

/// Makes stores for the suite.
#[async_trait]
pub trait StoreHarness: fmt::Debug + Sized + Send + Sync + 'static {
    /// Whether [`StoreHarness::reopen`] gives a store. The cases that need it are skipped where
    /// it is `false`, and fail where this is not true.
    const REOPENS: bool;

    /// Makes an empty store that takes every moment from `clock`, and whatever has to live as long
    /// as it.
    async fn open(clock: Arc<dyn Clock>) -> Self;

    /// The store that [`StoreHarness::open`] made.
    fn store(&self) -> Arc<dyn Store>;

    /// A second handle on the same data with the same clock, as another process would open it;
    /// the first stays open. `None` where data do not outlive the handle.
    async fn reopen(&self) -> Option<Arc<dyn Store>>;
}

/// The longest that a case may take, so that a store that hangs fails its test.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// Runs a case within its time limit.
#[doc(hidden)]
pub async fn run_case(case: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(CASE_LIMIT, Box::pin(case)).await;
    assert!(ended.is_ok(), "the case did not end within {CASE_LIMIT:?}: the store hangs");
}

/// Expands to the whole contract of [`Store`](crate::store::Store) for one
/// [`StoreHarness`](crate::testing::store_contract::StoreHarness), one `#[tokio::test]` per case.
///
/// The crate that calls it needs tokio with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_contract {
    ($harness:ty) => {
        $crate::store_contract! { @cases $harness;
            creation {
                a_creation_writes_the_run_and_its_events,
                every_field_of_a_run_reads_back,
                a_known_id_is_refused,
                i13_one_idempotency_key_gives_one_run,
                i13_one_idempotency_key_gives_one_run_to_concurrent_callers,
                an_idempotency_key_counts_within_its_project,
                a_run_may_be_created_for_later,
                a_run_that_does_not_exist_is_not_found,
                a_healthy_store_says_so,
            }
            journal {
                events_are_numbered_from_one_without_gaps,
                i5_events_are_contiguous_under_concurrent_writers,
                i5_every_reader_sees_a_prefix,
                i4_events_never_change,
                i7_status_and_journal_move_together,
                i10_what_is_acknowledged_is_visible_to_the_next_reader,
                i8_epochs_of_events_never_fall,
                payloads_read_back_exactly,
                a_payload_of_one_mebibyte_reads_back_exactly,
            }
        }
    };
    (@cases $harness:ty; $($clause:ident { $($case:ident,)* })*) => {
        $(
            mod $clause {
                use super::*;
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                    async fn $case() {
                        use $crate::testing::store_contract as suite;
                        suite::run_case(suite::$clause::$case::<$harness>()).await;
                    }
                )*
            }
        )*
    };
}
