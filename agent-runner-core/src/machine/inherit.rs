//! What a fork takes over from the journal of another run.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{ApplyError, MachineCommand, RunState};
use crate::{
    event::EventBody,
    id::{ArtifactId, StepKey},
    step::{StepKind, StepStatus},
};

/// An event as a journal tells it.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "whoever reads a journal makes them")]
pub struct Told {
    /// Its number.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub body: EventBody,
}

impl RunState {
    /// Whether something is left to be done other than to end.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.next().iter().any(|command| {
            !matches!(
                command,
                MachineCommand::Complete { .. }
                    | MachineCommand::Fail { .. }
                    | MachineCommand::Abandon { .. }
            )
        })
    }
}

/// The last event of `journal` after which its run still had something to do; `None` when there
/// never was.
///
/// # Errors
/// [`ApplyError`] for a journal that cannot be.
pub fn last_open(journal: &[Told]) -> Result<Option<u64>, ApplyError> {
    let mut state = RunState::default();
    let mut last = None;
    for told in journal {
        state.apply(told.seq, &told.body)?;
        if state.goes_on() {
            last = Some(told.seq);
        }
    }
    Ok(last)
}

/// The part of `journal` that a fork after its last event begins with, without the event that
/// queued the run: what was said, what was done, and what came from outside. Steps that are not over
/// are left out, so the fork begins them anew; so is what belongs to the run and not to its work:
/// workers, pauses, budgets, files that it wrote, and artifacts that are not in `artifacts`.
///
/// The events are numbered from 2, as they are in the fork.
///
/// # Errors
/// [`ApplyError`] for a journal that cannot be.
pub fn inherited(
    journal: &[Told],
    artifacts: &BTreeSet<ArtifactId>,
) -> Result<Vec<Told>, ApplyError> {
    let mut state = RunState::default();
    let mut answered: BTreeSet<StepKey> = BTreeSet::new();
    let mut ended: BTreeMap<StepKey, StepKind> = BTreeMap::new();
    for told in journal {
        state.apply(told.seq, &told.body)?;
        let Some(key) = told.body.step() else { continue };
        if let EventBody::ToolCompleted { .. }
        | EventBody::ToolFailed { .. }
        | EventBody::LlmCompleted { .. }
        | EventBody::CodeReturned { .. } = &told.body
        {
            answered.insert(key.clone());
        }
        if let Some(step) = state.step(key).filter(|step| step.status.is_terminal()) {
            if step.kind == StepKind::Model && step.status == StepStatus::Failed {
                answered.insert(key.clone());
            }
            ended.insert(key.clone(), step.kind);
        }
    }
    // A call that was stopped with its run is over, and its agent or code still wants the result.
    let is_code = state.machine().code().is_some();
    let over = |key: &StepKey| {
        let stands = |kind| kind == StepKind::Model && !is_code;
        ended.get(key).is_some_and(|kind| stands(*kind) || answered.contains(key))
    };
    let mut kept: Vec<Told> = Vec::new();
    // Their numbers in `journal`, in order.
    let mut before: Vec<u64> = Vec::new();
    for told in journal {
        if !is_inherited(&told.body, over, artifacts) {
            continue;
        }
        let mut body = told.body.clone();
        if let EventBody::LlmStarted { directives_upto, .. } = &mut body {
            let earlier = before.partition_point(|seq| seq <= directives_upto);
            *directives_upto = if *directives_upto == 0 { 0 } else { number(earlier) };
        }
        before.push(told.seq);
        kept.push(Told { seq: number(before.len()), at: told.at, body });
    }
    Ok(kept)
}

/// The number of the `n`-th event that is taken over, from 1; that of the queued event for 0.
fn number(n: usize) -> u64 {
    u64::try_from(n).map_or(u64::MAX, |n| n + 1)
}

fn is_inherited(
    body: &EventBody,
    over: impl Fn(&StepKey) -> bool,
    artifacts: &BTreeSet<ArtifactId>,
) -> bool {
    use EventBody as E;
    match body {
        // What the code decided until then holds, whatever became of it.
        E::CodeCalled { .. }
        | E::CodeRecorded { .. }
        | E::CodeDropped { .. }
        | E::SignalReceived { .. }
        | E::DirectiveReceived { .. }
        | E::ContextFull { .. } => true,
        E::ArtifactCreated { artifact, step, .. } => {
            artifacts.contains(artifact) && step.as_ref().is_none_or(over)
        }
        E::RunParked { .. }
        | E::LlmHeartbeat { .. }
        | E::LlmCharged { .. }
        | E::FileWritten { .. }
        | E::FileRemoved { .. } => false,
        // Everything else without a step is about the run itself.
        body => body.step().is_some_and(over),
    }
}
