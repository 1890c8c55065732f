//! A stranger's memory store of a list and a look at each, and ones that break one rule each.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use agent_runner_core::{
    memory::{MemoryHit, MemoryItem, MemoryScope, MemoryStore},
    store::{StoreError, StoreErrorKind},
    testing::memory_contract::{self as suite, MemoryHarness},
    time::Clock,
};

const GOOD: u8 = 0;
const LEAKS_BETWEEN_NAMESPACES: u8 = 1;
const SEARCHES_EVERY_SCOPE: u8 = 2;
const NEVER_EXPIRES: u8 = 3;
const SEARCH_FINDS_THE_EXPIRED: u8 = 4;
const IGNORES_THE_LIMIT: u8 = 5;
const WORST_FIRST: u8 = 6;
const KEEPS_THE_OLD: u8 = 7;
const LOSES_METADATA: u8 = 8;
const FORGETTING_NOTHING_FAILS: u8 = 9;
const FORGETS_NOTHING: u8 = 10;
const REFUSES_QUOTES: u8 = 11;

#[derive(Debug)]
struct Shelf<const DEFECT: u8> {
    clock: Arc<dyn Clock>,
    items: Mutex<Vec<(MemoryScope, MemoryItem)>>,
}

impl<const DEFECT: u8> Shelf<DEFECT> {
    /// Whether an item is of the scope and not expired.
    fn is_there(&self, of: &MemoryScope, scope: &MemoryScope, item: &MemoryItem) -> bool {
        let expired = item.expires_at.is_some_and(|at| at <= self.clock.now());
        let same = match DEFECT {
            LEAKS_BETWEEN_NAMESPACES => of.project_id == scope.project_id,
            _ => of == scope,
        };
        same && (!expired || DEFECT == NEVER_EXPIRES)
    }

    /// Takes an item out.
    fn take(&self, scope: &MemoryScope, key: &str) -> Option<MemoryItem> {
        let mut items = self.items.lock().unwrap();
        let at = items.iter().position(|(of, item)| of == scope && item.key == key)?;
        Some(items.remove(at).1)
    }
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

#[async_trait::async_trait]
impl<const DEFECT: u8> MemoryStore for Shelf<DEFECT> {
    async fn put(&self, scope: &MemoryScope, mut item: MemoryItem) -> Result<(), StoreError> {
        if DEFECT == LOSES_METADATA {
            item.metadata.clear();
        }
        let old = self.take(scope, &item.key);
        let kept = if DEFECT == KEEPS_THE_OLD { old.unwrap_or(item) } else { item };
        self.items.lock().unwrap().push((scope.clone(), kept));
        Ok(())
    }

    async fn get(&self, scope: &MemoryScope, key: &str) -> Result<Option<MemoryItem>, StoreError> {
        let items = self.items.lock().unwrap();
        let found =
            items.iter().find(|(of, item)| item.key == key && self.is_there(of, scope, item));
        Ok(found.map(|(_, item)| item.clone()))
    }

    async fn search(
        &self,
        scope: &MemoryScope,
        query: &str,
        limit: usize,
    ) -> Result<Vec<MemoryHit>, StoreError> {
        if DEFECT == REFUSES_QUOTES && query.contains('"') {
            return Err(StoreError::new(StoreErrorKind::Corrupt, "syntax error near \""));
        }
        let wanted = words(query);
        let items = self.items.lock().unwrap();
        let there = items.iter().filter(|(of, item)| match DEFECT {
            SEARCHES_EVERY_SCOPE => true,
            SEARCH_FINDS_THE_EXPIRED => of == scope,
            _ => self.is_there(of, scope, item),
        });
        let mut hits: Vec<MemoryHit> = there
            .map(|(_, item)| {
                let share = wanted.intersection(&words(&item.text)).count() as f32;
                MemoryHit { item: item.clone(), score: share / wanted.len().max(1) as f32 }
            })
            .filter(|hit| hit.score > 0.0)
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        if DEFECT == WORST_FIRST {
            hits.reverse();
        }
        if DEFECT != IGNORES_THE_LIMIT {
            hits.truncate(limit);
        }
        Ok(hits)
    }

    async fn forget(&self, scope: &MemoryScope, key: &str) -> Result<bool, StoreError> {
        if DEFECT == FORGETS_NOTHING {
            return Ok(self.get(scope, key).await?.is_some());
        }
        let taken = self.take(scope, key);
        if DEFECT == FORGETTING_NOTHING_FAILS && taken.is_none() {
            return Err(StoreError::new(StoreErrorKind::NotFound, "there is no such key"));
        }
        Ok(taken.is_some_and(|item| self.is_there(scope, scope, &item)))
    }
}

#[derive(Debug)]
struct Harness<const DEFECT: u8>(Arc<Shelf<DEFECT>>);

#[async_trait::async_trait]
impl<const DEFECT: u8> MemoryHarness for Harness<DEFECT> {
    async fn open(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shelf { clock, items: Mutex::default() }))
    }

    fn memory(&self) -> Arc<dyn MemoryStore> {
        self.0.clone()
    }

    async fn reopen(&self) -> Option<Arc<dyn MemoryStore>> {
        Some(self.0.clone())
    }
}

mod a_good_memory_passes {
    use super::{GOOD, Harness};

    agent_runner_core::memory_contract!(Harness<GOOD>);
}

caught! {
    a_memory_that_leaks_between_namespaces: Harness<LEAKS_BETWEEN_NAMESPACES>,
        suite::c2_scopes_do_not_mix, "sees an item of another scope";
    a_memory_that_searches_every_scope: Harness<SEARCHES_EVERY_SCOPE>,
        suite::c2_scopes_do_not_mix, "finds items of other scopes";
    a_memory_that_never_expires: Harness<NEVER_EXPIRES>,
        suite::c5_an_item_is_there_until_its_moment, "it is read after its moment";
    a_memory_whose_search_finds_the_expired: Harness<SEARCH_FINDS_THE_EXPIRED>,
        suite::c5_an_item_is_there_until_its_moment, "it is found after its moment";
    a_memory_that_ignores_the_limit: Harness<IGNORES_THE_LIMIT>,
        suite::c3_hits_come_best_first_and_within_the_limit, "at most 0 were asked for";
    a_memory_that_sorts_the_wrong_way: Harness<WORST_FIRST>,
        suite::c3_hits_come_best_first_and_within_the_limit, "best";
    a_memory_that_keeps_the_old: Harness<KEEPS_THE_OLD>,
        suite::c1_a_put_replaces_the_item_of_its_key, "the last put counts";
    a_memory_that_loses_metadata: Harness<LOSES_METADATA>,
        suite::c1_what_is_put_is_read_back, "is not what is read";
    a_memory_that_fails_to_forget_nothing: Harness<FORGETTING_NOTHING_FAILS>,
        suite::c4_forgetting_nothing_is_no_error, "forgetting nothing is no error";
    a_memory_that_forgets_nothing: Harness<FORGETS_NOTHING>,
        suite::c1_what_is_forgotten_is_gone, "it is forgotten";
    a_memory_that_takes_a_query_for_syntax: Harness<REFUSES_QUOTES>,
        suite::c3_no_query_is_an_error, "is an error: syntax error";
}
