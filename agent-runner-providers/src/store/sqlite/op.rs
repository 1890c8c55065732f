//! What the writer is asked, and what it answers.

use agent_runner_core::{
    budget::Spend,
    id::{ArtifactId, RunId, WorkerId},
    run::Run,
    store::{Appended, Change, Created, Ready, Record, RecordExpect, Reserve, Reserved, SpendLine},
};

use super::prepare::{PreparedBatch, PreparedRun};

/// One write, done whole or not at all.
#[derive(Debug)]
pub(super) enum Op {
    Append(Box<PreparedBatch>),
    Create(Box<PreparedRun>),
    Claim {
        worker: WorkerId,
        max: i64,
    },
    Beat {
        worker: WorkerId,
        host: String,
        pid: u32,
        draining: bool,
        started_at: i64,
        expires_at: i64,
    },
    Leave(WorkerId),
    /// Revokes and mends those of the runs that still need it.
    Sweep {
        lost: Vec<RunId>,
        misplaced: Vec<RunId>,
    },
    Delete(RunId),
    PutRecord {
        collection: String,
        key: String,
        value: String,
        expect: RecordExpect,
        expires_at: Option<i64>,
    },
    DeleteRecord {
        collection: String,
        key: String,
        expect: RecordExpect,
    },
    Reserve(Box<Reserve>),
    Book {
        amount: Spend,
        lines: Vec<SpendLine>,
    },
    RemoveArtifact {
        id: ArtifactId,
        at: i64,
    },
    /// Takes the lock and changes nothing.
    Probe,
}

#[derive(Debug)]
pub(super) enum Answer {
    Appended(Appended),
    Created(Box<Created>),
    Claimed(Vec<Run>),
    Swept {
        revoked: Vec<RunId>,
        mended: Vec<RunId>,
    },
    Record(Record),
    Reserved(Reserved),
    Removed(bool),
    Done,
    /// There was nothing to do.
    Nothing,
}

impl Answer {
    /// Whether something was written.
    pub(super) fn changed(&self) -> bool {
        match self {
            Self::Created(created) => !created.existing,
            Self::Claimed(runs) => !runs.is_empty(),
            Self::Removed(removed) => *removed,
            Self::Reserved(reserved) => *reserved == Reserved::Granted,
            Self::Appended(_) | Self::Swept { .. } | Self::Record(_) | Self::Done => true,
            Self::Nothing => false,
        }
    }
}

impl Op {
    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(batch) => batch.bytes(),
            Self::Create(run) => run.bytes(),
            Self::PutRecord { value, .. } => value.len(),
            Self::Claim { .. }
            | Self::Beat { .. }
            | Self::Leave(_)
            | Self::Sweep { .. }
            | Self::Delete(_)
            | Self::DeleteRecord { .. }
            | Self::Reserve(_)
            | Self::Book { .. }
            | Self::RemoveArtifact { .. }
            | Self::Probe => 0,
        }
    }

    /// What listeners are told once it is committed.
    pub(super) fn hints(&self, answer: &Answer) -> Vec<Change> {
        let listed = match self {
            Self::Append(batch) => batch.lists(),
            Self::Create(new) => {
                matches!(new.first.ready, Ready::At(_)) && !new.run.status.is_terminal()
            }
            _ => false,
        };
        let mut hints = match (self, answer) {
            (Self::Append(batch), _) => {
                let ended = batch.ends().then_some(Change::Ended(batch.run));
                batch.runs().map(Change::Run).chain(ended).collect()
            }
            (Self::Delete(run), _) => vec![Change::Run(*run), Change::Ended(*run)],
            (_, Answer::Created(created)) if created.existing => return Vec::new(),
            (_, Answer::Created(created)) => {
                let run = &created.run;
                let ended = run.status.is_terminal().then_some(Change::Ended(run.id));
                [Change::Run(run.id)].into_iter().chain(ended).collect()
            }
            (_, Answer::Claimed(runs)) => runs.iter().map(|run| Change::Run(run.id)).collect(),
            (_, Answer::Swept { revoked, mended }) => {
                let touched = revoked.iter().chain(mended);
                touched.flat_map(|run| [Change::Run(*run), Change::Ready]).collect()
            }
            _ => Vec::new(),
        };
        if listed {
            hints.push(Change::Ready);
        }
        hints
    }
}
