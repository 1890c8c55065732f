//! Contract 1 and 10: runs enter.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use serde_json::json;

use super::{
    StoreHarness,
    fixture::{self, ALL, Fixture, blob, by_control, seconds, signal, step},
};
use crate::{
    budget::Spend,
    llm::Usage,
    run::{FailureReason, ParkReason, Run, RunError, RunStatus},
    step::StepStatus,
    store::{
        ArtifactRow, Batch, Beginning, EventQuery, News, NewsEffect, Ready, RunQuery, SignalRow,
        StepRow, StoreErrorKind, Sweep,
    },
};

/// Contract 1: run and events are there, numbered from 1, and the run is claimable at once.
pub async fn a_creation_writes_the_run_and_its_events<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.new_run();
    let events = vec![f.event(1), f.event(2)];
    let created =
        f.store.create(run.clone(), Beginning::new(events, Ready::At(f.now()))).await.unwrap();
    let want = Run { last_seq: 2, ..run };
    assert!(!created.existing);
    assert_eq!(created.run, want);
    assert_eq!(f.read(want.id).await, want);
    let events = f.events(want.id).await;
    let numbers: Vec<_> = events.iter().map(|event| (event.seq, event.epoch)).collect();
    assert_eq!(numbers, [(1, 0), (2, 0)]);
    assert_eq!(events[1].payload, json!({ "n": 2 }));
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, [want.id]);
}

/// Contract 1: every field of a run reads back as it was written.
pub async fn every_field_of_a_run_reads_back<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let parent = f.queued().await;
    let mut run = f.new_run();
    run.name = Some("Zähler 'eins' \"zwei\"\n\u{1F980}".to_owned());
    run.spec.goal = "line\r\n\ttab \\ back\u{0} NUL \u{FFFD}".to_owned();
    run.spec.agent.instructions = "be brief; DROP TABLE run; --".to_owned();
    run.spec.agent.tools = vec!["files.read".to_owned(), "time.now".to_owned()];
    run.spec.agent.output_schema = Some(json!({ "type": "object", "minimum": i64::MIN }));
    run.spec.agent.temperature = Some(0.5);
    run.spec.agent.max_output_tokens = Some(u32::MAX);
    run.spec.agent.timeout = Some(Duration::from_millis(1_500));
    run.spec.notices = vec!["a script stands in for a model".to_owned()];
    run.parent_id = Some(parent.id);
    run.root_id = parent.id;
    run.priority = -7;
    run.tags = vec!["b".to_owned(), "a".to_owned(), String::new()];
    run.metadata = BTreeMap::from([
        ("k".to_owned(), json!([1, null, { "deep": [u64::MAX, -1] }])),
        (String::new(), json!(null)),
    ]);
    run.idempotency_key = Some("key with spaces / and %".to_owned());
    run.request_hash = Some("ab".repeat(32));
    run.deadline_at = Some(seconds(f.now(), 3_600));
    let want = Run { last_seq: 1, ..run.clone() };
    assert_eq!(f.create(run).await, want);
    assert_eq!(f.read(want.id).await, want);
    let all = RunQuery { parent_id: Some(parent.id), ..RunQuery::default() };
    assert_eq!(f.store.runs(&all).await.unwrap(), [want]);
}

/// Contract 4: steps, signals, payloads and artifacts are there with the run.
pub async fn a_run_may_begin_with_a_past<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (run, payload) = (f.new_run(), blob(b"a long payload"));
    let mut events = vec![f.event(1), f.event(2), f.event(3)];
    events[2].blob = Some(payload.sha256.clone());
    let done =
        StepRow { started: Some(1), done: Some(2), ..step("turn.1.tool.1", StepStatus::Succeeded) };
    let artifact = ArtifactRow { event: 2, ..f.artifact("a.txt", 'a') };
    let first = Beginning {
        steps: vec![done],
        signals: vec![SignalRow { event: 1, ..signal("s1") }],
        blobs: vec![payload.clone()],
        artifacts: vec![artifact.clone()],
        ..Beginning::new(events, Ready::At(f.now()))
    };
    let made = f.store.create(run, first).await.unwrap().run;
    assert_eq!((made.last_seq, f.read(made.id).await), (3, made.clone()));
    let steps = f.steps(made.id).await;
    let seen: Vec<_> = steps.iter().map(|s| (s.status, s.started_seq, s.done_seq)).collect();
    assert_eq!(seen, [(StepStatus::Succeeded, Some(2), Some(3))]);
    assert_eq!(f.store.blob(&payload.sha256).await.unwrap(), payload.bytes);
    let kept = f.store.artifact(artifact.id).await.unwrap();
    assert_eq!((kept.run_id, kept.version, kept.name.as_str()), (made.id, 1, "a.txt"));

    let again =
        Batch { events: vec![f.event(4)], signals: vec![signal("s1")], ..by_control(&made) };
    assert_eq!(f.refused(again).await, StoreErrorKind::Duplicate);
    let again = Batch {
        events: vec![f.event(4)],
        steps: vec![step("turn.1.tool.1", StepStatus::Started)],
        ..by_control(&made)
    };
    assert_eq!(f.refused(again).await, StoreErrorKind::Corrupt);
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, [made.id]);
}

