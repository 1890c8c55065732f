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
