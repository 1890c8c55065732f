//! When a circuit breaker lets calls through: pure, told the time.

use std::time::Duration;

use agent_runner_core::{
    llm::{ErrorKind, ProviderError, SendState},
    time,
};
use jiff::Timestamp;

/// Where a circuit breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a health page shows each")]
pub enum BreakerState {
    /// Calls go through.
    Closed {
        /// Calls that failed in a row.
        failures: u32,
    },
    /// No call goes through.
    Open {
        /// Until this moment; the first call after it is the probe.
        until: Timestamp,
    },
    /// One call, the probe, is under way; no other goes through.
    HalfOpen,
}

/// What a call says about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is there.
    Alive,
    /// It is not.
    Down,
    /// Nothing.
    Nothing,
}

impl Finding {
    /// What an error says.
    pub(super) fn of(error: &ProviderError) -> Self {
        match error.kind() {
            ErrorKind::Unavailable
            | ErrorKind::Overloaded
            | ErrorKind::Network
            | ErrorKind::Timeout
            | ErrorKind::StreamTruncated => Self::Down,
            ErrorKind::Cancelled | ErrorKind::Internal | ErrorKind::MalformedResponse => {
                Self::Nothing
            }
            // A layer below refused it.
            _ if error.sent() == SendState::NotSent => Self::Nothing,
            // A refusal is an answer.
            _ => Self::Alive,
        }
    }
}

/// Whether a call goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Go,
    /// It does, and decides for all others.
    Probe,
    /// It does not, for about that long.
    Refused(Duration),
}

/// The rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circuit {
    pub(super) failures_max: u32,
    pub(super) open_for: Duration,
}

impl Circuit {
    /// A call wants to go through.
    pub(super) fn admit(&self, state: BreakerState, now: Timestamp) -> (BreakerState, Verdict) {
        match state {
            BreakerState::Closed { .. } => (state, Verdict::Go),
            BreakerState::Open { until } if until <= now => {
                (BreakerState::HalfOpen, Verdict::Probe)
            }
            BreakerState::Open { until } => (state, Verdict::Refused(time::until(now, until))),
            BreakerState::HalfOpen => (state, Verdict::Refused(self.open_for)),
        }
    }

    /// A call is over. Of calls that began before the circuit opened nothing is learned.
    pub(super) fn learn(
        &self,
        state: BreakerState,
        (probe, finding): (bool, Finding),
        now: Timestamp,
    ) -> BreakerState {
        let open = BreakerState::Open { until: time::later(now, self.open_for) };
        match (state, probe, finding) {
            (BreakerState::Closed { .. }, _, Finding::Alive)
            | (BreakerState::HalfOpen, true, Finding::Alive) => {
                BreakerState::Closed { failures: 0 }
            }
            (BreakerState::Closed { failures }, _, Finding::Down) => {
                let failures = failures.saturating_add(1);
                if failures >= self.failures_max { open } else { BreakerState::Closed { failures } }
            }
            (BreakerState::HalfOpen, true, Finding::Down) => open,
            // The next call is the probe.
            (BreakerState::HalfOpen, true, Finding::Nothing) => BreakerState::Open { until: now },
            (BreakerState::Closed { .. }, _, Finding::Nothing)
            | (BreakerState::HalfOpen, false, _)
            | (BreakerState::Open { .. }, _, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIRCUIT: Circuit = Circuit { failures_max: 2, open_for: Duration::from_secs(30) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn calls_go_through_as_the_state_says() {
        use BreakerState::{Closed, HalfOpen, Open};
        let open = Open { until: at(100) };
        for (state, now, expected) in [
            (Closed { failures: 0 }, 0, (Closed { failures: 0 }, Verdict::Go)),
            (Closed { failures: 1 }, 0, (Closed { failures: 1 }, Verdict::Go)),
            (open, 90, (open, Verdict::Refused(Duration::from_secs(10)))),
            (open, 100, (HalfOpen, Verdict::Probe)),
            (HalfOpen, 100, (HalfOpen, Verdict::Refused(CIRCUIT.open_for))),
        ] {
            assert_eq!(CIRCUIT.admit(state, at(now)), expected, "{state:?} at {now}");
        }
    }

    #[test]
    fn every_state_learns_from_every_finding() {
        use BreakerState::{Closed, HalfOpen, Open};
        use Finding::{Alive, Down, Nothing};
        let (old, new) = (Open { until: at(5) }, Open { until: at(40) });
        let none = Closed { failures: 0 };
        let one = Closed { failures: 1 };
        for (state, probe, finding, expected) in [
            (none, false, Alive, none),
            (none, false, Down, one),
            (none, false, Nothing, none),
            (one, false, Alive, none),
            (one, false, Down, new),
            (one, false, Nothing, one),
            (one, true, Alive, none),
            (one, true, Down, new),
            (one, true, Nothing, one),
            (old, false, Alive, old),
            (old, false, Down, old),
            (old, false, Nothing, old),
            (old, true, Alive, old),
            (old, true, Down, old),
            (old, true, Nothing, old),
            (HalfOpen, false, Alive, HalfOpen),
            (HalfOpen, false, Down, HalfOpen),
            (HalfOpen, false, Nothing, HalfOpen),
            (HalfOpen, true, Alive, none),
            (HalfOpen, true, Down, new),
            (HalfOpen, true, Nothing, Open { until: at(10) }),
        ] {
            let learned = CIRCUIT.learn(state, (probe, finding), at(10));
            assert_eq!(learned, expected, "{state:?} {probe} {finding:?}");
        }
    }

    #[test]
    fn every_kind_of_error_says_something_or_nothing() {
        for kind in ErrorKind::ALL {
            let sent = |sent| Finding::of(&ProviderError::new(kind, "p", "x").with_sent(sent));
            let (expected, unsent) = match kind {
                ErrorKind::Unavailable
                | ErrorKind::Overloaded
                | ErrorKind::Network
                | ErrorKind::Timeout
                | ErrorKind::StreamTruncated => (Finding::Down, Finding::Down),
                ErrorKind::Cancelled | ErrorKind::Internal | ErrorKind::MalformedResponse => {
                    (Finding::Nothing, Finding::Nothing)
                }
                _ => (Finding::Alive, Finding::Nothing),
            };
            assert_eq!(sent(SendState::Sent), expected, "{kind:?}");
            assert_eq!(sent(SendState::NotSent), unsent, "{kind:?}");
        }
    }
}
