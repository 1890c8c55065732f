//! Where the code and the engine meet: what the code decides, compared with its journal, and what
//! came back for it.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
    thread::{self, ThreadId},
};

use serde_json::Value;

use super::{CallError, CallKind, Called, Decision, Difference, RecordKind, Work};
use crate::{
    approval::sha256_of, id::IdSource, id::StepKey, limits, step::EffectPolicy, time::Clock,
};

/// What the code must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It was woken by something that no call of its own is.
    Woken,
    /// Its `Ctx` or a call of it was used outside of it.
    Outside,
}

/// The waker of the code. It tells wakes that come out of the code itself, or out of an answer to
/// it, from those of others.
pub(crate) struct Bell {
    /// The thread that polls the code or answers it now.
    inside: Mutex<Option<ThreadId>>,
    woken: AtomicBool,
    foreign: Mutex<Option<Foreign>>,
    /// Calls the driver.
    ring: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    pub(crate) fn new(ring: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            inside: Mutex::new(None),
            woken: AtomicBool::new(false),
            foreign: Mutex::new(None),
            ring: Box::new(ring),
        })
    }

    pub(crate) fn enter(&self) {
        *lock(&self.inside) = Some(thread::current().id());
    }

    pub(crate) fn leave(&self) {
        *lock(&self.inside) = None;
    }

    /// Whether the code woke itself since this was last asked.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn foreign(&self) -> Option<Foreign> {
        *lock(&self.foreign)
    }

    fn is_inside(&self) -> bool {
        *lock(&self.inside) == Some(thread::current().id())
    }

    fn cry(&self, foreign: Foreign) {
        lock(&self.foreign).get_or_insert(foreign);
        (self.ring)();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if self.is_inside() {
            self.woken.store(true, Ordering::Release);
        } else {
            self.cry(Foreign::Woken);
        }
    }
}

/// A decision that is new to the journal.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) decision: Decision,
    /// The input of a call.
    pub(crate) input: Value,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// A call has it.
    Delivered,
    /// Its call is not waited for any more.
    Dropped,
    /// The code never made that call.
    NeverCalled,
}

struct Slot {
    answer: Option<Result<Value, CallError>>,
    waker: Option<Waker>,
    work: Option<Work>,
}

struct State {
    /// What the code decided before and has not decided again yet.
    before: VecDeque<Decision>,
    fresh: Vec<Fresh>,
    decided: u64,
    slots: BTreeMap<StepKey, Slot>,
    made: BTreeSet<StepKey>,
    /// How often each key was asked for.
    keys: BTreeMap<String, u32>,
    patches: BTreeMap<String, bool>,
    differs: Option<Difference>,
    closed: bool,
}

/// A call as the code wants it.
pub(super) struct Wanted<'a> {
    pub(super) key: &'a str,
    pub(super) call: CallKind,
    pub(super) name: &'a str,
    pub(super) policy: Option<EffectPolicy>,
    pub(super) input: Value,
}

pub(crate) struct Desk {
    state: Mutex<State>,
    bell: Arc<Bell>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Compares a decision with the journal, or keeps it for the journal; `false` when it differs.
    fn decide(&mut self, decision: Decision, input: Value) -> bool {
        if self.differs.is_some() || self.closed {
            return false;
        }
        self.skip_patches();
        self.decided += 1;
        match self.before.pop_front() {
            None => self.fresh.push(Fresh { decision, input }),
            Some(before) if before.is_again(&decision) => {}
            Some(before) => {
                let (before, now) = (before.to_string(), decision.to_string());
                self.differs = Some(Difference::changed(self.decided, before, now));
                return false;
            }
        }
        true
    }

    /// The mark of a patch that the code does not ask for any more means nothing.
    fn skip_patches(&mut self) {
        while self.before.front().is_some_and(Decision::is_patch) {
            self.before.pop_front();
            self.decided += 1;
        }
    }

    fn patched(&mut self, id: &str) -> bool {
        if let Some(known) = self.patches.get(id) {
            return *known;
        }
        let mark = Decision::Recorded {
            what: RecordKind::Patched,
            name: Some(id.to_owned()),
            value: Value::Bool(true),
        };
        let marks = self.before.iter().take_while(|decision| decision.is_patch());
        let place = marks.enumerate().find(|(_, before)| before.is_again(&mark)).map(|(n, _)| n);
        let taken = match place {
            Some(place) => {
                self.before.remove(place);
                self.decided += 1;
                true
            }
            None if self.before.is_empty() => self.decide(mark, Value::Null),
            None => false,
        };
        self.patches.insert(id.to_owned(), taken);
        taken
    }

    /// The key of a call: the second one of a name is `name.2`.
    fn key(&mut self, name: &str) -> StepKey {
        let number = self.keys.entry(name.to_owned()).or_default();
        loop {
            *number += 1;
            let key = match *number {
                1 => StepKey::new(name),
                number => StepKey::new(format!("{name}.{number}")),
            };
            if self.made.insert(key.clone()) {
                return key;
            }
        }
    }

    fn open(&self) -> usize {
        self.slots.values().filter(|slot| slot.answer.is_none()).count()
    }
}