/// Contract 4 and 6: a creation with a wrong part leaves no trace, and its key free.
pub async fn a_past_that_makes_no_sense_is_refused<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let before = f.image().await;
    let known = f.artifact("a.txt", 'a');
    let with = |change: fn(&mut Beginning)| {
        let mut first = Beginning::new(vec![f.event(1)], Ready::At(f.now()));
        change(&mut first);
        first
    };
    for (first, kind) in [
        (with(|b| b.signals = vec![signal("s"), signal("s")]), StoreErrorKind::Duplicate),
        (
            with(|b| b.signals = vec![SignalRow { event: 1, ..signal("s") }]),
            StoreErrorKind::Corrupt,
        ),
        (
            with(|b| b.steps = vec![StepRow { done: Some(1), ..step("a", StepStatus::Succeeded) }]),
            StoreErrorKind::Corrupt,
        ),
        (
            Beginning {
                artifacts: vec![known.clone(), known.clone()],
                ..Beginning::new(vec![f.event(1)], Ready::Never)
            },
            StoreErrorKind::Corrupt,
        ),
    ] {
        let run = Run { idempotency_key: Some("k".to_owned()), ..f.new_run() };
        let error = f.store.create(run, first).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(f.image().await, before);
    }
    f.create(Run { idempotency_key: Some("k".to_owned()), ..f.new_run() }).await;
}

/// A known id is refused as `Duplicate`, and the first run stays as it was.
pub async fn a_known_id_is_refused<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let before = f.image().await;
    let mut again = f.new_run();
    again.id = run.id;
    again.spec.goal = "something else".to_owned();
    let events = vec![f.event(1)];
    let error =
        f.store.create(again, Beginning::new(events, Ready::At(f.now()))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Duplicate);
    assert_eq!(f.image().await, before);
}

/// Contract 19.
pub async fn a_new_run_that_is_neither_queued_nor_over_is_refused<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let before = f.image().await;
    for run in [
        Run { status: RunStatus::Running, ..f.new_run() },
        Run { status: RunStatus::Failed, ..f.new_run() },
        Run { finished_at: Some(f.now()), ..f.new_run() },
        Run { owner: Some(f.worker_id()), ..f.new_run() },
        Run { owner: Some(f.worker_id()), ..over(&f) },
    ] {
        let error =
            f.store.create(run, Beginning::new(vec![f.event(0)], Ready::Never)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert_eq!(f.image().await, before);
    }
}

/// A run that ended elsewhere.
fn over<H: StoreHarness>(f: &Fixture<H>) -> Run {
    let now = f.now();
    Run { status: RunStatus::Completed, finished_at: Some(now), ..f.new_run() }
}

/// Contract 1 and 19: every field of a run that has ended reads back, and what belongs to it.
pub async fn a_run_may_come_with_its_end<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let payload = blob(b"a long payload");
    let error = RunError { reason: FailureReason::Provider, message: "no".to_owned() };
    for run in [
        Run { output: Some(json!({ "a": null })), ..over(&f) },
        Run { status: RunStatus::Failed, error: Some(error), ..over(&f) },
        Run { status: RunStatus::Canceled, cancel_requested: true, ..over(&f) },
    ] {
        let run = Run {
            cancel_reason: run.cancel_requested.then(|| "not needed".to_owned()),
            usage: Usage { input: Some(3), ..Usage::default() },
            spend: Spend { requests: 1, ..Spend::default() },
            started_at: Some(f.now()),
            created_at: seconds(f.now(), 1),
            idempotency_key: Some(run.status.to_string()),
            ..run
        };
        let mut events = vec![f.event(1), f.event(2), f.event(3)];
        events[1].blob = Some(payload.sha256.clone());
        let done = StepRow {
            started: Some(0),
            done: Some(1),
            ..step("turn.1.tool.1", StepStatus::Succeeded)
        };
        let first = Beginning {
            steps: vec![done],
            signals: vec![SignalRow { event: 1, ..signal("s1") }],
            blobs: vec![payload.clone()],
            ..Beginning::new(events, Ready::Never)
        };
        let created = f.store.create(run.clone(), first.clone()).await.unwrap();
        let want = Run { last_seq: 3, ..run.clone() };
        assert_eq!((&created.run, created.existing), (&want, false));
        assert_eq!(f.read(want.id).await, want);
        let numbers: Vec<_> = f.events(want.id).await.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(f.steps(want.id).await[0].done_seq, Some(2));
        assert_eq!(f.store.blob(&payload.sha256).await.unwrap(), payload.bytes);
        let again = f.store.create(Run { id: f.run_id(), ..run }, first).await.unwrap();
        assert_eq!((again.run, again.existing), (want, true), "contract 10 holds for it too");
    }
}

