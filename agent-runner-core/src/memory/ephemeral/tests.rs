use super::*;
use crate::{id::ProjectId, testing::ManualClock, testing::memory_contract::MemoryHarness, time};

#[derive(Debug)]
struct Harness(Arc<EphemeralMemory>);

#[async_trait]
impl MemoryHarness for Harness {
    async fn open(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(EphemeralMemory::with_clock(clock)))
    }

    fn memory(&self) -> Arc<dyn MemoryStore> {
        self.0.clone()
    }
}

crate::memory_contract!(Harness);

fn scope() -> MemoryScope {
    let project_id = ProjectId::from_uuid(uuid::Uuid::nil());
    MemoryScope { project_id, namespace: "n".to_owned() }
}

fn item(key: &str, text: &str) -> MemoryItem {
    MemoryItem {
        key: key.to_owned(),
        text: text.to_owned(),
        metadata: BTreeMap::new(),
        origin: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn the_more_words_fit_the_better_and_the_shorter_comes_first() {
    let memory = EphemeralMemory::new();
    for (key, text) in [
        ("long", "The quick brown fox jumps over the lazy dog"),
        ("short", "A QUICK, brown fox!"),
        ("half", "brown bread"),
        ("none", "something else"),
        ("b", "quick brown fox."),
        ("a", "quick-brown-fox."),
    ] {
        memory.put(&scope(), item(key, text)).await.unwrap();
    }
    let hits = memory.search(&scope(), "Quick fox BROWN fox", 9).await.unwrap();
    let found: Vec<_> = hits.iter().map(|hit| (&*hit.item.key, hit.score)).collect();
    let third = 1.0 / 3.0;
    assert_eq!(found, [("a", 1.0), ("b", 1.0), ("short", 1.0), ("long", 1.0), ("half", third)]);
}

#[tokio::test]
async fn a_full_memory_refuses_more_and_keeps_what_it_has() {
    let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
    // Each item: one byte of namespace, one of key, eight of text.
    let memory = EphemeralMemory::with_clock(Arc::new(clock.clone())).with_bytes_max(25);
    memory.put(&scope(), item("a", "12345678")).await.unwrap();
    let soon = time::later(clock.now(), std::time::Duration::from_secs(5));
    let short_lived = MemoryItem { expires_at: Some(soon), ..item("b", "12345678") };
    memory.put(&scope(), short_lived).await.unwrap();
    let refused = memory.put(&scope(), item("c", "12345678")).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Full);
    assert!(refused.to_string().contains("forget something"), "{refused}");
    assert_eq!(memory.get(&scope(), "c").await.unwrap(), None);
    // The same key counts once, and what expired makes room.
    memory.put(&scope(), item("a", "123456789abcd")).await.unwrap();
    clock.advance(std::time::Duration::from_secs(5));
    memory.put(&scope(), item("c", "12345678")).await.unwrap();
    assert!(memory.forget(&scope(), "a").await.unwrap());
    memory.put(&scope(), item("d", "12345678")).await.unwrap();
    assert_eq!(memory.kept().bytes, 20);
}
