//! A clock that moves only when a test moves it.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::time::{Clock, later};

/// A [`Clock`] that stands still until [`ManualClock::advance`]. Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use agent_runner_core::{testing::ManualClock, time::Clock};
/// use jiff::Timestamp;
///
/// let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().as_second(), 60);
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Inner>>);

struct Inner {
    now: Timestamp,
    next_id: u64,
    sleepers: Vec<Sleeper>,
    watchers: Vec<Waker>,
}

/// A sleep that has been polled and is not over.
struct Sleeper {
    id: u64,
    until: Timestamp,
    waker: Waker,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            now: start,
            next_id: 0,
            sleepers: Vec::new(),
            watchers: Vec::new(),
        })))
    }

    /// Moves the time forward and wakes every sleep that is over by then.
    pub fn advance(&self, by: Duration) {
        let mut inner = self.lock();
        inner.now = later(inner.now, by);
        let now = inner.now;
        let due: Vec<_> = inner.sleepers.extract_if(.., |sleeper| sleeper.until <= now).collect();
        drop(inner);
        for sleeper in due {
            sleeper.waker.wake();
        }
    }

    /// How many sleeps wait for time to pass. A sleep counts from its first poll on.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// Waits until at least `count` sleeps wait for time to pass.
    ///
    /// It has no time limit of its own, because this clock cannot give one: a test wraps it in
    /// its runner's limit.
    pub async fn wait_for_sleepers(&self, count: usize) {
        poll_fn(|context| {
            let mut inner = self.lock();
            if inner.sleepers.len() >= count {
                return Poll::Ready(());
            }
            inner.watchers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let until = later(self.now(), duration);
        let mut sleep = Sleep { clock: self.clone(), until, id: None };
        Box::pin(poll_fn(move |context| sleep.poll(context.waker())))
    }
}

/// Takes its sleeper with it when it is dropped, as the contract of [`Clock`] demands.
struct Sleep {
    clock: ManualClock,
    until: Timestamp,
    id: Option<u64>,
}

impl Sleep {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let mut inner = self.clock.lock();
        if inner.now >= self.until {
            return Poll::Ready(());
        }
        if let Some(known) = inner.sleepers.iter_mut().find(|known| Some(known.id) == self.id) {
            known.waker.clone_from(waker);
            return Poll::Pending;
        }
        let id = inner.next_id;
        inner.next_id += 1;
        self.id = Some(id);
        inner.sleepers.push(Sleeper { id, until: self.until, waker: waker.clone() });
        let watchers = std::mem::take(&mut inner.watchers);
        drop(inner);
        for watcher in watchers {
            watcher.wake();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.clock.lock().sleepers.retain(|sleeper| sleeper.id != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_sleep_ends_when_the_time_has_come_and_not_before() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let sleep = tokio::spawn(clock.sleep(2 * SECOND));
        clock.wait_for_sleepers(1).await;
        clock.advance(SECOND);
        assert_eq!(clock.sleepers(), 1);
        assert!(!sleep.is_finished());
        clock.advance(SECOND);
        sleep.await.unwrap();
        assert_eq!(clock.sleepers(), 0);
    }

    #[tokio::test]
    async fn a_sleep_counts_from_the_moment_it_was_asked_for() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let sleep = clock.sleep(SECOND);
        clock.advance(SECOND);
        sleep.await;
    }

    #[tokio::test]
    async fn a_dropped_sleep_leaves_nothing_behind() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let sleep = tokio::spawn(clock.sleep(SECOND));
        clock.wait_for_sleepers(1).await;
        sleep.abort();
        assert!(sleep.await.unwrap_err().is_cancelled());
        assert_eq!(clock.sleepers(), 0);
    }

    #[tokio::test]
    async fn time_stops_at_the_end_of_time() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
    }
}