/// Contract 5 and 19: nobody changes it, tells it anything or snapshots it; it can be deleted.
pub async fn i2_a_run_that_came_with_its_end_accepts_nothing<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let first = Beginning::new(vec![f.event(1)], Ready::Never);
    let run = f.store.create(over(&f), first).await.unwrap().run;
    let with = |change: fn(&mut Batch)| {
        let mut batch = by_control(&run);
        change(&mut batch);
        batch
    };
    let mut longer = by_control(&run);
    longer.events = vec![f.event(2)];
    for batch in [
        longer,
        with(|batch| batch.patch.cancel_requested = true),
        with(|batch| batch.patch.output = Some(json!("another"))),
        with(|batch| batch.steps = vec![step("late", StepStatus::Pending)]),
        with(|batch| batch.signals = vec![signal("late")]),
        with(|batch| batch.snapshot = Some(fixture::snapshot(1, b"state"))),
    ] {
        assert_eq!(f.refused(batch).await, StoreErrorKind::ControlChanged);
    }
    let owned = Run { owner: Some(f.worker_id()), ..run.clone() };
    assert_eq!(f.refused(fixture::by_owner(&owned)).await, StoreErrorKind::Fenced);
    let other = f.queued().await;
    let news = News {
        run: run.id,
        event: f.event(2),
        blobs: Vec::new(),
        effect: NewsEffect::Wake { parked: &ParkReason::ALL, at: f.now() },
    };
    f.append(Batch { events: vec![f.event(1)], news: vec![news], ..by_control(&other) }).await;
    assert_eq!(f.read(run.id).await, run);
    assert_eq!(f.events(run.id).await.len(), 1);
    f.store.delete(run.id).await.unwrap();
    assert_eq!(f.store.run(run.id).await.unwrap_err().kind(), StoreErrorKind::NotFound);
}

/// Contract 7, 8 and 19: whatever is asked, it is never listed, claimed or swept.
pub async fn i11_a_claim_never_gives_a_run_that_came_with_its_end<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for ready in [Ready::At(f.now()), Ready::Never, Ready::Keep] {
        let run = Run { deadline_at: Some(f.now()), cancel_requested: true, ..over(&f) };
        f.store.create(run, Beginning::new(vec![f.event(1)], ready)).await.unwrap();
    }
    let before = f.image().await;
    f.clock.advance(Duration::from_secs(60));
    assert_eq!(f.store.sweep(ALL).await.unwrap(), Sweep::default());
    assert_eq!(f.image().await, before);
    let worker = f.worker().await;
    assert_eq!(f.claim(worker).await, []);
}

/// Contract 4: some thousand events, large ones among them, are written together, or none.
pub async fn a_long_journal_comes_whole_or_not_at_all<H: StoreHarness>() {
    const EVENTS: u64 = 5_000;
    let f = Fixture::<H>::open().await;
    let mut events: Vec<_> = (0..EVENTS).map(|n| f.event(n)).collect();
    for event in events.iter_mut().step_by(500) {
        event.payload = json!({ "text": "é\"\\".repeat(50_000) }).into();
    }
    let before = f.image().await;
    let bad = SignalRow { event: events.len(), ..signal("beyond the end") };
    let first = Beginning { signals: vec![bad], ..Beginning::new(events.clone(), Ready::Never) };
    let error = f.store.create(over(&f), first).await.unwrap_err();
    assert_eq!((error.kind(), f.image().await), (StoreErrorKind::Corrupt, before));
    let first = Beginning::new(events.clone(), Ready::Never);
    let run = f.store.create(over(&f), first).await.unwrap().run;
    assert_eq!(run.last_seq, EVENTS);
    let kept = f.events(run.id).await;
    assert!(kept.iter().map(|event| event.seq).eq(1..=EVENTS));
    let kept = kept.into_iter().map(|event| event.payload);
    assert!(kept.eq(events.iter().map(|event| event.payload.to_value().unwrap())));
}

