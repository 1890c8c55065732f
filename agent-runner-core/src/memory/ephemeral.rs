//! Memory that lives as long as the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{MemoryHit, MemoryItem, MemoryScope, MemoryStore};
use crate::{
    limits,
    store::{StoreError, StoreErrorKind},
    time::{Clock, SystemClock},
};

/// A [`MemoryStore`] in memory, found by words: for tests, and as the reference that others are
/// compared with.
///
/// An item fits a query by the share of the query's words that its text has; upper and lower case
/// are the same. Of two that fit equally well, the shorter text comes first, then the smaller key.
#[derive(Debug)]
pub struct EphemeralMemory {
    clock: Arc<dyn Clock>,
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    scopes: BTreeMap<MemoryScope, BTreeMap<String, MemoryItem>>,
    bytes: usize,
}

impl EphemeralMemory {
    /// An empty store of at most [`limits::EPHEMERAL_MEMORY_BYTES_MAX`] that reads the machine's
    /// clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let bytes_max = limits::EPHEMERAL_MEMORY_BYTES_MAX;
        Self { clock, bytes_max, kept: Mutex::default() }
    }

    /// The same with room for so many bytes of keys, texts and metadata.
    #[must_use]
    pub const fn with_bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self, item: &MemoryItem) -> bool {
        item.expires_at.is_none_or(|at| self.clock.now() < at)
    }
}

impl Default for EphemeralMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    fn remove(&mut self, scope: &MemoryScope, key: &str) -> Option<MemoryItem> {
        let items = self.scopes.get_mut(scope)?;
        let item = items.remove(key)?;
        if items.is_empty() {
            self.scopes.remove(scope);
        }
        self.bytes = self.bytes.saturating_sub(size(scope, &item));
        Some(item)
    }

    fn retain(&mut self, keep: impl Fn(&MemoryItem) -> bool) {
        let mut bytes = 0;
        self.scopes.retain(|scope, items| {
            items.retain(|_, item| keep(item));
            bytes += items.values().map(|item| size(scope, item)).sum::<usize>();
            !items.is_empty()
        });
        self.bytes = bytes;
    }
}

/// What an item counts of the room, in bytes.
fn size(scope: &MemoryScope, item: &MemoryItem) -> usize {
    let metadata: usize =
        item.metadata.iter().map(|(key, value)| key.len() + value.to_string().len()).sum();
    scope.namespace.len() + item.key.len() + item.text.len() + metadata
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The share of the wanted words that are there, 0..=1.
fn share(wanted: &BTreeSet<String>, there: &BTreeSet<String>) -> f32 {
    let count = |n: usize| f32::from(u16::try_from(n).unwrap_or(u16::MAX));
    if wanted.is_empty() {
        return 0.0;
    }
    count(wanted.intersection(there).count()) / count(wanted.len())
}

#[async_trait]
impl MemoryStore for EphemeralMemory {
    async fn put(&self, scope: &MemoryScope, item: MemoryItem) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let needed = size(scope, &item);
        let replaced = kept.scopes.get(scope).and_then(|items| items.get(&item.key));
        let freed = replaced.map_or(0, |old| size(scope, old));
        if kept.bytes - freed + needed > self.bytes_max {
            kept.retain(|item| self.is_there(item));
        }
        // What expired may be what is replaced.
        let replaced = kept.scopes.get(scope).and_then(|items| items.get(&item.key));
        let freed = replaced.map_or(0, |old| size(scope, old));
        if kept.bytes - freed + needed > self.bytes_max {
            let max = self.bytes_max;
            let full = format!(
                "the memory has room for {max} bytes and `{}` needs {needed}: forget something first",
                item.key
            );
            return Err(StoreError::new(StoreErrorKind::Full, full));
        }
        kept.remove(scope, &item.key);
        kept.bytes += needed;
        kept.scopes.entry(scope.clone()).or_default().insert(item.key.clone(), item);
        Ok(())
    }

    async fn get(&self, scope: &MemoryScope, key: &str) -> Result<Option<MemoryItem>, StoreError> {
        let kept = self.kept();
        let item = kept.scopes.get(scope).and_then(|items| items.get(key));
        Ok(item.filter(|item| self.is_there(item)).cloned())
    }

    async fn search(
        &self,
        scope: &MemoryScope,
        query: &str,
        limit: usize,
    ) -> Result<Vec<MemoryHit>, StoreError> {
        let (kept, wanted) = (self.kept(), words(query));
        let items = kept.scopes.get(scope).into_iter().flat_map(BTreeMap::values);
        let mut found: Vec<(f32, &MemoryItem)> = items
            .filter(|item| self.is_there(item))
            .map(|item| (share(&wanted, &words(&item.text)), item))
            .filter(|(score, _)| *score > 0.0)
            .collect();
        found.sort_by(|(a, one), (b, two)| {
            let shorter = one.text.len().cmp(&two.text.len());
            b.total_cmp(a).then(shorter).then_with(|| one.key.cmp(&two.key))
        });
        let hits = found.into_iter().take(limit);
        Ok(hits.map(|(score, item)| MemoryHit { item: item.clone(), score }).collect())
    }

    async fn forget(&self, scope: &MemoryScope, key: &str) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        let there = kept.remove(scope, key).is_some_and(|item| self.is_there(&item));
        Ok(there)
    }
}

#[cfg(test)]
mod tests;
