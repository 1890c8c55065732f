//! How often a host is asked.

use std::{fmt, num::NonZeroU32, time::Duration};

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

/// Hosts that are remembered before those with nothing to remember are forgotten.
const HOSTS_MAX: usize = 4_096;

/// Turns, by host: so many at once, then so many a second.
pub(super) struct Pace {
    turns: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
    wait_max: Duration,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").finish_non_exhaustive()
    }
}

impl Pace {
    /// A caller that would wait longer than `wait_max` is told to come back.
    pub(super) fn new(per_second: NonZeroU32, burst: NonZeroU32, wait_max: Duration) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self { turns: RateLimiter::keyed(quota), clock: DefaultClock::default(), wait_max }
    }

    /// Waits for a turn to ask `host`.
    pub(super) async fn turn(&self, host: &str) -> Result<(), ToolError> {
        if self.turns.len() > HOSTS_MAX {
            self.turns.retain_recent();
        }
        let mut waited = Duration::ZERO;
        loop {
            let Err(not_until) = self.turns.check_key(&host.to_owned()) else { return Ok(()) };
            let wait = not_until.wait_time_from(self.clock.now());
            waited = waited.saturating_add(wait);
            if waited > self.wait_max {
                let said = format!("{host} was asked often lately; ask again later");
                return Err(ToolError::new(ToolErrorKind::RateLimited, said).with_retry_after(wait));
            }
            tokio::time::sleep(wait).await;
        }
    }
}
