//! Ids that are the same on every run of a test.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::id::IdSource;

/// An [`IdSource`] that counts: valid UUIDv7 (RFC 9562, section 5.7), strictly rising.
///
/// ```
/// use agent_runner_core::{id::IdSource, testing::SequentialIds};
///
/// let ids = SequentialIds::new();
/// assert_eq!(ids.next().to_string(), "00000000-0000-7000-8000-000000000001");
/// assert_eq!(ids.next().to_string(), "00000000-0000-7000-8000-000000000002");
/// ```
#[derive(Debug, Default)]
pub struct SequentialIds {
    before: AtomicU64,
}

impl SequentialIds {
    /// Ids from 1 on.
    #[must_use]
    pub const fn new() -> Self {
        Self { before: AtomicU64::new(0) }
    }
}

impl IdSource for SequentialIds {
    fn next(&self) -> Uuid {
        /// 48 bits of the count go where the random tail of a UUIDv7 is; the 48 above them go
        /// into the milliseconds, so that the order of ids is the order of the count.
        const TAIL_BITS: u32 = 48;
        let count = u128::from(self.before.fetch_add(1, Ordering::Relaxed)) + 1;
        let tail = count & ((1 << TAIL_BITS) - 1);
        let milliseconds = count >> TAIL_BITS;
        Uuid::from_u128(milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_strictly_rising_also_across_the_tail() {
        let near_the_edge = SequentialIds { before: AtomicU64::new((1 << 48) - 3) };
        for ids in [SequentialIds::new(), near_the_edge] {
            let made: Vec<_> = (0..6).map(|_| ids.next()).collect();
            assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
            for id in made {
                assert_eq!(id.get_version(), Some(uuid::Version::SortRand));
                assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
            }
        }
    }
}
