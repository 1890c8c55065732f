//! Watching runs: durable events from the store, live frames from this process beside them.
//!
//! The store is the truth; everything else here only says when to look.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use super::{
    Engine, EngineError, Inner,
    tail::{Found, Read, Tail, is_terminal, read},
};
use crate::{
    event::Event,
    id::{RunId, StepKey},
    limits,
    llm::BoxStream,
    run::RunStatus,
    store::Change,
};

/// How long whoever waits for a run trusts that it was told of every commit before it looks by itself.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What to watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Events with greater numbers only.
    pub after: u64,
    /// Live frames too.
    pub live: bool,
}

/// What a piece of live output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LiveKind {
    /// Text of the reply.
    Text,
    /// Reasoning.
    Reasoning,
    /// Arguments of a tool call.
    ToolCall,
    /// Output of a tool while it runs.
    ToolOutput,
}

/// A piece of a model's or a tool's output as it comes. Never journalled: what was said in the end
/// is an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFrame {
    /// The step that produces it.
    pub step: StepKey,
    /// The attempt that produces it; a new attempt makes older pieces void.
    pub attempt: u32,
    /// What it is.
    pub kind: LiveKind,
    /// Bytes of this kind that came before it in the same attempt.
    pub offset: usize,
    /// The piece.
    pub text: String,
}

/// What a watcher gets.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a watcher has to know what to do with each frame")]
pub enum Frame {
    /// A durable event; numbers rise by one.
    Event(Event),
    /// A piece of live output.
    Live(LiveFrame),
    /// The watcher asked for events after one that does not exist: it knows another history.
    /// All events follow from the first.
    Reset {
        /// Number of the run's last event.
        last_seq: u64,
    },
    /// The run ended and all its events were delivered. The last frame.
    End {
        /// How it ended.
        status: RunStatus,
    },
}

/// Output of one model call until now, for watchers that come late.
#[derive(Debug, Default)]
struct SoFar {
    step: Option<(StepKey, u32)>,
    pieces: Vec<(LiveKind, String)>,
    bytes: usize,
}

/// One run that is watched or executed.
#[derive(Debug)]
pub(super) struct Topic {
    /// Made when somebody wants live output: it takes the memory of all frames that fit in it.
    live: OnceLock<broadcast::Sender<LiveFrame>>,
    committed: watch::Sender<u64>,
    ended: watch::Sender<u64>,
    so_far: Mutex<SoFar>,
    /// There as long as somebody watches.
    tail: Mutex<std::sync::Weak<Tail>>,
}

impl Topic {
    fn new() -> Self {
        Self {
            live: OnceLock::new(),
            committed: watch::channel(0).0,
            ended: watch::channel(0).0,
            so_far: Mutex::default(),
            tail: Mutex::default(),
        }
    }

    /// Says that something was committed.
    fn bump(&self) {
        self.committed.send_modify(|n| *n += 1);
    }

    /// Says that the run may have ended.
    fn end(&self) {
        self.ended.send_modify(|n| *n += 1);
    }

    /// Changes when the run may have ended.
    pub(super) fn ends(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Hands a piece of output to whoever watches.
    pub(super) fn publish(&self, step: &StepKey, attempt: u32, kind: LiveKind, text: String) {
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        if so_far.step.as_ref().is_none_or(|(s, a)| s != step || *a != attempt) {
            *so_far = SoFar { step: Some((step.clone(), attempt)), ..SoFar::default() };
        }
        let offset = so_far.pieces.iter().find(|(k, _)| *k == kind).map_or(0, |(_, t)| t.len());
        if so_far.bytes + text.len() <= limits::LIVE_TEXT_BYTES_MAX {
            so_far.bytes += text.len();
            match so_far.pieces.iter_mut().find(|(k, _)| *k == kind) {
                Some((_, whole)) => whole.push_str(&text),
                None => so_far.pieces.push((kind, text.clone())),
            }
        }
        // Sent under the lock, so that a late watcher gets each byte once: so far, or as a frame.
        if let Some(live) = self.live.get() {
            let _ = live.send(LiveFrame { step: step.clone(), attempt, kind, offset, text });
        }
    }

    /// Hands a piece of a tool's output to whoever watches now.
    pub(super) fn show(&self, step: &StepKey, attempt: u32, offset: usize, text: &str) {
        let Some(live) = self.live.get() else { return };
        let (step, text) = (step.clone(), text.to_owned());
        let kind = LiveKind::ToolOutput;
        let _ = live.send(LiveFrame { step, attempt, kind, offset, text });
    }

    /// The text that a step wrote until now.
    pub(super) fn text_so_far(&self, step: &StepKey) -> Option<String> {
        let so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, _) = so_far.step.as_ref()?;
        if of != step {
            return None;
        }
        so_far.pieces.iter().find(|(kind, _)| *kind == LiveKind::Text).map(|(_, t)| t.clone())
    }

    /// Forgets the output of a step that is done.
    pub(super) fn done(&self, step: &StepKey) {
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        if so_far.step.as_ref().is_some_and(|(of, _)| of == step) {
            *so_far = SoFar::default();
        }
    }

    /// The newest events of the run, from `after` on if nobody watches so far.
    fn tail(&self, inner: &Arc<Inner>, run: RunId, after: u64) -> Arc<Tail> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Tail::new(inner, run, after, self.committed.subscribe()));
            *tail = Arc::downgrade(&new);
            new
        })
    }

    fn join(&self) -> (VecDeque<LiveFrame>, broadcast::Receiver<LiveFrame>) {
        let so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.get_or_init(|| broadcast::Sender::new(limits::LIVE_FRAMES));
        let receiver = live.subscribe();
        let mut frames = VecDeque::new();
        if let Some((step, attempt)) = &so_far.step {
            for (kind, text) in &so_far.pieces {
                frames.push_back(LiveFrame {
                    step: step.clone(),
                    attempt: *attempt,
                    kind: *kind,
                    offset: 0,
                    text: text.clone(),
                });
            }
        }
        (frames, receiver)
    }
}

