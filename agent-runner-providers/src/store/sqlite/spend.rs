//! Spending: reservations for calls that are about to be made, and bookings of those that were.

use std::collections::BTreeMap;

use agent_runner_core::{
    budget::{Account, Spend},
    id::{RunId, WorkerId},
    llm::MicroUsd,
    run::RunStatus,
    store::{Booking, Reserve, Reserved, SpendLine, SpendQuery, Spent, StoreError, StoreErrorKind},
};
use sqlx::{
    Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{op::Answer, perform::Halt, plan::no_run, prepare::json};
use crate::store::rows::Fields;

/// Largest amount that is kept, in one line and by `write/spend.sql` and `settle.sql` in a sum of lines.
const AMOUNT_MAX: u64 = 1 << 50;

/// Adds up the lines of a condition. `total` never fails: above 2^53 it is about right. A run
/// ($1) and a name ($2) choose a reservation that does not count.
macro_rules! spent {
    ($lines:literal) => {
        concat!(
            "SELECT (SELECT ",
            spent!(),
            " FROM spend WHERE ",
            $lines,
            ") AS booked, (SELECT ",
            spent!(),
            " FROM reservation WHERE ",
            $lines,
            " AND NOT (run_id = coalesce($1, x'') AND id = coalesce($2, ''))) AS reserved"
        )
    };
    () => {
        "json_array(CAST(total(requests) AS INTEGER), CAST(total(tokens) AS INTEGER), \
         CAST(total(micro_usd) AS INTEGER), CAST(total(unpriced) AS INTEGER), \
         CAST(total(busy_ms) AS INTEGER))"
    };
}

pub(super) const SPENT_ACCOUNT: &str = spent!("account = $3");
pub(super) const SPENT_ACCOUNT_DAY: &str = spent!("account = $3 AND day = $4");
pub(super) const SPENT_PROJECTS: &str = spent!("account >= 'project:' AND account < 'project;'");
pub(super) const SPENT_PROJECTS_DAY: &str =
    spent!("day = $4 AND account >= 'project:' AND account < 'project;'");

/// requests, tokens, `micro_usd`, unpriced, `busy_ms`.
type Amounts = [u64; 5];

/// account, day, and the amounts.
type LineRow = (String, i64, u64, u64, u64, u64, u64);

fn amounts(spend: Spend) -> Amounts {
    [spend.requests, spend.tokens, spend.micro_usd.0, spend.unpriced, spend.busy_ms]
        .map(|amount| amount.min(AMOUNT_MAX))
}

fn line_row(line: &SpendLine, spend: Spend) -> LineRow {
    let [requests, tokens, micro_usd, unpriced, busy_ms] = amounts(spend);
    (line.account.key(), line.day.0, requests, tokens, micro_usd, unpriced, busy_ms)
}

/// What a group of batches books.
#[derive(Debug, Default)]
pub(super) struct Bookings<'a> {
    settled: Vec<(RunId, &'a str)>,
    booked: BTreeMap<&'a SpendLine, Spend>,
    ended: Vec<RunId>,
}

impl<'a> Bookings<'a> {
    pub(super) fn add(&mut self, run: RunId, bookings: &'a [Booking]) {
        for booking in bookings {
            self.settled.push((run, &booking.id));
            self.book(booking.amount, &booking.lines);
        }
    }

    pub(super) fn book(&mut self, amount: Spend, lines: &'a [SpendLine]) {
        for line in lines {
            let sum = self.booked.entry(line).or_default();
            *sum = sum.plus(amount);
        }
    }

    pub(super) fn end(&mut self, run: RunId) {
        self.ended.push(run);
    }

    /// Whether there is nothing to book.
    pub(super) fn is_empty(&self) -> bool {
        self.booked.is_empty()
    }

    /// Whether reservations, if there are any, may have to go.
    pub(super) fn settles(&self) -> bool {
        !self.settled.is_empty() || !self.ended.is_empty()
    }

    /// The rows to book.
    pub(super) fn booked(&self) -> Result<String, sqlx::Error> {
        let booked: Vec<LineRow> =
            self.booked.iter().map(|(line, amount)| line_row(line, *amount)).collect();
        json(&booked)
    }

    /// The parameters of `settle.sql` that `statements/write` does not have.
    pub(super) fn settled(&self) -> Result<[String; 2], sqlx::Error> {
        Ok([json(&self.settled)?, json(&self.ended)?])
    }
}

/// Grants a wish to spend if every limit allows it. The writer holds the lock, so nothing else is
/// granted in between.
pub(super) async fn reserve(conn: &mut SqliteConnection, wish: &Reserve) -> Result<Answer, Halt> {
    let run = wish.run.as_uuid().into_bytes().to_vec();
    let row = sqlx::query(include_str!("statements/owner.sql"))
        .bind(run.clone())
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else { return Err(Halt::Refused(no_run(wish.run))) };
    let row = Fields(&row);
    let owner = row.maybe_uuid("owner")?.map(WorkerId::from_uuid);
    let ended = row.word("status", RunStatus::parse)?.is_terminal();
    if ended || owner != Some(wish.worker) || row.count("epoch")? != wish.epoch {
        return Err(Halt::Refused(StoreError::new(
            StoreErrorKind::Fenced,
            format!(
                "worker {} does not own run {} with epoch {} (any more): drop it",
                wish.worker, wish.run, wish.epoch
            ),
        )));
    }
    for (limit, (query, budget)) in wish.limits.iter().enumerate() {
        let row = spent_statement(query, Some((wish.run, &wish.id))).fetch_one(&mut *conn).await?;
        let spent = spent(&row)?;
        if budget.exceeded(spent.booked.plus(spent.reserved), wish.amount).is_some() {
            return Ok(Answer::Reserved(Reserved::Exceeded { limit, spent }));
        }
    }
    sqlx::query(include_str!("statements/unreserve.sql"))
        .bind(run.clone())
        .bind(&wish.id)
        .execute(&mut *conn)
        .await?;
    let rows: Vec<LineRow> = wish.lines.iter().map(|line| line_row(line, wish.amount)).collect();
    sqlx::query(include_str!("statements/reserve.sql"))
        .bind(run)
        .bind(&wish.id)
        .bind(json(&rows)?)
        .execute(conn)
        .await?;
    Ok(Answer::Reserved(Reserved::Granted))
}

/// Adds up; a reservation may be left out.
pub(super) fn spent_statement<'q>(
    query: &SpendQuery,
    without: Option<(RunId, &str)>,
) -> Query<'q, Sqlite, SqliteArguments> {
    let sql = match (&query.account, query.day) {
        (Some(_), None) => SPENT_ACCOUNT,
        (Some(_), Some(_)) => SPENT_ACCOUNT_DAY,
        (None, None) => SPENT_PROJECTS,
        (None, Some(_)) => SPENT_PROJECTS_DAY,
    };
    sqlx::query(sql)
        .bind(without.map(|(run, _)| run.as_uuid().into_bytes().to_vec()))
        .bind(without.map(|(_, id)| id.to_owned()))
        .bind(query.account.as_ref().map(Account::key))
        .bind(query.day.map(|day| day.0))
}

/// The row of such a statement.
pub(super) fn spent(row: &SqliteRow) -> Result<Spent, sqlx::Error> {
    let row = Fields(row);
    let read = |column: &str| -> Result<Spend, sqlx::Error> {
        let [requests, tokens, micro_usd, unpriced, busy_ms] = row.json::<Amounts>(column)?;
        Ok(Spend { requests, tokens, micro_usd: MicroUsd(micro_usd), unpriced, busy_ms })
    };
    Ok(Spent { booked: read("booked")?, reserved: read("reserved")? })
}
