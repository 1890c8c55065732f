//! Spending: bookings by line, reservations by run and name.

use std::collections::BTreeMap;

use super::state::State;
use crate::{
    budget::{Account, Spend},
    id::RunId,
    store::{Booking, Expect, Reserve, Reserved, SpendLine, SpendQuery, Spent, StoreError},
};

#[derive(Debug, Default)]
pub(super) struct Spending {
    booked: BTreeMap<SpendLine, Spend>,
    reserved: BTreeMap<(RunId, String), (Spend, Vec<SpendLine>)>,
}

impl Spending {
    pub(super) fn book(&mut self, amount: Spend, lines: Vec<SpendLine>) {
        for line in lines {
            let sum = self.booked.entry(line).or_default();
            *sum = sum.plus(amount);
        }
    }

    /// Books in place of the reservation of that name.
    pub(super) fn settle(&mut self, run: RunId, booking: Booking) {
        self.reserved.remove(&(run, booking.id));
        self.book(booking.amount, booking.lines);
    }

    /// Books what is still reserved for a run.
    pub(super) fn close(&mut self, run: RunId) {
        let first = (run, String::new());
        let open: Vec<_> = self
            .reserved
            .range(first..)
            .take_while(|((of, _), _)| *of == run)
            .map(|(key, _)| key.clone())
            .collect();
        for key in open {
            if let Some((amount, lines)) = self.reserved.remove(&key) {
                self.book(amount, lines);
            }
        }
    }

    /// Adds up, a reservation left out.
    pub(super) fn spent(&self, query: &SpendQuery, without: Option<&(RunId, String)>) -> Spent {
        let mut spent = Spent::default();
        for (line, amount) in &self.booked {
            if asked(query, line) {
                spent.booked = spent.booked.plus(*amount);
            }
        }
        for (key, (amount, lines)) in &self.reserved {
            if Some(key) != without && lines.iter().any(|line| asked(query, line)) {
                spent.reserved = spent.reserved.plus(*amount);
            }
        }
        spent
    }
}

fn asked(query: &SpendQuery, line: &SpendLine) -> bool {
    let account = match &query.account {
        Some(account) => *account == line.account,
        None => matches!(line.account, Account::Project(_)),
    };
    account && query.day.is_none_or(|day| day == line.day)
}

impl State {
    pub(super) fn reserve(&mut self, reserve: Reserve) -> Result<Reserved, StoreError> {
        let Reserve { run, worker, epoch, id, amount, lines, limits } = reserve;
        let expect = Expect::Owner { worker, epoch, control: None };
        super::append::guard(&self.entry(run)?.run, expect)?;
        let key = (run, id);
        for (limit, (query, budget)) in limits.iter().enumerate() {
            let spent = self.spending.spent(query, Some(&key));
            if budget.exceeded(spent.booked.plus(spent.reserved), amount).is_some() {
                return Ok(Reserved::Exceeded { limit, spent });
            }
        }
        self.spending.reserved.insert(key, (amount, lines));
        Ok(Reserved::Granted)
    }
}
