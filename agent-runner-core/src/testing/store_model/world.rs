//! Turns four bytes into a call that makes sense, or nearly so, with the runs as they are.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::call::Call;
use crate::{
    event::NewEvent,
    id::{IdSource, ProjectId, RunId, StepKey, WorkerId},
    llm::Usage,
    run::{ParkReason, Run, RunStatus},
    step::StepStatus,
    store::{
        Batch, EventQuery, Expect, Order, PutRecord, Ready, RecordExpect, RunQuery, StepRow, Worker,
    },
    testing::{
        ManualClock, SequentialIds,
        store_contract::fixture::{
            ALL, TTL, blob, by_control, by_owner, canceling, event, new_run, parking, pausing,
            seconds, signal, snapshot, step, worker,
        },
    },
    time::Clock,
};

/// What the caller knows, and where its ids and its time come from.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: ManualClock,
    /// Every run as it is now.
    pub(super) runs: Vec<Run>,
    ids: SequentialIds,
    projects: [ProjectId; 2],
    workers: [WorkerId; 3],
}

/// Numbers in `0..n`, one after the other, from one byte.
struct Dice(u8);

impl Dice {
    fn roll(&mut self, n: u8) -> u8 {
        let rolled = self.0 % n;
        self.0 /= n;
        rolled
    }

    fn flip(&mut self) -> bool {
        self.roll(2) == 1
    }
}

impl World {
    pub(super) fn new() -> Self {
        let ids = SequentialIds::new();
        Self {
            clock: ManualClock::new(Timestamp::from_microsecond(1_767_323_045_678_901).unwrap()),
            runs: Vec::new(),
            projects: [(); 2].map(|()| ProjectId::from_uuid(ids.next())),
            workers: [(); 3].map(|()| WorkerId::from_uuid(ids.next())),
            ids,
        }
    }

    /// The first byte says what to do, the second to whom, the others how.
    pub(super) fn call(&mut self, [what, who, how, more]: [u8; 4]) -> Call {
        let (mut how, more) = (Dice(how), Dice(more));
        let now = self.clock.now();
        let worker_id = self.workers[usize::from(who) % self.workers.len()];
        let run = match self.runs.len() {
            0 => return self.create(how, more),
            len => self.runs[usize::from(who) % len].clone(),
        };
        match what % 20 {
            // Few runs, so that much happens to each.
            0 => self.create(how, more),
            1 | 2 if self.runs.len() < 6 => self.create(how, more),
            3 | 4 => Call::Claim(worker_id, usize::from(how.roll(5))),
            5 => Call::Beat(Worker { draining: how.flip(), ..worker(worker_id, now) }, TTL),
            1 | 2 | 6 | 7 => Call::Append(Box::new(self.facet(&run, how, more))),
            8 => Call::Append(Box::new(guarded(&run, worker_id, how, more, now))),
            9 | 10 => Call::Append(Box::new(self.command(&run, how))),
            11 => Call::Append(Box::new(ending(&run, how, now))),
            12 => Call::Sweep,
            13 => {
                self.clock.advance(Duration::from_secs(u64::from(how.roll(20))));
                Call::Nothing
            }
            14 => Call::Delete(run.id),
            15 => self.put(how, more),
            16 => record_call(how, more),
            17 => Call::Runs(self.run_query(&run, how, more)),
            18 => Call::Events(run.id, event_query(how, more)),
            _ => look(worker_id, how),
        }
    }

    /// Everything that is left to be claimed or swept comes to light.
    pub(super) fn last_calls(&self) -> [Call; 5] {
        self.clock.advance(Duration::from_secs(1_000));
        let worker = self.workers[0];
        [
            Call::Sweep,
            Call::Claim(worker, ALL),
            Call::Sweep,
            Call::Workers,
            Call::Records(None, ALL),
        ]
    }

