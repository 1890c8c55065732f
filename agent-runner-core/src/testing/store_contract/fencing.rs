//! Contract 5: who may write.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::future::join_all;

use super::{
    StoreHarness,
    fixture::{ALL, Fixture, TTL, by_control, by_owner, canceling, event, pausing},
};
use crate::{
    run::{Run, RunStatus},
    store::{Expect, Ready, StoreErrorKind},
};

const TERMINAL: [RunStatus; 3] = [RunStatus::Completed, RunStatus::Failed, RunStatus::Canceled];

/// Neither another worker nor another epoch passes the guard.
pub async fn i9_only_the_owner_with_the_current_epoch_writes<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let stranger = f.worker().await;
    for (worker, epoch) in [
        (stranger, run.epoch),
        (run.owner.unwrap(), run.epoch - 1),
        (run.owner.unwrap(), run.epoch + 1),
    ] {
        let mut batch = by_owner(&run);
        batch.expect = Expect::Owner { worker, epoch, control: None };
        batch.events = vec![f.event(5)];
        assert_eq!(f.refused(batch).await, StoreErrorKind::Fenced, "{worker} {epoch}");
    }
    let mut batch = by_owner(&run);
    batch.events = vec![f.event(5)];
    f.append(batch).await;
}

/// A run without owner has no owner that could write.
pub async fn a_worker_that_let_go_is_fenced<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut batch = by_owner(&run);
    batch.patch.release = true;
    batch.ready = Ready::At(f.now());
    f.append(batch).await;
    assert_eq!(f.read(run.id).await.owner, None);
    assert_eq!(f.refused(by_owner(&run)).await, StoreErrorKind::Fenced);
}

/// A lost worker is fenced by the revocation, before anybody claims the run again.
pub async fn i9_a_revoked_owner_is_fenced_at_once<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    f.clock.advance(2 * TTL);
    assert_eq!(f.store.sweep(ALL).await.unwrap().revoked, [run.id]);
    let mut batch = by_owner(&run);
    batch.events = vec![f.event(5)];
    assert_eq!(f.refused(batch).await, StoreErrorKind::Fenced);
}

/// The owner before the present one is fenced, also when it is the same worker.
pub async fn i9_an_earlier_owner_is_fenced<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let first = f.running().await;
    f.clock.advance(2 * TTL);
    f.store.sweep(ALL).await.unwrap();
    let worker = first.owner.unwrap();
    f.beat(worker).await;
    let second = f.claimed_by(worker, first.id).await;
    assert_eq!(f.refused(by_owner(&first)).await, StoreErrorKind::Fenced);
    let mut batch = by_owner(&second);
    batch.events = vec![f.event(5)];
    f.append(batch).await;
}

/// A commit of the owner and the revocation race: either wins, never both.
pub async fn s7_a_write_and_a_revocation_never_both_win<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for _ in 0..10 {
        let run = f.running().await;
        f.clock.advance(2 * TTL);
        let revoked = Arc::new(AtomicBool::new(false));
        let owner = tokio::spawn({
            let (store, run, now, revoked) =
                (f.store.clone(), run.clone(), f.now(), revoked.clone());
            async move {
                let mut written = 0;
                loop {
                    let too_late = revoked.load(Ordering::SeqCst);
                    let mut batch = by_owner(&run);
                    batch.events = vec![event(7, now)];
                    match store.append(batch).await {
                        Ok(_) if too_late => panic!("written after the revocation"),
                        Ok(_) => written += 1,
                        Err(error) => break (error.kind(), written),
                    }
                    // A task that never gives way could not be stopped when a case fails.
                    tokio::task::yield_now().await;
                }
            }
        });
        f.store.sweep(ALL).await.unwrap();
        revoked.store(true, Ordering::SeqCst);
        let at_revocation = f.read(run.id).await;
        let (kind, written): (_, u64) = owner.await.unwrap();
        assert_eq!(kind, StoreErrorKind::Fenced);
        let after = f.read(run.id).await;
        assert_eq!(after, at_revocation, "nothing was written after the revocation");
        assert_eq!(after.last_seq, run.last_seq + written, "all that was acknowledged is there");
        let ending = f.ending(by_control(&after), RunStatus::Failed);
        f.append(ending).await;
    }
}

