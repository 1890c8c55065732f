//! Time comes in through [`Clock`]; nothing else in core reads a clock.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;

/// Wall time and waiting.
///
/// # Contract
/// 1. `sleep(d)` completes when `now()` has moved by at least `d`.
/// 2. Dropping the future of `sleep` leaves nothing behind.
/// 3. `now()` is a whole number of microseconds, the finest that every store keeps.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment, UTC.
    fn now(&self) -> Timestamp;

    /// Waits for `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock and tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// `from + by`, at the end of time when that overflows.
#[must_use]
pub fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// `from - by`, at the beginning of time when that overflows.
#[must_use]
pub fn earlier(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// How long until `at`; zero when it has passed.
#[must_use]
pub fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}
