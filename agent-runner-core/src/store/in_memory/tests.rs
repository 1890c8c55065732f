//! The reference against its own contract.

use std::sync::Arc;

use async_trait::async_trait;

use super::InMemoryStore;
use crate::{store::Store, testing::store_contract::StoreHarness, time::Clock};

#[derive(Debug)]
struct InMemory(Arc<InMemoryStore>);

#[async_trait]
impl StoreHarness for InMemory {
    const REOPENS: bool = false;

    async fn open(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(InMemoryStore::with_clock(clock)))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

crate::store_contract!(InMemory);

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Two stores of the same kind agree, or the comparison is not deterministic and would blame
    /// other stores for it.
    #[test]
    fn the_reference_agrees_with_itself(
        choices in proptest::collection::vec(proptest::prelude::any::<[u8; 4]>(), 1..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(crate::testing::store_model::compare::<InMemory>(&choices));
    }
}
