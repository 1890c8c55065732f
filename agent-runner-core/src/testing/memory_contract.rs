//! The contract of [`MemoryStore`] as tests, named after its clauses.
//!
//! An implementation proves itself with one line in its tests:
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{memory::{EphemeralMemory, MemoryStore}, testing::memory_contract::MemoryHarness, time::Clock};
//! #[derive(Debug)]
//! struct Ephemeral(Arc<EphemeralMemory>);
//!
//! #[async_trait::async_trait]
//! impl MemoryHarness for Ephemeral {
//!     async fn open(clock: Arc<dyn Clock>) -> Self {
//!         Self(Arc::new(EphemeralMemory::with_clock(clock)))
//!     }
//!
//!     fn memory(&self) -> Arc<dyn MemoryStore> {
//!         self.0.clone()
//!     }
//! }
//!
//! agent_runner_core::memory_contract!(Ephemeral);
//! # fn main() {}
//! ```

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::ManualClock;
use crate::{
    id::{ProjectId, RunId},
    memory::{MemoryHit, MemoryItem, MemoryScope, MemoryStore},
    time::{Clock, later},
};

/// Makes memory stores for the suite.
#[async_trait]
pub trait MemoryHarness: fmt::Debug + Sized + Send + Sync + 'static {
    /// Makes an empty store that takes every moment from `clock`, and whatever has to live as long
    /// as it.
    async fn open(clock: Arc<dyn Clock>) -> Self;

    /// The store that [`MemoryHarness::open`] made.
    fn memory(&self) -> Arc<dyn MemoryStore>;

    /// A second handle on the same data with the same clock, as another process would open it.
    /// `None` where data do not outlive the handle.
    async fn reopen(&self) -> Option<Arc<dyn MemoryStore>> {
        None
    }
}

/// The longest that a case may take, so that a store that hangs fails its test.
const CASE_LIMIT: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Writers at once.
const WRITERS: usize = 16;

/// Runs a case within its time limit.
#[doc(hidden)]
pub async fn run_case(case: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(CASE_LIMIT, Box::pin(case)).await;
    assert!(ended.is_ok(), "the case did not end within {CASE_LIMIT:?}: the memory hangs");
}

/// Expands to the whole contract of [`MemoryStore`](crate::memory::MemoryStore) for one
/// [`MemoryHarness`](crate::testing::memory_contract::MemoryHarness), one `#[tokio::test]` per case.
///
/// The crate that calls it needs tokio with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! memory_contract {
    ($harness:ty) => {
        $crate::memory_contract! { @cases $harness;
            c1_what_is_put_is_read_back,
            c1_a_put_replaces_the_item_of_its_key,
            c1_what_is_forgotten_is_gone,
            c1_concurrent_puts_are_all_kept,
            c1_what_was_acknowledged_is_there_after_reopening,
            c2_scopes_do_not_mix,
            c3_a_search_finds_the_text_that_it_is_given,
            c3_hits_come_best_first_and_within_the_limit,
            c3_a_search_answers_the_same_twice,
            c3_no_query_is_an_error,
            c4_forgetting_nothing_is_no_error,
            c5_an_item_is_there_until_its_moment,
            c5_a_put_replaces_the_expiry,
        }
    };
    (@cases $harness:ty; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use $crate::testing::memory_contract as suite;
                suite::run_case(suite::$case::<$harness>()).await;
            }
        )*
    };
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap())
}

async fn open<H: MemoryHarness>() -> (H, ManualClock) {
    let clock = clock();
    (H::open(Arc::new(clock.clone())).await, clock)
}

fn scope(project: u128, namespace: &str) -> MemoryScope {
    let project = Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + project);
    MemoryScope { project_id: ProjectId::from_uuid(project), namespace: namespace.to_owned() }
}

fn own() -> MemoryScope {
    scope(1, "agent")
}

fn item(key: &str, text: &str) -> MemoryItem {
    MemoryItem {
        key: key.to_owned(),
        text: text.to_owned(),
        metadata: [].into(),
        origin: None,
        expires_at: None,
    }
}

fn keys(hits: &[MemoryHit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.item.key.as_str()).collect()
}

