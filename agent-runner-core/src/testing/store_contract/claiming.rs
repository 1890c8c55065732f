//! Contract 7: how runs come to workers.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;

use super::{
    StoreHarness,
    fixture::{ALL, Fixture, by_control, by_owner, canceling, parking, pausing, seconds},
};
use crate::{
    run::{ParkReason, Run, RunStatus},
    store::{Beginning, Ready},
};

/// A claim changes these fields and nothing else; it writes no event.
pub async fn i8_a_claim_raises_epoch_and_control_by_one<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let worker = f.worker().await;
    let claimed = f.claimed_by(worker, run.id).await;
    let want = Run { owner: Some(worker), epoch: run.epoch + 1, control: run.control + 1, ..run };
    assert_eq!(claimed, want, "the answer shows the run after the claim");
    assert_eq!(f.read(want.id).await, want);
    assert_eq!(f.events(want.id).await.len(), 1);
}

/// Priority, then moment, then id.
pub async fn the_most_urgent_runs_come_first<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let now = f.now();
    let mut want = Vec::new();
    for (priority, after) in [(5, 0), (-3, 20), (0, 10), (0, 10), (-3, 0), (i32::MAX, 0), (0, 0)] {
        let run = Run { priority, ..f.new_run() };
        let at = seconds(now, after);
        want.push((priority, at, run.id));
        f.store.create(run, Beginning::new(vec![f.event(0)], Ready::At(at))).await.unwrap();
    }
    want.sort_unstable();
    f.clock.advance(Duration::from_secs(20));
    let worker = f.worker().await;
    let want: Vec<_> = want.into_iter().map(|(_, _, id)| id).collect();
    assert_eq!(f.claim(worker).await, want);
}

/// A claim gives as many as were asked for, the most urgent of all.
pub async fn a_claim_gives_no_more_than_asked<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(f.queued().await.id);
    }
    let worker = f.worker().await;
    let ids = |runs: Vec<Run>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
    assert_eq!(ids(f.store.claim(worker, 0).await.unwrap()), []);
    assert_eq!(ids(f.store.claim(worker, 2).await.unwrap()), runs[..2]);
    assert_eq!(ids(f.store.claim(worker, 2).await.unwrap()), runs[2..4]);
    assert_eq!(ids(f.store.claim(worker, 2).await.unwrap()), runs[4..]);
    assert_eq!(ids(f.store.claim(worker, 2).await.unwrap()), []);
}

/// Even a run that is listed by mistake is not given away.
pub async fn i11_a_claim_never_gives_what_must_not_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut paused = pausing(&f.queued().await);
    paused.ready = Ready::Keep;
    f.append(paused).await;
    let mut canceled = canceling(&f.queued().await);
    canceled.ready = Ready::Keep;
    f.append(canceled).await;
    let ended = f.queued().await;
    f.append(f.ending(by_control(&ended), RunStatus::Canceled)).await;
    let future = f.new_run();
    let at = Ready::At(seconds(f.now(), 1));
    f.store.create(future, Beginning::new(vec![f.event(0)], at)).await.unwrap();
    let good = f.queued().await;
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, [good.id]);
}

/// An owner that lists its own run does not lose it.
pub async fn i11_a_claim_never_gives_an_owned_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut batch = by_owner(&run);
    batch.ready = Ready::At(f.now());
    f.append(batch).await;
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, []);
    assert_eq!(f.read(run.id).await.owner, run.owner);
}

/// Runs of the future, however urgent, do not stand in the way of others.
pub async fn s33_sleepers_do_not_hide_what_is_due<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for n in 0..50 {
        let run = Run { priority: n % 2, ..f.new_run() };
        let at = Ready::At(seconds(f.now(), 1_000));
        f.store.create(run, Beginning::new(vec![f.event(0)], at)).await.unwrap();
    }
    let due = f.create(Run { priority: 9, ..f.new_run() }).await;
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, [due.id]);
}

