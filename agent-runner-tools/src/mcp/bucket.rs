//! How often something may happen.

use std::time::Duration;

use tokio::time::Instant;

/// Lets through `size` at once, and after that one per `every`.
#[derive(Debug)]
pub(super) struct Bucket {
    size: u32,
    every: Duration,
    left: u32,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(size: u32, every: Duration) -> Self {
        Self { size, every, left: size, filled: Instant::now() }
    }

    /// Whether one more may pass.
    pub(super) fn pass(&mut self) -> bool {
        let passed = self.filled.elapsed();
        let drops = passed.as_nanos().checked_div(self.every.as_nanos()).unwrap_or_default();
        if drops > 0 {
            self.filled = Instant::now();
            self.left = u32::try_from(drops).unwrap_or(u32::MAX).saturating_add(self.left);
            self.left = self.left.min(self.size);
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}