/// Clause 1.
pub async fn c1_what_is_put_is_read_back<H: MemoryHarness>() {
    let (harness, clock) = open::<H>().await;
    let memory = harness.memory();
    assert_eq!(memory.get(&own(), "a").await.unwrap(), None, "the memory is empty");
    let full = MemoryItem {
        metadata: [("source".to_owned(), json!({"page": 7, "tags": ["x", null]}))].into(),
        origin: Some(RunId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0009))),
        expires_at: Some(later(clock.now(), HOUR)),
        ..item("a", "The turtle 🐢 sleeps.\nIt's \"quiet\".")
    };
    let odd = ["A", " a", "a/b", "../a", "%", "_", "ключ", "'; --"].map(|key| item(key, key));
    let all: Vec<MemoryItem> = std::iter::once(full).chain(odd).collect();
    for item in &all {
        memory.put(&own(), item.clone()).await.unwrap();
    }
    for item in all {
        let key = item.key.clone();
        let read = memory.get(&own(), &key).await.unwrap();
        assert_eq!(read, Some(item), "what was put under `{key}` is not what is read");
    }
}

/// Clause 1, for a key that is known.
pub async fn c1_a_put_replaces_the_item_of_its_key<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    memory.put(&own(), item("a", "apples grow on trees")).await.unwrap();
    memory.put(&own(), item("a", "bread comes from an oven")).await.unwrap();
    let read = memory.get(&own(), "a").await.unwrap();
    assert_eq!(read, Some(item("a", "bread comes from an oven")), "the last put counts");
    let hits = memory.search(&own(), "bread comes from an oven", 9).await.unwrap();
    assert_eq!(keys(&hits), ["a"], "the new text is found, once");
    assert_eq!(hits[0].item.text, "bread comes from an oven");
}

/// Clause 1, until it is forgotten.
pub async fn c1_what_is_forgotten_is_gone<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    memory.put(&own(), item("a", "apples grow on trees")).await.unwrap();
    memory.put(&own(), item("b", "bread comes from an oven")).await.unwrap();
    assert!(memory.forget(&own(), "a").await.unwrap(), "there was one");
    assert_eq!(memory.get(&own(), "a").await.unwrap(), None, "it is forgotten");
    let hits = memory.search(&own(), "apples grow on trees", 9).await.unwrap();
    assert!(!keys(&hits).contains(&"a"), "a search finds what is forgotten");
    assert!(memory.get(&own(), "b").await.unwrap().is_some(), "the other one stays");
    memory.put(&own(), item("a", "again")).await.unwrap();
    assert_eq!(memory.get(&own(), "a").await.unwrap(), Some(item("a", "again")));
}

/// Clause 1, under concurrency.
pub async fn c1_concurrent_puts_are_all_kept<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    let puts = (0..WRITERS).map(|n| {
        let memory = Arc::clone(&memory);
        tokio::spawn(async move {
            memory.put(&own(), item(&format!("own-{n}"), "its own")).await.unwrap();
            memory.put(&own(), item("shared", &format!("writer {n}"))).await.unwrap();
        })
    });
    for put in futures::future::join_all(puts).await {
        put.unwrap();
    }
    for n in 0..WRITERS {
        let read = memory.get(&own(), &format!("own-{n}")).await.unwrap();
        assert!(read.is_some(), "the item of writer {n} is lost");
    }
    let shared = memory.get(&own(), "shared").await.unwrap().unwrap();
    assert!(shared.text.starts_with("writer "), "{shared:?}");
}

/// Clause 1, for stores whose data outlive the handle. Others pass.
pub async fn c1_what_was_acknowledged_is_there_after_reopening<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    memory.put(&own(), item("a", "kept")).await.unwrap();
    memory.put(&own(), item("b", "forgotten")).await.unwrap();
    memory.forget(&own(), "b").await.unwrap();
    let Some(again) = harness.reopen().await else { return };
    assert_eq!(again.get(&own(), "a").await.unwrap(), Some(item("a", "kept")), "it is lost");
    assert_eq!(again.get(&own(), "b").await.unwrap(), None, "it came back");
    again.put(&own(), item("a", "changed")).await.unwrap();
    assert_eq!(memory.get(&own(), "a").await.unwrap(), Some(item("a", "changed")));
}

