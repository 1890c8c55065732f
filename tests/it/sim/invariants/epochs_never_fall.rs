//! I8. The fence under which events were written never falls from one event to the next, and none is
//! higher than that of the run.

use agent_runner_core::{event::Event, run::Run};

pub(crate) fn check(run: &Run, events: &[Event]) {
    assert!(events.is_sorted_by_key(|event| event.epoch), "epochs never go back");
    assert!(events.last().unwrap().epoch <= run.epoch, "an event of an owner who never was");
}
