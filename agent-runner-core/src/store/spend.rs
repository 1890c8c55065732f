//! Spending as a store keeps it: what is booked, and what is reserved for calls in progress.

use crate::{
    budget::{Account, Budget, Day, Spend},
    id::{RunId, WorkerId},
};

/// Where something is booked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpendLine {
    /// On which account.
    pub account: Account,
    /// For which day.
    pub day: Day,
}

/// Which bookings and reservations to add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpendQuery {
    /// Of this account; of all projects when `None`.
    pub account: Option<Account>,
    /// Of this day; of all days when `None`.
    pub day: Option<Day>,
}

/// What was added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// What was spent.
    pub booked: Spend,
    /// What calls in progress may still spend.
    pub reserved: Spend,
}

/// A wish to spend. All of it is granted, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// The run that wants to spend.
    pub run: RunId,
    /// Its owner.
    pub worker: WorkerId,
    /// The owner's fence.
    pub epoch: u64,
    /// A name of the reservation, unique within the run. An earlier one of the same name is
    /// replaced.
    pub id: String,
    /// How much at most.
    pub amount: Spend,
    /// Where it counts.
    pub lines: Vec<SpendLine>,
    /// What must hold afterwards: bookings and reservations together stay within each budget.
    pub limits: Vec<(SpendQuery, Budget)>,
}

/// What became of a wish to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "granted or not")]
pub enum Reserved {
    /// It counts until it is booked, or until its run ends.
    Granted,
    /// Nothing was written.
    Exceeded {
        /// The first limit that it would exceed, as a position in [`Reserve::limits`].
        limit: usize,
        /// What was spent and reserved without it.
        spent: Spent,
    },
}

/// What a call took, in place of what was reserved for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// The reservation that it replaces; none of that name is no error.
    pub id: String,
    /// What the call took.
    pub amount: Spend,
    /// Where it counts.
    pub lines: Vec<SpendLine>,
}
