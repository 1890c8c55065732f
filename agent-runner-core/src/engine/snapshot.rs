//! Snapshots: what the first events of a run lead to, kept so that a long journal is not folded from
//! its beginning whenever somebody needs the run's state.
//!
//! A snapshot is the fold of a journal and nothing else: whoever makes one reads the journal. One
//! that cannot be used, for whatever reason, is left aside and the journal folded from its
//! beginning.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tracing::warn;

use super::{
    EngineError, EngineErrorKind,
    journal::{self, sha256_hex},
};
use crate::{
    event::{Event, EventBody},
    id::RunId,
    limits,
    machine::RunState,
    run::Run,
    store::{Batch, Blob, Snapshot, Store, StoreErrorKind},
};

/// How far a journal has grown since the last snapshot of its run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth {
    events: u64,
    bytes: u64,
    /// What the last snapshot has, its texts included.
    snapshot: u64,
}

impl Growth {
    /// Takes in an event with this payload.
    pub(super) fn add(&mut self, payload: &Value) {
        self.add_bytes(size(payload));
    }

    fn add_bytes(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes in what a batch appends.
    pub(super) fn add_batch(&mut self, batch: &Batch) {
        for event in &batch.events {
            self.add_bytes(length(event.payload.as_str()));
            let apart = batch.blobs.iter().find(|blob| event.blob.as_ref() == Some(&blob.sha256));
            let bytes = apart.map_or(0, |blob| blob.bytes.len());
            self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    /// Whether a snapshot is worth what it takes. As the journal has grown by as much as the last
    /// one had, all that were replaced have together no more than the journal.
    pub(super) const fn is_due(&self, interval: u64) -> bool {
        self.events >= interval && self.bytes >= self.snapshot
    }

    /// The same for a run that comes to rest: it may be read many times until it goes on, and is
    /// then folded anew.
    pub(super) const fn is_due_at_rest(&self, interval: u64) -> bool {
        self.events >= interval / 4 && self.bytes >= self.snapshot / 4
    }

    /// Begins anew without a snapshot, so that the next try is as far away as the next one would be.
    pub(super) const fn put_off(&mut self) {
        self.events = 0;
        self.bytes = 0;
    }
}

/// Roughly the bytes of a document.
pub(super) fn size(value: &Value) -> u64 {
    let bytes = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => length(text),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(items) => items.iter().map(|(key, item)| length(key) + size(item)).sum(),
    };
    bytes + 2
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// A run's state as its journal tells it.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) state: RunState,
    /// The last event that is in it, 0 for a run that does not exist.
    pub(super) seq: u64,
    pub(super) growth: Growth,
    /// Hashes of the large texts of the snapshot from which it comes.
    texts: BTreeSet<String>,
}

/// A snapshot on its way into the store.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) snapshot: Snapshot,
    /// Large texts of it that the last snapshot did not have.
    pub(super) texts: Vec<Blob>,
    pub(super) growth: Growth,
}

/// What stands in [`Snapshot::state`], after its own hash and a line feed.
#[derive(Debug, Serialize)]
struct Document {
    /// The state, with null in the place of each large text.
    state: Value,
    /// Where those are (RFC 6901), and their hashes.
    texts: BTreeMap<String, String>,
}

/// A [`Document`] whose state was not looked at yet.
#[derive(Debug, Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    state: &'a RawValue,
    texts: BTreeMap<String, String>,
}

/// The state of a run that has only been asked for: nothing to read.
pub(super) fn fresh(run: &Run) -> Result<Loaded, EngineError> {
    let mut loaded = Loaded { seq: 1, ..Loaded::default() };
    // One event, whose bytes are not worth writing it once more to count them.
    loaded.growth.add_bytes(0);
    let queued = EventBody::RunQueued { spec: Box::new(run.spec.clone()) };
    loaded.state.apply(1, &queued).map_err(|problem| {
        let what = format!("run {} cannot begin: {problem}", run.id);
        EngineError::new(EngineErrorKind::Internal, what)
    })?;
    Ok(loaded)
}

/// The state of a run: its last snapshot and what came after it.
pub(super) async fn load(store: &dyn Store, run: RunId) -> Result<Loaded, EngineError> {
    if let Some(kept) = store.snapshot(run).await? {
        match begin(store, kept).await? {
            Ok(base) => match go_on(store, run, base).await {
                Err(problem) if problem.kind() == EngineErrorKind::Internal => {
                    warn!(run.id = %run, error = %problem, "the snapshot leads nowhere");
                }
                loaded => return loaded,
            },
            Err(why) => warn!(run.id = %run, why, "the snapshot is not used"),
        }
    }
    go_on(store, run, Loaded::default()).await
}