/// A parked run comes back at its moment, unparked by the claim.
pub async fn i11_a_parked_run_comes_at_its_moment<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    f.append(parking(&run, ParkReason::Timer, Some(seconds(f.now(), 60)))).await;
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, []);
    f.clock.advance(Duration::from_secs(60));
    let claimed = f.claimed_by(worker, run.id).await;
    assert_eq!(claimed.park, None);
    assert_eq!(claimed.status, RunStatus::Running);
}

/// A run that is parked without a moment waits until somebody wakes it.
pub async fn a_run_parked_without_a_moment_waits_to_be_woken<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    f.append(parking(&run, ParkReason::Ask, None)).await;
    let worker = f.worker().await;
    f.clock.advance(Duration::from_secs(1_000_000));
    f.store.sweep(ALL).await.unwrap();
    assert_eq!(f.claim(worker).await, []);
    let mut wake = by_control(&f.read(run.id).await);
    wake.events = vec![f.event(3)];
    wake.patch.park = Some(None);
    wake.patch.bump_control = true;
    wake.ready = Ready::At(f.now());
    f.append(wake).await;
    assert_eq!(f.claim(worker).await, [run.id]);
}

/// A pause takes a run off the list, and a resume puts it back.
pub async fn a_paused_run_comes_after_it_is_resumed<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let worker = f.worker().await;
    f.append(pausing(&run)).await;
    assert_eq!(f.claim(worker).await, []);
    let mut resume = by_control(&f.read(run.id).await);
    resume.patch.pause_requested = Some(false);
    resume.patch.bump_control = true;
    resume.ready = Ready::At(f.now());
    f.append(resume).await;
    assert_eq!(f.claim(worker).await, [run.id]);
}

/// A run that is listed anew counts from its new moment, and is given once.
pub async fn the_last_listing_counts<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    for after in [500, 10, 100] {
        let mut batch = by_control(&run);
        batch.ready = Ready::At(seconds(f.now(), after));
        f.append(batch).await;
    }
    let mut batch = by_control(&run);
    batch.events = vec![f.event(1)];
    f.append(batch).await;
    let worker = f.worker().await;
    f.clock.advance(Duration::from_secs(99));
    assert_eq!(f.claim(worker).await, []);
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(f.claim(worker).await, [run.id]);
    assert_eq!(f.claim(worker).await, []);
}

/// Eight workers race for forty runs: each run goes to one of them.
pub async fn racing_workers_never_share_a_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut runs = BTreeSet::new();
    for _ in 0..40 {
        runs.insert(f.queued().await.id);
    }
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(f.worker().await);
    }
    let claims = workers.iter().map(|worker| {
        let (store, worker) = (f.store.clone(), *worker);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim(worker, 3).await.unwrap();
                if claimed.is_empty() {
                    return (worker, mine);
                }
                mine.extend(claimed.into_iter().map(|run| run.id));
                assert!(mine.len() <= 40, "runs are given again and again");
            }
        })
    });
    let mut given = Vec::new();
    for answer in join_all(claims).await {
        let (worker, mine) = answer.unwrap();
        for id in &mine {
            let run = f.read(*id).await;
            assert_eq!((run.owner, run.epoch), (Some(worker), 1));
        }
        given.extend(mine);
    }
    assert_eq!(given.len(), 40, "no run was given twice");
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), runs, "no run was forgotten");
}

/// A claim and a cancellation of the same run race: the loser learns of the winner.
pub async fn a_claim_and_a_command_never_overwrite_each_other<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for _ in 0..10 {
        let run = f.queued().await;
        let worker = f.worker().await;
        let store = f.store.clone();
        let claim = tokio::spawn(async move { store.claim(worker, ALL).await.unwrap() });
        let ended = f.store.append(f.ending(by_control(&run), RunStatus::Canceled)).await;
        let claimed = claim.await.unwrap();
        let after = f.read(run.id).await;
        assert_eq!(claimed.is_empty(), ended.is_ok(), "exactly one of them won");
        assert_eq!(after.status.is_terminal(), ended.is_ok());
        assert_eq!(after.owner.is_some(), ended.is_err());
        if ended.is_err() {
            f.append(f.ending(by_owner(&after), RunStatus::Failed)).await;
        }
    }
}
