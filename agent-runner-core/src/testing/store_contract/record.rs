//! The contract of `RecordStore`.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    StoreHarness,
    fixture::{ALL, Fixture, seconds},
};
use crate::store::{PutRecord, Record, RecordExpect, StoreErrorKind};

fn put(key: &str, value: Value, expect: RecordExpect) -> PutRecord {
    PutRecord {
        collection: "projects".to_owned(),
        key: key.to_owned(),
        value,
        expect,
        expires_at: None,
    }
}

fn until(at: Timestamp, put: PutRecord) -> PutRecord {
    PutRecord { expires_at: Some(at), ..put }
}

async fn keys<H: StoreHarness>(f: &Fixture<H>, after: Option<&str>, limit: usize) -> Vec<String> {
    let records = f.store.records("projects", after, limit).await.unwrap();
    records.into_iter().map(|record| record.key).collect()
}

/// Record contract 1: the version counts the writes, and every field reads back.
pub async fn a_version_grows_by_one_with_every_write<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    assert_eq!(f.store.record("projects", "a").await.unwrap(), None);
    for version in 1..=3 {
        let value = json!({ "n": version, "text": "a\u{0}\u{1F980}", "list": [null, u64::MAX] });
        let want = Record {
            key: "a".to_owned(),
            value: value.clone(),
            version,
            expires_at: None,
            updated_at: f.now(),
        };
        let written = f.store.put_record(put("a", value, RecordExpect::Any)).await.unwrap();
        assert_eq!(written, want);
        assert_eq!(f.store.record("projects", "a").await.unwrap(), Some(want));
        f.clock.advance(Duration::from_secs(1));
    }
}

/// Record contract 2, every expectation against every state.
pub async fn a_write_whose_expectation_does_not_hold_changes_nothing<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for wrong in [RecordExpect::Version(0), RecordExpect::Version(1)] {
        let error = f.store.put_record(put("a", json!(1), wrong)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        assert_eq!(f.store.record("projects", "a").await.unwrap(), None);
    }
    let first = f.store.put_record(put("a", json!(1), RecordExpect::Absent)).await.unwrap();
    for wrong in [RecordExpect::Absent, RecordExpect::Version(0), RecordExpect::Version(2)] {
        let error = f.store.put_record(put("a", json!(2), wrong)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        assert_eq!(f.store.record("projects", "a").await.unwrap(), Some(first.clone()));
    }
    let second = f.store.put_record(put("a", json!(3), RecordExpect::Version(1))).await.unwrap();
    assert_eq!((second.version, second.value), (2, json!(3)));
}

/// Of sixteen writers that saw the same version, one wins.
pub async fn a_version_is_a_compare_and_set<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for (expect, version) in [(RecordExpect::Absent, 1), (RecordExpect::Version(1), 2)] {
        let writers = (0..16).map(|n| {
            let store = f.store.clone();
            tokio::spawn(async move { store.put_record(put("a", json!(n), expect)).await.is_ok() })
        });
        let won = join_all(writers).await.into_iter().filter(|won| *won.as_ref().unwrap());
        assert_eq!(won.count(), 1, "of writers with one expectation one wins");
        let record = f.store.record("projects", "a").await.unwrap().unwrap();
        assert_eq!(record.version, version);
    }
}

/// Record contract 2 for deletions.
pub async fn a_deletion_tells_whether_there_was_one<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let delete = async |expect| f.store.delete_record("projects", "a", expect).await.unwrap();
    assert!(!delete(RecordExpect::Any).await);
    assert!(!delete(RecordExpect::Absent).await, "there is nothing to delete");
    f.store.put_record(put("a", json!(1), RecordExpect::Any)).await.unwrap();
    assert!(!delete(RecordExpect::Version(2)).await);
    assert!(!delete(RecordExpect::Absent).await);
    assert!(f.store.record("projects", "a").await.unwrap().is_some());
    assert!(delete(RecordExpect::Version(1)).await);
    assert!(!delete(RecordExpect::Any).await);
    let again = f.store.put_record(put("a", json!(2), RecordExpect::Absent)).await.unwrap();
    assert_eq!(again.version, 1, "a deleted record leaves nothing behind");
}

/// Record contract 3, for every method.
pub async fn an_expired_record_is_as_good_as_absent<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let at = seconds(f.now(), 10);
    for key in ["a", "b"] {
        let record = put(key, json!(1), RecordExpect::Any);
        f.store.put_record(record.clone()).await.unwrap();
        let written = f.store.put_record(until(at, record)).await.unwrap();
        assert_eq!((written.version, written.expires_at), (2, Some(at)));
    }
    f.store.put_record(put("c", json!(1), RecordExpect::Any)).await.unwrap();
    f.clock.advance(Duration::from_secs(9));
    assert_eq!(keys(&f, None, ALL).await, ["a", "b", "c"]);
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(f.store.record("projects", "a").await.unwrap(), None);
    assert_eq!(keys(&f, None, 1).await, ["c"], "what expired takes no place on a page");
    assert!(!f.store.delete_record("projects", "a", RecordExpect::Any).await.unwrap());
    let old = put("a", json!(2), RecordExpect::Version(2));
    assert_eq!(f.store.put_record(old).await.unwrap_err().kind(), StoreErrorKind::Conflict);
    let new = f.store.put_record(put("a", json!(2), RecordExpect::Absent)).await.unwrap();
    assert_eq!((new.version, new.expires_at), (1, None));
}

/// A write says anew whether the record expires.
pub async fn a_write_replaces_the_expiry<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let record = put("a", json!(1), RecordExpect::Any);
    f.store.put_record(until(seconds(f.now(), 10), record.clone())).await.unwrap();
    f.store.put_record(record).await.unwrap();
    f.clock.advance(Duration::from_secs(60));
    let kept = f.store.record("projects", "a").await.unwrap().unwrap();
    assert_eq!((kept.version, kept.expires_at), (2, None));
}

/// Records are listed by the bytes of their keys, a page at a time.
pub async fn records_are_listed_by_key<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let mut want = ["b", "a", "B", "", "é", "z", "a/1", "\u{1F980}", "%", "_", "10", "9"];
    for key in want {
        f.store.put_record(put(key, json!(key), RecordExpect::Absent)).await.unwrap();
    }
    want.sort_unstable();
    assert_eq!(keys(&f, None, ALL).await, want);
    assert_eq!(keys(&f, Some(""), ALL).await, want[1..]);
    let mut paged = keys(&f, None, 5).await;
    while let Some(last) = paged.last().cloned() {
        let page = keys(&f, Some(&last), 5).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
        assert!(paged.len() <= want.len(), "a page repeats what came before");
    }
    assert_eq!(paged, want);
    assert_eq!(keys(&f, Some("a0"), 1).await, ["b"], "the key to start after need not exist");
    assert_eq!(keys(&f, None, 0).await, Vec::<String>::new());
}

/// Equal keys of different collections are different records.
pub async fn collections_have_nothing_to_do_with_each_other<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for collection in ["projects", "Projects", "project", "projects2"] {
        let record = PutRecord {
            collection: collection.to_owned(),
            ..put("a", json!(collection), RecordExpect::Absent)
        };
        assert_eq!(f.store.put_record(record).await.unwrap().version, 1);
    }
    assert!(f.store.delete_record("project", "a", RecordExpect::Any).await.unwrap());
    let kept = f.store.record("projects", "a").await.unwrap().unwrap();
    assert_eq!(kept.value, json!("projects"));
    assert_eq!(keys(&f, None, ALL).await, ["a"]);
    assert_eq!(f.store.records("nothing", None, ALL).await.unwrap(), []);
}
