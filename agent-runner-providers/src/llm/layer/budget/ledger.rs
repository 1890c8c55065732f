//! What is spent, and what calls under way may still spend: pure arithmetic.

use agent_runner_core::llm::MicroUsd;
use serde::{Deserialize, Serialize};

/// Most that may be spent; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetLimits {
    /// Calls.
    pub requests: Option<u64>,
    /// Tokens of prompts and replies.
    pub tokens: Option<u64>,
    /// Money.
    pub micro_usd: Option<MicroUsd>,
}

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Calls that were sent.
    pub requests: u64,
    /// Tokens of prompts and replies, as far as somebody said, else as they were estimated.
    pub tokens: u64,
    /// Money, of calls whose price is known.
    pub micro_usd: MicroUsd,
    /// Calls whose price is not known: they cost something that `micro_usd` leaves out.
    pub unpriced: u64,
}

impl Spent {
    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            micro_usd: self.micro_usd.plus(other.micro_usd),
            unpriced: self.unpriced.saturating_add(other.unpriced),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            tokens: self.tokens.saturating_sub(other.tokens),
            micro_usd: MicroUsd(self.micro_usd.0.saturating_sub(other.micro_usd.0)),
            unpriced: self.unpriced.saturating_sub(other.unpriced),
        }
    }
}

/// A limit that does not allow a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) what: &'static str,
    pub(super) limit: u64,
    pub(super) spent: u64,
    pub(super) reserved: u64,
    pub(super) wanted: u64,
}

/// The books of a budget.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    limits: BudgetLimits,
    spent: Spent,
    reserved: Spent,
}

impl Ledger {
    /// Nothing is spent.
    pub(super) fn new(limits: BudgetLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Sets aside what a call may use.
    pub(super) fn reserve(&mut self, wanted: Spent) -> Result<(), Exceeded> {
        let (spent, reserved) = (self.spent, self.reserved);
        let money = self.limits.micro_usd.map(|limit| limit.0);
        let rows = [
            ("requests", self.limits.requests, spent.requests, reserved.requests, wanted.requests),
            ("tokens", self.limits.tokens, spent.tokens, reserved.tokens, wanted.tokens),
            ("micro-USD", money, spent.micro_usd.0, reserved.micro_usd.0, wanted.micro_usd.0),
        ];
        for (what, limit, spent, reserved, wanted) in rows {
            let total = u128::from(spent) + u128::from(reserved) + u128::from(wanted);
            if let Some(limit) = limit.filter(|limit| total > u128::from(*limit)) {
                return Err(Exceeded { what, limit, spent, reserved, wanted });
            }
        }
        self.reserved = reserved.plus(wanted);
        Ok(())
    }

    /// A call that had set `reserved` aside used `used`.
    pub(super) const fn settle(&mut self, reserved: Spent, used: Spent) {
        self.reserved = self.reserved.minus(reserved);
        self.spent = self.spent.plus(used);
    }

    /// What was spent before.
    pub(super) const fn add(&mut self, spent: Spent) {
        self.spent = self.spent.plus(spent);
    }

    /// What is spent.
    pub(super) const fn spent(&self) -> Spent {
        self.spent
    }

    /// The limits.
    pub(super) const fn limits(&self) -> BudgetLimits {
        self.limits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn amount(requests: u64, tokens: u64, money: u64) -> Spent {
        Spent { requests, tokens, micro_usd: MicroUsd(money), unpriced: 0 }
    }

    #[test]
    fn a_limit_that_does_not_allow_a_call_is_named() {
        let limits =
            BudgetLimits { requests: Some(3), tokens: Some(100), micro_usd: Some(MicroUsd(50)) };
        for (wanted, what) in [
            (amount(2, 0, 0), "requests"),
            (amount(1, 61, 0), "tokens"),
            (amount(1, 0, 31), "micro-USD"),
            (amount(1, u64::MAX, 0), "tokens"),
        ] {
            let mut ledger = Ledger::new(limits);
            ledger.add(amount(1, 30, 10));
            ledger.reserve(amount(1, 10, 10)).unwrap();
            let exceeded = ledger.reserve(wanted).unwrap_err();
            assert_eq!(exceeded.what, what);
            assert!(exceeded.spent > 0 && exceeded.reserved > 0, "{exceeded:?}");
            ledger.reserve(amount(1, 60, 30)).unwrap();
        }
        Ledger::default().reserve(amount(u64::MAX, u64::MAX, u64::MAX)).unwrap();
    }

    proptest! {
        /// Calls begin and end in any order; each uses at most what it set aside.
        #[test]
        fn concurrent_calls_never_overspend(
            limits in (0_u64..20, 0_u64..500, 0_u64..500),
            steps in proptest::collection::vec((any::<bool>(), 0_u64..200, 0_u64..200, 0_u64..100), 0..80),
        ) {
            let (requests, tokens, money) = limits;
            let mut ledger = Ledger::new(BudgetLimits {
                requests: Some(requests),
                tokens: Some(tokens),
                micro_usd: Some(MicroUsd(money)),
            });
            let mut open: Vec<Spent> = Vec::new();
            for (begin, tokens_wanted, money_wanted, percent) in steps {
                if begin {
                    let wanted = amount(1, tokens_wanted, money_wanted);
                    if ledger.reserve(wanted).is_ok() {
                        open.push(wanted);
                    }
                } else if let Some(reserved) = open.pop() {
                    let part = |all: u64| all * percent / 100;
                    let used = amount(1, part(reserved.tokens), part(reserved.micro_usd.0));
                    ledger.settle(reserved, used);
                }
                let all = ledger.spent.plus(ledger.reserved);
                prop_assert!(all.requests <= requests && all.tokens <= tokens);
                prop_assert!(all.micro_usd.0 <= money);
            }
            for reserved in open {
                ledger.settle(reserved, Spent::default());
            }
            prop_assert_eq!(ledger.reserved, Spent::default());
        }
    }
}