async fn go_on(store: &dyn Store, run: RunId, mut loaded: Loaded) -> Result<Loaded, EngineError> {
    let Loaded { state, growth, seq: after, .. } = &mut loaded;
    let look = |event: &Event, body| {
        growth.add(&event.payload);
        journal::take(state, event, &body).map(ControlFlow::Continue)
    };
    *after = journal::walk(store, run, *after, look).await?;
    Ok(loaded)
}

/// The state in a snapshot; why not, when it is of no use.
async fn begin(
    store: &dyn Store,
    kept: Snapshot,
) -> Result<Result<Loaded, &'static str>, EngineError> {
    if kept.version != RunState::VERSION {
        return Ok(Err("another version of this program made it"));
    }
    let bytes = kept.state.len();
    let Some(document) = read(&kept.state) else { return Ok(Err("it is damaged")) };
    let mut all = u64::try_from(bytes).unwrap_or(u64::MAX);
    let mut texts = BTreeSet::new();
    let state = document.state.get();
    if document.texts.is_empty() {
        let growth = Growth { snapshot: all, ..Growth::default() };
        return Ok(serde_json::from_str(state)
            .map(|state| Loaded { state, seq: kept.seq, growth, texts })
            .map_err(|_| "it is damaged"));
    }
    let Ok(mut state) = serde_json::from_str::<Value>(state) else {
        return Ok(Err("it is damaged"));
    };
    for (place, sha256) in document.texts {
        let text = match store.blob(&sha256).await {
            Ok(bytes) if sha256_hex(&[&bytes]) == sha256 => String::from_utf8(bytes).ok(),
            Ok(_) => None,
            Err(problem) if problem.kind() == StoreErrorKind::NotFound => None,
            Err(problem) => return Err(problem.into()),
        };
        let (Some(text), Some(hole)) = (text, state.pointer_mut(&place)) else {
            return Ok(Err("one of its texts is damaged"));
        };
        all = all.saturating_add(length(&text));
        *hole = Value::String(text);
        texts.insert(sha256);
    }
    let growth = Growth { snapshot: all, ..Growth::default() };
    Ok(serde_json::from_value(state)
        .map(|state| Loaded { state, seq: kept.seq, growth, texts })
        .map_err(|_| "it is damaged"))
}

fn read(state: &[u8]) -> Option<Kept<'_>> {
    let (sha256, json) = state.split_at_checked(64)?;
    let json = json.strip_prefix(b"\n")?;
    (sha256_hex(&[json]).as_bytes() == sha256).then(|| serde_json::from_slice(json).ok())?
}

/// A new snapshot of a run, from its last one and its journal.
pub(super) async fn renew(store: &dyn Store, run: RunId) -> Result<Taken, EngineError> {
    let loaded = load(store, run).await?;
    take(&loaded)
}

/// The snapshot of a state that was just loaded.
pub(super) fn take(loaded: &Loaded) -> Result<Taken, EngineError> {
    let unfit = |error: serde_json::Error| {
        EngineError::new(
            EngineErrorKind::Internal,
            format!("the state after event {} cannot be kept: {error}", loaded.seq),
        )
    };
    let mut state = serde_json::to_value(&loaded.state).map_err(unfit)?;
    let mut found = BTreeMap::new();
    cut_out(&mut state, &mut String::new(), &mut found);
    let mut document = Document { state, texts: BTreeMap::new() };
    let mut texts: BTreeMap<String, Blob> = BTreeMap::new();
    let mut bytes = 0;
    for (place, text) in found {
        let sha256 = sha256_hex(&[text.as_bytes()]);
        bytes += length(&text);
        document.texts.insert(place, sha256.clone());
        if !loaded.texts.contains(&sha256) {
            texts.insert(sha256.clone(), Blob { sha256, bytes: text.into_bytes() });
        }
    }
    let json = serde_json::to_vec(&document).map_err(unfit)?;
    let state = [sha256_hex(&[&json]).as_bytes(), b"\n", &json].concat();
    bytes += u64::try_from(state.len()).unwrap_or(u64::MAX);
    Ok(Taken {
        snapshot: Snapshot { seq: loaded.seq, version: RunState::VERSION, state },
        texts: texts.into_values().collect(),
        growth: Growth { snapshot: bytes, ..Growth::default() },
    })
}

/// Takes the large texts out of a document; where each was, and the text.
fn cut_out(value: &mut Value, place: &mut String, found: &mut BTreeMap<String, String>) {
    let end = place.len();
    match value {
        Value::String(text) if text.len() > limits::SNAPSHOT_TEXT_BYTES_MAX => {
            found.insert(place.clone(), std::mem::take(text));
            *value = Value::Null;
        }
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                place.push('/');
                place.push_str(&n.to_string());
                cut_out(item, place, found);
                place.truncate(end);
            }
        }
        Value::Object(items) => {
            for (key, item) in items.iter_mut() {
                place.push('/');
                place.push_str(&key.replace('~', "~0").replace('/', "~1"));
                cut_out(item, place, found);
                place.truncate(end);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
