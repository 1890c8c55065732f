//! What runs may spend, and what they did spend.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    id::{ProjectId, RunId},
    llm::{MicroUsd, Usage},
};

/// What model calls took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Model calls, failed ones that reached the service included.
    pub requests: u64,
    /// Tokens of prompts and replies, from caches or not.
    pub tokens: u64,
    /// Money, as far as prices are known.
    pub micro_usd: MicroUsd,
    /// Calls that used tokens whose price is not known.
    #[serde(default)]
    pub unpriced: u64,
    /// Milliseconds that calls took.
    #[serde(default)]
    pub busy_ms: u64,
}

impl Spend {
    /// What one call took. `cost` is `None` when nobody knows the price.
    #[must_use]
    pub fn of_call(usage: &Usage, cost: Option<MicroUsd>, busy_ms: u64) -> Self {
        let tokens = usage.total().unwrap_or(0);
        Self {
            requests: 1,
            tokens,
            micro_usd: cost.unwrap_or_default(),
            unpriced: u64::from(cost.is_none() && tokens > 0),
            busy_ms,
        }
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            micro_usd: self.micro_usd.plus(other.micro_usd),
            unpriced: self.unpriced.saturating_add(other.unpriced),
            busy_ms: self.busy_ms.saturating_add(other.busy_ms),
        }
    }

    /// Money, or `None` when nothing of it is known.
    #[must_use]
    pub fn known_cost(&self) -> Option<MicroUsd> {
        (self.unpriced == 0 || self.micro_usd.0 > 0).then_some(self.micro_usd)
    }
}

/// What happens when a budget is spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the engine has to do each")]
pub enum OnExceeded {
    /// The run ends as FAILED with the reason `budget`.
    #[default]
    Fail,
    /// The run waits until somebody resumes it, or until the next day for a day's budget.
    Park,
}

/// Most that may be spent; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Model calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Tokens of prompts and replies together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money. A call whose price nobody knows is not made under such a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_usd: Option<MicroUsd>,
    /// Time. For a run and its tree from when the run was accepted; for a project and a day the
    /// summed time of model calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What happens then.
    #[serde(default)]
    pub on_exceeded: OnExceeded,
}

/// What a budget limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BudgetResource {
    /// Model calls.
    Requests,
    /// Tokens.
    Tokens,
    /// Money.
    MicroUsd,
    /// Time.
    Seconds,
}

impl BudgetResource {
    /// The spelling used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::MicroUsd => "micro_usd",
            Self::Seconds => "seconds",
        }
    }
}

impl Budget {
    /// Whether it limits anything.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.requests.is_some()
            || self.tokens.is_some()
            || self.micro_usd.is_some()
            || self.seconds.is_some()
    }

    /// What `more` on top of `spent` would exceed, if anything, with its limit.
    #[must_use]
    pub fn exceeded(&self, spent: Spend, more: Spend) -> Option<(BudgetResource, u64)> {
        let sum = spent.plus(more);
        let over = |what, limit: Option<u64>, sum: u64| {
            limit.filter(|limit| sum > *limit).map(|limit| (what, limit))
        };
        over(BudgetResource::Requests, self.requests, sum.requests)
            .or_else(|| over(BudgetResource::Tokens, self.tokens, sum.tokens))
            .or_else(|| {
                let limit = self.micro_usd.map(|money| money.0);
                over(BudgetResource::MicroUsd, limit, sum.micro_usd.0)
            })
            // Time is exceeded when it is used up: nobody knows beforehand how long a call takes.
            .or_else(|| {
                let limit = self.seconds?;
                (spent.busy_ms >= limit.saturating_mul(1_000))
                    .then_some((BudgetResource::Seconds, limit))
            })
    }

    /// The largest share of a limit that is spent, in per mille.
    #[must_use]
    pub fn used_per_mille(&self, spent: Spend) -> u64 {
        let share = |limit: Option<u64>, spent: u64| match limit {
            None => 0,
            Some(0) => 1_000,
            Some(limit) => spent.saturating_mul(1_000) / limit,
        };
        share(self.requests, spent.requests)
            .max(share(self.tokens, spent.tokens))
            .max(share(self.micro_usd.map(|money| money.0), spent.micro_usd.0))
            .max(share(self.seconds.map(|s| s.saturating_mul(1_000)), spent.busy_ms))
    }
}

/// Whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BudgetScope {
    /// One run.
    Run,
    /// A run and all that descend from it.
    Tree,
    /// All runs of a project.
    Project,
    /// All runs of a project on one day (UTC).
    ProjectDay,
    /// All model calls on one day (UTC).
    Day,
}

