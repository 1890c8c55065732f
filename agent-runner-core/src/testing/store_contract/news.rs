//! Runs that begin with a batch of another, and what a batch tells others (contract 17).

use serde_json::json;

use super::{StoreHarness, fixture::*};
use crate::{
    event::NewEvent,
    id::RunId,
    run::{ParkReason, Run, RunStatus},
    store::{Batch, News, NewsEffect, Ready, Spawn, StoreErrorKind},
};

const WAITS: &[ParkReason] = &[ParkReason::Signal, ParkReason::Child];

fn spawn<H: StoreHarness>(f: &Fixture<H>, parent: &Run) -> Spawn {
    let run = Run { parent_id: Some(parent.id), root_id: parent.root_id, ..f.new_run() };
    Spawn { run, events: vec![f.event(7)], blobs: Vec::new(), ready: Ready::At(f.now()) }
}

fn told(event: NewEvent, run: RunId, effect: NewsEffect) -> News {
    News { run, event, blobs: Vec::new(), effect }
}

fn waking<H: StoreHarness>(f: &Fixture<H>, run: RunId) -> News {
    told(f.event(8), run, NewsEffect::Wake { parked: WAITS, at: f.now() })
}

fn cancel<H: StoreHarness>(f: &Fixture<H>, run: RunId) -> News {
    told(f.event(9), run, NewsEffect::Cancel { reason: Some("alone".to_owned()) })
}

/// A batch of the owner with one event.
fn noting<H: StoreHarness>(f: &Fixture<H>, run: &Run) -> Batch {
    let mut batch = by_owner(run);
    batch.events = vec![f.event(2)];
    batch
}

/// Both are there, and the new one is claimable.
pub async fn a_run_begins_with_a_batch_of_another<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let parent = f.running().await;
    let child = spawn(&f, &parent);
    let id = child.run.id;
    let mut batch = noting(&f, &parent);
    batch.spawns = vec![child];
    let appended = f.append(batch).await;
    assert_eq!(appended.last_seq, parent.last_seq + 1, "the answer is about the parent");
    let child = f.read(id).await;
    assert_eq!((child.status, child.parent_id), (RunStatus::Queued, Some(parent.id)));
    assert_eq!((child.root_id, child.last_seq), (parent.root_id, 1));
    assert_eq!(f.events(id).await[0].payload, json!({"n": 7}));
    assert_eq!(f.claim(f.worker().await).await, [id]);
}

/// Contract 17: whole or not at all.
pub async fn a_run_that_cannot_begin_takes_the_batch_with_it<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let parent = f.running().await;
    let good = spawn(&f, &parent);
    let with = |change: fn(&mut Run)| {
        let mut spawn = spawn(&f, &parent);
        change(&mut spawn.run);
        spawn
    };
    let known = Spawn { run: Run { id: parent.id, ..f.new_run() }, ..good.clone() };
    let bad = [
        known,
        good.clone(),
        with(|run| run.idempotency_key = Some("k".to_owned())),
        with(|run| run.status = RunStatus::Running),
    ];
    for bad in bad {
        let mut batch = noting(&f, &parent);
        batch.spawns = vec![good.clone(), bad];
        assert_eq!(f.refused(batch).await, StoreErrorKind::Corrupt);
    }
}

/// Contract 17: whole or not at all, whatever is wrong with it.
pub async fn a_refused_batch_begins_no_run_and_tells_nobody<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let waiting = f.running().await;
    f.append(parking(&waiting, ParkReason::Signal, None)).await;
    let parent = f.running().await;
    let mut fenced = noting(&f, &parent);
    fenced.expect = crate::store::Expect::Control(parent.control + 1);
    let mut broken = noting(&f, &parent);
    broken.signals = vec![signal("a"), signal("a")];
    for mut batch in [fenced, broken] {
        batch.spawns = vec![spawn(&f, &parent)];
        batch.news = vec![waking(&f, waiting.id)];
        f.refused(batch).await;
    }
    assert!(f.claim(f.worker().await).await.is_empty());
}

/// It has a number, an epoch and the control number of that run.
pub async fn news_is_an_event_of_the_run_that_learns_it<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let owned = f.running().await;
    let teller = f.running().await;
    let mut batch = noting(&f, &teller);
    batch.news = vec![waking(&f, owned.id), waking(&f, owned.id)];
    f.append(batch).await;
    let learned = f.read(owned.id).await;
    assert_eq!(learned.last_seq, owned.last_seq + 2);
    assert_eq!(learned.control, owned.control + 2);
    assert_eq!((learned.owner, learned.epoch), (owned.owner, owned.epoch), "its owner keeps it");
    let events = f.events(owned.id).await;
    let last = events.last().unwrap();
    assert_eq!((last.seq, last.epoch), (learned.last_seq, owned.epoch));
    assert_eq!((&last.payload, last.run_id), (&json!({"n": 8}), owned.id));
    let mut blind = by_owner(&owned);
    if let crate::store::Expect::Owner { control, .. } = &mut blind.expect {
        *control = Some(owned.control);
    }
    assert_eq!(f.refused(blind).await, StoreErrorKind::ControlChanged);
    let appended = f.append(noting(&f, &owned)).await;
    assert_eq!((appended.first_seq, appended.control), (learned.last_seq + 1, learned.control));
}

