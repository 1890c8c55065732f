//! What people were told is accepted has its effect: a cancellation cancels, a message is read once.

use agent_runner_core::{
    engine::Engine,
    run::{Run, RunStatus},
};

use crate::sim::people::Accepted;

pub(crate) async fn check(engine: &Engine, run: &Run, accepted: &Accepted) {
    if accepted.canceled {
        assert_eq!(run.status, RunStatus::Canceled, "cancellation was accepted: {run:?}");
    }
    if run.status == RunStatus::Completed && !accepted.messages.is_empty() {
        let told = serde_json::to_string(&engine.transcript(run.id).await.unwrap()).unwrap();
        for message in &accepted.messages {
            let times = told.matches(&format!("{message}\"")).count();
            assert_eq!(times, 1, "`{message}` was accepted and read {times} times: {told}");
        }
    }
}
