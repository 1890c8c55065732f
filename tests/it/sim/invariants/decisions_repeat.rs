//! The journal of a run alone leads to the decisions that were taken.

use agent_runner_core::{engine::Engine, run::Run};

pub(crate) async fn check(engine: &Engine, run: &Run) {
    let replayed = engine.replay(run.id).await.unwrap();
    assert_eq!(replayed.differs, None, "the journal alone leads to the same decisions");
}
