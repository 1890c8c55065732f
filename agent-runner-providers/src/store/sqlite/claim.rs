//! Claims: the due runs go to a worker, one priority after the other.

use agent_runner_core::{id::WorkerId, run::Run};
use jiff::Timestamp;
use sqlx::{
    Row as _, SqliteConnection,
    query::Query,
    sqlite::{Sqlite, SqliteArguments, SqliteRow},
};

use super::prepare::micros;
use crate::store::rows::{self, Fields};

/// Parameters of `guards.sql`, which come before those of `claim.sql`.
const BEFORE: usize = 6;

/// What a worker got so far.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub(super) runs: Vec<Run>,
    /// The last priority that was looked at.
    priority: Option<i64>,
    /// Whether none is left to look at.
    all: bool,
}

impl Claimed {
    /// Whether the worker cannot get any more.
    pub(super) fn is_done(&self, max: i64) -> bool {
        self.all || self.room(max) <= 0
    }

    fn room(&self, max: i64) -> i64 {
        max.saturating_sub(i64::try_from(self.runs.len()).unwrap_or(i64::MAX))
    }

    /// Binds the parameters of `claim.sql`.
    pub(super) fn bind<'q>(
        &self,
        query: Query<'q, Sqlite, SqliteArguments>,
        worker: WorkerId,
        max: i64,
        now: Timestamp,
    ) -> Query<'q, Sqlite, SqliteArguments> {
        query
            .bind(self.priority.unwrap_or(i64::MIN))
            .bind(micros(now))
            .bind(self.room(max).max(0))
            .bind(worker.as_uuid().into_bytes().to_vec())
    }

    /// Takes in the rows of `claim.sql`.
    pub(super) fn take(&mut self, rows: &[SqliteRow]) -> Result<(), sqlx::Error> {
        let Some((last, rows)) = rows.split_last() else { return Ok(()) };
        let last = Fields(last);
        self.all = !last.get::<Option<bool>>("more")?.unwrap_or(false);
        self.priority = last.get("priority")?;
        let taken = rows.iter().take_while(|row| row.len() == 1);
        let taken = taken.map(rows::run_id).collect::<Result<Vec<_>, _>>()?;
        for row in rows.iter().skip(taken.len()) {
            let run = rows::run(row)?;
            // One that was listed although it had this owner already is not given out twice.
            if taken.contains(&run.id) {
                self.runs.push(run);
            }
        }
        Ok(())
    }
}

/// Goes on from `claimed` until the worker has enough or nothing is left.
pub(super) async fn on(
    conn: &mut SqliteConnection,
    mut claimed: Claimed,
    worker: WorkerId,
    max: i64,
    now: Timestamp,
) -> Result<Claimed, sqlx::Error> {
    while !claimed.is_done(max) {
        let mut query = sqlx::query(include_str!("statements/claim.sql"));
        for _ in 0..BEFORE {
            query = query.bind(None::<i64>);
        }
        let rows = claimed.bind(query, worker, max, now).fetch_all(&mut *conn).await?;
        claimed.take(&rows)?;
    }
    Ok(claimed)
}
