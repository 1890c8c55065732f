//! Contract 2, 3 and 4: events are numbered without gaps, never change, and come whole.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    StoreHarness,
    fixture::{Fixture, by_control, by_owner, event, step},
};
use crate::{
    event::NewEvent,
    id::StepKey,
    run::RunStatus,
    step::StepStatus,
    store::{EventQuery, Ready},
};

/// Contract 2.
pub async fn events_are_numbered_from_one_without_gaps<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    let mut next = 2;
    for size in [1, 3, 0, 100, 1] {
        let mut batch = by_owner(&run);
        batch.events = (0..size).map(|n| f.event(next + n)).collect();
        let appended = f.append(batch).await;
        assert_eq!(appended.first_seq, next, "the number of the first, or of the next to come");
        next += size;
        assert_eq!(appended.last_seq, next - 1);
        assert_eq!(f.read(run.id).await.last_seq, next - 1);
    }
    let events = f.events(run.id).await;
    assert!(events.iter().map(|event| event.seq).eq(1..next), "there is a gap in the journal");
    let order = events[1..].iter().map(|event| event.payload["n"].as_u64().unwrap());
    assert!(order.eq(2..next), "in the order of the batch");
}

/// Contract 2, with sixteen writers that each write batches of different sizes.
pub async fn i5_events_are_contiguous_under_concurrent_writers<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let writers = (1..=16_u64).map(|writer| {
        let (store, run, now) = (f.store.clone(), run.clone(), f.now());
        tokio::spawn(async move {
            let mut given = Vec::new();
            for round in 0..8 {
                let mut batch = by_control(&run);
                let size = 1 + (writer + round) % 3;
                batch.events = (0..size).map(|_| event(writer, now)).collect();
                let appended = store.append(batch).await.unwrap();
                assert_eq!(appended.last_seq, appended.first_seq + size - 1);
                given.extend((appended.first_seq..=appended.last_seq).map(|seq| (seq, writer)));
            }
            given
        })
    });
    let mut given: Vec<(u64, u64)> =
        join_all(writers).await.into_iter().flat_map(|given| given.unwrap()).collect();
    given.sort_unstable();
    let events = f.events(run.id).await;
    let kept: Vec<_> =
        events[1..].iter().map(|event| (event.seq, event.payload["n"].as_u64().unwrap())).collect();
    assert_eq!(kept, given, "every event has the number that its writer was told");
    assert!(events.iter().map(|event| event.seq).eq(1..=f.read(run.id).await.last_seq));
}

/// Contract 2: while others write, what a reader sees is 1..n, and n never falls.
pub async fn i5_every_reader_sees_a_prefix<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let writers = (0..4_u64).map(|writer| {
        let (store, run, now) = (f.store.clone(), run.clone(), f.now());
        tokio::spawn(async move {
            for _ in 0..25 {
                let mut batch = by_control(&run);
                batch.events = vec![event(writer, now), event(writer, now)];
                store.append(batch).await.unwrap();
            }
        })
    });
    let readers = (0..4).map(|_| {
        let (store, id) = (f.store.clone(), run.id);
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < 201 {
                let run = store.run(id).await.unwrap();
                let events = store.events(id, &EventQuery::after(0)).await.unwrap();
                let last = u64::try_from(events.len()).unwrap();
                assert!(events.iter().map(|event| event.seq).eq(1..=last), "no gap");
                assert!(last >= run.last_seq, "the run never runs ahead of its journal");
                assert!(last >= seen, "a prefix never shrinks");
                assert_eq!(last % 2, 1, "a batch is visible whole or not at all");
                seen = last;
                tokio::task::yield_now().await;
            }
        })
    });
    let (writers, readers): (Vec<_>, Vec<_>) = (writers.collect(), readers.collect());
    for task in writers.into_iter().chain(readers) {
        task.await.unwrap();
    }
}

/// Contract 3: whatever happens later, an event reads as it was written.
pub async fn i4_events_never_change<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.running().await;
    let before = f.events(run.id).await;
    f.clock.advance(Duration::from_secs(5));
    let mut batch = by_owner(&run);
    batch.events = vec![f.event(7)];
    batch.steps = vec![step("turn.1.model", StepStatus::Started)];
    f.append(batch).await;
    f.append(f.ending(by_owner(&run), RunStatus::Failed)).await;
    assert_eq!(f.events(run.id).await[..before.len()], before[..]);
}