/// All topics. A topic lives as long as somebody holds it.
#[derive(Debug, Default)]
pub(super) struct Hub {
    topics: Mutex<HashMap<RunId, std::sync::Weak<Topic>>>,
}

impl Hub {
    /// The topic of a run.
    pub(super) fn topic(&self, run: RunId) -> Arc<Topic> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(&run).and_then(std::sync::Weak::upgrade) {
            return topic;
        }
        // Dead entries go before the map grows.
        if topics.len() == topics.capacity() {
            topics.retain(|_, topic| topic.strong_count() > 0);
        }
        let topic = Arc::new(Topic::new());
        topics.insert(run, Arc::downgrade(&topic));
        topic
    }

    /// Passes a hint of the store on.
    pub(super) fn changed(&self, change: Change) {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = |run| topics.get(run).and_then(std::sync::Weak::upgrade);
        match &change {
            Change::Run(run) => topic(run).iter().for_each(|topic| topic.bump()),
            Change::Ended(run) => topic(run).iter().for_each(|topic| topic.end()),
            Change::Any => {
                topics.values().filter_map(std::sync::Weak::upgrade).for_each(|topic| {
                    topic.bump();
                    topic.end();
                });
            }
            Change::Ready => {}
        }
    }
}

/// Where a watcher stands.
struct Watcher {
    inner: Arc<Inner>,
    run: RunId,
    after: u64,
    /// Read, not delivered yet.
    pending: VecDeque<Event>,
    frames: VecDeque<LiveFrame>,
    topic: Arc<Topic>,
    live: Option<broadcast::Receiver<LiveFrame>>,
    /// The newest events, which all watchers share, once this one has read what came before.
    tail: Option<(Arc<Tail>, watch::Receiver<()>)>,
    /// The store may hold more than was read.
    look: bool,
    checked: bool,
    ended: Option<RunStatus>,
    done: bool,
}

impl Engine {
    /// Watches a run: every event after `options.after` exactly once and in order, from this or
    /// any earlier process, then the end. Dropping the stream ends the watch.
    ///
    /// # Errors
    /// Items are `Err` when the run does not exist or the store fails; the stream then ends.
    #[must_use]
    pub fn watch(
        &self,
        id: RunId,
        options: WatchOptions,
    ) -> BoxStream<'static, Result<Frame, EngineError>> {
        let topic = self.inner.live.topic(id);
        let (frames, live) = options.live.then(|| topic.join()).unzip();
        let watcher = Watcher {
            inner: Arc::clone(&self.inner),
            run: id,
            after: options.after,
            pending: VecDeque::new(),
            frames: frames.unwrap_or_default(),
            topic,
            live,
            tail: None,
            look: true,
            checked: false,
            ended: None,
            done: false,
        };
        Box::pin(stream::unfold(watcher, |mut watcher| async move {
            if watcher.done {
                return None;
            }
            let frame = watcher.next().await;
            watcher.done = matches!(frame, Ok(Frame::End { .. }) | Err(_));
            Some((frame, watcher))
        }))
    }
}

impl Watcher {
    async fn next(&mut self) -> Result<Frame, EngineError> {
        if !self.checked {
            self.checked = true;
            let run = self.inner.store.run(self.run).await?;
            if self.after > run.last_seq {
                self.after = 0;
                return Ok(Frame::Reset { last_seq: run.last_seq });
            }
        }
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.after = event.seq;
                return Ok(Frame::Event(event));
            }
            if let Some(status) = self.ended {
                return Ok(Frame::End { status });
            }
            if self.look {
                self.read().await?;
                continue;
            }
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Frame::Live(frame));
            }
            if let Some(frame) = self.wait().await {
                return Ok(Frame::Live(frame));
            }
        }
    }

    /// Reads the store itself, which happens until the watcher has caught up.
    async fn read(&mut self) -> Result<(), EngineError> {
        let Read { events, ended } = read(&*self.inner.store, self.run, self.after).await?;
        self.ended = ended;
        self.look = events.len() >= limits::EVENT_PAGE
            || events.last().is_some_and(|event| is_terminal(&event.kind));
        self.pending.extend(events);
        Ok(())
    }

    /// Waits for events, or for live output.
    async fn wait(&mut self) -> Option<LiveFrame> {
        let (tail, filled) = self.tail.get_or_insert_with(|| {
            let tail = self.topic.tail(&self.inner, self.run, self.after);
            let mut filled = tail.filled();
            // What is in it by now is news.
            filled.mark_changed();
            (tail, filled)
        });
        let live = async {
            match &mut self.live {
                Some(live) => live.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Events first: a finished message makes its live pieces void.
            biased;
            changed = filled.changed() => {
                debug_assert!(changed.is_ok(), "the tail is held by this watcher");
                match tail.after(self.after) {
                    Found::News(events, ended) => {
                        self.pending.extend(events);
                        self.ended = ended;
                    }
                    Found::Elsewhere => self.look = true,
                }
                None
            }
            frame = live => match frame {
                Ok(frame) => Some(frame),
                // Too slow: the pieces in between are lost, the offsets say so.
                Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => {
                    debug_assert!(Arc::strong_count(&self.topic) == 0, "the topic is held");
                    self.live = None;
                    None
                }
            },
        }
    }
}