/// Clause 2.
pub async fn c2_scopes_do_not_mix<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    let text = "the same words everywhere";
    let scopes = [
        own(),
        scope(2, "agent"),
        scope(1, "agent2"),
        scope(1, "Agent"),
        scope(1, "agent/a"),
        scope(1, "agen_"),
        scope(1, "%"),
        scope(1, ""),
    ];
    let metadata = |n: usize| [("scope".to_owned(), json!(n))].into();
    for (n, scope) in scopes.iter().enumerate() {
        let untouched = memory.get(scope, "a").await.unwrap();
        assert_eq!(untouched, None, "{scope:?} sees an item of another scope");
        let one = MemoryItem { metadata: metadata(n), ..item("a", text) };
        memory.put(scope, one).await.unwrap();
    }
    for (n, scope) in scopes.iter().enumerate() {
        let read = memory.get(scope, "a").await.unwrap().unwrap();
        assert_eq!(read.metadata, metadata(n), "{scope:?} has an item of another scope");
        let hits = memory.search(scope, text, 99).await.unwrap();
        assert_eq!(hits.len(), 1, "a search in {scope:?} finds items of other scopes");
        assert_eq!(hits[0].item.metadata, metadata(n), "a search leaves {scope:?}");
    }
    assert!(memory.forget(&own(), "a").await.unwrap());
    for scope in &scopes[1..] {
        let read = memory.get(scope, "a").await.unwrap();
        assert!(read.is_some(), "forgetting in one scope took the item of {scope:?}");
    }
}

/// Texts that share some words.
const TEXTS: [(&str, &str); 5] = [
    ("apple", "apples grow on trees in the garden"),
    ("bread", "bread comes from an oven in the kitchen"),
    ("cat", "the cat sleeps in the garden"),
    ("dog", "the dog sleeps in the kitchen"),
    ("egg", "eggs come from hens"),
];

async fn fill(memory: &dyn MemoryStore) {
    for (key, text) in TEXTS {
        memory.put(&own(), item(key, text)).await.unwrap();
    }
}

/// Clause 3: what is found.
pub async fn c3_a_search_finds_the_text_that_it_is_given<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    fill(&*memory).await;
    for (key, text) in TEXTS {
        let hits = memory.search(&own(), text, TEXTS.len()).await.unwrap();
        let hit = hits.iter().find(|hit| hit.item.key == key);
        let hit = hit.unwrap_or_else(|| panic!("`{text}` is not found by its own words"));
        assert_eq!(hit.item, item(key, text), "a hit is the whole item");
        assert!(hit.score >= hits[0].score, "`{text}` is not among the best for its own words");
    }
}

/// Clause 3: the order and the bound.
pub async fn c3_hits_come_best_first_and_within_the_limit<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    fill(&*memory).await;
    for limit in [0, 1, 2, 99] {
        let hits = memory.search(&own(), "the cat sleeps in the garden", limit).await.unwrap();
        assert!(hits.len() <= limit, "{} hits, but at most {limit} were asked for", hits.len());
        assert_eq!(hits.is_empty(), limit == 0, "nothing is found with the limit {limit}");
        let falls = hits.windows(2).all(|pair| pair[0].score >= pair[1].score);
        assert!(falls, "the best come first: {hits:?}");
        let fits = hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score));
        assert!(fits, "a score is within 0..=1: {hits:?}");
        let once: BTreeSet<_> = keys(&hits).into_iter().collect();
        assert_eq!(once.len(), hits.len(), "an item is found once: {hits:?}");
        if let Some(best) = hits.first() {
            let fit = hits.iter().take_while(|hit| hit.score >= best.score);
            let among = limit == 1 || fit.into_iter().any(|hit| hit.item.key == "cat");
            assert!(among, "the item with every word is not among the best: {hits:?}");
        }
    }
}

/// Clause 3: the same question has the same answer.
pub async fn c3_a_search_answers_the_same_twice<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    // All fit equally well, so that the order is the store's own.
    for n in 0..20 {
        memory.put(&own(), item(&format!("k{n}"), "the same words everywhere")).await.unwrap();
    }
    let first = memory.search(&own(), "the same words everywhere", 7).await.unwrap();
    assert_eq!(first.len(), 7);
    for _ in 0..5 {
        let again = memory.search(&own(), "the same words everywhere", 7).await.unwrap();
        assert_eq!(keys(&again), keys(&first), "the same question has another answer");
    }
}

