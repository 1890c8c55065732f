//! Drives one claimed run: the loop of "what next, do it, record it, again".
//!
//! The driver applies its own events to the state as it issues them and writes them behind, in
//! order. What leaves the process waits for the write: a tool with an effect starts only after the
//! decision that led to it is durable, and the run ends only with a write of its own.

mod admit;
mod ask;
mod begin;
mod budget;
mod charge;
mod child;
mod code;
mod commit;
mod ending;
mod host;
mod look;
mod model;
mod outcome;
mod prompt;
mod tool;
mod turn;

pub(super) use self::tool::ToolInvocation;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use self::{
    commit::{Outbox, Sent},
    ending::Rest,
    host::{ANNOUNCED_MAX, Announced},
    model::Progress,
    outcome::Outcome,
};
use super::{
    EngineError, Inner,
    active::{Signalled, give_back},
    code::Play,
    live::Topic,
    snapshot::{self, Growth},
};
use crate::{
    code::Difference,
    event::EventBody,
    id::StepKey,
    limits,
    machine::{MachineCommand, RunState, agent::Compaction},
    project::ProjectSettings,
    run::{ParkReason, Run, RunStatus},
    schema::Schema,
    step::EffectPolicy,
    time,
};

/// Events not written yet that a run may gather before it begins nothing new.
const OUTBOX_MAX: usize = 256;

/// Why a driver stops without having ended or parked its run.
#[derive(Debug)]
enum Stop {
    /// The run belongs to somebody else, or ended.
    Fenced,
    /// Something is broken.
    Broken(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Broken(error)
    }
}

/// A step that this process performs now.
#[derive(Debug)]
struct Active {
    policy: EffectPolicy,
    attempt: u32,
    since: Timestamp,
    cancel: CancellationToken,
    /// For model calls.
    progress: Option<Arc<Progress>>,
    /// Events received at the last heartbeat.
    sounds_told: u64,
}

pub(super) struct Driver {
    inner: Arc<Inner>,
    run: Run,
    signalled: Arc<Signalled>,
    abort: CancellationToken,
    topic: Arc<Topic>,
    output_schema: Option<Arc<Schema>>,
    /// What the run's project lets it do, as it was read last.
    settings: Arc<ProjectSettings>,
    state: RunState,
    /// Number of the last event that is in the store and in `state`.
    known_seq: u64,
    /// Of the journal, since the last snapshot.
    growth: Growth,
    control: u64,
    pause: bool,
    cancel: bool,
    /// The control state may have moved.
    look: bool,
    outbox: Outbox,
    appending: Option<BoxFuture<'static, Sent>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Outcome>>,
    active: BTreeMap<StepKey, Active>,
    /// What tools want in the journal before they go on.
    announce: mpsc::Sender<Box<Announced>>,
    announced: mpsc::Receiver<Box<Announced>>,
    /// The code of the run's workflow.
    play: Option<Play>,
    /// How that code differs from the journal: the run goes no further.
    differs: Option<Difference>,
    /// Reservations whose calls were not begun, with the attempt.
    granted: BTreeMap<StepKey, u32>,
    heartbeat: Option<BoxFuture<'static, ()>>,
    deadline: Option<BoxFuture<'static, ()>>,
}

impl Driver {
    pub(super) fn new(
        inner: Arc<Inner>,
        run: Run,
        signalled: Arc<Signalled>,
        abort: CancellationToken,
    ) -> Self {
        let topic = inner.live.topic(run.id);
        let deadline =
            run.deadline_at.map(|at| inner.clock.sleep(time::until(inner.clock.now(), at)));
        // Checked when the run was accepted.
        let output_schema = run
            .spec
            .agent
            .output_schema
            .as_ref()
            .and_then(|schema| Schema::compile(schema).ok())
            .map(Arc::new);
        let (announce, announced) = mpsc::channel(ANNOUNCED_MAX);
        Self {
            topic,
            output_schema,
            settings: Arc::default(),
            state: RunState::default(),
            known_seq: 0,
            growth: Growth::default(),
            control: run.control,
            pause: run.pause_requested,
            cancel: run.cancel_requested,
            look: false,
            outbox: Outbox::new(run.id, inner.worker, run.epoch),
            appending: None,
            in_flight: FuturesUnordered::new(),
            active: BTreeMap::new(),
            announce,
            announced,
            play: None,
            differs: None,
            granted: BTreeMap::new(),
            heartbeat: None,
            deadline,
            inner,
            run,
            signalled,
            abort,
        }
    }