    fn create(&self, mut how: Dice, mut more: Dice) -> Call {
        let now = self.clock.now();
        let fresh = RunId::from_uuid(self.ids.next());
        let known = self.runs.first().filter(|_| how.roll(16) == 15).map(|run| run.id);
        let project = self.projects[usize::from(more.roll(2))];
        let mut run = new_run(known.unwrap_or(fresh), project, now);
        run.idempotency_key = (how.roll(4) == 3).then(|| format!("key {}", how.roll(3)));
        run.priority = i32::from(more.roll(3)) - 1;
        run.deadline_at = more.flip().then(|| seconds(now, 30));
        run.spec.goal = format!("goal {}", more.roll(4));
        run.tags = if more.flip() { vec!["tag".to_owned()] } else { Vec::new() };
        run.parent_id = self.runs.last().filter(|_| more.flip()).map(|run| run.id);
        if self.runs.len() % 5 == 4 {
            // It comes with its end, or says so wrongly.
            run.status = if run.priority > 0 { RunStatus::Failed } else { RunStatus::Completed };
            run.finished_at = (run.tags.is_empty() || run.priority > 0).then_some(now);
        }
        let ready = match run.idempotency_key.is_none().then(|| how.roll(4)) {
            Some(2) => Ready::At(seconds(now, 5)),
            Some(3) => Ready::Never,
            _ => Ready::At(now),
        };
        Call::Create(Box::new(run), vec![event(0, now)], ready)
    }

    /// A batch of the right writer that changes one thing; what breaks a rule breaks only one,
    /// because the contract does not say which refusal comes first.
    fn facet(&self, run: &Run, mut how: Dice, mut more: Dice) -> Batch {
        let now = self.clock.now();
        let mut batch = if run.owner.is_some() { by_owner(run) } else { by_control(run) };
        let events = 1 + more.roll(2);
        batch.events = (0..events)
            .map(|n| NewEvent {
                kind: if n == 0 { "test.even" } else { "test.odd" }.to_owned(),
                step: more.flip().then(|| StepKey::new("turn.1")),
                ..event(u64::from(n), now)
            })
            .collect();
        match how.roll(8) {
            0 => {
                batch.events.clear();
                let seq = run.last_seq + u64::from(more.roll(3)) / 2;
                batch.snapshot = how.flip().then(|| snapshot(seq, &[how.roll(16)]));
            }
            1..=3 => {
                let to = StepStatus::ALL[usize::from(how.roll(7))];
                batch.steps = vec![StepRow {
                    attempts: u32::from(more.roll(4)),
                    started: (to == StepStatus::Started).then_some(0),
                    done: to.is_terminal().then(|| usize::from(events) - 1),
                    started_at: more.flip().then_some(now),
                    ..step(if how.flip() { "turn.1" } else { "turn.2" }, to)
                }];
            }
            4 => batch.signals = vec![signal(if how.flip() { "one" } else { "two" })],
            5 => batch.blobs = vec![blob(if how.flip() { b"one" } else { b"two" })],
            6 => {
                batch.patch.status =
                    Some(if how.roll(3) == 2 { RunStatus::Queued } else { RunStatus::Running });
                batch.patch.started_at = Some(now);
            }
            _ => {
                batch.patch.usage = Some(Usage { input: Some(1), ..Usage::default() });
                batch.patch.recoveries = Some(u32::from(how.roll(3)));
                batch.patch.output = more.flip().then(|| json!({ "a": null }));
                batch.patch.bump_control = more.flip();
            }
        }
        batch
    }

    /// What people and owners ask for, with the listing as core writes it, or forgotten.
    fn command(&self, run: &Run, mut how: Dice) -> Batch {
        let now = self.clock.now();
        let command = how.roll(6);
        let mut batch = match (command, run.owner) {
            (0, _) => pausing(run),
            (1, _) => canceling(run),
            (2 | 3, Some(_)) => {
                let wake_at = how.flip().then(|| seconds(now, 10));
                parking(run, ParkReason::Timer, wake_at)
            }
            (4, Some(_)) => {
                let mut batch = by_owner(run);
                batch.patch.release = true;
                batch.ready = Ready::At(now);
                batch
            }
            _ => {
                let mut batch = by_control(run);
                batch.patch.pause_requested = Some(false);
                batch.patch.park = Some(None);
                batch.patch.bump_control = true;
                batch.ready = Ready::At(seconds(now, u64::from(how.roll(2))));
                batch
            }
        };
        batch.events = vec![event(u64::from(command), now)];
        if how.roll(4) == 3 {
            batch.ready = Ready::Keep;
        }
        batch
    }

