//! Chance, from a seed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Numbers that follow from a seed (`SplitMix64`; Steele, Lea, Flood 2014). Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Chance(Arc<AtomicU64>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))))
    }

    pub(super) fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `bound`, without it.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn index(&self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub(super) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of some times.
    pub(super) fn one_of(&self, millis: &[u64]) -> Duration {
        Duration::from_millis(millis[self.index(millis.len())])
    }

    /// Mostly short, sometimes as long as `most`.
    pub(super) fn time(&self, most: Duration) -> Duration {
        let most = most.as_millis() as u64;
        let bound = match self.below(4) {
            0 => 1,
            1 => (most / 50).max(1),
            2 => (most / 5).max(1),
            _ => most.max(1),
        };
        Duration::from_millis(self.below(bound))
    }
}