    /// Drives the run until it ends, parks, or is no longer this worker's. `lost` completes when
    /// the worker may not trust its lease any more.
    pub(super) async fn drive(mut self, lost: impl Future<Output = ()> + Send) {
        let span = info_span!("run", run.id = %self.run.id, run.epoch = self.run.epoch);
        async {
            tokio::pin!(lost);
            let abort = self.abort.clone();
            let end = tokio::select! {
                biased;
                end = self.work() => Some(end),
                () = &mut lost => {
                    warn!("the lease ran out; the run is left to others");
                    return;
                }
                () = abort.cancelled() => None,
            };
            match end {
                Some(Ok(())) => {}
                Some(Err(Stop::Fenced)) => info!("the run belongs to another worker now"),
                Some(Err(Stop::Broken(problem))) => {
                    error!(error = %problem, source = ?std::error::Error::source(&problem), "the run cannot go on here");
                    give_back(&self.inner, self.run.id, self.run.epoch, &problem.to_string()).await;
                }
                None => tokio::select! {
                    biased;
                    () = self.hand_over() => {}
                    () = &mut lost => {}
                },
            }
        }
        .instrument(span)
        .await;
    }

    async fn work(&mut self) -> Result<(), Stop> {
        self.load().await?;
        if self.run.recoveries > limits::RECOVERIES_MAX {
            return self.park_as_poison().await;
        }
        loop {
            if self.cancel {
                return self.end_canceled().await;
            }
            if self.past_deadline() {
                return self.end_overdue().await;
            }
            self.look |= self.signalled.take_changed();
            self.read_settings().await;
            self.advance()?;
            if self.active.is_empty() {
                let rest = self.rest();
                if self.come_to_rest(rest).await? {
                    return Ok(());
                }
                continue;
            }
            if self.growth.is_due(self.inner.options.snapshot_interval) {
                self.take_snapshot().await;
            }
            self.flush();
            self.wait().await?;
        }
    }

    /// Reads what the project lets the run do, if that was not read lately.
    async fn read_settings(&mut self) {
        match self.inner.project(self.run.project_id).await {
            Ok(Some(project)) => {
                if *self.settings != project.settings {
                    self.settings = Arc::new(project.settings.clone());
                }
            }
            // A run of a project that was deleted keeps what it had.
            Ok(None) => {}
            Err(problem) => {
                warn!(error = %problem, "the project cannot be read; its settings stay as they were");
            }
        }
    }

    /// Reads the state of the run and takes it.
    async fn load(&mut self) -> Result<(), Stop> {
        let loaded = if self.run.last_seq == 1 {
            snapshot::fresh(&self.run)?
        } else {
            snapshot::load(&*self.inner.store, self.run.id).await?
        };
        self.growth = loaded.growth;
        if self.growth.is_due(self.inner.options.snapshot_interval) {
            self.keep(snapshot::take(&loaded));
        }
        (self.state, self.known_seq) = (loaded.state, loaded.seq);
        if self.known_seq > self.run.last_seq {
            // Somebody wrote between claim and load: flags may have moved too.
            self.look = true;
        }
        let first = self.run.status == RunStatus::Queued;
        self.emit(EventBody::RunClaimed {
            worker: self.inner.worker,
            epoch: self.run.epoch,
            recovered: self.run.recoveries > 0,
        })?;
        if first {
            self.outbox.batch.patch.status = Some(RunStatus::Running);
            self.outbox.batch.patch.started_at = Some(self.inner.clock.now());
        }
        self.open_code();
        debug!(events = self.known_seq, "run loaded");
        Ok(())
    }

    /// Applies an event of our own and queues it for the journal.
    #[expect(clippy::needless_pass_by_value, reason = "an event is issued once")]
    fn emit(&mut self, body: EventBody) -> Result<(), Stop> {
        self.state.apply(0, &body).map_err(|problem| {
            Stop::Broken(EngineError::new(
                super::EngineErrorKind::Internal,
                format!("the engine wanted to write `{}`: {problem}", body.kind()),
            ))
        })?;
        match &body {
            EventBody::LlmCompleted { .. } | EventBody::LlmCharged { .. } => {
                self.outbox.batch.patch.usage = Some(self.state.usage());
                self.outbox.batch.patch.spend = Some(self.state.spend());
            }
            EventBody::StepSucceeded { .. } if self.run.recoveries > 0 => {
                self.run.recoveries = 0;
                self.outbox.batch.patch.recoveries = Some(0);
            }
            _ => {}
        }
        self.outbox.push(&body, self.inner.clock.now(), &self.state);
        Ok(())
    }

