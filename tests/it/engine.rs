//! The engine on every store: the loop, its rules, its recovery.

/// Runs a scenario once on each store.
macro_rules! on_every_store {
    ($scenario:ident) => {
        mod $scenario {
            #[tokio::test]
            async fn in_memory() {
                crate::engine::fixture::use_store(crate::engine::fixture::StoreKind::InMemory);
                super::$scenario().await;
            }

            #[tokio::test]
            async fn sqlite() {
                crate::engine::fixture::use_store(crate::engine::fixture::StoreKind::Sqlite);
                super::$scenario().await;
            }
        }
    };
}

mod answering;
mod approvals;
mod artifacts;
mod budgets;
mod bulk;
pub(crate) mod bundles;
mod charges;
mod children;
mod code;
mod code_branches;
mod code_calls;
mod code_changes;
mod code_children;
mod context;
mod control;
mod diff;
mod families;
mod faults;
pub(crate) mod fixture;
mod forgeries;
mod fork;
mod large;
mod leases;
mod lifecycle;
mod models;
mod recovery;
mod snapshots;
mod waiting;
mod watching;
