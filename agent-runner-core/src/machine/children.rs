//! What the journal says of the runs that a run started.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::{ChildEnd, EventBody},
    id::{RunId, StepKey},
};

/// A run that a step started and waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChildState {
    /// The other run.
    pub run: RunId,
    /// How it ended.
    pub end: Option<ChildEnd>,
    /// The step does not wait any more.
    over: bool,
}

/// The fold. Its events come from two sides, the run's owner and the children, and may stand in the
/// journal in any order after `child.started`; the result is the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Children {
    started: u32,
    by_step: BTreeMap<StepKey, ChildState>,
}

impl Children {
    pub(super) fn apply(&mut self, event: &EventBody) {
        use EventBody as E;
        match event {
            E::ChildStarted { step, child, detached, .. } => {
                self.started = self.started.saturating_add(1);
                if !detached {
                    let state = ChildState { run: *child, end: None, over: false };
                    self.by_step.insert(step.clone(), state);
                }
            }
            E::ChildFinished { step, child, end } => {
                self.change(step, |state| {
                    if state.run == *child {
                        state.end.get_or_insert_with(|| end.clone());
                    }
                });
            }
            E::StepSucceeded { step }
            | E::StepFailed { step, .. }
            | E::StepSkipped { step }
            | E::StepCanceled { step, .. }
            | E::StepIndeterminate { step, .. } => self.change(step, |state| state.over = true),
            _ => {}
        }
    }

    /// Changes what is known of a step's child, and forgets it when nothing is left to be known.
    fn change(&mut self, step: &StepKey, change: impl FnOnce(&mut ChildState)) {
        let Some(state) = self.by_step.get_mut(step) else { return };
        change(state);
        if state.over && state.end.is_some() {
            self.by_step.remove(step);
        }
    }

    /// Runs that it started, those that outlive it included.
    #[must_use]
    pub const fn started(&self) -> u32 {
        self.started
    }

    /// The run that a step started and waits for.
    #[must_use]
    pub fn of(&self, step: &StepKey) -> Option<&ChildState> {
        self.by_step.get(step)
    }

    /// Runs whose end is not known and that do not outlive this one, by step.
    pub fn open(&self) -> impl Iterator<Item = (&StepKey, RunId)> {
        let open = self.by_step.iter().filter(|(_, state)| state.end.is_none());
        open.map(|(step, state)| (step, state.run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunStatus;

    fn started(step: &str, child: u128, detached: bool) -> EventBody {
        EventBody::ChildStarted {
            step: StepKey::new(step),
            child: run(child),
            name: "assistant".to_owned(),
            detached,
        }
    }

    fn finished(step: &str, child: u128) -> EventBody {
        let end =
            ChildEnd { status: RunStatus::Canceled, output: None, error: None, untrusted: false };
        EventBody::ChildFinished { step: StepKey::new(step), child: run(child), end }
    }

    fn run(id: u128) -> RunId {
        RunId::from_uuid(uuid::Uuid::from_u128(id))
    }

    fn fold(events: &[EventBody]) -> Children {
        let mut children = Children::default();
        events.iter().for_each(|event| children.apply(event));
        children
    }

    #[test]
    fn the_order_of_an_end_and_of_a_step_that_stops_does_not_matter() {
        let stopped = || EventBody::StepCanceled { step: StepKey::new("a"), partial: None };
        let one = fold(&[started("a", 1, false), finished("a", 1), stopped()]);
        let other = fold(&[started("a", 1, false), stopped(), finished("a", 1)]);
        assert_eq!(one, other);
        assert_eq!((one.started(), one.of(&StepKey::new("a"))), (1, None));
    }

    #[test]
    fn a_child_is_open_until_it_ended_whatever_its_step_does() {
        let step = StepKey::new("a");
        let stopped = EventBody::StepCanceled { step: step.clone(), partial: None };
        let open = fold(&[started("a", 1, false), started("b", 2, true), stopped]);
        assert_eq!(open.open().collect::<Vec<_>>(), [(&step, run(1))]);
        assert_eq!(open.started(), 2, "one that outlives the run counts");
        let other = fold(&[started("a", 1, false), finished("a", 7)]);
        assert_eq!(other.of(&step).unwrap().end, None, "it was another child");
    }
}
