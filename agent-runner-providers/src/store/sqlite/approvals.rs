//! Rows of approvals in a group of batches.

use std::collections::HashMap;

use agent_runner_core::{
    approval::ApprovalStatus,
    id::{ApprovalId, RunId},
    store::{ApprovalRow, StoreError},
};

use super::{
    plan::broken,
    prepare::{PreparedBatch, json, micros},
};

type Requested<'a> = (ApprovalId, RunId, &'a str, u64, i64, i64);
type Decided = (ApprovalId, &'static str, u64, i64);

/// Approvals that a group asks for and decides.
#[derive(Debug, Default)]
pub(super) struct Approvals<'a> {
    /// Those of the group's runs that are known, from the database and from earlier batches.
    known: HashMap<ApprovalId, ApprovalStatus>,
    requested: Vec<Requested<'a>>,
    decided: Vec<Decided>,
}

impl<'a> Approvals<'a> {
    pub(super) fn learn(&mut self, id: ApprovalId, status: ApprovalStatus) {
        self.known.insert(id, status);
    }

    /// Contract 15.
    pub(super) fn check(&self, batch: &PreparedBatch) -> Result<(), StoreError> {
        let mut known = HashMap::new();
        for row in &batch.approvals {
            let refuse = |what: &str| broken(batch.run, &format!("approval {} {what}", row.id));
            if row.event >= batch.events.len() {
                return Err(refuse("names an event that is not in the batch"));
            }
            let before = known.get(&row.id).or_else(|| self.known.get(&row.id));
            let asked = row.status == ApprovalStatus::Pending;
            let fits = match before {
                None => asked && row.expires_at.is_some(),
                Some(ApprovalStatus::Pending) => !asked,
                Some(_) => false,
            };
            if !fits {
                return Err(refuse(&format!("cannot become {}", row.status.as_str())));
            }
            known.insert(row.id, row.status);
        }
        Ok(())
    }

    /// Takes in the rows of a batch that was checked.
    pub(super) fn add(&mut self, run: RunId, rows: &'a [ApprovalRow], first_seq: u64) {
        for row in rows {
            let seq = first_seq.saturating_add(u64::try_from(row.event).unwrap_or(u64::MAX));
            let at = micros(row.at);
            match row.expires_at {
                Some(expires_at) if row.status == ApprovalStatus::Pending => {
                    let (step, expires_at) = (row.step.as_str(), micros(expires_at));
                    self.requested.push((row.id, run, step, seq, at, expires_at));
                }
                _ => self.decided.push((row.id, row.status.as_str(), seq, at)),
            }
            self.known.insert(row.id, row.status);
        }
    }

    /// The parameters of `approvals_put.sql`; `None` when there is nothing to write.
    pub(super) fn rows(&self) -> Result<Option<[String; 2]>, sqlx::Error> {
        let any = !self.requested.is_empty() || !self.decided.is_empty();
        any.then(|| Ok([json(&self.requested)?, json(&self.decided)?])).transpose()
    }
}
