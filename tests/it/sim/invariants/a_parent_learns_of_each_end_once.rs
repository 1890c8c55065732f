//! A parent learns of the end of each child once, unless it ended before.

use agent_runner_core::{
    engine::Engine,
    event::Event,
    run::{Run, RunStatus},
};

use crate::sim::world::children;

pub(crate) async fn check(engine: &Engine, run: &Run, events: &[Event]) {
    for child in children(engine, run.id).await {
        let id = child.id.to_string();
        let count = |kind: &str| {
            let about = events.iter().filter(|event| event.payload["child"] == id.as_str());
            about.filter(|event| event.kind == kind).count()
        };
        assert_eq!(count("child.started"), 1, "{id}");
        let learned = count("child.finished");
        let late = child.finished_at >= run.finished_at && run.status != RunStatus::Completed;
        assert!(learned == 1 || (learned == 0 && late), "{learned} times: {child:#?}");
    }
}
