//! The state of a run as its journal tells it: what every machine shares.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Children, Hands, Machine,
    agent::{AgentMachine, Compaction},
};
use crate::{
    agent::ModelName,
    budget::{Budget, BudgetScope, OnExceeded, Spend},
    directive::Resolution,
    event::EventBody,
    id::StepKey,
    llm::Usage,
    message::ToolCall,
    run::{IllegalRunTransition, RunError, RunStatus, RunTransition},
    step::{EffectPolicy, IllegalStepTransition, StepError, StepKind, StepStatus, StepTransition},
};

/// What the engine has to do now.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the engine has to perform every command")]
pub enum MachineCommand {
    /// Ask the model; [`Machine::conversation`] is what to send.
    CallModel {
        /// Under this key.
        step: StepKey,
    },
    /// Make the conversation shorter.
    Compact {
        /// How.
        compaction: Compaction,
    },
    /// Run a tool, or refuse the call.
    CallTool {
        /// Under this key.
        step: StepKey,
        /// What the model asked for.
        call: ToolCall,
    },
    /// Let the code of the workflow go on.
    GoOn,
    /// Run a function of the code.
    CallFunction {
        /// Under this key.
        step: StepKey,
        /// Its name and input.
        call: ToolCall,
    },
    /// Stop a step that the code does not want any more.
    Abandon {
        /// Which step.
        step: StepKey,
    },
    /// End the run.
    Complete {
        /// With this output.
        output: Value,
    },
    /// End the run.
    Fail {
        /// With this error.
        error: RunError,
    },
}

/// A step as the journal tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// What it does.
    pub kind: StepKind,
    /// The model or tool.
    pub name: String,
    /// What happens when its outcome is unknown.
    pub policy: EffectPolicy,
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// Why it, or its last attempt, failed.
    pub error: Option<StepError>,
    /// Its outcome is unknown and a person was asked.
    pub unknown: bool,
    /// What the person said.
    pub resolution: Option<Resolution>,
    /// Its last attempt failed in a way that is known, and another one follows.
    pub retrying: bool,
    /// When a wait ends by itself.
    pub wake_at: Option<Timestamp>,
    /// When the next attempt begins, at the earliest.
    pub retry_at: Option<Timestamp>,
}

/// A signal as the journal tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalState {
    /// The sender's id.
    pub id: String,
    /// Which signal.
    pub name: String,
    /// What came with it.
    pub data: Value,
}

/// An event that the state does not allow: a damaged journal or a defect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The run's status forbids it.
    #[error("the journal breaks the rules of a run")]
    Run(#[from] IllegalRunTransition),
    /// The step's status forbids it.
    #[error("the journal breaks the rules of step {0}")]
    Step(StepKey, #[source] IllegalStepTransition),
    /// The step was never started.
    #[error("the journal speaks of step {0}, which never began")]
    UnknownStep(StepKey),
}

/// A model call of which the journal does not know the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// The step that calls.
    pub step: StepKey,
    /// The model that was asked.
    pub model: ModelName,
    /// Which attempt of it.
    pub attempt: u32,
    /// Tokens of its prompt, estimated.
    pub estimated: u64,
    /// Pieces of its reply that were heard until the last heartbeat.
    pub pieces: u64,
}

/// A budget that is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverBudget {
    /// Whose.
    pub scope: BudgetScope,
    /// When it begins anew.
    pub renews_at: Option<Timestamp>,
}

/// The fold of a run's journal. It has what decides about the rest of the run, and forgets what
/// does not: steps of turns that are over are in the journal and in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    status: RunStatus,
    steps: BTreeMap<StepKey, StepState>,
    signals: Vec<SignalState>,
    usage: Usage,
    spend: Spend,
    calls: BTreeMap<StepKey, OpenCall>,
    budget: Option<Budget>,
    over_budget: Option<OverBudget>,
    warned: bool,
    hands: Hands,
    #[serde(default)]
    children: Children,
    machine: Machine,
}

impl Default for RunState {
    fn default() -> Self {
        Self {
            status: RunStatus::Queued,
            steps: BTreeMap::new(),
            signals: Vec::new(),
            usage: Usage::default(),
            spend: Spend::default(),
            calls: BTreeMap::new(),
            budget: None,
            over_budget: None,
            warned: false,
            hands: Hands::default(),
            children: Children::default(),
            machine: Machine::default(),
        }
    }
}

impl RunState {
    /// The version of the fold and of the form in which a state is kept. Raise it with every change of
    /// either: snapshots of other versions are not read.
    pub const VERSION: u32 = 1;

