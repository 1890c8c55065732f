//! A run that waits for a signal has none that it did not take.

use agent_runner_core::{
    engine::Engine,
    run::{ParkReason, Run},
};

pub(crate) async fn check(engine: &Engine, run: &Run) {
    let waits = run.park.as_ref().is_some_and(|park| park.reason == ParkReason::Signal);
    let state = engine.fold(run.id).await.unwrap();
    assert!(
        !waits || run.pause_requested || state.signal("go").is_none(),
        "it waits although the signal came: {run:?}"
    );
}
