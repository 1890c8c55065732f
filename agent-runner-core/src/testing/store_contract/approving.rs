//! Contract 15: approvals.

use jiff::Timestamp;

use super::{
    StoreHarness,
    fixture::{Fixture, by_control},
};
use crate::{
    approval::{Approval, ApprovalStatus},
    id::{ApprovalId, StepKey},
    run::{Run, RunStatus},
    store::{ApprovalQuery, ApprovalRow, Batch, StoreErrorKind},
    time::later,
};

fn asking(id: ApprovalId, at: Timestamp) -> ApprovalRow {
    ApprovalRow {
        id,
        step: StepKey::new("turn.1.tool.1"),
        status: ApprovalStatus::Pending,
        event: 0,
        at,
        expires_at: Some(later(at, std::time::Duration::from_secs(60))),
    }
}

fn decided(id: ApprovalId, status: ApprovalStatus, at: Timestamp) -> ApprovalRow {
    ApprovalRow { status, expires_at: None, ..asking(id, at) }
}

impl<H: StoreHarness> Fixture<H> {
    fn approval_id(&self) -> ApprovalId {
        ApprovalId::from_uuid(self.run_id().as_uuid())
    }

    fn approving(&self, run: &Run, approvals: Vec<ApprovalRow>) -> Batch {
        Batch { events: vec![self.event(1)], approvals, ..by_control(run) }
    }

    async fn pending(&self, run: &Run) -> ApprovalId {
        let id = self.approval_id();
        self.append(self.approving(run, vec![asking(id, self.now())])).await;
        id
    }

    async fn approvals(&self, query: ApprovalQuery) -> Vec<ApprovalId> {
        let found = self.store.approvals(&ApprovalQuery { limit: 100, ..query }).await.unwrap();
        found.into_iter().map(|approval| approval.id).collect()
    }
}

fn with(status: ApprovalStatus) -> ApprovalQuery {
    ApprovalQuery { status: Some(status), ..ApprovalQuery::default() }
}

/// What is written reads back, and decides what is listed.
pub async fn an_approval_is_listed_until_it_is_decided_and_found_ever_after<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let id = f.pending(&run).await;
    let asked = Approval {
        id,
        run_id: run.id,
        project_id: run.project_id,
        step: StepKey::new("turn.1.tool.1"),
        status: ApprovalStatus::Pending,
        requested_seq: 2,
        resolved_seq: None,
        requested_at: f.now(),
        expires_at: later(f.now(), std::time::Duration::from_secs(60)),
        resolved_at: None,
    };
    assert_eq!(f.store.approval(id).await.unwrap(), asked);
    assert_eq!(f.approvals(with(ApprovalStatus::Pending)).await, [id]);
    let at = later(f.now(), std::time::Duration::from_secs(5));
    f.append(f.approving(&run, vec![decided(id, ApprovalStatus::Approved, at)])).await;
    let now = Approval {
        status: ApprovalStatus::Approved,
        resolved_seq: Some(3),
        resolved_at: Some(at),
        ..asked
    };
    assert_eq!(f.store.approval(id).await.unwrap(), now);
    assert_eq!(f.approvals(with(ApprovalStatus::Pending)).await, []);
    assert_eq!(f.approvals(with(ApprovalStatus::Approved)).await, [id]);
    let unknown = f.store.approval(f.approval_id()).await.unwrap_err();
    assert_eq!(unknown.kind(), StoreErrorKind::NotFound);
}

/// The first word counts, and nothing of the second is written.
pub async fn an_approval_is_decided_once<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let id = f.pending(&run).await;
    f.append(f.approving(&run, vec![decided(id, ApprovalStatus::Rejected, f.now())])).await;
    let before = f.image().await;
    for status in [ApprovalStatus::Approved, ApprovalStatus::Rejected, ApprovalStatus::Pending] {
        let again = f.approving(&run, vec![decided(id, status, f.now())]);
        assert_eq!(f.refused(again).await, StoreErrorKind::Corrupt, "{status:?}");
    }
    let again = f.approving(&run, vec![asking(id, f.now())]);
    assert_eq!(f.refused(again).await, StoreErrorKind::Corrupt);
    assert_eq!(f.store.approval(id).await.unwrap().status, ApprovalStatus::Rejected);
    assert_eq!(f.image().await, before);
}

