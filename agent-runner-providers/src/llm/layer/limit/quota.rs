//! How much a minute allows: pure arithmetic, told the time.
//!
//! The `governor` crate has no place for what this needs: a clock that is handed in, a correction
//! of what was taken once the real usage is known (also below zero), and what the service itself
//! says is left.

use std::time::Duration;

use agent_runner_core::{llm::RateWindow, time};
use jiff::Timestamp;

/// Microseconds of a minute. Levels are counted in units of 1/60,000,000, so that a rate per minute
/// is a whole number per microsecond and nothing is rounded.
const MINUTE: i128 = 60_000_000;
/// How long the service's word counts when it does not say for how long.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// A bucket that fills evenly and is full after a minute.
#[derive(Debug)]
struct Bucket {
    per_minute: u64,
    /// Below zero when calls used more than was thought.
    level: i128,
    at: Timestamp,
}

impl Bucket {
    fn full(per_minute: u64, now: Timestamp) -> Self {
        Self { per_minute, level: i128::from(per_minute) * MINUTE, at: now }
    }

    fn fill(&mut self, now: Timestamp) {
        let passed = time::until(self.at, now).as_micros();
        // What is full after a minute is not fuller after two.
        let passed = i128::try_from(passed).unwrap_or(MINUTE);
        let full = i128::from(self.per_minute) * MINUTE;
        let gained = i128::from(self.per_minute).saturating_mul(passed);
        self.level = self.level.saturating_add(gained).min(full);
        self.at = self.at.max(now);
    }

    /// How long until `amount` may be taken. What is more than a whole bucket may be taken when it
    /// is full.
    fn wait_for(&mut self, amount: u64, now: Timestamp) -> Duration {
        self.fill(now);
        let wanted = i128::from(amount.min(self.per_minute)) * MINUTE;
        let missing = wanted - self.level;
        if missing <= 0 {
            return Duration::ZERO;
        }
        let rate = i128::from(self.per_minute).max(1);
        let micros = (missing + rate - 1) / rate;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn change(&mut self, by: i128) {
        self.level = self.level.saturating_add(by.saturating_mul(MINUTE));
    }
}

/// What the service said is left.
#[derive(Debug, Clone, Copy)]
struct Told {
    remaining: u64,
    until: Timestamp,
}

/// What may be used of one thing: the stricter of an own limit and of what the service says.
#[derive(Debug)]
pub(super) struct Quota {
    bucket: Option<Bucket>,
    told: Option<Told>,
    /// Taken by calls that the service has not answered yet, so that its word leaves them out.
    open: u64,
}

impl Quota {
    /// A full quota.
    pub(super) fn new(per_minute: Option<u64>, now: Timestamp) -> Self {
        Self { bucket: per_minute.map(|limit| Bucket::full(limit, now)), told: None, open: 0 }
    }

    /// How long until `amount` may be taken.
    pub(super) fn wait_for(&mut self, amount: u64, now: Timestamp) -> Duration {
        let own = self.bucket.as_mut().map_or(Duration::ZERO, |it| it.wait_for(amount, now));
        self.told = self.told.filter(|told| told.until > now);
        let told = self.told.filter(|told| told.remaining < amount);
        own.max(told.map_or(Duration::ZERO, |told| time::until(now, told.until)))
    }

    /// Takes it.
    pub(super) fn take(&mut self, amount: u64) {
        if let Some(bucket) = &mut self.bucket {
            bucket.change(-i128::from(amount));
        }
        if let Some(told) = &mut self.told {
            told.remaining = told.remaining.saturating_sub(amount);
        }
        self.open = self.open.saturating_add(amount);
    }

    /// The service answered a call that took that much, or never will.
    pub(super) const fn answered(&mut self, amount: u64) {
        self.open = self.open.saturating_sub(amount);
    }

