//! Contract 8, 9 and 12: leases end, and what should be listed is listed.

use std::time::Duration;

use futures::future::join_all;

use super::{
    StoreHarness,
    fixture::{ALL, Fixture, TTL, by_control, by_owner, canceling, parking, pausing, seconds},
};
use crate::{
    id::{RunId, WorkerId},
    run::{ParkReason, Run, RunStatus},
    store::{Beginning, Order, Ready, RunQuery, Sweep},
};

async fn sweep<H: StoreHarness>(f: &Fixture<H>) -> Sweep {
    let mut sweep = f.store.sweep(ALL).await.unwrap();
    for list in [&mut sweep.revoked, &mut sweep.mended, &mut sweep.cancel, &mut sweep.overdue] {
        list.sort_unstable();
    }
    sweep
}

fn revoked(runs: &[RunId]) -> Sweep {
    Sweep { revoked: runs.to_vec(), ..Sweep::default() }
}

/// A revocation changes these fields and nothing else, and the run is claimable at once.
pub async fn a_lost_worker_loses_its_runs<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    f.clock.advance(TTL + Duration::from_millis(1));
    assert_eq!(sweep(&f).await, revoked(&[run.id]), "a lost worker keeps its run");
    let want = Run {
        owner: None,
        epoch: run.epoch + 1,
        control: run.control + 1,
        recoveries: run.recoveries + 1,
        ..run
    };
    assert_eq!(f.read(want.id).await, want);
    assert_eq!(f.events(want.id).await.len(), 2, "a revocation writes no event");
    assert_eq!(sweep(&f).await, Sweep::default(), "a second sweep finds nothing");
    let worker = f.worker().await;
    let again = f.claimed_by(worker, want.id).await;
    assert_eq!((again.epoch, again.recoveries), (want.epoch + 1, 1));
}

/// Contract 12: a beat counts from the store's present.
pub async fn a_worker_that_beats_keeps_its_runs<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    for _ in 0..5 {
        f.clock.advance(TTL - Duration::from_millis(1));
        f.beat(run.owner.unwrap()).await;
        assert_eq!(sweep(&f).await, Sweep::default());
    }
    assert_eq!(f.read(run.id).await, run);
}

/// A worker that never said that it lives counts as lost.
pub async fn a_worker_that_never_beat_is_lost<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let worker = f.worker_id();
    f.claimed_by(worker, run.id).await;
    assert_eq!(sweep(&f).await, revoked(&[run.id]));
}

/// A worker that says goodbye does not have to be waited for.
pub async fn what_a_leaving_worker_has_goes_to_the_next_sweep<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    f.store.leave(run.owner.unwrap()).await.unwrap();
    assert_eq!(f.read(run.id).await, run, "leaving alone takes nothing");
    assert_eq!(sweep(&f).await, revoked(&[run.id]));
    f.store.leave(run.owner.unwrap()).await.unwrap();
    f.store.leave(f.worker_id()).await.unwrap();
}

/// Workers that live are none of the sweep's business.
pub async fn only_the_lost_worker_loses<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let lost = f.running().await;
    f.clock.advance(TTL / 2);
    let kept = f.running().await;
    f.clock.advance(TTL / 2 + Duration::from_millis(1));
    assert_eq!(sweep(&f).await, revoked(&[lost.id]));
    assert_eq!(f.read(kept.id).await, kept);
}

/// Contract 9: a run that was asked to pause is taken, but not listed.
pub async fn a_revoked_run_that_is_paused_is_not_listed<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut request = pausing(&run);
    request.ready = Ready::Keep;
    f.append(request).await;
    f.clock.advance(2 * TTL);
    assert_eq!(sweep(&f).await, revoked(&[run.id]));
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, []);
    let mut resume = by_control(&f.read(run.id).await);
    resume.patch.pause_requested = Some(false);
    resume.ready = Ready::At(f.now());
    f.append(resume).await;
    assert_eq!(f.claim(worker).await, [run.id]);
}

