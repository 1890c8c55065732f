//! A call, made on any store, and what became of it.

use std::time::Duration;

use crate::{
    event::{Event, NewEvent},
    id::{RunId, WorkerId},
    run::Run,
    store::{
        Appended, Batch, Beginning, Control, Created, EventQuery, Order, PutRecord, Ready, Record,
        RecordExpect, RunQuery, Store, StoreError, StoreErrorKind, Sweep, Worker,
    },
    testing::store_contract::fixture::ALL,
};

#[derive(Debug)]
pub(super) enum Call {
    /// Nothing but a moved clock.
    Nothing,
    Create(Box<Run>, Vec<NewEvent>, Ready),
    Append(Box<Batch>),
    Claim(WorkerId, usize),
    Beat(Worker, Duration),
    Leave(WorkerId),
    Sweep,
    Owned(WorkerId),
    Runs(RunQuery),
    Events(RunId, EventQuery),
    Blob(String),
    Delete(RunId),
    Workers,
    Put(PutRecord),
    DeleteRecord(String, RecordExpect),
    Records(Option<String>, usize),
}

#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Nothing,
    Created(Box<Created>),
    Appended(Appended),
    Runs(Vec<Run>),
    Sweep(Sweep),
    Owned(Vec<Control>),
    Events(Vec<Event>),
    Bytes(Vec<u8>),
    Workers(Vec<Worker>),
    Record(Box<Record>),
    Deleted(bool),
    Records(Vec<Record>),
}

/// The collection of every record here.
pub(super) const COLLECTION: &str = "projects";

impl Call {
    pub(super) async fn perform(&self, store: &dyn Store) -> Result<Answer, StoreErrorKind> {
        self.attempt(store).await.map_err(|error| error.kind())
    }

    /// The method and whether it did what was asked, in two words.
    #[cfg(test)]
    pub(super) async fn outcome(&self, store: &dyn Store) -> String {
        let call = format!("{self:?}");
        let method = call.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        match self.perform(store).await {
            Ok(_) => format!("{method} Ok"),
            Err(kind) => format!("{method} {kind:?}"),
        }
    }

    async fn attempt(&self, store: &dyn Store) -> Result<Answer, StoreError> {
        Ok(match self {
            Self::Nothing => Answer::Nothing,
            Self::Create(run, events, ready) => {
                let first = Beginning::new(events.clone(), *ready);
                let created = store.create(Run::clone(run), first).await?;
                Answer::Created(Box::new(created))
            }
            Self::Append(batch) => Answer::Appended(store.append(Batch::clone(batch)).await?),
            Self::Claim(worker, max) => Answer::Runs(store.claim(*worker, *max).await?),
            Self::Beat(worker, ttl) => {
                store.beat(worker, *ttl).await?;
                Answer::Nothing
            }
            Self::Leave(worker) => {
                store.leave(*worker).await?;
                Answer::Nothing
            }
            Self::Sweep => Answer::Sweep(sorted(store.sweep(ALL).await?)),
            Self::Owned(worker) => {
                let mut owned = store.owned(*worker).await?;
                owned.sort_unstable_by_key(|control| control.run);
                Answer::Owned(owned)
            }
            Self::Runs(query) => Answer::Runs(store.runs(query).await?),
            Self::Events(run, query) => Answer::Events(store.events(*run, query).await?),
            Self::Blob(sha256) => Answer::Bytes(store.blob(sha256).await?),
            Self::Delete(run) => {
                store.delete(*run).await?;
                Answer::Nothing
            }
            Self::Workers => Answer::Workers(store.workers().await?),
            Self::Put(put) => Answer::Record(Box::new(store.put_record(put.clone()).await?)),
            Self::DeleteRecord(key, expect) => {
                Answer::Deleted(store.delete_record(COLLECTION, key, *expect).await?)
            }
            Self::Records(after, limit) => {
                Answer::Records(store.records(COLLECTION, after.as_deref(), *limit).await?)
            }
        })
    }
}

/// The contract does not say in which order a sweep lists what it found.
fn sorted(mut sweep: Sweep) -> Sweep {
    for list in [&mut sweep.revoked, &mut sweep.mended, &mut sweep.cancel, &mut sweep.overdue] {
        list.sort_unstable();
    }
    sweep
}

pub(super) async fn all_runs(store: &dyn Store) -> Vec<Run> {
    let query = RunQuery { limit: ALL, order: Order::Ascending, ..RunQuery::default() };
    store.runs(&query).await.unwrap()
}