    /// A call that took `taken` used `used`.
    pub(super) fn correct(&mut self, taken: u64, used: u64) {
        if let Some(bucket) = &mut self.bucket {
            bucket.change(i128::from(taken) - i128::from(used));
        }
    }

    /// The service says what is left.
    pub(super) fn hear(&mut self, window: RateWindow, now: Timestamp) {
        self.told = Some(Told {
            remaining: window.remaining.saturating_sub(self.open),
            until: time::later(now, window.resets_in.unwrap_or(TOLD_FOR)),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_bucket_gives_what_flowed_in() {
        let mut quota = Quota::new(Some(60), at(0));
        assert_eq!(quota.wait_for(60, at(0)), Duration::ZERO);
        quota.take(60);
        assert_eq!(quota.wait_for(1, at(0)), seconds(1));
        assert_eq!(quota.wait_for(1, at(400_000)), Duration::from_millis(600));
        assert_eq!(quota.wait_for(1, at(1_000_000)), Duration::ZERO);
        assert_eq!(quota.wait_for(60, at(600_000_000)), Duration::ZERO, "it is full again");
        quota.take(60);
        assert_eq!(quota.wait_for(2, at(600_000_000)), seconds(2), "and not fuller than full");
        assert_eq!(quota.wait_for(2, at(0)), seconds(2), "a clock that goes back gives nothing");
    }

    #[test]
    fn more_than_a_minute_allows_goes_alone_and_is_paid_for_afterwards() {
        let mut quota = Quota::new(Some(60), at(0));
        assert_eq!(quota.wait_for(600, at(0)), Duration::ZERO);
        quota.take(600);
        assert_eq!(quota.wait_for(1, at(0)), seconds(541));
    }

    #[test]
    fn what_was_taken_is_corrected_to_what_was_used() {
        let mut quota = Quota::new(Some(60), at(0));
        quota.take(60);
        quota.correct(60, 10);
        assert_eq!(quota.wait_for(50, at(0)), Duration::ZERO);
        quota.correct(0, 80);
        assert_eq!(quota.wait_for(1, at(0)), seconds(31));
    }

    #[test]
    fn the_service_knows_better_until_its_window_begins_anew() {
        let mut quota = Quota::new(None, at(0));
        assert_eq!(quota.wait_for(u64::MAX, at(0)), Duration::ZERO);
        quota.take(10);
        let left = |remaining, resets_in| RateWindow { limit: None, remaining, resets_in };
        quota.hear(left(25, Some(seconds(9))), at(0));
        assert_eq!(quota.wait_for(15, at(0)), Duration::ZERO, "10 are under way");
        assert_eq!(quota.wait_for(16, at(0)), seconds(9));
        quota.take(15);
        assert_eq!(quota.wait_for(1, at(4_000_000)), seconds(5));
        assert_eq!(quota.wait_for(1, at(9_000_000)), Duration::ZERO);
        quota.answered(25);
        quota.hear(left(0, None), at(0));
        assert_eq!(quota.wait_for(1, at(0)), seconds(60));
    }

    proptest! {
        #[test]
        fn never_more_than_a_bucket_and_its_inflow(
            per_minute in 1_u64..1_000,
            steps in proptest::collection::vec((0_u64..2_000, 0_i64..20_000_000), 1..40),
        ) {
            let mut quota = Quota::new(Some(per_minute), at(0));
            let (mut now, mut taken) = (0, 0);
            for (amount, pause) in steps {
                now += pause;
                let amount = amount.min(per_minute);
                now += i64::try_from(quota.wait_for(amount, at(now)).as_micros()).unwrap();
                prop_assert_eq!(quota.wait_for(amount, at(now)), Duration::ZERO);
                quota.take(amount);
                taken += u128::from(amount);
                let inflow = u128::from(per_minute) * u128::try_from(now).unwrap() / 60_000_000;
                prop_assert!(taken <= u128::from(per_minute) + inflow);
            }
        }
    }
}