/// Contract 9: a run that was to be canceled is handed to the caller, who ends it.
pub async fn a_revoked_run_that_is_canceled_is_handed_over<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut request = canceling(&run);
    request.ready = Ready::Keep;
    f.append(request).await;
    assert_eq!(sweep(&f).await, Sweep::default(), "its owner will see to it");
    f.clock.advance(2 * TTL);
    let want = Sweep { cancel: vec![run.id], ..revoked(&[run.id]) };
    assert_eq!(sweep(&f).await, want);
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, []);
    assert_eq!(sweep(&f).await, Sweep { cancel: vec![run.id], ..Sweep::default() });
    f.append(f.ending(by_control(&f.read(run.id).await), RunStatus::Canceled)).await;
    assert_eq!(sweep(&f).await, Sweep::default());
}

/// A deadline that passed is reported for runs that nobody has, until they end.
pub async fn a_sweep_reports_what_is_overdue<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let deadline_at = Some(seconds(f.now(), 10));
    let owned = f.create(Run { deadline_at, ..f.new_run() }).await;
    let worker = f.worker().await;
    f.claimed_by(worker, owned.id).await;
    let waiting = f.create(Run { deadline_at, ..f.new_run() }).await;
    let later = Some(seconds(f.now(), 1_000));
    f.create(Run { deadline_at: later, ..f.new_run() }).await;
    f.queued().await;
    f.clock.advance(Duration::from_secs(9));
    f.beat(worker).await;
    assert_eq!(sweep(&f).await, Sweep::default());
    f.clock.advance(Duration::from_secs(1));
    let overdue = Sweep { overdue: vec![waiting.id], ..Sweep::default() };
    assert_eq!(sweep(&f).await, overdue);
    f.append(f.ending(by_control(&waiting), RunStatus::Failed)).await;
    assert_eq!(sweep(&f).await, Sweep::default());
}

/// Contract 8: whatever forgot to list a run costs time, not the run.
pub async fn a_claimable_run_that_is_not_listed_is_mended<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let fresh = f.new_run();
    f.store.create(fresh.clone(), Beginning::new(vec![f.event(0)], Ready::Never)).await.unwrap();
    let released = f.running().await;
    let mut batch = by_owner(&released);
    batch.patch.release = true;
    batch.ready = Ready::Never;
    f.append(batch).await;
    let parked = f.running().await;
    let mut batch = parking(&parked, ParkReason::Timer, Some(seconds(f.now(), 10)));
    batch.ready = Ready::Never;
    f.append(batch).await;
    let mut want = vec![fresh.id, released.id, parked.id];
    want.sort_unstable();
    assert_eq!(sweep(&f).await, Sweep { mended: want, ..Sweep::default() });
    assert_eq!(sweep(&f).await, Sweep::default());
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, [fresh.id, released.id]);
    f.clock.advance(Duration::from_secs(10));
    assert_eq!(f.claim(worker).await, [parked.id], "at its own moment");
}

/// Contract 8: a run that is listed and cannot be claimed is taken off the list.
pub async fn a_listed_run_that_cannot_be_claimed_is_mended<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let owned = f.running().await;
    let mut batch = by_owner(&owned);
    batch.ready = Ready::At(f.now());
    f.append(batch).await;
    let run = f.queued().await;
    let mut request = pausing(&run);
    request.ready = Ready::Keep;
    f.append(request).await;
    let mut want = vec![owned.id, run.id];
    want.sort_unstable();
    assert_eq!(sweep(&f).await, Sweep { mended: want, ..Sweep::default() });
    assert_eq!(sweep(&f).await, Sweep::default());
}

/// Parked without a moment, paused, canceled or ended: nothing to mend.
pub async fn what_waits_on_purpose_is_not_mended<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    f.append(parking(&f.running().await, ParkReason::Signal, None)).await;
    f.append(parking(&f.running().await, ParkReason::Timer, Some(seconds(f.now(), 5)))).await;
    f.append(pausing(&f.queued().await)).await;
    f.ended(RunStatus::Completed).await;
    assert_eq!(sweep(&f).await, Sweep::default());
}

/// A sweep of many takes them in portions.
pub async fn a_sweep_takes_no_more_than_asked<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let worker = f.worker().await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(f.queued().await.id);
    }
    assert_eq!(f.claim(worker).await, runs);
    f.store.leave(worker).await.unwrap();
    let mut taken = Vec::new();
    for want in [2, 2, 1, 0] {
        let sweep = f.store.sweep(2).await.unwrap();
        assert_eq!(sweep.revoked.len(), want);
        taken.extend(sweep.revoked);
    }
    taken.sort_unstable();
    assert_eq!(taken, runs);
}