    fn put(&self, mut how: Dice, mut more: Dice) -> Call {
        Call::Put(PutRecord {
            collection: super::call::COLLECTION.to_owned(),
            key: key(how.roll(3)),
            value: json!({ "n": more.roll(4) }),
            expect: expectation(&mut how),
            expires_at: more.flip().then(|| seconds(self.clock.now(), 8)),
        })
    }

    fn run_query(&self, run: &Run, mut how: Dice, mut more: Dice) -> RunQuery {
        RunQuery {
            statuses: RunStatus::ALL.into_iter().filter(|_| more.flip()).collect(),
            project_id: (how.roll(3) == 2).then_some(self.projects[0]),
            agent: (how.roll(8) == 7).then(|| "nobody".to_owned()),
            tag: more.flip().then(|| "tag".to_owned()),
            parent_id: run.parent_id.filter(|_| more.flip()),
            text: (how.roll(2) == 1).then(|| "GOAL 1".to_owned()),
            created_after: None,
            after: more.flip().then_some(run.id),
            order: order(how.flip()),
            limit: 1 + usize::from(how.roll(3)) * 4,
        }
    }
}

/// A batch of somebody whose right to write is in doubt.
fn guarded(run: &Run, stranger: WorkerId, mut how: Dice, mut more: Dice, now: Timestamp) -> Batch {
    let worker = run.owner.filter(|_| more.flip()).unwrap_or(stranger);
    let epoch = (run.epoch + u64::from(how.roll(3))).saturating_sub(1);
    let control = (run.control + u64::from(how.roll(3))).saturating_sub(1);
    let expect = match more.roll(3) {
        0 => Expect::Owner { worker, epoch, control: None },
        1 => Expect::Owner { worker, epoch, control: Some(control) },
        _ => Expect::Control(control),
    };
    Batch { events: vec![event(1, now)], ..Batch::new(run.id, expect) }
}

fn ending(run: &Run, mut how: Dice, now: Timestamp) -> Batch {
    let owned = run.owner.is_some() && how.flip();
    let mut batch = if owned { by_owner(run) } else { by_control(run) };
    batch.events = vec![event(99, now)];
    batch.patch.status = Some(RunStatus::ALL[2 + usize::from(how.roll(3))]);
    batch.patch.finished_at = (how.roll(8) != 7).then_some(now);
    batch.patch.release = true;
    batch.patch.bump_control = true;
    batch.ready = Ready::Never;
    batch
}

fn record_call(mut how: Dice, mut more: Dice) -> Call {
    if how.flip() {
        let after = more.flip().then(|| key(more.roll(3)));
        return Call::Records(after, usize::from(more.roll(3)));
    }
    Call::DeleteRecord(key(how.roll(3)), expectation(&mut more))
}

fn look(worker: WorkerId, mut how: Dice) -> Call {
    match how.roll(4) {
        0 => Call::Owned(worker),
        1 => Call::Workers,
        2 => Call::Leave(worker),
        _ => Call::Blob(blob(if how.flip() { b"one" } else { b"two" }).sha256),
    }
}

fn event_query(mut how: Dice, mut more: Dice) -> EventQuery {
    EventQuery {
        after: u64::from(how.roll(8)),
        kinds: ["test.even", "test.odd", "test.noted"]
            .into_iter()
            .filter(|_| more.flip())
            .map(str::to_owned)
            .collect(),
        step: more.flip().then(|| StepKey::new("turn.1")),
        order: order(how.flip()),
        limit: usize::from(how.roll(8)),
    }
}

fn order(descending: bool) -> Order {
    if descending { Order::Descending } else { Order::Ascending }
}

fn key(n: u8) -> String {
    format!("key {n}")
}

fn expectation(dice: &mut Dice) -> RecordExpect {
    match dice.roll(4) {
        0 => RecordExpect::Any,
        1 => RecordExpect::Absent,
        n => RecordExpect::Version(u64::from(n) - 1),
    }
}
