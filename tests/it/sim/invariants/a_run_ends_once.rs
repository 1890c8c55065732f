//! I6. A run that ended has one event that says so, and it is the last; any other run has none.

use agent_runner_core::{event::Event, run::Run};

pub(crate) fn check(run: &Run, events: &[Event]) {
    let ends: Vec<_> = events
        .iter()
        .filter(|e| matches!(e.kind.as_str(), "run.completed" | "run.failed" | "run.canceled"))
        .collect();
    if run.status.is_terminal() {
        assert_eq!(ends.len(), 1, "one end");
        assert_eq!(ends[0].seq, run.last_seq, "the end is last");
        assert!(run.owner.is_none() && run.finished_at.is_some());
    } else {
        assert!(ends.is_empty(), "it goes on after {ends:?}");
    }
}
