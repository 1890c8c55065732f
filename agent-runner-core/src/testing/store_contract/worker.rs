//! Contract 12: workers, their leases, and what they have.

use std::time::Duration;

use super::{
    StoreHarness,
    fixture::{self, ALL, Fixture, TTL, by_control, by_owner, canceling, pausing},
};
use crate::{
    run::RunStatus,
    store::{Control, Ready, Worker},
    time::later,
};

/// The store sets when a worker counts as lost, and how many runs it has.
pub async fn a_worker_is_listed_with_its_lease_and_its_runs<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    assert_eq!(f.store.workers().await.unwrap(), []);
    let (idle, busy) = (f.worker_id(), f.worker_id());
    for id in [busy, idle] {
        f.store.beat(&fixture::worker(id, f.now()), TTL).await.unwrap();
    }
    f.queued().await;
    f.queued().await;
    f.claim(busy).await;
    let listed =
        |id, runs| Worker { expires_at: later(f.now(), TTL), runs, ..fixture::worker(id, f.now()) };
    let want = [listed(idle, 0), listed(busy, 2)];
    assert_eq!(f.store.workers().await.unwrap(), want, "by id");
}

/// Every beat tells anew what the worker says of itself, and moves the end of its lease.
pub async fn a_beat_brings_a_worker_up_to_date<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let worker = fixture::worker(f.worker_id(), f.now());
    f.store.beat(&worker, TTL).await.unwrap();
    f.clock.advance(Duration::from_secs(3));
    let draining = Worker { draining: true, ..worker };
    f.store.beat(&draining, 2 * TTL).await.unwrap();
    let want = Worker { expires_at: later(f.now(), 2 * TTL), runs: 0, ..draining };
    assert_eq!(f.store.workers().await.unwrap(), [want]);
}

/// A time to live beyond the end of time is no error.
pub async fn a_lease_may_be_endless<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let worker = fixture::worker(f.worker_id(), f.now());
    f.store.beat(&worker, Duration::MAX).await.unwrap();
    f.claimed_by(worker.id, run.id).await;
    f.clock.advance(Duration::from_secs(1_000_000_000));
    assert_eq!(f.store.sweep(ALL).await.unwrap().revoked, []);
}

/// Neither a worker that left nor one whose time ran out stays in the list.
pub async fn a_worker_that_is_gone_is_forgotten<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (left, lost) = (f.worker().await, f.worker().await);
    f.store.leave(left).await.unwrap();
    f.store.leave(left).await.unwrap();
    let ids = |workers: Vec<Worker>| workers.into_iter().map(|w| w.id).collect::<Vec<_>>();
    assert_eq!(ids(f.store.workers().await.unwrap()), [lost]);
    f.clock.advance(TTL + Duration::from_millis(1));
    let alive = f.worker().await;
    f.store.sweep(ALL).await.unwrap();
    assert_eq!(ids(f.store.workers().await.unwrap()), [alive]);
    f.beat(lost).await;
    assert_eq!(ids(f.store.workers().await.unwrap()), [lost, alive]);
}

/// A worker sees at once what others ask of its runs.
pub async fn a_worker_sees_the_control_state_of_its_runs<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let worker = f.worker().await;
    for _ in 0..4 {
        f.queued().await;
    }
    let runs = f.store.claim(worker, ALL).await.unwrap();
    f.queued().await;
    let other = f.worker().await;
    f.claim(other).await;
    let mut request = pausing(&runs[0]);
    request.events = vec![f.event(1)];
    f.append(request).await;
    f.append(canceling(&runs[1])).await;
    f.append(f.ending(by_owner(&runs[2]), RunStatus::Failed)).await;
    let control = |at: usize, control, last_seq| Control {
        run: runs[at].id,
        control,
        last_seq,
        pause_requested: at == 0,
        cancel_requested: at == 1,
    };
    let mut owned = f.store.owned(worker).await.unwrap();
    owned.sort_unstable_by_key(|control| control.run);
    assert_eq!(owned, [control(0, 2, 2), control(1, 2, 1), control(3, 1, 1)]);
    assert_eq!(f.store.owned(f.worker_id()).await.unwrap(), []);
}

/// What was taken from a worker is not shown to it any more.
pub async fn a_lost_worker_sees_that_it_has_nothing<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let worker = run.owner.unwrap();
    assert_eq!(f.store.owned(worker).await.unwrap().len(), 1);
    f.clock.advance(2 * TTL);
    f.store.sweep(ALL).await.unwrap();
    assert_eq!(f.store.owned(worker).await.unwrap(), []);
    let mut batch = by_control(&f.read(run.id).await);
    batch.ready = Ready::Never;
    f.append(batch).await;
}
