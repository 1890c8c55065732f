//! Long-term memory: what agents keep across runs. The [`MemoryStore`] trait.

mod ephemeral;

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::ephemeral::EphemeralMemory;
use crate::{
    id::{ProjectId, RunId},
    store::StoreError,
};

/// Whose memory it is. Nothing is ever found outside its scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemoryScope {
    /// The project.
    pub project_id: ProjectId,
    /// A name within the project, such as an agent's.
    pub namespace: String,
}

/// One thing remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryItem {
    /// Its name within the scope.
    pub key: String,
    /// The text that search looks at.
    pub text: String,
    /// The writer's own data.
    pub metadata: BTreeMap<String, Value>,
    /// The run that wrote it.
    pub origin: Option<RunId>,
    /// When it is forgotten.
    pub expires_at: Option<Timestamp>,
}

/// An item with how well it fits a query, 0..=1, higher is better.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryHit {
    /// The item.
    pub item: MemoryItem,
    /// How well it fits.
    pub score: f32,
}

/// Keeps what agents remember.
///
/// # Contract
/// 1. `get` returns what the last `put` of that scope and key wrote, until it expires or is
///    forgotten.
/// 2. Nothing of one scope is ever returned for another.
/// 3. `search` returns at most `limit` hits, best first, none of them expired. An item whose whole text
///    is the query is among those that fit best. The same question to the same items has the same
///    answer. No query is an error, however odd; one without a word may find nothing.
/// 4. `forget` of a key that is not there answers `false` and is no error.
/// 5. An item expires by the store's own clock, at the moment it names.
#[async_trait]
pub trait MemoryStore: fmt::Debug + Send + Sync + 'static {
    /// Writes an item, over an older one of the same key.
    ///
    /// # Errors
    /// `Full` when there is no room, `Unavailable` or `Busy`; the older item is then still there.
    async fn put(&self, scope: &MemoryScope, item: MemoryItem) -> Result<(), StoreError>;

    /// Reads an item.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn get(&self, scope: &MemoryScope, key: &str) -> Result<Option<MemoryItem>, StoreError>;

    /// Finds items by their text.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn search(
        &self,
        scope: &MemoryScope,
        query: &str,
        limit: usize,
    ) -> Result<Vec<MemoryHit>, StoreError>;

    /// Removes an item; whether there was one.
    ///
    /// # Errors
    /// `Unavailable` or `Busy`.
    async fn forget(&self, scope: &MemoryScope, key: &str) -> Result<bool, StoreError>;
}
