//! Anything that JSON or a person can come up with reads back as it was written.

use agent_runner_core::{
    event::NewEvent,
    id::StepKey,
    run::{Park, ParkReason},
    step::{EffectPolicy, StepError, StepKind, StepStatus},
    store::{
        Batch, Beginning, EventQuery, Expect, PutRecord, Ready, RecordExpect, RecordStore as _,
        RunQuery, SignalRow, StepRow, Store as _, StoreErrorKind,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{Disk, event, new_run, now, queued};

/// NUL, quotes, both ends of the planes, what looks like JSON or SQL.
const ODD: &str =
    "a\0b'\"\\;--\u{1}\u{7f}\u{2028}\u{fffd}\u{ffff}\u{10ffff}é😀 {\"a\": [null]} $1 %_";

#[tokio::test]
async fn every_text_column_takes_every_character() {
    let disk = Disk::open().await;
    let mut run = new_run();
    run.name = Some(ODD.to_owned());
    run.spec.goal = format!("x{ODD}");
    run.spec.agent.name = ODD.to_owned();
    run.tags = vec![ODD.to_owned(), String::new()];
    run.metadata.insert(ODD.to_owned(), json!(ODD));
    run.idempotency_key = Some(ODD.to_owned());
    let first = NewEvent { kind: ODD.to_owned(), step: Some(StepKey::new(ODD)), ..event("") };
    let created = disk
        .store
        .create(run.clone(), Beginning::new(vec![first.clone()], Ready::Never))
        .await
        .unwrap();
    let again = disk.store.create(run.clone(), Beginning::new(vec![], Ready::Never)).await.unwrap();
    assert!(again.existing, "the key is found again");
    assert_eq!(disk.store.run(run.id).await.unwrap(), created.run);
    assert_eq!(created.run.spec, run.spec);

    for query in [
        RunQuery { text: Some(ODD.to_uppercase()), ..RunQuery::default() },
        RunQuery { tag: Some(ODD.to_owned()), ..RunQuery::default() },
        RunQuery { agent: Some(ODD.to_owned()), ..RunQuery::default() },
    ] {
        let found = disk.store.runs(&query).await.unwrap();
        // Upper case of `é` is beyond ASCII and need not be found.
        let want = usize::from(query.text.is_none());
        assert_eq!(found.len(), want, "{query:?}");
    }
    let text = RunQuery { text: Some(ODD.to_ascii_uppercase()), ..RunQuery::default() };
    assert_eq!(disk.store.runs(&text).await.unwrap().len(), 1);

    let mut batch = Batch::new(run.id, Expect::Control(0));
    batch.events = vec![NewEvent { payload: json!({ ODD: ODD }).into(), ..first }];
    batch.patch.cancel_reason = Some(ODD.to_owned());
    batch.patch.park =
        Some(Some(Park { reason: ParkReason::Ask, wake_at: None, waiting_on: json!(ODD) }));
    batch.signals = vec![SignalRow { id: ODD.to_owned(), name: ODD.to_owned(), event: 0 }];
    batch.steps = vec![StepRow {
        key: StepKey::new(ODD),
        kind: StepKind::Tool,
        name: ODD.to_owned(),
        policy: EffectPolicy::Ask,
        status: StepStatus::Started,
        attempts: u32::MAX,
        error: Some(StepError { code: ODD.to_owned(), message: ODD.to_owned() }),
        started: Some(0),
        done: None,
        started_at: None,
        finished_at: None,
    }];
    disk.store.append(batch.clone()).await.unwrap();
    let again = disk.store.append(batch).await.unwrap_err();
    assert_eq!(again.kind(), StoreErrorKind::Duplicate, "the signal is found again");
    let kept = disk.store.run(run.id).await.unwrap();
    assert_eq!(kept.cancel_reason.as_deref(), Some(ODD));
    assert_eq!(kept.park.unwrap().waiting_on, ODD);
    let step = disk.store.steps(run.id).await.unwrap().remove(0);
    assert_eq!((step.key.as_str(), step.name.as_str(), step.attempts), (ODD, ODD, u32::MAX));
    assert_eq!(step.error.unwrap().message, ODD);
    let query = EventQuery {
        kinds: vec![ODD.to_owned()],
        step: Some(StepKey::new(ODD)),
        ..EventQuery::after(0)
    };
    let events = disk.store.events(run.id, &query).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].payload, json!({ ODD: ODD }));
}

#[tokio::test]
async fn a_long_search_text_is_no_error() {
    let disk = Disk::open().await;
    queued(&disk.store).await;
    let text = Some("count".repeat(20_000));
    let query = RunQuery { text, ..RunQuery::default() };
    assert!(disk.store.runs(&query).await.unwrap().is_empty());
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

#[tokio::test]
async fn a_document_too_deep_to_be_read_again_is_refused_before_it_is_written() {
    let disk = Disk::open().await;
    let run = queued(&disk.store).await;
    let batch = |depth| Batch {
        events: vec![NewEvent { payload: nested(depth).into(), ..event("test.noted") }],
        ..Batch::new(run.id, Expect::Control(run.control))
    };
    let error = disk.store.append(batch(121)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("flatter"), "{error}");
    disk.store.append(batch(120)).await.unwrap();
    let events = disk.store.events(run.id, &EventQuery::after(0)).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].payload, nested(120));

    let mut deep = new_run();
    deep.metadata.insert("x".to_owned(), nested(119));
    disk.store.create(deep.clone(), Beginning::new(vec![], Ready::Never)).await.unwrap();
    assert_eq!(disk.store.run(deep.id).await.unwrap().metadata, deep.metadata);
    let mut deeper = new_run();
    deeper.metadata.insert("x".to_owned(), nested(500));
    let error = disk.store.create(deeper, Beginning::new(vec![], Ready::Never)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let mut schema = new_run();
    schema.spec.agent.output_schema = Some(nested(119));
    disk.store.create(schema.clone(), Beginning::new(vec![], Ready::Never)).await.unwrap();
    assert_eq!(disk.store.run(schema.id).await.unwrap().spec, schema.spec);
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn any_document_reads_back_exactly() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let disk = runtime.block_on(Disk::open());
    let run = runtime.block_on(queued(&disk.store));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) };
    proptest!(config, |(documents in proptest::collection::vec(document(), 1..5))| {
        runtime.block_on(async {
            let mut batch = Batch::new(run.id, Expect::Control(run.control));
            batch.events = documents
                .iter()
                .map(|payload| NewEvent { payload: payload.clone().into(), ..event("test.noted") })
                .collect();
            let appended = disk.store.append(batch).await.unwrap();
            let query = EventQuery::after(appended.first_seq - 1);
            let events = disk.store.events(run.id, &query).await.unwrap();
            let payloads: Vec<_> = events.into_iter().map(|event| event.payload).collect();
            prop_assert_eq!(payloads, documents.clone());
            let put = PutRecord {
                collection: "c".to_owned(),
                key: "k".to_owned(),
                value: Value::from(documents),
                expect: RecordExpect::Any,
                expires_at: None,
            };
            disk.store.put_record(put.clone()).await.unwrap();
            let record = disk.store.record("c", "k").await.unwrap().unwrap();
            prop_assert_eq!(record.value, put.value);
            prop_assert!(record.updated_at <= now());
            Ok(())
        })?;
    });
}