/// An owner that names a control number is told when the run's control state moved.
pub async fn an_owner_learns_that_the_control_state_moved<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut request = pausing(&run);
    request.ready = Ready::Keep;
    let appended = f.append(request).await;
    assert_eq!(appended.control, run.control + 1);
    assert!(appended.pause_requested);
    let guarded = |control| {
        let mut batch = by_owner(&run);
        let (worker, epoch) = (run.owner.unwrap(), run.epoch);
        batch.expect = Expect::Owner { worker, epoch, control: Some(control) };
        batch.events = vec![f.event(5)];
        batch
    };
    let old = guarded(run.control);
    assert_eq!(f.refused(old).await, StoreErrorKind::ControlChanged);
    f.append(guarded(appended.control)).await;
}

/// An owner that names none writes, and learns from the answer what is asked for.
pub async fn an_answer_carries_the_control_state<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut request = canceling(&run);
    request.ready = Ready::Keep;
    f.append(request).await;
    let mut batch = by_owner(&run);
    batch.events = vec![f.event(5)];
    let appended = f.append(batch).await;
    assert_eq!(appended.control, run.control + 1);
    assert!(appended.cancel_requested);
    assert!(!appended.pause_requested);
}

/// Fencing comes before the control number: who does not own the run has to drop it.
pub async fn a_stranger_with_an_old_control_number_is_fenced<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut batch = by_owner(&run);
    batch.expect =
        Expect::Owner { worker: f.worker_id(), epoch: run.epoch, control: Some(run.control + 9) };
    assert_eq!(f.refused(batch).await, StoreErrorKind::Fenced);
}

/// Of sixteen commands that saw the same control state, one takes effect.
pub async fn control_is_a_compare_and_set<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let commands = (0..16).map(|n| {
        let mut batch = by_control(&run);
        batch.events = vec![f.event(n)];
        batch.patch.bump_control = true;
        let store = f.store.clone();
        tokio::spawn(async move { store.append(batch).await.map_err(|error| error.kind()) })
    });
    let answers: Vec<_> = join_all(commands).await.into_iter().map(|a| a.unwrap()).collect();
    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    let told = answers
        .iter()
        .filter(|answer| matches!(answer, Err(StoreErrorKind::ControlChanged)))
        .count();
    assert_eq!((won, told), (1, 15));
    let after = f.read(run.id).await;
    assert_eq!((after.control, after.last_seq), (run.control + 1, run.last_seq + 1));
}

/// A terminal run passes no guard, however right the caller is about it.
pub async fn i2_a_terminal_run_accepts_nothing<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for status in TERMINAL {
        let owned = f.running().await;
        f.append(f.ending(by_owner(&owned), status)).await;
        let ended = f.read(owned.id).await;
        assert_eq!((ended.status, ended.owner), (status, None));
        for next in TERMINAL {
            let late = f.ending(by_owner(&owned), next);
            assert_eq!(f.refused(late).await, StoreErrorKind::Fenced);
            let late = f.ending(by_control(&ended), next);
            assert_eq!(f.refused(late).await, StoreErrorKind::ControlChanged);
        }
        let late = Run { owner: owned.owner, ..ended.clone() };
        assert_eq!(f.refused(by_owner(&late)).await, StoreErrorKind::Fenced);
        assert_eq!(f.refused(pausing(&ended)).await, StoreErrorKind::ControlChanged);
    }
}

/// Completion, failure and cancellation race: one outcome, and everybody learns which.
pub async fn i2_of_racing_endings_one_wins<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for _ in 0..10 {
        let run = f.running().await;
        let endings = TERMINAL.map(|status| {
            let batch = match status {
                RunStatus::Canceled => by_control(&run),
                _ => by_owner(&run),
            };
            let (store, batch) = (f.store.clone(), f.ending(batch, status));
            tokio::spawn(async move { (status, store.append(batch).await.is_ok()) })
        });
        let answers = join_all(endings).await.into_iter().map(|answer| answer.unwrap());
        let won: Vec<_> = answers.filter(|answer| answer.1).map(|answer| answer.0).collect();
        let after = f.read(run.id).await;
        assert_eq!(won, [after.status]);
        assert_eq!(after.last_seq, run.last_seq + 1, "one terminal event");
    }
}

/// The event that ended a run stays its last.
pub async fn i6_nothing_follows_the_event_that_ended_a_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.ended(RunStatus::Completed).await;
    let before = f.events(run.id).await;
    let mut late = by_control(&run);
    late.events = vec![f.event(100)];
    assert_eq!(f.refused(late).await, StoreErrorKind::ControlChanged);
    f.clock.advance(2 * TTL);
    f.store.sweep(ALL).await.unwrap();
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, []);
    assert_eq!(f.events(run.id).await, before);
    assert_eq!(f.read(run.id).await, run);
}
