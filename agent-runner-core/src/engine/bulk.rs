//! Commands for many runs at once: each is one command per run, and a bounded number of them.

use futures::{Stream, StreamExt as _, stream};

use super::{
    Engine, EngineError, EngineErrorKind, FieldError, NewFork, NewRun, journal::sha256_hex,
};
use crate::{
    id::RunId,
    limits,
    run::{Run, RunStatus},
    store::{Created, Order, RunQuery},
};

/// Which runs a command is for.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "callers make them")]
pub struct ManyRuns {
    /// Those that fit, newest first whatever its `order`: at most `limit` of them, those before
    /// `after` only.
    pub query: RunQuery,
    /// Every run is meant; without it the query must have a condition.
    pub all: bool,
    /// Only says which runs they are.
    pub dry_run: bool,
}

/// What became of a command for many runs.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers take them apart")]
pub struct ManyDone {
    /// The runs that fit, in the order in which they were looked at.
    pub matched: Vec<RunId>,
    /// For each run that took the command, the run afterwards: itself, or the one that was started
    /// anew from it.
    pub accepted: Vec<(RunId, Run)>,
    /// The runs that did not, and why.
    pub failed: Vec<(RunId, EngineError)>,
    /// Give it as `after` for the runs that are left; `None` when there are none.
    pub next: Option<RunId>,
}

impl Engine {
    /// Accepts several runs, each by itself: what became of each, in order. With a key the same
    /// runs come again when this is repeated.
    ///
    /// # Errors
    /// `Validation` for more than [`limits::BATCH_MAX`]; what is no fault of the caller, such
    /// as `StoreUnavailable`. Runs may have been accepted then: with a key, repeat it.
    pub async fn create_runs(
        &self,
        new: Vec<NewRun>,
        key: Option<&str>,
    ) -> Result<Vec<Result<Created, EngineError>>, EngineError> {
        if new.len() > limits::BATCH_MAX {
            return Err(wrong("", format!("more than {} runs", limits::BATCH_MAX)));
        }
        let keyed = new.into_iter().enumerate().map(|(n, mut new)| {
            new.idempotency_key = key.map(|key| part_key(key, &n.to_string()));
            new
        });
        let mut done = Vec::new();
        let mut created = at_once(keyed.map(|new| self.create_run(new)));
        while let Some(one) = created.next().await {
            done.push(own_fault(one)?);
        }
        Ok(done)
    }

    /// Asks the runs that fit and have not ended to end.
    ///
    /// # Errors
    /// `Validation` for a query without a condition or that is for runs that ended; what is no fault
    /// of the caller, such as `StoreUnavailable`: repeat it then.
    pub async fn cancel_many(
        &self,
        mut many: ManyRuns,
        reason: Option<String>,
    ) -> Result<ManyDone, EngineError> {
        check(&many)?;
        let wanted = &mut many.query.statuses;
        if wanted.is_empty() {
            *wanted = vec![RunStatus::Queued, RunStatus::Running];
        } else if wanted.iter().any(|status| status.is_terminal()) {
            let detail = "only runs that are QUEUED or RUNNING can be canceled".to_owned();
            return Err(wrong("/filter/status", detail));
        }
        let page = self.matching(&many.query, |_| true).await?;
        self.for_each(page, many.dry_run, |id| self.cancel(id, reason.clone())).await
    }

    /// Starts the runs that fit anew, with changes. With a key the same runs come again when this is
    /// repeated.
    ///
    /// # Errors
    /// `Validation` for a query without a condition; what is no fault of the caller, such as
    /// `StoreUnavailable`: runs may have been started then.
    pub async fn rerun_many(
        &self,
        many: ManyRuns,
        changes: NewFork,
        key: Option<&str>,
    ) -> Result<ManyDone, EngineError> {
        check(&many)?;
        let own_key = |source: RunId| key.map(|key| part_key(key, &source.to_string()));
        // What an earlier try of this request started may fit as well, and is not meant.
        let is_meant = |run: &Run| {
            let source = run.spec.forked_from.map(|from| from.run);
            run.idempotency_key.is_none() || run.idempotency_key != source.and_then(own_key)
        };
        let page = self.matching(&many.query, is_meant).await?;
        self.for_each(page, many.dry_run, |id| {
            let mut fork = NewFork { event: Some(1), ..changes.clone() };
            fork.idempotency_key = own_key(id);
            async move { Ok(self.fork(id, fork).await?.run) }
        })
        .await
    }

