//! Contract 4 and 6: what a batch changes, and the rules that no batch can break.

use serde_json::json;

use super::{
    StoreHarness,
    fixture::{Fixture, blob, by_control, by_owner, parking, seconds, signal, step},
};
use crate::{
    llm::Usage,
    run::{FailureReason, ParkReason, Run, RunError, RunStatus},
    step::{EffectPolicy, Step, StepError, StepKind, StepStatus},
    store::{Batch, Ready, RunPatch, StepRow, StoreErrorKind},
};

/// A patch changes what it names.
pub async fn a_patch_changes_what_it_names_and_keeps_the_rest<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    let empty = by_owner(&run);
    f.append(empty).await;
    assert_eq!(f.read(run.id).await, run, "an empty patch changes nothing");

    let usage = Usage { input: Some(7), output: Some(u64::from(u32::MAX)), ..Usage::default() };
    let mut batch = by_owner(&run);
    batch.patch = RunPatch {
        status: Some(RunStatus::Running),
        usage: Some(usage),
        started_at: Some(f.now()),
        recoveries: Some(3),
        ..RunPatch::default()
    };
    f.append(batch).await;
    let begun = Run {
        status: RunStatus::Running,
        usage,
        started_at: Some(f.now()),
        recoveries: 3,
        ..run.clone()
    };
    assert_eq!(f.read(run.id).await, begun);

    let end = seconds(f.now(), 9);
    let error = RunError { reason: FailureReason::Provider, message: "größer \u{0}".to_owned() };
    let mut batch = by_owner(&run);
    batch.patch = RunPatch {
        status: Some(RunStatus::Failed),
        output: Some(json!({ "partial": ["a", null] })),
        error: Some(error.clone()),
        finished_at: Some(end),
        release: true,
        bump_control: true,
        ..RunPatch::default()
    };
    batch.ready = Ready::Never;
    f.append(batch).await;
    let ended = Run {
        status: RunStatus::Failed,
        output: Some(json!({ "partial": ["a", null] })),
        error: Some(error),
        finished_at: Some(end),
        owner: None,
        control: begun.control + 1,
        ..begun
    };
    assert_eq!(f.read(run.id).await, ended);
}

/// A park, and a pause, can be taken back.
pub async fn a_park_and_a_pause_are_set_and_cleared<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let parked = parking(&run, ParkReason::Signal, Some(seconds(f.now(), 30)));
    let park = parked.patch.park.clone().flatten();
    f.append(parked).await;
    let seen = f.read(run.id).await;
    assert_eq!((seen.park.clone(), seen.owner), (park, None));
    for (pause, unpark) in [(true, false), (false, true)] {
        let before = f.read(run.id).await;
        let mut batch = by_control(&before);
        batch.patch.pause_requested = Some(pause);
        batch.patch.park = unpark.then_some(None);
        let appended = f.append(batch).await;
        let after = f.read(run.id).await;
        assert_eq!((after.pause_requested, appended.pause_requested), (pause, pause));
        assert_eq!(after.park.is_none(), unpark);
    }
}

/// There is no way to take a cancellation back, and its reason stays.
pub async fn a_cancellation_stays<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    f.append(super::fixture::canceling(&run)).await;
    let canceled = f.read(run.id).await;
    assert!(canceled.cancel_requested);
    let mut batch = by_control(&canceled);
    batch.patch.pause_requested = Some(false);
    assert!(f.append(batch).await.cancel_requested);
    let after = f.read(run.id).await;
    assert!(after.cancel_requested);
    assert_eq!(after.cancel_reason.as_deref(), Some("not needed"));
}

/// A run never goes back to QUEUED.
pub async fn i1_the_rank_of_a_status_never_falls<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    for batch in [by_owner(&run), by_control(&run)] {
        let mut batch = batch;
        batch.patch.status = Some(RunStatus::Queued);
        assert_eq!(f.refused(batch).await, StoreErrorKind::Corrupt);
    }
    let mut same = by_owner(&run);
    same.patch.status = Some(RunStatus::Running);
    f.append(same).await;
    assert_eq!(f.read(run.id).await.status, RunStatus::Running);
}

/// A run that nobody began may fail or be canceled.
pub async fn a_queued_run_may_end<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for status in [RunStatus::Failed, RunStatus::Canceled] {
        let run = f.queued().await;
        f.append(f.ending(by_control(&run), status)).await;
        assert_eq!(f.read(run.id).await.status, status);
        let worker = f.worker().await;
        assert_eq!(f.claim(worker).await, []);
    }
}

