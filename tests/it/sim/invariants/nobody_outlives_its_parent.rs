//! A run that ended has no child that goes on.

use agent_runner_core::{engine::Engine, run::Run};

use crate::sim::world::children;

pub(crate) async fn check(engine: &Engine, run: &Run) {
    for child in children(engine, run.id).await {
        let both = run.status.is_terminal() && !child.status.is_terminal();
        assert!(!both, "it goes on without its parent: {child:#?}");
    }
}
