//! Hints about commits. They may be missing by contract, but a store that never gives one makes
//! everybody wait for the next look, so the suite demands that a quiet listener gets them.

use std::time::Duration;

use futures::{StreamExt as _, future::join_all};

use super::{
    StoreHarness,
    fixture::{ALL, Fixture, TTL, by_control, by_owner},
};
use crate::{
    llm::BoxStream,
    run::RunStatus,
    store::{Batch, Change},
};

/// Longer than any store takes to tell of a commit, shorter than the limit of a case.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a hint that makes a listener look where it has to.
async fn hears(changes: &mut BoxStream<'static, Change>, wanted: Change) {
    let heard = tokio::time::timeout(PATIENCE, async {
        while let Some(change) = changes.next().await {
            if change == wanted || change == Change::Any {
                return true;
            }
        }
        false
    });
    assert_eq!(heard.await, Ok(true), "no hint of {wanted:?}");
}

/// Whoever listened before a commit hears of it.
pub async fn a_listener_hears_of_new_events<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let mut listeners = [f.store.changes(), f.store.changes()];
    f.append(Batch { events: vec![f.event(1)], ..by_control(&run) }).await;
    for listener in &mut listeners {
        hears(listener, Change::Run(run.id)).await;
    }
}

/// Whoever waits for the end of a run hears of it, and of its deletion.
pub async fn a_listener_hears_of_an_end<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut changes = f.store.changes();
    f.append(f.ending(by_owner(&run), RunStatus::Completed)).await;
    hears(&mut changes, Change::Ended(run.id)).await;
    let mut changes = f.store.changes();
    f.store.delete(run.id).await.unwrap();
    hears(&mut changes, Change::Ended(run.id)).await;
}

/// An idle worker hears of a run that it could claim.
pub async fn a_listener_hears_that_a_run_became_claimable<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut changes = f.store.changes();
    f.queued().await;
    hears(&mut changes, Change::Ready).await;
}

/// An idle worker hears of runs that a sweep took from a lost one.
pub async fn a_listener_hears_of_a_sweep<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    f.running().await;
    f.clock.advance(2 * TTL);
    let mut changes = f.store.changes();
    f.store.sweep(ALL).await.unwrap();
    hears(&mut changes, Change::Ready).await;
}

/// A listener that does not listen costs nobody anything, and is told that it missed something.
pub async fn a_listener_that_sleeps_holds_up_nobody<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let mut changes = f.store.changes();
    // Together, because a store may wait for the disk with every single commit.
    let commits = (0..3_000).map(|n| {
        let batch = Batch { events: vec![f.event(n)], ..by_control(&run) };
        f.append(batch)
    });
    join_all(commits).await;
    hears(&mut changes, Change::Run(run.id)).await;
    assert_eq!(f.read(run.id).await.last_seq, 3_001);
}