/// At the moment that it names, not before.
pub async fn news_wakes_a_run_that_is_parked_for_it<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let waiting = f.running().await;
    f.append(parking(&waiting, ParkReason::Child, None)).await;
    let teller = f.running().await;
    let mut batch = noting(&f, &teller);
    let at = seconds(f.now(), 30);
    batch.news = vec![told(f.event(8), waiting.id, NewsEffect::Wake { parked: WAITS, at })];
    f.append(batch).await;
    assert_eq!(f.read(waiting.id).await.park, None);
    f.beat(teller.owner.unwrap()).await;
    let worker = f.worker().await;
    assert!(f.claim(worker).await.is_empty(), "its moment has not come");
    f.clock.advance(std::time::Duration::from_secs(30));
    assert_eq!(f.claim(worker).await, [waiting.id]);
}

/// Who waits for something else, is paused or canceled, learns it and sleeps on.
pub async fn news_wakes_nobody_who_must_not_run<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut asleep = Vec::new();
    let reasons = [ParkReason::Budget, ParkReason::Signal, ParkReason::Signal];
    for (n, reason) in reasons.into_iter().enumerate() {
        let run = f.running().await;
        f.append(parking(&run, reason, None)).await;
        let run = f.read(run.id).await;
        match n {
            1 => drop(f.append(pausing(&run)).await),
            2 => drop(f.append(canceling(&run)).await),
            _ => {}
        }
        asleep.push(f.read(run.id).await);
    }
    let teller = f.running().await;
    let mut batch = noting(&f, &teller);
    batch.news = asleep.iter().map(|run| waking(&f, run.id)).collect();
    f.append(batch).await;
    for before in asleep {
        let run = f.read(before.id).await;
        assert_eq!((run.park, run.last_seq), (before.park, before.last_seq + 1), "it learned it");
    }
    assert!(f.claim(f.worker().await).await.is_empty());
}

/// Neither is an error.
pub async fn a_run_that_ended_or_is_gone_learns_nothing<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let ended = f.ended(RunStatus::Completed).await;
    let teller = f.running().await;
    let mut batch = noting(&f, &teller);
    let nobody = f.run_id();
    batch.news = [ended.id, nobody].into_iter().map(|run| waking(&f, run)).collect();
    batch.news.push(cancel(&f, ended.id));
    f.append(batch).await;
    assert_eq!(f.read(ended.id).await, ended);
    assert!(f.events(nobody).await.is_empty());
}

/// It is left to the sweep like any other cancellation.
pub async fn news_of_a_cancellation_counts_once<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let teller = f.running().await;
    let queued = f.queued().await;
    for _ in 0..2 {
        let mut batch = noting(&f, &teller);
        batch.news = vec![cancel(&f, queued.id)];
        f.append(batch).await;
    }
    let run = f.read(queued.id).await;
    assert!(run.cancel_requested && run.status == RunStatus::Queued);
    assert_eq!(run.cancel_reason.as_deref(), Some("alone"));
    assert_eq!((run.last_seq, run.control), (queued.last_seq + 1, queued.control + 1));
    assert!(f.claim(f.worker().await).await.is_empty());
    let swept = f.store.sweep(ALL).await.unwrap();
    assert_eq!((swept.cancel, swept.mended), (vec![queued.id], Vec::new()));
}

/// What begins with a batch can be told something by it.
pub async fn a_run_begins_and_is_canceled_with_one_batch<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let parent = f.running().await;
    let child = spawn(&f, &parent);
    let id = child.run.id;
    let mut batch = f.ending(by_owner(&parent), RunStatus::Completed);
    batch.spawns = vec![child];
    batch.news = vec![cancel(&f, id)];
    f.append(batch).await;
    let child = f.read(id).await;
    assert!(child.cancel_requested && child.last_seq == 2, "{child:?}");
    assert!(f.claim(f.worker().await).await.is_empty());
}

/// It stays when the run that told it is deleted.
pub async fn a_payload_of_news_belongs_to_the_run_that_learns_it<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let waiting = f.running().await;
    let teller = f.running().await;
    let payload = blob(b"a long story");
    let mut news = waking(&f, waiting.id);
    news.event.blob = Some(payload.sha256.clone());
    news.blobs = vec![payload.clone()];
    let mut batch = f.ending(by_owner(&teller), RunStatus::Completed);
    batch.news = vec![news];
    f.append(batch).await;
    f.store.delete(teller.id).await.unwrap();
    assert_eq!(f.store.blob(&payload.sha256).await.unwrap(), payload.bytes);
    assert_eq!(f.events(waiting.id).await.last().unwrap().blob, Some(payload.sha256));
}

/// Ends of a parent and of its child that tell each other, at the same moment.
pub async fn s52_runs_that_end_and_tell_each_other_both_end_once<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for _ in 0..20 {
        let parent = f.running().await;
        let child = f.running().await;
        let mut first = f.ending(by_owner(&parent), RunStatus::Canceled);
        first.news = vec![cancel(&f, child.id)];
        let mut second = f.ending(by_owner(&child), RunStatus::Completed);
        second.news = vec![waking(&f, parent.id)];
        let (one, other) = tokio::join!(f.store.append(first), f.store.append(second));
        one.unwrap();
        other.unwrap();
        for (run, learned) in [(&parent, 8), (&child, 9)] {
            let ended = f.read(run.id).await;
            let events = f.events(run.id).await;
            assert!(ended.status.is_terminal());
            assert_eq!(events.last().unwrap().payload, json!({"n": 99}), "the end is last");
            let news = events.iter().filter(|event| event.payload == json!({"n": learned}));
            assert!(news.count() <= 1);
        }
    }
}
