//! What must hold when all is over, whatever happened.

use std::collections::BTreeMap;

use agent_runner_core::{
    engine::Engine,
    id::RunId,
    run::{ParkReason, Run, RunStatus},
    step::{EffectPolicy, StepStatus},
};
use sha2::{Digest as _, Sha256};

use super::{people::Accepted, world::children};
use crate::engine::{
    bundles::check_travels,
    fixture::{check_journal, events},
};

/// The key under which a step's effects are known.
fn key(run: RunId, step: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [run.to_string().as_str(), step] {
        hasher.update(part);
        hasher.update([0]);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// I4 to I8 and the replay: the journal is whole and leads to what is there.
pub(super) async fn the_journal_is_whole(engine: &Engine, run: &Run) {
    assert!(run.status.is_terminal());
    check_journal(engine, run.id).await;
    // It takes as long as the history: one of some runs is enough.
    if run.last_seq.is_multiple_of(8) {
        check_travels(engine, run.id).await;
    }
}

/// A run that waits for a signal has none that it did not take.
pub(super) async fn no_signal_is_forgotten(engine: &Engine, id: RunId) {
    let run = engine.run(id).await.unwrap();
    let waits = run.park.as_ref().is_some_and(|park| park.reason == ParkReason::Signal);
    let state = engine.fold(id).await.unwrap();
    assert!(
        !waits || run.pause_requested || state.signal("go").is_none(),
        "it waits although the signal came: {run:?}"
    );
}

/// A completed step ran, and what must not be repeated was not.
pub(super) async fn effects_follow_their_policy(
    engine: &Engine,
    run: &Run,
    effects: &BTreeMap<String, u32>,
) {
    for step in engine.steps(run.id).await.unwrap() {
        let count = effects.get(&key(run.id, step.key.as_str())).copied().unwrap_or(0);
        let inherited = step.started_at.is_some_and(|at| at < run.created_at);
        if inherited || EffectPolicy::parse(&step.name) != Some(step.policy) {
            continue;
        }
        match step.policy {
            EffectPolicy::AtMostOnce | EffectPolicy::Ask | EffectPolicy::Reconcile => {
                assert!(count <= 1, "{count} times: {step:?}");
            }
            EffectPolicy::Pure | EffectPolicy::Idempotent => {}
        }
        let by_a_person =
            step.policy == EffectPolicy::Ask || step.policy == EffectPolicy::Reconcile;
        if step.status == StepStatus::Succeeded && !by_a_person {
            assert!(count >= 1, "it succeeded without an effect: {step:?}");
        }
    }
}

/// What people were told is accepted has its effect.
pub(super) async fn what_was_accepted_counts(engine: &Engine, run: &Run, accepted: &Accepted) {
    if accepted.canceled {
        assert_eq!(run.status, RunStatus::Canceled, "cancellation was accepted: {run:?}");
    }
    if run.status == RunStatus::Completed {
        let told = serde_json::to_string(&engine.transcript(run.id).await.unwrap()).unwrap();
        for message in &accepted.messages {
            let times = told.matches(&format!("{message}\"")).count();
            assert_eq!(times, 1, "`{message}` was accepted and read {times} times: {told}");
        }
    }
}

/// A run that ended has no child that goes on.
pub(super) async fn nobody_outlives_its_parent(engine: &Engine, id: RunId) {
    let run = engine.run(id).await.unwrap();
    for child in children(engine, id).await {
        let both = run.status.is_terminal() && !child.status.is_terminal();
        assert!(!both, "it goes on without its parent: {child:#?}");
    }
}

/// A parent learns of the end of each child once, unless it ended before.
pub(super) async fn a_parent_learns_of_each_end_once(engine: &Engine, run: &Run) {
    let journal = events(engine, run.id).await;
    for child in children(engine, run.id).await {
        let id = child.id.to_string();
        let count = |kind: &str| {
            let about = journal.iter().filter(|event| event.payload["child"] == id.as_str());
            about.filter(|event| event.kind == kind).count()
        };
        assert_eq!(count("child.started"), 1, "{id}");
        let learned = count("child.finished");
        let late = child.finished_at >= run.finished_at && run.status != RunStatus::Completed;
        assert!(learned == 1 || (learned == 0 && late), "{learned} times: {child:#?}");
    }
}
