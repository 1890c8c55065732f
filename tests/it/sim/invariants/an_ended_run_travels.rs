//! A run that ended goes to another database whole, and is the same there.

use agent_runner_core::{engine::Engine, run::Run};

use crate::engine::bundles::check_travels;

pub(crate) async fn check(engine: &Engine, run: &Run) {
    // It takes as long as the history: one of some runs is enough.
    if run.status.is_terminal() && run.last_seq.is_multiple_of(8) {
        check_travels(engine, run.id).await;
    }
}