/// Clause 3: queries come from models.
pub async fn c3_no_query_is_an_error<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    fill(&*memory).await;
    let long = "garden ".repeat(2_000);
    for query in [
        "",
        " ",
        "%",
        "_",
        "*",
        "\"",
        "'",
        "(",
        "garden AND",
        "NOT",
        "NEAR(a b)",
        "a:b",
        "-cat",
        "^",
        "'; DROP TABLE memory; --",
        "\\",
        "\u{0}",
        "🐢",
        "[",
        "{",
        "col:\"x",
        &long,
    ] {
        let shown: String = query.chars().take(30).collect();
        let hits = memory.search(&own(), query, 3).await;
        let hits = hits.unwrap_or_else(|error| panic!("the query `{shown}` is an error: {error}"));
        assert!(hits.len() <= 3, "the query `{shown}` finds more than asked for");
    }
    let read = memory.get(&own(), "cat").await.unwrap();
    assert!(read.is_some(), "a query changed the memory");
}

/// Clause 4.
pub async fn c4_forgetting_nothing_is_no_error<H: MemoryHarness>() {
    let (harness, _) = open::<H>().await;
    let memory = harness.memory();
    let nothing = memory.forget(&own(), "a").await;
    assert!(!nothing.expect("forgetting nothing is no error"), "there was nothing");
    memory.put(&own(), item("a", "apples")).await.unwrap();
    assert!(memory.forget(&own(), "a").await.unwrap(), "there was one");
    let twice = memory.forget(&own(), "a").await;
    assert!(!twice.expect("forgetting twice is no error"), "it was there once");
}

/// Clause 5, and 1 and 3 for what expired.
pub async fn c5_an_item_is_there_until_its_moment<H: MemoryHarness>() {
    let (harness, clock) = open::<H>().await;
    let memory = harness.memory();
    let moment = later(clock.now(), HOUR);
    let mortal = MemoryItem { expires_at: Some(moment), ..item("a", "apples grow on trees") };
    memory.put(&own(), mortal.clone()).await.unwrap();
    memory.put(&own(), item("b", "apples fall from trees")).await.unwrap();
    clock.advance(HOUR - Duration::from_millis(1));
    let before = memory.get(&own(), "a").await.unwrap();
    assert_eq!(before, Some(mortal), "it expired before its moment");
    let hits = memory.search(&own(), "apples grow on trees", 9).await.unwrap();
    assert!(keys(&hits).contains(&"a"), "it is not found before its moment");
    clock.advance(Duration::from_millis(1));
    let after = memory.get(&own(), "a").await.unwrap();
    assert_eq!(after, None, "it is read after its moment");
    let hits = memory.search(&own(), "apples grow on trees", 9).await.unwrap();
    assert!(!keys(&hits).contains(&"a"), "it is found after its moment");
    let forgotten = memory.forget(&own(), "a").await.unwrap();
    assert!(!forgotten, "what expired is not there to be forgotten");
    assert!(memory.get(&own(), "b").await.unwrap().is_some(), "the other one never expires");
}

/// Clause 5, for an item that is written again.
pub async fn c5_a_put_replaces_the_expiry<H: MemoryHarness>() {
    let (harness, clock) = open::<H>().await;
    let memory = harness.memory();
    let until = |by| Some(later(clock.now(), by));
    let mortal = |key: &str, by| MemoryItem { expires_at: until(by), ..item(key, "words") };
    let [longer, endless, reborn] = ["longer", "endless", "reborn"].map(|key| mortal(key, HOUR));
    for one in [longer, endless, reborn] {
        memory.put(&own(), one).await.unwrap();
    }
    memory.put(&own(), mortal("longer", HOUR * 3)).await.unwrap();
    memory.put(&own(), item("endless", "words")).await.unwrap();
    clock.advance(HOUR * 2);
    for key in ["longer", "endless"] {
        let read = memory.get(&own(), key).await.unwrap();
        assert!(read.is_some(), "`{key}` went with an expiry that was replaced");
    }
    assert_eq!(memory.get(&own(), "reborn").await.unwrap(), None);
    memory.put(&own(), item("reborn", "words")).await.unwrap();
    assert!(memory.get(&own(), "reborn").await.unwrap().is_some(), "an expired key may be written");
}