/// Decisions about what nobody asked, and numbers of events that are not there.
pub async fn an_approval_that_makes_no_sense_is_refused<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let (id, now) = (f.approval_id(), f.now());
    let beyond = ApprovalRow { event: 1, ..asking(id, now) };
    let endless = ApprovalRow { expires_at: None, ..asking(id, now) };
    for rows in [
        vec![decided(id, ApprovalStatus::Approved, now)],
        vec![beyond],
        vec![endless],
        vec![asking(id, now), asking(id, now)],
    ] {
        let kind = f.refused(f.approving(&run, rows.clone())).await;
        assert_eq!(kind, StoreErrorKind::Corrupt, "{rows:?}");
    }
    assert_eq!(f.approvals(ApprovalQuery::default()).await, []);
    let both = vec![asking(id, now), decided(id, ApprovalStatus::Expired, now)];
    f.append(f.approving(&run, both)).await;
    assert_eq!(f.approvals(with(ApprovalStatus::Expired)).await, [id]);
}

/// Every condition, pages included.
pub async fn approvals_are_listed_by_what_is_asked_for<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let one = f.queued().await;
    let elsewhere = f.other_project();
    let two = f.create(Run { project_id: elsewhere, ..f.new_run() }).await;
    let first = f.pending(&one).await;
    let second = f.pending(&two).await;
    let third = f.pending(&one).await;
    let all = ApprovalQuery::default;
    assert_eq!(f.approvals(all()).await, [first, second, third]);
    let of_run = ApprovalQuery { run_id: Some(one.id), ..all() };
    assert_eq!(f.approvals(of_run).await, [first, third]);
    let of_project = ApprovalQuery { project_id: Some(elsewhere), ..all() };
    assert_eq!(f.approvals(of_project).await, [second]);
    let rest = ApprovalQuery { after: Some(first), ..all() };
    assert_eq!(f.approvals(rest).await, [second, third]);
    let page = f.store.approvals(&ApprovalQuery { limit: 2, ..all() }).await.unwrap();
    assert_eq!(page.len(), 2);
}

/// Nobody is asked any more when a run ended.
pub async fn what_is_pending_when_a_run_ends_is_withdrawn<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (run, other) = (f.queued().await, f.queued().await);
    let (decided_before, pending) = (f.pending(&run).await, f.pending(&run).await);
    let of_other = f.pending(&other).await;
    let row = decided(decided_before, ApprovalStatus::Answered, f.now());
    f.append(f.approving(&run, vec![row])).await;
    f.append(f.ending(by_control(&run), RunStatus::Canceled)).await;
    assert_eq!(f.approvals(with(ApprovalStatus::Withdrawn)).await, [pending]);
    assert_eq!(f.approvals(with(ApprovalStatus::Answered)).await, [decided_before]);
    assert_eq!(f.approvals(with(ApprovalStatus::Pending)).await, [of_other]);
    let withdrawn = f.store.approval(pending).await.unwrap();
    assert!(withdrawn.resolved_at.is_some() && withdrawn.resolved_seq.is_none());
}

/// A deleted run leaves none.
pub async fn approvals_go_with_their_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let id = f.pending(&run).await;
    f.append(f.ending(by_control(&run), RunStatus::Canceled)).await;
    f.store.delete(run.id).await.unwrap();
    assert_eq!(f.approvals(ApprovalQuery::default()).await, []);
    assert_eq!(f.store.approval(id).await.unwrap_err().kind(), StoreErrorKind::NotFound);
}
