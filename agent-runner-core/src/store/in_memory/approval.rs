//! Approvals.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    append::{corrupt, number},
    state::{Entry, State},
};
use crate::{
    approval::{Approval, ApprovalStatus},
    id::ApprovalId,
    store::{ApprovalQuery, ApprovalRow, StoreError, StoreErrorKind},
};

impl State {
    pub(super) fn approvals(&self, query: &ApprovalQuery) -> Vec<Approval> {
        let mut found: Vec<Approval> = self
            .entries
            .values()
            .flat_map(|entry| entry.approvals.values())
            .filter(|approval| {
                query.status.is_none_or(|status| approval.status == status)
                    && query.run_id.is_none_or(|run| approval.run_id == run)
                    && query.project_id.is_none_or(|project| approval.project_id == project)
                    && query.after.is_none_or(|after| approval.id > after)
            })
            .cloned()
            .collect();
        found.sort_by_key(|approval| approval.id);
        found.truncate(query.limit);
        found
    }

    pub(super) fn approval(&self, id: ApprovalId) -> Result<Approval, StoreError> {
        let mut approvals = self.entries.values().filter_map(|entry| entry.approvals.get(&id));
        approvals.next().cloned().ok_or_else(|| {
            StoreError::new(StoreErrorKind::NotFound, format!("there is no approval {id}"))
        })
    }
}

/// The rows as they will stand, if contract 15 allows all of them.
pub(super) fn new_approvals(
    entry: &Entry,
    rows: Vec<ApprovalRow>,
    events: usize,
) -> Result<Vec<Approval>, StoreError> {
    let mut known = entry.approvals.clone();
    let mut changed = BTreeMap::new();
    for row in rows {
        let refuse = |what: &str| corrupt(&entry.run, &format!("approval {} {what}", row.id));
        if row.event >= events {
            return Err(refuse("names an event that is not in the batch"));
        }
        let seq = number(&entry.run, row.event);
        let approval = match (known.get(&row.id), row.status, row.expires_at) {
            (None, ApprovalStatus::Pending, Some(expires_at)) => Approval {
                id: row.id,
                run_id: entry.run.id,
                project_id: entry.run.project_id,
                step: row.step,
                status: row.status,
                requested_seq: seq,
                resolved_seq: None,
                requested_at: row.at,
                expires_at,
                resolved_at: None,
            },
            (Some(known), status, _)
                if known.status == ApprovalStatus::Pending && status != ApprovalStatus::Pending =>
            {
                Approval {
                    status,
                    resolved_seq: Some(seq),
                    resolved_at: Some(row.at),
                    ..known.clone()
                }
            }
            _ => return Err(refuse(&format!("cannot become {}", row.status.as_str()))),
        };
        known.insert(row.id, approval.clone());
        changed.insert(row.id, approval);
    }
    Ok(changed.into_values().collect())
}

/// What is pending when a run ends is withdrawn.
pub(super) fn withdraw(approvals: &mut BTreeMap<ApprovalId, Approval>, at: Option<Timestamp>) {
    for approval in approvals.values_mut() {
        if approval.status == ApprovalStatus::Pending {
            approval.status = ApprovalStatus::Withdrawn;
            approval.resolved_at = at;
        }
    }
}
