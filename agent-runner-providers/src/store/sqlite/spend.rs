//! Spending: reservations for calls that are about to be made, and bookings of those that were.

use std::collections::BTreeMap;

use agent_runner_core::{
    budget::Spend,
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

/// Largest amount that is kept: sums of two stay far from what an integer cannot hold.
const AMOUNT_MAX: u64 = 1 << 61;

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
            for line in &booking.lines {
                let sum = self.booked.entry(line).or_default();
                *sum = sum.plus(booking.amount);
            }
        }
    }

    pub(super) fn end(&mut self, run: RunId) {
        self.ended.push(run);
    }

    /// The parameters of `spend.sql`; `None` when there is nothing to write.
    pub(super) fn rows(&self) -> Result<Option<[String; 3]>, sqlx::Error> {
        if self.settled.is_empty() && self.ended.is_empty() {
            return Ok(None);
        }
        let booked: Vec<LineRow> =
            self.booked.iter().map(|(line, amount)| line_row(line, *amount)).collect();
        Ok(Some([json(&self.settled)?, json(&booked)?, json(&self.ended)?]))
    }
}

/// Writes what a group books.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    rows: [String; 3],
) -> Result<(), sqlx::Error> {
    let mut query = sqlx::query(include_str!("statements/spend.sql"));
    for rows in rows {
        query = query.bind(rows);
    }
    query.execute(conn).await.map(drop)
}

/// Books what no run spent.
pub(super) async fn book(
    conn: &mut SqliteConnection,
    amount: Spend,
    lines: &[SpendLine],
) -> Result<Answer, Halt> {
    let rows: Vec<LineRow> = lines.iter().map(|line| line_row(line, amount)).collect();
    write(conn, ["[]".to_owned(), json(&rows)?, "[]".to_owned()]).await?;
    Ok(Answer::Done)
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
    sqlx::query(include_str!("../statements/spent.sql"))
        .bind(query.account.as_ref().map(agent_runner_core::budget::Account::key))
        .bind(query.day.map(|day| day.0))
        .bind(without.map(|(run, _)| run.as_uuid().into_bytes().to_vec()))
        .bind(without.map(|(_, id)| id.to_owned()))
}

/// The row of `spent.sql`.
pub(super) fn spent(row: &SqliteRow) -> Result<Spent, sqlx::Error> {
    let row = Fields(row);
    let read = |column: &str| -> Result<Spend, sqlx::Error> {
        let [requests, tokens, micro_usd, unpriced, busy_ms] = row.json::<Amounts>(column)?;
        Ok(Spend { requests, tokens, micro_usd: MicroUsd(micro_usd), unpriced, busy_ms })
    };
    Ok(Spent { booked: read("booked")?, reserved: read("reserved")? })
}