/// A run has a moment of its end exactly when it has ended.
pub async fn a_run_has_an_end_exactly_when_it_ended<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut endless = f.ending(by_owner(&run), RunStatus::Completed);
    endless.patch.finished_at = None;
    assert_eq!(f.refused(endless).await, StoreErrorKind::Corrupt);
    let mut undead = by_owner(&run);
    undead.patch.finished_at = Some(f.now());
    assert_eq!(f.refused(undead).await, StoreErrorKind::Corrupt);
}

/// Numbers, epoch and control only rise, whatever is done to the run.
pub async fn i8_epoch_control_and_numbers_only_rise<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut run = f.queued().await;
    for round in 0..6_u64 {
        let before = run.clone();
        if round % 2 == 0 {
            let worker = f.worker().await;
            run = f.claimed_by(worker, run.id).await;
            assert_eq!((run.epoch, run.control), (before.epoch + 1, before.control + 1));
        } else if round % 3 == 0 {
            f.append(parking(&run, ParkReason::Timer, Some(f.now()))).await;
        } else {
            f.store.leave(run.owner.unwrap()).await.unwrap();
            f.store.sweep(super::fixture::ALL).await.unwrap();
        }
        run = f.read(run.id).await;
        assert!(run.last_seq >= before.last_seq);
        assert!(run.epoch >= before.epoch);
        assert!(run.control > before.control);
    }
}

/// A step is written with the numbers of the events it names; what a later row leaves open is kept.
pub async fn a_step_reads_back_with_the_numbers_of_its_events<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let mut batch = by_owner(&run);
    batch.events = vec![f.event(2), f.event(3)];
    batch.steps = vec![StepRow {
        policy: EffectPolicy::AtMostOnce,
        attempts: 2,
        started: Some(1),
        started_at: Some(f.now()),
        ..step("turn.1.tool.1", StepStatus::Started)
    }];
    let first = f.append(batch).await;
    let error = StepError { code: "rate_limited".to_owned(), message: "\u{0}später".to_owned() };
    let mut batch = by_owner(&run);
    batch.events = vec![f.event(4)];
    batch.steps = vec![StepRow {
        policy: EffectPolicy::AtMostOnce,
        attempts: 3,
        error: Some(error.clone()),
        done: Some(0),
        finished_at: Some(seconds(f.now(), 1)),
        ..step("turn.1.tool.1", StepStatus::Failed)
    }];
    let second = f.append(batch).await;
    let row = step("turn.1.tool.1", StepStatus::Failed);
    let want = Step {
        run_id: run.id,
        key: row.key,
        kind: StepKind::Tool,
        name: row.name,
        policy: EffectPolicy::AtMostOnce,
        status: StepStatus::Failed,
        attempts: 3,
        error: Some(error),
        started_seq: Some(first.first_seq + 1),
        done_seq: Some(second.first_seq),
        started_at: Some(f.now()),
        finished_at: Some(seconds(f.now(), 1)),
    };
    assert_eq!(f.steps(run.id).await, [want]);
}

/// Steps are listed in the order they were first written, not by key.
pub async fn steps_are_listed_as_they_were_first_written<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    for keys in [&["z", "b"][..], &["a", "z"], &["c"]] {
        let mut batch = by_owner(&run);
        batch.steps = keys.iter().map(|key| step(key, StepStatus::Started)).collect();
        f.append(batch).await;
    }
    let steps = f.steps(run.id).await;
    let keys: Vec<_> = steps.iter().map(|step| step.key.as_str()).collect();
    assert_eq!(keys, ["z", "b", "a", "c"]);
}

/// The whole table of pairs: a lower rank is refused, anything else is written.
pub async fn i3_the_rank_of_a_step_never_falls<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    for from in StepStatus::ALL {
        for to in StepStatus::ALL {
            let key = format!("{from}.{to}");
            let row = |status, attempts| Batch {
                steps: vec![StepRow { attempts, ..step(&key, status) }],
                ..by_owner(&run)
            };
            f.append(row(from, 1)).await;
            let next = row(to, 2);
            if from == StepStatus::Succeeded || to.rank() < from.rank() {
                assert_eq!(f.refused(next).await, StoreErrorKind::Corrupt, "{key}");
            } else {
                f.append(next).await;
                let steps = f.steps(run.id).await;
                let kept = steps.iter().find(|step| step.key.as_str() == key).unwrap();
                assert_eq!((kept.status, kept.attempts), (to, 2));
            }
        }
    }
}

/// Nothing of a SUCCEEDED step changes, not even a detail.
pub async fn i3_a_succeeded_step_never_changes<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let done = StepRow { done: Some(0), ..step("turn.1.model", StepStatus::Succeeded) };
    let mut batch = by_owner(&run);
    batch.events = vec![f.event(2)];
    batch.steps = vec![done.clone()];
    f.append(batch).await;
    for changed in [
        StepRow { name: "other".to_owned(), done: None, ..done.clone() },
        StepRow { attempts: 9, done: None, ..done.clone() },
        StepRow { finished_at: Some(f.now()), done: None, ..done.clone() },
        done.clone(),
    ] {
        let mut batch = by_owner(&run);
        batch.events = vec![f.event(3)];
        batch.steps = vec![changed];
        assert_eq!(f.refused(batch).await, StoreErrorKind::Corrupt);
    }
}