    /// Begins what can begin.
    fn advance(&mut self) -> Result<(), Stop> {
        // A pure step may end in the same breath, so that others can begin: look again.
        loop {
            let over = self.state.over_budget().is_some();
            let held = self.pause || self.look || over || self.inner.active.is_draining();
            if held || self.differs.is_some() || self.outbox.len() > OUTBOX_MAX {
                return Ok(());
            }
            let mut begun = false;
            for command in self.unhindered(self.state.next()) {
                begun |= match command {
                    MachineCommand::CallModel { step }
                    | MachineCommand::Compact { compaction: Compaction { step, .. } }
                    | MachineCommand::CallTool { step, .. }
                    | MachineCommand::CallFunction { step, .. }
                        if !self.active.contains_key(&step) && self.waits_to_retry(&step) =>
                    {
                        false
                    }
                    MachineCommand::CallModel { step } if !self.active.contains_key(&step) => {
                        if self.active.len() >= limits::TOOL_CALLS_IN_FLIGHT {
                            break;
                        }
                        self.begin_model(&step)?
                    }
                    MachineCommand::CallTool { step, call }
                    | MachineCommand::CallFunction { step, call }
                        if !self.active.contains_key(&step) =>
                    {
                        if self.active.len() >= limits::TOOL_CALLS_IN_FLIGHT {
                            break;
                        }
                        let call = self.effective(&step, call);
                        self.begin_tool(&step, &call)?
                    }
                    MachineCommand::Compact { compaction }
                        if !self.active.contains_key(&compaction.step) =>
                    {
                        self.begin_compaction(&compaction)?
                    }
                    MachineCommand::GoOn => {
                        if self.go_on()? {
                            // It may have dropped a call that is among these commands.
                            begun = true;
                            break;
                        }
                        if self.differs.is_some() {
                            return Ok(());
                        }
                        false
                    }
                    MachineCommand::Abandon { step } => self.abandon(&step)?,
                    MachineCommand::CallModel { .. }
                    | MachineCommand::Compact { .. }
                    | MachineCommand::CallTool { .. }
                    | MachineCommand::CallFunction { .. }
                    | MachineCommand::Complete { .. }
                    | MachineCommand::Fail { .. } => false,
                };
            }
            if !begun {
                return Ok(());
            }
        }
    }

    /// Waits for whatever comes next and takes it in.
    async fn wait(&mut self) -> Result<(), Stop> {
        if self.look && self.appending.is_none() {
            return self.sync().await;
        }
        let models = self.active.values().any(|active| active.progress.is_some());
        if !models {
            self.heartbeat = None;
        } else if self.heartbeat.is_none() {
            self.heartbeat = Some(self.inner.clock.sleep(self.inner.options.heartbeat_interval));
        }
        let signalled = Arc::clone(&self.signalled);
        // What is heard first is decided by this order and not by chance, so that a simulation can be
        // repeated. Each of them ends by itself, so none keeps the others from being heard.
        tokio::select! {
            biased;
            sent = optional(&mut self.appending) => {
                self.appending = None;
                self.acknowledge(sent).await
            }
            Some(outcome) = self.in_flight.next() => self.take(outcome),
            Some(announced) = self.announced.recv() => self.take_announced(*announced),
            // The loop takes the flag that goes with it.
            () = signalled.poked() => Ok(()),
            () = optional(&mut self.heartbeat) => {
                self.heartbeat = None;
                self.tell_heartbeats()
            }
            // The loop looks at the clock.
            () = optional(&mut self.deadline) => {
                self.deadline = None;
                Ok(())
            }
        }
    }

    fn past_deadline(&self) -> bool {
        self.run.deadline_at.is_some_and(|at| at <= self.inner.clock.now())
    }

    fn tell_heartbeats(&mut self) -> Result<(), Stop> {
        let now = self.inner.clock.now();
        let mut beats = Vec::new();
        for (step, active) in &mut self.active {
            let Some(progress) = &active.progress else { continue };
            let (pieces, phase) = progress.read();
            beats.push(EventBody::LlmHeartbeat {
                step: step.clone(),
                elapsed_ms: millis(time::until(active.since, now)),
                phase,
                tokens: pieces,
                stalled: progress.sounds() == active.sounds_told,
            });
            active.sounds_told = progress.sounds();
        }
        beats.into_iter().try_for_each(|beat| self.emit(beat))
    }

    fn rest(&self) -> Rest {
        if self.pause {
            return Rest::Pause;
        }
        if let Some(differs) = &self.differs {
            return Rest::Park {
                reason: ParkReason::Nondet,
                step: None,
                wake_at: None,
                on: serde_json::json!(differs),
            };
        }
        if let Some(over) = self.state.over_budget() {
            return Rest::Park {
                reason: ParkReason::Budget,
                step: None,
                wake_at: over.renews_at,
                on: serde_json::json!({"budget": over.scope.as_str()}),
            };
        }
        match self.state.next().into_iter().next() {
            Some(MachineCommand::Complete { output }) => Rest::Complete(output),
            Some(MachineCommand::Fail { error }) => Rest::Fail(error),
            _ if self.inner.active.is_draining() => Rest::Release,
            _ => self.waiting(),
        }
    }
}

/// Waits for an optional future; for ever when there is none.
async fn optional<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