/// Many sweepers at once take a run from a lost worker once.
pub async fn racing_sweepers_revoke_a_run_once<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let worker = f.worker().await;
    for _ in 0..10 {
        f.queued().await;
    }
    let runs = f.claim(worker).await;
    f.store.leave(worker).await.unwrap();
    let sweepers = (0..8).map(|_| {
        let store = f.store.clone();
        tokio::spawn(async move { store.sweep(ALL).await.unwrap().revoked })
    });
    let mut taken: Vec<_> =
        join_all(sweepers).await.into_iter().flat_map(|taken| taken.unwrap()).collect();
    taken.sort_unstable();
    assert_eq!(taken, runs);
    for id in runs {
        let run = f.read(id).await;
        assert_eq!((run.epoch, run.recoveries), (2, 1));
    }
}

/// Sweepers and claimers race for a lost run: it gets one new owner.
pub async fn s6_racing_sweepers_and_claimers_give_a_run_one_owner<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for _ in 0..5 {
        let run = f.running().await;
        f.store.leave(run.owner.unwrap()).await.unwrap();
        let mut workers = Vec::new();
        for _ in 0..4 {
            workers.push(f.worker().await);
        }
        let races = workers.iter().map(|worker| {
            let (store, worker) = (f.store.clone(), *worker);
            tokio::spawn(async move {
                store.sweep(ALL).await.unwrap();
                store.claim(worker, ALL).await.unwrap()
            })
        });
        let won: Vec<_> =
            join_all(races).await.into_iter().flat_map(|claimed| claimed.unwrap()).collect();
        assert_eq!(won.len(), 1);
        let after = f.read(run.id).await;
        assert_eq!(after, won[0]);
        assert_eq!(after.epoch, run.epoch + 2, "one revocation and one claim");
        f.append(f.ending(by_owner(&after), RunStatus::Failed)).await;
    }
}

/// Contract 8, with an oracle: after every operation of a long walk the sweep mends nothing, and
/// in the end what can be claimed is exactly what the rows say.
pub async fn i12_ready_is_exactly_what_can_be_claimed<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let worker = f.worker().await;
    let mut owned = Vec::new();
    for n in 0..100 {
        walk(&f, n, worker, &mut owned).await;
        f.beat(worker).await;
        assert_eq!(sweep(&f).await.mended, [], "after operation {n}");
    }
    let all = RunQuery { limit: ALL, order: Order::Ascending, ..RunQuery::default() };
    let mut runs = f.store.runs(&all).await.unwrap();
    runs.retain(claimable);
    let want: Vec<_> = runs.into_iter().map(|run| run.id).collect();
    assert!(want.len() > 10, "the walk leaves something to claim");
    f.clock.advance(Duration::from_secs(1_000));
    let mut claimed = f.claim(worker).await;
    claimed.sort_unstable();
    assert_eq!(claimed, want);
}

fn claimable(run: &Run) -> bool {
    !run.status.is_terminal()
        && run.owner.is_none()
        && !run.pause_requested
        && !run.cancel_requested
        && run.park.as_ref().is_none_or(|park| park.wake_at.is_some())
}

async fn walk<H: StoreHarness>(f: &Fixture<H>, n: u64, worker: WorkerId, owned: &mut Vec<Run>) {
    match n % 10 {
        0..=2 => drop(f.queued().await),
        3 => drop(f.append(pausing(&f.queued().await)).await),
        4 => drop(f.append(canceling(&f.queued().await)).await),
        5 => owned.extend(f.store.claim(worker, 2).await.unwrap()),
        6 => {
            if let Some(run) = owned.pop() {
                let wake_at = (n % 20 == 6).then(|| seconds(f.now(), n));
                f.append(parking(&run, ParkReason::Timer, wake_at)).await;
            }
        }
        7 => {
            if let Some(run) = owned.pop() {
                f.append(f.ending(by_owner(&run), RunStatus::Completed)).await;
            }
        }
        8 => {
            let gone = f.worker().await;
            f.store.claim(gone, 1).await.unwrap();
            f.store.leave(gone).await.unwrap();
        }
        _ => f.clock.advance(Duration::from_secs(1)),
    }
}
