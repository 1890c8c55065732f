//! Where replies are kept: bounded, the least recently used go first.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use agent_runner_core::llm::{LlmEvent, LlmFinished};
use jiff::Timestamp;

use super::super::canonical::RequestKey;

/// A reply as it was streamed.
pub(super) struct Kept {
    /// The deltas, in order.
    pub(super) deltas: Vec<LlmEvent>,
    /// What they came to.
    pub(super) finished: LlmFinished,
}

struct Entry {
    reply: Arc<Kept>,
    bytes: usize,
    /// Its place in the order of use.
    used: u64,
    until: Timestamp,
}

/// Replies by the keys of their requests.
pub(super) struct Shelf {
    entries_max: usize,
    bytes_max: usize,
    entries: HashMap<RequestKey, Entry>,
    by_use: BTreeMap<u64, RequestKey>,
    bytes: usize,
    uses: u64,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf")
            .field("entries", &self.entries.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Shelf {
    /// An empty one.
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries_max,
            bytes_max,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            bytes: 0,
            uses: 0,
        }
    }

    /// The reply, unless its time is over.
    pub(super) fn get(&mut self, key: &RequestKey, now: Timestamp) -> Option<Arc<Kept>> {
        if self.entries.get(key)?.until <= now {
            self.remove(key);
            return None;
        }
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(entry.used, key.clone());
        Some(Arc::clone(&entry.reply))
    }

    /// Keeps a reply, in the place of others if need be. One that is larger than all the room is
    /// not kept.
    pub(super) fn put(&mut self, key: RequestKey, reply: Kept, (bytes, until): (usize, Timestamp)) {
        self.remove(&key);
        if bytes > self.bytes_max || self.entries_max == 0 {
            return;
        }
        while self.entries.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.by_use.first_key_value().map(|(_, key)| key.clone()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { reply: Arc::new(reply), bytes, used: self.uses, until });
    }

    fn remove(&mut self, key: &RequestKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// How many there are, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use agent_runner_core::{
        llm::{LlmRequest, StopReason, Usage},
        message::{Message, Role},
    };
    use proptest::prelude::*;

    use super::*;

    fn key(name: u8) -> RequestKey {
        RequestKey::of(&LlmRequest::new(name.to_string(), Vec::new()))
    }

    fn kept() -> Kept {
        let message = Message::text(Role::Assistant, "x");
        Kept {
            deltas: Vec::new(),
            finished: LlmFinished::new(message, StopReason::EndTurn, Usage::default()),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_least_recently_used_goes_first_by_number_and_by_size() {
        let mut shelf = Shelf::new(2, 100);
        shelf.put(key(1), kept(), (10, at(9)));
        shelf.put(key(2), kept(), (10, at(9)));
        assert!(shelf.get(&key(1), at(0)).is_some());
        shelf.put(key(3), kept(), (10, at(9)));
        assert!(shelf.get(&key(2), at(0)).is_none());
        assert!(shelf.get(&key(1), at(0)).is_some());
        shelf.put(key(4), kept(), (95, at(9)));
        assert_eq!(shelf.size(), (1, 95));
        shelf.put(key(5), kept(), (101, at(9)));
        assert_eq!(shelf.size(), (1, 95), "what does not fit at all throws nothing out");
    }

    #[test]
    fn a_reply_lives_as_long_as_it_was_given() {
        let mut shelf = Shelf::new(2, 100);
        shelf.put(key(1), kept(), (10, at(9)));
        assert!(shelf.get(&key(1), at(8)).is_some());
        assert!(shelf.get(&key(1), at(9)).is_none());
        assert_eq!(shelf.size(), (0, 0));
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_happens(
            steps in proptest::collection::vec((any::<bool>(), 0_u8..8, 0_usize..60, 0_i64..9), 0..60),
        ) {
            let mut shelf = Shelf::new(3, 100);
            for (put, name, bytes, second) in steps {
                if put {
                    shelf.put(key(name), kept(), (bytes, at(second)));
                } else {
                    let _ = shelf.get(&key(name), at(4));
                }
                let (entries, bytes) = shelf.size();
                prop_assert!(entries <= 3 && bytes <= 100);
                prop_assert_eq!(entries, shelf.by_use.len());
                prop_assert_eq!(bytes, shelf.entries.values().map(|entry| entry.bytes).sum::<usize>());
            }
        }
    }
}
