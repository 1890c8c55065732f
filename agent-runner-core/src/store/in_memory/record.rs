//! Records.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::store::{PutRecord, Record, RecordExpect, StoreError, StoreErrorKind};

#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<(String, String), Record>);

fn alive(record: &Record, now: Timestamp) -> bool {
    record.expires_at.is_none_or(|at| at > now)
}

fn holds(expect: RecordExpect, version: Option<u64>) -> bool {
    match expect {
        RecordExpect::Any => true,
        RecordExpect::Absent => version.is_none(),
        RecordExpect::Version(wanted) => version == Some(wanted),
    }
}

impl Records {
    pub(super) fn get(&self, collection: &str, key: &str, now: Timestamp) -> Option<&Record> {
        let record = self.0.get(&(collection.to_owned(), key.to_owned()))?;
        alive(record, now).then_some(record)
    }

    pub(super) fn put(&mut self, put: PutRecord, now: Timestamp) -> Result<Record, StoreError> {
        let version = self.get(&put.collection, &put.key, now).map(|record| record.version);
        if !holds(put.expect, version) {
            let found = version.map_or_else(|| "is absent".into(), |v| format!("has version {v}"));
            return Err(StoreError::new(
                StoreErrorKind::Conflict,
                format!("record `{}` of `{}` {found}: read it again", put.key, put.collection),
            ));
        }
        let record = Record {
            key: put.key.clone(),
            value: put.value,
            version: version.unwrap_or(0) + 1,
            expires_at: put.expires_at,
            updated_at: now,
        };
        self.0.insert((put.collection, put.key), record.clone());
        Ok(record)
    }

    pub(super) fn delete(
        &mut self,
        collection: &str,
        key: &str,
        expect: RecordExpect,
        now: Timestamp,
    ) -> bool {
        let version = self.get(collection, key, now).map(|record| record.version);
        let fits = version.is_some() && holds(expect, version);
        if fits {
            self.0.remove(&(collection.to_owned(), key.to_owned()));
        }
        fits
    }

    pub(super) fn list(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Record> {
        let from = (collection.to_owned(), after.unwrap_or_default().to_owned());
        self.0
            .range(from..)
            .take_while(|((of, _), _)| of == collection)
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_str() > after))
            .map(|(_, record)| record)
            .filter(|record| alive(record, now))
            .take(limit)
            .cloned()
            .collect()
    }
}
