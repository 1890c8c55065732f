//! Claims: the due runs go to a worker, one priority after the other.

use agent_runner_core::{id::WorkerId, run::Run};
use jiff::Timestamp;
use sqlx::{
    Row as _, SqliteConnection,
    query::Query,
    sqlite::{Sqlite, SqliteArguments, SqliteRow},
};

use super::{plan, prepare::micros};
use crate::store::rows::{self, Fields};

/// A claim on its way: who wants how many runs, and what there was so far.
#[derive(Debug)]
pub(super) struct Claim {
    worker: WorkerId,
    max: i64,
    pub(super) runs: Vec<Run>,
    /// The last priority that was looked at.
    priority: Option<i64>,
    /// Whether none is left to look at.
    all: bool,
}

impl Claim {
    pub(super) const fn new(worker: WorkerId, max: i64) -> Self {
        Self { worker, max, runs: Vec::new(), priority: None, all: false }
    }

    /// Whether the worker has enough or cannot get any more.
    pub(super) fn is_done(&self) -> bool {
        self.all || self.room() <= 0
    }

    fn room(&self) -> i64 {
        self.max.saturating_sub(i64::try_from(self.runs.len()).unwrap_or(i64::MAX))
    }

    /// Binds the parameters of `claim.sql`, which follow those of `guards.sql`.
    pub(super) fn bind<'q>(
        &self,
        query: Query<'q, Sqlite, SqliteArguments>,
        now: Timestamp,
    ) -> Query<'q, Sqlite, SqliteArguments> {
        query
            .bind(self.priority.unwrap_or(i64::MIN))
            .bind(micros(now))
            .bind(self.room().max(0))
            .bind(self.worker.as_uuid().into_bytes().to_vec())
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

    /// Goes on until the worker has enough or nothing is left; the runs it got.
    pub(super) async fn finish(
        mut self,
        conn: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<Vec<Run>, sqlx::Error> {
        while !self.is_done() {
            let mut query = sqlx::query(include_str!("statements/claim.sql"));
            for _ in 0..plan::WANTED {
                query = query.bind(None::<i64>);
            }
            let rows = self.bind(query, now).fetch_all(&mut *conn).await?;
            self.take(&rows)?;
        }
        Ok(self.runs)
    }
}