impl Desk {
    /// For code that has decided this before.
    pub(crate) fn new(
        before: VecDeque<Decision>,
        bell: Arc<Bell>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Arc<Self> {
        let state = State {
            before,
            fresh: Vec::new(),
            decided: 0,
            slots: BTreeMap::new(),
            made: BTreeSet::new(),
            keys: BTreeMap::new(),
            patches: BTreeMap::new(),
            differs: None,
            closed: false,
        };
        Arc::new(Self { state: Mutex::new(state), bell, clock, ids })
    }

    /// Makes a call; `None` when nobody will ever answer it.
    pub(super) fn call(
        &self,
        wanted: Wanted<'_>,
        work: Option<Work>,
    ) -> Result<Option<StepKey>, CallError> {
        let Wanted { key, call, name, policy, input } = wanted;
        if key.is_empty() || key.len() > 200 || key.chars().any(char::is_control) {
            let said = "the key of a step has 1 to 200 bytes and no control characters";
            return Err(CallError::failed("key", said));
        }
        let mut state = lock(&self.state);
        if !self.may_decide(&state) {
            return Ok(None);
        }
        if state.open() >= limits::CODE_CALLS_OPEN_MAX {
            let most = limits::CODE_CALLS_OPEN_MAX;
            let said = format!("more than {most} calls are open at once; await some first");
            return Err(CallError::failed("too_many", said));
        }
        let step = state.key(key);
        let sha256 = sha256_of(&input.to_string());
        let called = Called::new(step.clone(), (call, name.to_owned()), policy, (&input, sha256));
        if !state.decide(Decision::Called(called), input) {
            return Ok(None);
        }
        state.slots.insert(step.clone(), Slot { answer: None, waker: None, work });
        Ok(Some(step))
    }

    fn may_decide(&self, state: &State) -> bool {
        if state.closed || state.differs.is_some() {
            return false;
        }
        let inside = self.bell.is_inside();
        if !inside {
            self.bell.cry(Foreign::Outside);
        }
        inside
    }

    /// A value that would not be the same twice: the one of the journal, else a new one.
    pub(super) fn record(&self, what: RecordKind, fresh: impl FnOnce(&Self) -> Value) -> Value {
        let mut state = lock(&self.state);
        if !self.may_decide(&state) {
            return Value::Null;
        }
        state.skip_patches();
        let value = match state.before.front() {
            Some(Decision::Recorded { what: before, value, .. }) if *before == what => {
                value.clone()
            }
            _ => fresh(self),
        };
        state.decide(Decision::Recorded { what, name: None, value: value.clone() }, Value::Null);
        value
    }

    pub(super) fn patched(&self, id: &str) -> bool {
        let mut state = lock(&self.state);
        self.may_decide(&state) && state.patched(id)
    }

    /// The answer to a call, if it came; else whom to wake.
    pub(super) fn answer(&self, step: &StepKey, waker: &Waker) -> Option<Result<Value, CallError>> {
        let mut state = lock(&self.state);
        let slot = state.slots.get_mut(step)?;
        match slot.answer.take() {
            Some(answer) => {
                state.slots.remove(step);
                Some(answer)
            }
            None => {
                slot.waker = Some(waker.clone());
                None
            }
        }
    }

    /// The code does not wait for a call any more.
    pub(super) fn give_up(&self, step: &StepKey) {
        let mut state = lock(&self.state);
        let Some(slot) = state.slots.remove(step) else { return };
        if slot.answer.is_none() && self.may_decide(&state) {
            state.decide(Decision::Dropped { step: step.clone() }, Value::Null);
        }
        // What a step captured may come back here when it is dropped.
        drop(state);
        drop(slot);
    }

    /// Gives a call its answer.
    pub(crate) fn deliver(&self, step: &StepKey, answer: Result<Value, CallError>) -> Delivery {
        let mut state = lock(&self.state);
        let Some(slot) = state.slots.get_mut(step) else {
            let made = state.made.contains(step);
            return if made { Delivery::Dropped } else { Delivery::NeverCalled };
        };
        slot.answer = Some(answer);
        let (work, waker) = (slot.work.take(), slot.waker.take());
        drop(state);
        drop(work);
        if let Some(waker) = waker {
            waker.wake();
        }
        Delivery::Delivered
    }

    /// Takes in how the code ended.
    pub(crate) fn finish(&self, ended: Result<Value, String>) {
        let (output, error) = match ended {
            // Nothing and `null` are one in an event.
            Ok(Value::Null) => (None, None),
            Ok(output) => (Some(output), None),
            Err(error) => (None, Some(error)),
        };
        lock(&self.state).decide(Decision::Finished { output, error }, Value::Null);
    }

    /// From now on nothing that the code does counts. A step that captured a `Ctx` is let go.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let slots = std::mem::take(&mut state.slots);
        drop(state);
        drop(slots);
    }

    /// What performs a step that waits for it.
    pub(crate) fn work(&self, step: &StepKey) -> Option<Work> {
        lock(&self.state).slots.get(step)?.work.clone()
    }

    pub(crate) fn take_fresh(&self) -> Vec<Fresh> {
        std::mem::take(&mut lock(&self.state).fresh)
    }

    /// How the code differs from the journal, if it was seen to.
    pub(crate) fn differs(&self) -> Option<Difference> {
        lock(&self.state).differs.clone()
    }

    /// Whether the code waits for a call of its own.
    pub(crate) fn waits(&self) -> bool {
        lock(&self.state).open() > 0
    }

    /// How many decisions were taken, those before included.
    pub(crate) fn decided(&self) -> u64 {
        lock(&self.state).decided
    }

    /// What the journal says that comes next and that the code did not decide again.
    pub(crate) fn missing(&self) -> Option<Decision> {
        let mut state = lock(&self.state);
        state.skip_patches();
        state.before.front().cloned()
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