    /// The runs that are meant, newest first, and whether there are more.
    async fn matching(
        &self,
        query: &RunQuery,
        is_meant: impl Fn(&Run) -> bool,
    ) -> Result<(Vec<RunId>, bool), EngineError> {
        // What a command starts is newer than all that is still to come, so nothing comes twice.
        let mut query = RunQuery { order: Order::Descending, ..query.clone() };
        let limit = query.limit;
        query.limit = limit.saturating_add(1);
        let mut matched = Vec::new();
        loop {
            let page = self.runs(&query).await?;
            query.after = page.last().map(|run| run.id);
            let full = page.len() >= query.limit;
            matched.extend(page.iter().filter(|run| is_meant(run)).map(|run| run.id));
            let more = matched.len() > limit;
            if more || !full {
                matched.truncate(limit);
                return Ok((matched, more));
            }
        }
    }

    /// Gives a command to each run of a page.
    async fn for_each<F: Future<Output = Result<Run, EngineError>> + Send>(
        &self,
        (matched, more): (Vec<RunId>, bool),
        dry_run: bool,
        command: impl Fn(RunId) -> F + Send + Sync,
    ) -> Result<ManyDone, EngineError> {
        let next = matched.last().copied().filter(|_| more);
        let mut done = ManyDone { matched, accepted: Vec::new(), failed: Vec::new(), next };
        if dry_run {
            return Ok(done);
        }
        let ids = done.matched.clone();
        let mut results = at_once(ids.clone().into_iter().map(command));
        for id in ids {
            let Some(one) = results.next().await else { break };
            match own_fault(one)? {
                Ok(run) => done.accepted.push((id, run)),
                Err(error) => done.failed.push((id, error)),
            }
        }
        Ok(done)
    }
}

/// Some at a time, so that they share commits; the results in order.
fn at_once<F: Future + Send>(all: impl Iterator<Item = F> + Send) -> impl Stream<Item = F::Output>
where
    F::Output: Send,
{
    Box::pin(stream::iter(all).buffered(limits::BULK_IN_FLIGHT))
}

/// The key of one part of a request that has a key.
fn part_key(key: &str, part: &str) -> String {
    sha256_hex(&[key.as_bytes(), part.as_bytes()])
}

fn check(many: &ManyRuns) -> Result<(), EngineError> {
    let limit = many.query.limit;
    if limit == 0 || limit > limits::PAGE_MAX {
        return Err(wrong("/limit", format!("must be 1 to {}", limits::PAGE_MAX)));
    }
    if many.all == many.query.is_narrow() {
        let detail = match many.all {
            true => "says which runs although `all` says every one; leave one of them out",
            false => "say which runs, or `\"all\": true` for every one",
        };
        return Err(wrong("/filter", detail.to_owned()));
    }
    Ok(())
}

fn wrong(pointer: &str, detail: String) -> EngineError {
    EngineError::validation(vec![FieldError { pointer: pointer.to_owned(), detail }])
}

/// Errors of one run stand beside it; those of the service end the request, so that it is repeated.
fn own_fault<T>(one: Result<T, EngineError>) -> Result<Result<T, EngineError>, EngineError> {
    use EngineErrorKind as E;
    match one {
        Ok(done) => Ok(Ok(done)),
        Err(error) => match error.kind() {
            E::NotFound
            | E::Validation
            | E::InvalidTransition
            | E::Conflict
            | E::Gone
            | E::IdempotencyMismatch
            | E::TooLarge
            | E::BrokenOff => Ok(Err(error)),
            E::Busy | E::StoreUnavailable | E::StoreFull | E::Internal => Err(error),
        },
    }
}