    /// Takes one event in. `seq` is its number; it matters only for messages to the run, so the
    /// owner applies events of its own before the store has numbered them.
    ///
    /// # Errors
    /// [`ApplyError`]; the state is then not to be used any more.
    pub fn apply(&mut self, seq: u64, event: &EventBody) -> Result<(), ApplyError> {
        use EventBody as E;
        match event {
            E::RunClaimed { .. } if self.status == RunStatus::Queued => {
                self.status = self.status.apply(RunTransition::Start)?;
            }
            E::RunCompleted { .. } => self.status = self.status.apply(RunTransition::Complete)?,
            E::RunFailed { .. } => self.status = self.status.apply(RunTransition::Fail)?,
            E::RunCanceled { .. } => self.status = self.status.apply(RunTransition::Cancel)?,
            E::StepStarted { step, step_kind, name, policy, attempt } => {
                self.start(step, *step_kind, name, *policy, *attempt)?;
            }
            E::StepSucceeded { step } => self.end(step, StepTransition::Succeed, None)?,
            E::StepFailed { step, error } => {
                self.end(step, StepTransition::Fail, Some(error))?;
            }
            E::StepSkipped { step } => self.end(step, StepTransition::Skip, None)?,
            E::StepCanceled { step, .. } => self.end(step, StepTransition::Cancel, None)?,
            E::StepIndeterminate { step, .. } => self.end(step, StepTransition::LoseTrack, None)?,
            E::StepRetrying { step, error, retry_at, .. } => {
                let state = self.known(step)?;
                state.error = Some(error.clone());
                state.retrying = true;
                state.retry_at = *retry_at;
            }
            E::TimerSet { step, wake_at } => self.known(step)?.wake_at = Some(*wake_at),
            E::StepUnknown { step, .. } => {
                let state = self.known(step)?;
                state.unknown = true;
                state.resolution = None;
            }
            E::StepResolved { step, resolution } => {
                self.known(step)?.resolution = Some(resolution.clone());
            }
            E::SignalReceived { id, name, data } => self.signals.push(SignalState {
                id: id.clone(),
                name: name.clone(),
                data: data.clone(),
            }),
            E::ToolCompleted { step, output, .. } => self.consume_signal(step, output),
            _ => {}
        }
        self.account(event);
        self.hands.apply(event);
        self.children.apply(event);
        self.machine.apply(seq, event);
        self.forget(event);
        Ok(())
    }

    /// Forgets what the machine does not need any more.
    fn forget(&mut self, event: &EventBody) {
        match &self.machine {
            Machine::Agent(_) if AgentMachine::begins_turn(event) => {
                self.hands.forget_decided(|_| false);
            }
            Machine::Code(code) if matches!(event, EventBody::CodeCalled { .. }) => {
                self.hands.forget_decided(|step| code.is_open(step));
            }
            Machine::Agent(_) | Machine::Code(_) => return,
        }
        self.steps.retain(|_, step| !step.status.is_terminal());
    }

    /// Takes in what an event says about spending.
    fn account(&mut self, event: &EventBody) {
        use EventBody as E;
        match event {
            E::RunQueued { spec } => self.budget = spec.budget,
            E::RunClaimed { .. } | E::RunResumed {} => self.over_budget = None,
            // What the other run took was its own.
            E::RunForked { .. } => {
                self.usage = Usage::default();
                self.spend = Spend::default();
            }
            E::LlmStarted { step, attempt, model, estimated_tokens, .. } => {
                let call = OpenCall {
                    step: step.clone(),
                    model: model.clone(),
                    attempt: *attempt,
                    estimated: *estimated_tokens,
                    pieces: 0,
                };
                self.calls.insert(step.clone(), call);
            }
            E::LlmHeartbeat { step, tokens, .. } => {
                if let Some(call) = self.calls.get_mut(step) {
                    call.pieces = *tokens;
                }
            }
            E::LlmCompleted { step, usage, cost, elapsed_ms, .. } => {
                let money = cost.as_ref().map(|cost| cost.micro_usd);
                self.take_spend(step, *usage, Spend::of_call(usage, money, *elapsed_ms));
            }
            E::LlmCharged { step, usage, spend, .. } => self.take_spend(step, *usage, *spend),
            E::StepRetrying { step, .. }
            | E::StepFailed { step, .. }
            | E::StepCanceled { step, .. } => {
                self.calls.remove(step);
            }
            E::BudgetExceeded { scope, on_exceeded: OnExceeded::Park, renews_at, .. } => {
                self.over_budget = Some(OverBudget { scope: *scope, renews_at: *renews_at });
            }
            E::BudgetChanged { budget } => {
                self.budget = *budget;
                self.over_budget = None;
                self.warned = false;
            }
            E::BudgetWarning { .. } => self.warned = true,
            _ => {}
        }
    }

