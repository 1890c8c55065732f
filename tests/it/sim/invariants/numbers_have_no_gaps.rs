//! I5. The events of a run are numbered from 1 without gaps, up to the number that its row has.

use agent_runner_core::{event::Event, run::Run};

pub(crate) fn check(run: &Run, events: &[Event]) {
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.seq, n as u64 + 1, "numbers have no gaps");
    }
    assert_eq!(events.last().unwrap().seq, run.last_seq);
}