/// A batch that contradicts itself is refused.
pub async fn a_batch_that_contradicts_itself_is_refused<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let with = |steps: Vec<StepRow>| Batch { events: vec![f.event(2)], steps, ..by_owner(&run) };
    let started = || step("a", StepStatus::Started);
    for batch in [
        with(vec![started(), started()]),
        with(vec![StepRow { started: Some(1), ..started() }]),
        with(vec![StepRow { done: Some(usize::MAX), ..started() }]),
        Batch { signals: vec![signal("s")], ..by_owner(&run) },
    ] {
        assert_eq!(f.refused(batch).await, StoreErrorKind::Corrupt);
    }
}

/// Contract 1 and 4: nothing of a refused batch stays, whatever it was refused for.
pub async fn a_refused_batch_leaves_no_trace<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let mut batch = by_control(&run);
    batch.events = vec![f.event(1)];
    batch.signals = vec![signal("known")];
    batch.steps = vec![step("done", StepStatus::Succeeded)];
    f.append(batch).await;
    let payload = blob(b"never to be seen");
    let full = || {
        let mut batch = by_control(&run);
        batch.events = vec![f.event(2), f.event(3)];
        batch.patch.pause_requested = Some(true);
        batch.patch.cancel_requested = true;
        batch.patch.bump_control = true;
        batch.steps = vec![step("fresh", StepStatus::Started)];
        batch.signals = vec![signal("fresh")];
        batch.blobs = vec![payload.clone()];
        batch.ready = Ready::Never;
        batch
    };
    let stale = crate::store::Expect::Control(run.control + 1);
    let owner = by_owner(&Run { owner: Some(f.worker_id()), ..run.clone() }).expect;
    let mut duplicate = full();
    duplicate.signals.push(signal("known"));
    let mut corrupt_step = full();
    corrupt_step.steps.push(StepRow { attempts: 2, ..step("done", StepStatus::Failed) });
    let mut corrupt_run = full();
    corrupt_run.patch.finished_at = Some(f.now());
    for (batch, kind) in [
        (Batch { expect: stale, ..full() }, StoreErrorKind::ControlChanged),
        (Batch { expect: owner, ..full() }, StoreErrorKind::Fenced),
        (duplicate, StoreErrorKind::Duplicate),
        (corrupt_step, StoreErrorKind::Corrupt),
        (corrupt_run, StoreErrorKind::Corrupt),
    ] {
        assert_eq!(f.refused(batch).await, kind);
        let error = f.store.blob(&payload.sha256).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotFound);
    }
    let mut batch = by_control(&run);
    batch.events = vec![f.event(2)];
    batch.signals = vec![signal("fresh")];
    assert_eq!(f.append(batch).await.first_seq, 3, "numbers and signal ids were not used up");
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, [run.id], "it is still listed");
}

/// Contract 11.
pub async fn i14_a_signal_id_is_accepted_once<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let sending = |ids: &[&str]| Batch {
        events: vec![f.event(1)],
        signals: ids.iter().map(|id| signal(id)).collect(),
        ..by_control(&run)
    };
    f.append(sending(&["a"])).await;
    assert_eq!(f.refused(sending(&["a"])).await, StoreErrorKind::Duplicate);
    assert_eq!(f.refused(sending(&["b", "a"])).await, StoreErrorKind::Duplicate);
    assert_eq!(f.refused(sending(&["b", "b"])).await, StoreErrorKind::Duplicate);
    f.append(sending(&["b", "A", "a "])).await;
    let other = f.queued().await;
    let elsewhere = Batch { run: other.id, ..sending(&["a"]) };
    f.append(elsewhere).await;
}

/// Contract 11, when sixteen deliveries of one signal come at once.
pub async fn i14_of_concurrent_deliveries_one_is_accepted<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let deliveries = (0..16).map(|n| {
        let mut batch = by_control(&run);
        batch.events = vec![f.event(n)];
        batch.signals = vec![signal("once")];
        let store = f.store.clone();
        tokio::spawn(async move { store.append(batch).await.map_err(|error| error.kind()) })
    });
    let answers = futures::future::join_all(deliveries).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(answers.iter().flat_map(|a| a.as_ref().err()).all(|k| *k == StoreErrorKind::Duplicate));
    assert_eq!(f.events(run.id).await.len(), 2);
}