    fn take_spend(&mut self, step: &StepKey, usage: Usage, spend: Spend) {
        self.usage = self.usage.plus(usage);
        self.spend = self.spend.plus(spend);
        self.calls.remove(step);
    }

    fn start(
        &mut self,
        key: &StepKey,
        kind: StepKind,
        name: &str,
        policy: EffectPolicy,
        attempt: u32,
    ) -> Result<(), ApplyError> {
        let step = self.steps.entry(key.clone()).or_insert_with(|| StepState {
            kind,
            name: name.to_owned(),
            policy,
            status: StepStatus::Pending,
            attempts: 0,
            error: None,
            unknown: false,
            resolution: None,
            retrying: false,
            wake_at: None,
            retry_at: None,
        });
        step.status = step
            .status
            .apply(StepTransition::Start)
            .map_err(|error| ApplyError::Step(key.clone(), error))?;
        step.attempts = attempt;
        step.unknown = false;
        step.resolution = None;
        step.retrying = false;
        step.retry_at = None;
        Ok(())
    }

    fn end(
        &mut self,
        key: &StepKey,
        transition: StepTransition,
        error: Option<&StepError>,
    ) -> Result<(), ApplyError> {
        let step = self.known(key)?;
        step.status =
            step.status.apply(transition).map_err(|error| ApplyError::Step(key.clone(), error))?;
        step.error = error.cloned();
        step.unknown = false;
        Ok(())
    }

    fn known(&mut self, key: &StepKey) -> Result<&mut StepState, ApplyError> {
        self.steps.get_mut(key).ok_or_else(|| ApplyError::UnknownStep(key.clone()))
    }

    /// A wait that ended with a signal took it: no other wait gets the same one.
    fn consume_signal(&mut self, step: &StepKey, output: &Value) {
        let waits = self.steps.get(step).is_some_and(|step| step.kind == StepKind::Wait);
        if let (true, Some(id)) = (waits, output.get("signal_id").and_then(Value::as_str)) {
            self.signals.retain(|signal| signal.id != id);
        }
    }

    /// Where the run stands.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        self.status
    }

    /// The steps that are not over, and those of the present turn, by key.
    pub fn steps(&self) -> impl Iterator<Item = (&StepKey, &StepState)> {
        self.steps.iter()
    }

    /// A step that is not over, or of the present turn.
    #[must_use]
    pub fn step(&self, key: &StepKey) -> Option<&StepState> {
        self.steps.get(key)
    }

    /// The oldest signal of that name which no wait took yet.
    #[must_use]
    pub fn signal(&self, name: &str) -> Option<&SignalState> {
        self.signals.iter().find(|signal| signal.name == name)
    }

    /// Tokens of all model calls so far.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// What all model calls took so far.
    #[must_use]
    pub const fn spend(&self) -> Spend {
        self.spend
    }

    /// The model calls that have not ended, by step.
    pub fn calls(&self) -> impl Iterator<Item = &OpenCall> {
        self.calls.values()
    }

    /// The model call of a step, if it has not ended.
    #[must_use]
    pub fn call(&self, step: &StepKey) -> Option<&OpenCall> {
        self.calls.get(step)
    }

    /// Remembers how much of a reply was heard, which no event says until the next heartbeat.
    pub(crate) fn hear(&mut self, step: &StepKey, pieces: u64) {
        if let Some(call) = self.calls.get_mut(step) {
            call.pieces = call.pieces.max(pieces);
        }
    }

    /// Most that the run may spend.
    #[must_use]
    pub const fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// The budget for which the run waits.
    #[must_use]
    pub const fn over_budget(&self) -> Option<OverBudget> {
        self.over_budget
    }

    /// Whether it was said that much of the budget is spent.
    #[must_use]
    pub const fn is_warned(&self) -> bool {
        self.warned
    }

    /// What it did with its tools.
    #[must_use]
    pub const fn hands(&self) -> &Hands {
        &self.hands
    }

    /// The runs that it started.
    #[must_use]
    pub const fn children(&self) -> &Children {
        &self.children
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What has to be done now, commands that are being performed included. Empty for a run that
    /// ended.
    #[must_use]
    pub fn next(&self) -> Vec<MachineCommand> {
        if self.status.is_terminal() { Vec::new() } else { self.machine.next() }
    }
}