/// Contract 10.
pub async fn i13_one_idempotency_key_gives_one_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let keyed = || Run { idempotency_key: Some("order-7".to_owned()), ..f.new_run() };
    let first = f.create(keyed()).await;
    let mut batch = by_control(&first);
    batch.events = vec![f.event(1)];
    f.append(batch).await;
    let before = f.image().await;
    let second = f
        .store
        .create(keyed(), Beginning::new(vec![f.event(0)], Ready::At(f.now())))
        .await
        .unwrap();
    assert!(second.existing, "one idempotency key gives one run");
    assert_eq!(second.run, f.read(first.id).await, "the earlier run as it is now");
    assert_eq!(f.image().await, before, "nothing was written");
}

/// Contract 10, when sixteen callers come at once.
pub async fn i13_one_idempotency_key_gives_one_run_to_concurrent_callers<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let callers = (0..16).map(|_| {
        let run = Run { idempotency_key: Some("k".to_owned()), ..f.new_run() };
        let (store, events, now) = (f.store.clone(), vec![f.event(0)], f.now());
        tokio::spawn(async move {
            store.create(run, Beginning::new(events, Ready::At(now))).await.unwrap()
        })
    });
    let created: Vec<_> =
        join_all(callers).await.into_iter().map(|created| created.unwrap()).collect();
    assert_eq!(created.iter().filter(|created| !created.existing).count(), 1);
    assert!(created.iter().all(|other| other.run.id == created[0].run.id));
    assert_eq!(f.store.runs(&RunQuery::default()).await.unwrap().len(), 1);
}

/// Contract 10: keys of different projects have nothing to do with each other.
pub async fn an_idempotency_key_counts_within_its_project<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let here = Run { idempotency_key: Some("k".to_owned()), ..f.new_run() };
    let there = Run { project_id: f.other_project(), ..here.clone() };
    let there = Run { id: f.run_id(), ..there };
    let (here, there) = (f.create(here).await, f.create(there).await);
    assert_ne!(here.id, there.id);
}

/// Contract 7 and 8: a run may be listed for a later moment, or not at all.
pub async fn a_run_may_be_created_for_later<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.new_run();
    let at = seconds(f.now(), 60);
    f.store.create(run.clone(), Beginning::new(vec![f.event(0)], Ready::At(at))).await.unwrap();
    let endless = Ready::At(jiff::Timestamp::MAX);
    f.store.create(f.new_run(), Beginning::new(vec![f.event(0)], endless)).await.unwrap();
    f.store.create(f.new_run(), Beginning::new(vec![f.event(0)], Ready::Never)).await.unwrap();
    let worker = f.worker().await;
    f.clock.advance(Duration::from_secs(59));
    assert_eq!(f.claim(worker).await, []);
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(f.claim(worker).await, [run.id]);
}

/// What is not there is `NotFound`, or an empty list where a list is asked for.
pub async fn a_run_that_does_not_exist_is_not_found<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let ghost = f.new_run();
    let kind = |error: crate::store::StoreError| error.kind();
    assert_eq!(f.store.run(ghost.id).await.map_err(kind), Err(StoreErrorKind::NotFound));
    assert_eq!(f.refused(by_control(&ghost)).await, StoreErrorKind::NotFound);
    let owned = Run { owner: Some(f.worker_id()), ..ghost.clone() };
    assert_eq!(f.refused(fixture::by_owner(&owned)).await, StoreErrorKind::NotFound);
    assert_eq!(f.store.delete(ghost.id).await.map_err(kind), Err(StoreErrorKind::NotFound));
    assert_eq!(f.store.events(ghost.id, &EventQuery::after(0)).await.unwrap(), []);
    assert_eq!(f.steps(ghost.id).await, []);
}

/// The service asks before it says that it is ready.
pub async fn a_healthy_store_says_so<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    f.store.check().await.unwrap();
    let run = f.queued().await;
    f.store.check().await.unwrap();
    assert_eq!(f.read(run.id).await.status, RunStatus::Queued);
}
