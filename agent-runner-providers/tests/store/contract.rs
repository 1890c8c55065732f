//! The contract of every store.

use std::sync::Arc;

use agent_runner_core::{store::Store, testing::store_contract::StoreHarness, time::Clock};

use super::support::Disk;

#[async_trait::async_trait]
impl StoreHarness for Disk {
    const REOPENS: bool = true;

    async fn open(clock: Arc<dyn Clock>) -> Self {
        Self::with_clock(clock).await
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(self.neighbour().await))
    }
}

agent_runner_core::store_contract!(Disk);
