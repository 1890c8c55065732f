//! The newest events of a run that is watched, read once for all who watch it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{EngineError, Inner, live::LOOK_INTERVAL, snapshot, worker::AbortOnDrop};
use crate::{
    event::Event,
    id::RunId,
    limits,
    run::RunStatus,
    store::{EventQuery, Store},
};

/// Kept by those who watch; the task that reads ends with the last of them.
#[derive(Debug)]
pub(super) struct Tail {
    shared: Arc<Shared>,
    _reader: AbortOnDrop,
}

/// What the reading task fills and watchers look into.
#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    /// Changes when there may be more in it.
    filled: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The newest events, without a gap.
    events: VecDeque<Event>,
    bytes: u64,
    /// Number of the last event that was read.
    last: u64,
    /// How the run ended, once all its events were read.
    ended: Option<RunStatus>,
    /// The last reading failed.
    failed: bool,
}

/// What a watcher finds.
#[derive(Debug)]
pub(super) enum Found {
    /// Events after the one it knows, perhaps none, and how the run ended after them.
    News(Vec<Event>, Option<RunStatus>),
    /// What it needs is not kept (any more): it reads the store itself.
    Elsewhere,
}

impl Tail {
    /// Begins to read what comes after an event, whenever `committed` changes and from time to time.
    pub(super) fn new(
        inner: &Arc<Inner>,
        run: RunId,
        after: u64,
        committed: watch::Receiver<u64>,
    ) -> Self {
        let shared = Arc::new(Shared {
            kept: Mutex::new(Kept { last: after, ..Kept::default() }),
            filled: watch::channel(()).0,
        });
        let read = keep_reading(Arc::clone(inner), run, after, committed, Arc::clone(&shared));
        Self { shared, _reader: AbortOnDrop(tokio::spawn(read).abort_handle()) }
    }

    /// Tells when there may be more.
    pub(super) fn filled(&self) -> watch::Receiver<()> {
        self.shared.filled.subscribe()
    }

    /// What there is for a watcher that knows everything up to `after`.
    pub(super) fn after(&self, after: u64) -> Found {
        let kept = self.shared.kept();
        let first = kept.events.front().map_or(kept.last.saturating_add(1), |event| event.seq);
        if kept.failed || after.saturating_add(1) < first {
            return Found::Elsewhere;
        }
        let known = usize::try_from(after.saturating_add(1) - first).unwrap_or(usize::MAX);
        let news: Vec<Event> = kept.events.iter().skip(known).cloned().collect();
        Found::News(news, kept.ended)
    }
}

impl Shared {
    fn put(&self, read: Result<Read, EngineError>) {
        {
            let mut kept = self.kept();
            kept.failed = read.is_err();
            let Read { events, ended } = read.unwrap_or_default();
            if events.is_empty() && ended.is_none() && !kept.failed {
                return;
            }
            for event in events {
                kept.last = event.seq;
                kept.bytes = kept.bytes.saturating_add(snapshot::size(&event.payload));
                kept.events.push_back(event);
            }
            kept.ended = ended;
            while kept.events.len() > limits::TAIL_EVENTS || kept.bytes > limits::TAIL_BYTES {
                let Some(event) = kept.events.pop_front() else { break };
                kept.bytes = kept.bytes.saturating_sub(snapshot::size(&event.payload));
            }
        }
        self.filled.send_replace(());
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the store has after an event.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) events: Vec<Event>,
    /// How the run ended, when there is nothing after the event.
    pub(super) ended: Option<RunStatus>,
}

/// Reads a page of events after one, and whether that one was the last.
pub(super) async fn read(store: &dyn Store, run: RunId, after: u64) -> Result<Read, EngineError> {
    let events = store.events(run, &EventQuery::after(after)).await?;
    let mut ended = None;
    if events.is_empty() {
        let run = store.run(run).await?;
        ended = (run.status.is_terminal() && run.last_seq <= after).then_some(run.status);
    }
    Ok(Read { events, ended })
}

async fn keep_reading(
    inner: Arc<Inner>,
    run: RunId,
    mut after: u64,
    mut committed: watch::Receiver<u64>,
    shared: Arc<Shared>,
) {
    loop {
        // Marked as seen before the reading: a commit during it leads to another one.
        committed.mark_unchanged();
        let read = read(&*inner.store, run, after).await;
        let (mut more, mut over) = (false, false);
        if let Ok(Read { events, ended }) = &read {
            over = ended.is_some();
            if let Some(last) = events.last() {
                after = last.seq;
                more = events.len() >= limits::EVENT_PAGE || is_terminal(&last.kind);
            }
        }
        shared.put(read);
        if over {
            return;
        }
        if more {
            continue;
        }
        tokio::select! {
            biased;
            changed = committed.changed() => if changed.is_err() {
                return;
            },
            () = inner.clock.sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// Whether an event of this kind is the last of its run.
pub(super) fn is_terminal(kind: &str) -> bool {
    matches!(kind, "run.completed" | "run.failed" | "run.canceled")
}
