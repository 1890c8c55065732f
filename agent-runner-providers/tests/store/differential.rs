//! Random calls get the same answers as from the reference in memory.

use std::sync::Arc;

use agent_runner_core::{
    store::Store,
    testing::{store_contract::StoreHarness, store_model},
    time::Clock,
};
use agent_runner_providers::{SqliteOptions, SqliteStore, Synchronous};
use proptest::prelude::*;
use tempfile::TempDir;

/// What is answered does not depend on fsync, and thousands of fsyncs take minutes.
#[derive(Debug)]
struct Fast {
    store: SqliteStore,
    _dir: TempDir,
}

#[async_trait::async_trait]
impl StoreHarness for Fast {
    const REOPENS: bool = false;

    async fn open(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("x.db"))
            .clock(clock)
            .synchronous(Synchronous::Normal);
        Self { store: SqliteStore::open(options).await.unwrap(), _dir: dir }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

#[test]
fn random_calls_get_the_answers_of_the_reference() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) };
    let choices = proptest::collection::vec(any::<[u8; 4]>(), 1..120);
    proptest!(config, |(choices in choices)| {
        runtime.block_on(store_model::compare::<Fast>(&choices));
    });
}
