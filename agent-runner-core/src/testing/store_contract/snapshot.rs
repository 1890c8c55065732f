//! Contract 4 and 18: what a run's first events lead to.

use super::{
    StoreHarness,
    fixture::{Fixture, by_control, by_owner, snapshot},
};
use crate::{
    run::RunStatus,
    store::{Batch, Expect, StoreErrorKind},
};

/// A run has none at first, then the last that was written, byte by byte.
pub async fn the_last_snapshot_is_kept<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (run, other) = (f.queued().await, f.queued().await);
    assert_eq!(f.store.snapshot(run.id).await.unwrap(), None);
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every_byte.iter().copied().cycle().take(1024 * 1024 + 1).collect();
    for (seq, state) in [(1, &every_byte[..]), (3, &large), (3, b""), (2, b"an earlier one")] {
        let kept = snapshot(seq, state);
        let events = vec![f.event(seq)];
        let snapshot = Some(kept.clone());
        f.append(Batch { events, snapshot, ..by_control(&run) }).await;
        assert!(
            f.store.snapshot(run.id).await.unwrap() == Some(kept),
            "the snapshot after event {seq} is lost"
        );
        // A batch without one keeps what is there.
        f.append(by_control(&run)).await;
        assert_eq!(f.store.snapshot(run.id).await.unwrap().map(|kept| kept.seq), Some(seq));
    }
    assert_eq!(f.store.snapshot(other.id).await.unwrap(), None);
    assert_eq!(f.store.snapshot(f.run_id()).await.unwrap(), None);
}

/// Of two in one moment the later one stays.
pub async fn snapshots_of_racing_runs_do_not_mix<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (one, two) = (f.queued().await, f.queued().await);
    let write = |run: &crate::run::Run, state: &'static [u8]| {
        f.append(Batch { snapshot: Some(snapshot(1, state)), ..by_control(run) })
    };
    futures::future::join4(
        write(&one, b"one"),
        write(&two, b"two"),
        write(&one, b"one"),
        write(&two, b"two"),
    )
    .await;
    for (run, state) in [(one, b"one"), (two, b"two")] {
        assert_eq!(f.store.snapshot(run.id).await.unwrap(), Some(snapshot(1, state)));
    }
}

/// One that is ahead of its journal, or whose batch is refused, is not written.
pub async fn a_snapshot_that_makes_no_sense_is_refused<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let last = run.last_seq;
    f.append(Batch { snapshot: Some(snapshot(last, b"old")), ..by_owner(&run) }).await;
    let ahead = Batch {
        events: vec![f.event(5)],
        snapshot: Some(snapshot(last + 2, b"new")),
        ..by_owner(&run)
    };
    assert_eq!(f.refused(ahead.clone()).await, StoreErrorKind::Corrupt);
    let expect = Expect::Owner { worker: f.worker_id(), epoch: run.epoch, control: None };
    let stranger = Batch { expect, snapshot: Some(snapshot(last, b"new")), ..ahead.clone() };
    assert_eq!(f.refused(stranger).await, StoreErrorKind::Fenced);
    f.append(Batch { snapshot: Some(snapshot(last + 1, b"new")), ..ahead }).await;
    assert_eq!(f.store.snapshot(run.id).await.unwrap(), Some(snapshot(last + 1, b"new")));
}

/// It stays when its run ends and goes when its run goes.
pub async fn a_snapshot_goes_with_its_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    f.append(Batch { snapshot: Some(snapshot(1, b"s")), ..by_control(&run) }).await;
    f.append(f.ending(by_control(&run), RunStatus::Canceled)).await;
    assert_eq!(f.store.snapshot(run.id).await.unwrap(), Some(snapshot(1, b"s")));
    f.store.delete(run.id).await.unwrap();
    assert_eq!(f.store.snapshot(run.id).await.unwrap(), None);
}
