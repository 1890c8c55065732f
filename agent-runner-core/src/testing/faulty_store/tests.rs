//! What a disturbed call leaves behind.

use serde_json::json;

use super::*;
use crate::{
    engine::{Engine, NewRun},
    event::NewEvent,
    store::{Expect, InMemoryStore},
    testing::{ScriptedModel, Turn},
};

fn faulty() -> FaultyStore {
    FaultyStore::new(Arc::new(InMemoryStore::new()))
}

fn put(key: &str) -> PutRecord {
    PutRecord {
        collection: "c".to_owned(),
        key: key.to_owned(),
        value: json!(1),
        expect: RecordExpect::Absent,
        expires_at: None,
    }
}

async fn kind(store: &FaultyStore, key: &str) -> Option<StoreErrorKind> {
    store.put_record(put(key)).await.err().map(|error| error.kind())
}

#[tokio::test]
async fn only_the_named_call_fails_and_leaves_what_its_fault_says() {
    let store = faulty();
    store.fail_nth(2, Fault::BeforeCommit);
    store.fail_nth(3, Fault::AfterCommit);
    assert_eq!(kind(&store, "a").await, None);
    assert_eq!(kind(&store, "b").await, Some(StoreErrorKind::Unavailable));
    assert_eq!(kind(&store, "c").await, Some(StoreErrorKind::Unavailable));
    assert_eq!(kind(&store, "d").await, None);
    let kept = store.records("c", None, 9).await.unwrap();
    let keys: Vec<_> = kept.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["a", "c", "d"]);
    assert_eq!(store.calls(), 4);
}

#[tokio::test]
async fn a_refusal_stays_a_refusal_after_the_commit_that_was_none() {
    let store = faulty();
    assert_eq!(kind(&store, "a").await, None);
    store.fail_nth(2, Fault::AfterCommit);
    assert_eq!(kind(&store, "a").await, Some(StoreErrorKind::Conflict));
}

#[tokio::test]
async fn what_is_not_counted_is_not_disturbed() {
    let store = faulty().counting(&[StoreCall::Sweep]);
    store.fail_nth(1, Fault::BeforeCommit);
    assert_eq!(kind(&store, "a").await, None);
    assert_eq!(store.sweep(1).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.sweep(1).await.unwrap(), Sweep::default());
    assert_eq!(store.calls(), 2);
}

#[tokio::test]
async fn a_held_call_waits_at_its_place_until_it_is_released() {
    for (place, written) in [(Fault::BeforeCommit, false), (Fault::AfterCommit, true)] {
        let store = Arc::new(faulty());
        let held = store.pause_nth(1, place);
        let call = tokio::spawn({
            let store = store.clone();
            async move { kind(&store, "a").await }
        });
        held.reached().await;
        assert!(!call.is_finished());
        assert_eq!(store.record("c", "a").await.unwrap().is_some(), written);
        held.release();
        assert_eq!(call.await.unwrap(), None);
        assert!(store.record("c", "a").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn reading_calls_fail_where_they_are_counted() {
    let store = faulty().counting(&[StoreCall::Record]);
    store.fail_nth(1, Fault::BeforeCommit);
    store.fail_nth(2, Fault::AfterCommit);
    for _ in 0..2 {
        let failed = store.record("c", "a").await.unwrap_err();
        assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
    }
    assert_eq!(store.record("c", "a").await.unwrap(), None);
    let all = StoreCall::ALL;
    assert!(StoreCall::WRITES.iter().all(|call| all.contains(call)) && all.len() == 29);
}

async fn queued(store: &Arc<dyn Store>) -> Run {
    let model = ScriptedModel::new([Turn::text("done")]);
    let engine = Engine::builder(Arc::clone(store)).provider(model).build().unwrap();
    let new = NewRun { model: Some("test/model".to_owned()), ..NewRun::new("x") };
    engine.create_run(new).await.unwrap().run
}

fn noting(run: &Run) -> Batch {
    let mut batch = Batch::new(run.id, Expect::Control(run.control));
    batch.events.push(NewEvent {
        kind: "test.noted".to_owned(),
        step: None,
        payload: json!(1).into(),
        blob: None,
        at: run.created_at,
    });
    batch
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_arrives_although_its_sender_is_gone() {
    let inner: Arc<dyn Store> = Arc::new(InMemoryStore::new());
    let run = queued(&inner).await;
    let far = FaultyStore::new(Arc::clone(&inner)).on_a_line(|| Duration::from_secs(60));
    let moment = Duration::from_secs(1);
    tokio::time::timeout(moment, far.append(noting(&run))).await.unwrap_err();
    assert_eq!(inner.run(run.id).await.unwrap().last_seq, run.last_seq);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(inner.run(run.id).await.unwrap().last_seq, run.last_seq + 1);
    assert_eq!(far.append(noting(&run)).await.unwrap().last_seq, run.last_seq + 2);
}

#[tokio::test]
async fn a_changed_batch_is_what_the_inner_store_gets() {
    let inner: Arc<dyn Store> = Arc::new(InMemoryStore::new());
    let run = queued(&inner).await;
    let store = FaultyStore::new(Arc::clone(&inner)).changed(|mut batch| {
        batch.events[0].kind = "test.changed".to_owned();
        batch
    });
    store.append(noting(&run)).await.unwrap();
    let events = inner.events(run.id, &EventQuery::after(run.last_seq)).await.unwrap();
    assert_eq!(events[0].kind, "test.changed");
}
