//! Contract 3: a run goes as a whole, when it has ended.

use super::{
    StoreHarness,
    fixture::{Fixture, blob, by_control, by_owner, signal, step},
};
use crate::{
    run::{Run, RunStatus},
    step::StepStatus,
    store::{Batch, Ready, StoreErrorKind},
};

/// A run that may still go on is not deleted.
pub async fn only_a_run_that_ended_is_deleted<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let running = f.running().await;
    let queued = f.queued().await;
    let before = f.image().await;
    for id in [queued.id, running.id] {
        assert_eq!(f.store.delete(id).await.unwrap_err().kind(), StoreErrorKind::Conflict);
    }
    assert_eq!(f.image().await, before);
    f.append(f.ending(by_control(&queued), RunStatus::Canceled)).await;
    f.store.delete(queued.id).await.unwrap();
    let again = f.store.delete(queued.id).await.unwrap_err();
    assert_eq!(again.kind(), StoreErrorKind::NotFound);
}

/// All that belongs to a run goes with it, and nothing else does.
pub async fn a_run_is_deleted_whole_and_alone<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let other = f.running().await;
    let before = f.image().await;
    let gone = f.queued().await;
    let batch = Batch {
        events: vec![f.event(1)],
        steps: vec![step("turn.1.model", StepStatus::Started)],
        signals: vec![signal("s")],
        ..f.ending(by_control(&gone), RunStatus::Failed)
    };
    f.append(batch).await;
    f.store.delete(gone.id).await.unwrap();

    let error = f.store.run(gone.id).await.expect_err("what is deleted is gone");
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
    assert_eq!(f.events(gone.id).await, []);
    assert_eq!(f.steps(gone.id).await, []);
    assert_eq!(f.refused(by_control(&gone)).await, StoreErrorKind::NotFound);
    assert_eq!(f.image().await, before);
    f.append(by_owner(&other)).await;
}

/// A payload goes with the last run that wrote it.
pub async fn a_payload_stays_while_a_run_has_it<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (own, shared) = (blob(b"own"), blob(b"shared"));
    let (one, two) = (f.queued().await, f.queued().await);
    for run in [&one, &two] {
        let blobs = if run.id == one.id { vec![own.clone()] } else { Vec::new() };
        let blobs = blobs.into_iter().chain([shared.clone()]).collect();
        f.append(Batch { blobs, ..by_control(run) }).await;
        f.append(f.ending(by_control(run), RunStatus::Canceled)).await;
    }
    let gone = async |sha256: &str| {
        let read = f.store.blob(sha256).await;
        read.is_err_and(|error| error.kind() == StoreErrorKind::NotFound)
    };
    f.store.delete(one.id).await.unwrap();
    assert!(gone(&own.sha256).await);
    assert_eq!(f.store.blob(&shared.sha256).await.unwrap(), shared.bytes);
    f.store.delete(two.id).await.unwrap();
    assert!(gone(&shared.sha256).await);
}

/// The idempotency key of a deleted run may be used again, and so may its id.
pub async fn a_deleted_run_leaves_its_key_and_id_free<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = Run { idempotency_key: Some("k".to_owned()), ..f.new_run() };
    let first = f.create(run.clone()).await;
    let mut batch = f.ending(by_control(&first), RunStatus::Canceled);
    batch.signals = vec![signal("s")];
    f.append(batch).await;
    f.store.delete(first.id).await.unwrap();
    let second = f.create(run).await;
    assert_eq!(second, first);
    assert_eq!(f.events(second.id).await.len(), 1);
    let batch = Batch {
        events: vec![f.event(1)],
        signals: vec![signal("s")],
        ready: Ready::Keep,
        ..by_control(&second)
    };
    assert_eq!(f.append(batch).await.first_seq, 2);
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, [second.id]);
}