/// Contract 4: run and journal move together; a reader that sees the status sees its event.
pub async fn i7_status_and_journal_move_together<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for _ in 0..10 {
        let run = f.running().await;
        let (store, id) = (f.store.clone(), run.id);
        let reader = tokio::spawn(async move {
            loop {
                let seen = store.run(id).await.unwrap();
                let events = store.events(id, &EventQuery::after(0)).await.unwrap();
                let ended = events.iter().any(|event| event.payload == json!({ "n": 99 }));
                if seen.status.is_terminal() {
                    assert!(ended, "the status is visible and its event is not");
                    return;
                }
                assert_eq!(seen.finished_at, None);
                tokio::task::yield_now().await;
            }
        });
        f.append(f.ending(by_owner(&run), RunStatus::Completed)).await;
        reader.await.unwrap();
    }
}

/// Contract 1.
pub async fn i10_what_is_acknowledged_is_visible_to_the_next_reader<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    for n in 1..=50 {
        let mut batch = by_control(&run);
        batch.events = vec![f.event(n)];
        let appended = f.append(batch).await;
        let query = EventQuery::after(appended.last_seq - 1);
        let fresh = f.store.events(run.id, &query).await.unwrap();
        assert_eq!(fresh.len(), 1);
        assert_eq!(fresh[0].payload, json!({ "n": n }));
        assert_eq!(f.read(run.id).await.last_seq, appended.last_seq);
    }
}

/// Contract 6: an event carries the epoch that the run had, so epochs rise with the numbers.
pub async fn i8_epochs_of_events_never_fall<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    for round in 0..3 {
        let run = if round == 0 {
            run.clone()
        } else {
            let worker = f.worker().await;
            f.claimed_by(worker, run.id).await
        };
        let mut batch = by_owner(&run);
        batch.events = vec![f.event(run.epoch)];
        batch.patch.release = true;
        batch.ready = Ready::At(f.now());
        f.append(batch).await;
        let mut batch = by_control(&run);
        batch.events = vec![f.event(run.epoch)];
        f.append(batch).await;
    }
    let events = f.events(run.id).await;
    let epochs: Vec<_> = events.iter().map(|event| event.epoch).collect();
    assert_eq!(epochs, [0, 1, 1, 2, 2, 3, 3]);
}

/// Contract 1: every field of an event reads back, whatever is in it.
pub async fn payloads_read_back_exactly<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let payloads = [
        json!({}),
        json!(null),
        json!("text, not an object"),
        json!([1, 2.5, -0.25, true, [], {}]),
        json!({ "": "empty key", "\u{0}": "NUL key", "a\"b\\c": "quotes" }),
        json!({ "nul": "a\u{0}b", "crab": "\u{1F980}", "line": "\u{2028}\r\n\t\u{7f}\u{1b}" }),
        json!({ "max": u64::MAX, "min": i64::MIN, "far": 1e300 }),
        json!({ "sql": "'); DROP TABLE event; --", "like": "%_\\" }),
        json!({ "combining": "e\u{301} \u{e9}", "bom": "\u{feff}", "rtl": "\u{202e}abc" }),
    ];
    let mut batch = by_control(&run);
    batch.events = payloads
        .iter()
        .enumerate()
        .map(|(n, payload)| NewEvent {
            kind: format!("test.kind_{n}"),
            step: (n % 2 == 0).then(|| StepKey::new(format!("turn.{n}.tool"))),
            payload: payload.clone().into(),
            blob: (n % 3 == 0).then(|| "cd".repeat(32)),
            at: super::fixture::seconds(f.now(), u64::try_from(n).unwrap()),
        })
        .collect();
    let want = batch.events.clone();
    f.append(batch).await;
    let kept: Vec<_> = f
        .events(run.id)
        .await
        .into_iter()
        .skip(1)
        .map(|event| {
            assert_eq!(event.run_id, run.id);
            let (kind, step, payload) = (event.kind, event.step, event.payload.into());
            NewEvent { kind, step, payload, blob: event.blob, at: event.at }
        })
        .collect();
    assert_eq!(kept, want);
}

/// Contract 1: size is no reason to lose anything.
pub async fn a_payload_of_one_mebibyte_reads_back_exactly<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let text: String = "a\u{0}\u{1F980}\"".chars().cycle().take(1024 * 1024).collect();
    let mut batch = by_control(&run);
    batch.events = vec![NewEvent { payload: Value::String(text.clone()).into(), ..f.event(1) }];
    f.append(batch).await;
    let kept = f.events(run.id).await.pop().unwrap().payload;
    assert!(kept.as_str() == Some(text.as_str()), "the payload changed on its way");
}