impl BudgetScope {
    /// The spelling used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Tree => "tree",
            Self::Project => "project",
            Self::ProjectDay => "project_day",
            Self::Day => "day",
        }
    }
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "the run's budget",
            Self::Tree => "the budget of the run's tree",
            Self::Project => "the project's budget",
            Self::ProjectDay => "the project's budget of the day",
            Self::Day => "the budget of the day",
        })
    }
}

/// A day (UTC), as days since 1970-01-01.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Day(pub i64);

impl Day {
    const SECONDS: i64 = 86_400;

    /// The day of a moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(Self::SECONDS))
    }

    /// When the day after it begins.
    #[must_use]
    pub fn next(self) -> Timestamp {
        let second = self.0.saturating_add(1).saturating_mul(Self::SECONDS);
        Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Day {
    /// Its date, such as `2026-11-27`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_second(self.0.saturating_mul(Self::SECONDS)) {
            Ok(begin) => begin.strftime("%Y-%m-%d").fmt(f),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

/// An account on which spending is booked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Account {
    /// A run and all that descend from it, by the first of them.
    Tree(RunId),
    /// A project.
    Project(ProjectId),
    /// A provider, by its id.
    Provider(String),
}

impl Account {
    /// Its name in a store.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Tree(run) => format!("tree:{run}"),
            Self::Project(project) => format!("project:{project}"),
            Self::Provider(id) => format!("provider:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(requests: u64, tokens: u64, micro_usd: u64, busy_ms: u64) -> Spend {
        Spend { requests, tokens, micro_usd: MicroUsd(micro_usd), unpriced: 0, busy_ms }
    }

    #[test]
    fn a_budget_names_what_is_exceeded_first() {
        use BudgetResource as R;
        let budget = Budget {
            requests: Some(2),
            tokens: Some(100),
            micro_usd: Some(MicroUsd(50)),
            seconds: Some(10),
            on_exceeded: OnExceeded::Fail,
        };
        let table = [
            (spend(1, 50, 25, 0), spend(1, 50, 25, 0), None),
            (spend(2, 0, 0, 0), spend(1, 0, 0, 0), Some((R::Requests, 2))),
            (spend(1, 60, 0, 0), spend(1, 41, 0, 0), Some((R::Tokens, 100))),
            (spend(1, 0, 50, 0), spend(1, 0, 1, 0), Some((R::MicroUsd, 50))),
            (spend(0, 0, 0, 9_999), spend(1, 0, 0, 5_000), None),
            (spend(0, 0, 0, 10_000), spend(1, 0, 0, 0), Some((R::Seconds, 10))),
        ];
        for (spent, more, expected) in table {
            assert_eq!(budget.exceeded(spent, more), expected, "{spent:?} {more:?}");
        }
        let most = spend(u64::MAX, u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(Budget::default().exceeded(most, most), None);
        assert!(!Budget::default().is_limited() && budget.is_limited());
    }

    #[test]
    fn the_largest_share_counts() {
        let budget = Budget { requests: Some(10), tokens: Some(1_000), ..Budget::default() };
        assert_eq!(budget.used_per_mille(spend(1, 850, 0, 0)), 850);
        assert_eq!(Budget { tokens: Some(0), ..budget }.used_per_mille(spend(0, 0, 0, 0)), 1_000);
    }

    #[test]
    fn days_are_counted_in_utc_before_and_after_1970() {
        let day = |text: &str| Day::of(text.parse().unwrap());
        assert_eq!(day("1970-01-01T23:59:59Z"), Day(0));
        assert_eq!(day("1969-12-31T23:59:59Z"), Day(-1));
        assert_eq!(day("2026-11-27T23:00:00Z").to_string(), "2026-11-27");
        assert_eq!(Day(i64::MAX).to_string(), format!("day {}", i64::MAX));
        assert_eq!(day("2026-11-27T00:00:00Z").next().to_string(), "2026-11-28T00:00:00Z");
    }

    #[test]
    fn an_unknown_price_is_no_price_of_zero() {
        let usage = Usage { input: Some(5), output: Some(5), ..Usage::default() };
        let unknown = Spend::of_call(&usage, None, 3);
        assert_eq!((unknown.unpriced, unknown.known_cost()), (1, None));
        let free = Spend::of_call(&usage, Some(MicroUsd(0)), 3);
        assert_eq!(free.known_cost(), Some(MicroUsd(0)));
        assert_eq!(unknown.plus(free).known_cost(), None);
        assert_eq!(Spend::default().known_cost(), Some(MicroUsd(0)));
    }
}
