//! Any store against [`InMemoryStore`]: the same calls, chosen at random, get the same answers.
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{store::{InMemoryStore, Store}, testing::{store_contract::StoreHarness, store_model}, time::Clock};
//! # #[derive(Debug)]
//! # struct Mine(Arc<InMemoryStore>);
//! # #[async_trait::async_trait]
//! # impl StoreHarness for Mine {
//! #     const REOPENS: bool = false;
//! #     async fn open(clock: Arc<dyn Clock>) -> Self {
//! #         Self(Arc::new(InMemoryStore::with_clock(clock)))
//! #     }
//! #     fn store(&self) -> Arc<dyn Store> {
//! #         self.0.clone()
//! #     }
//! #     async fn reopen(&self) -> Option<Arc<dyn Store>> {
//! #         None
//! #     }
//! # }
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! // In a property test the choices come from `proptest::collection::vec(any::<[u8; 4]>(), 1..150)`.
//! let choices = [[0, 0, 0, 0], [3, 0, 1, 0], [6, 0, 2, 0]];
//! runtime.block_on(store_model::compare::<Mine>(&choices));
//! ```

mod call;
mod world;

use std::sync::Arc;

use self::{call::Call, world::World};
use super::store_contract::{StoreHarness, fixture};
use crate::store::{InMemoryStore, Store};

/// Makes one call for every choice on a fresh store of `H` and on the reference, and panics at
/// the first answer that differs; in the end all that both can show is compared.
///
/// Any bytes are a valid choice, and smaller numbers mean simpler calls, so that a property test
/// can shrink them.
pub async fn compare<H: StoreHarness>(choices: &[[u8; 4]]) {
    let mut world = World::new();
    let clock = Arc::new(world.clock.clone());
    let harness = H::open(clock.clone()).await;
    let (store, reference) = (harness.store(), InMemoryStore::with_clock(clock));
    for (n, choice) in choices.iter().enumerate() {
        let call = world.call(*choice);
        same(n, &call, &*store, &reference).await;
        world.runs = call::all_runs(&reference).await;
        assert_eq!(call::all_runs(&*store).await, world.runs, "after call {n}: {call:?}");
    }
    for call in world.last_calls() {
        same(choices.len(), &call, &*store, &reference).await;
    }
    let (image, want) = (fixture::image(&*store).await, fixture::image(&reference).await);
    assert_eq!(image, want, "in the end");
}

async fn same(n: usize, call: &Call, store: &dyn Store, reference: &dyn Store) {
    let answer = call.perform(store).await;
    let want = call.perform(reference).await;
    assert_eq!(answer, want, "call {n}: {call:?}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A comparison whose calls were all refused would prove nothing.
    #[tokio::test]
    async fn the_choices_reach_every_kind_of_answer() {
        let mut answers = BTreeMap::<String, u64>::new();
        let mut seed = 7_u64;
        for _ in 0..100 {
            let mut world = World::new();
            let store = InMemoryStore::with_clock(Arc::new(world.clock.clone()));
            for _ in 0..150 {
                // The first half of SplitMix64: enough to reach everything, always the same way.
                seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let [choice @ .., _, _, _, _] = mixed.to_be_bytes();
                let call = world.call(choice);
                *answers.entry(call.outcome(&store).await).or_default() += 1;
                world.runs = call::all_runs(&store).await;
            }
        }
        for wanted in [
            "Append Ok",
            "Append Fenced",
            "Append ControlChanged",
            "Append Duplicate",
            "Append Corrupt",
            "Create Ok",
            "Create Duplicate",
            "Create Corrupt",
            "Claim Ok",
            "Sweep Ok",
            "Delete Ok",
            "Delete Conflict",
            "Put Ok",
            "Put Conflict",
            "DeleteRecord Ok",
            "Records Ok",
            "Runs Ok",
            "Events Ok",
            "Owned Ok",
            "Workers Ok",
            "Blob Ok",
            "Blob NotFound",
        ] {
            let count = answers.get(wanted).copied().unwrap_or(0);
            assert!(count >= 20, "{wanted}: {count} of {answers:?}");
        }
    }
}
