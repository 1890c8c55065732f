//! A step that succeeded had its effect, and one that must not be repeated had it once at most.

use std::collections::BTreeMap;

use agent_runner_core::{
    engine::Engine,
    id::RunId,
    run::Run,
    step::{EffectPolicy, StepStatus},
};
use sha2::{Digest as _, Sha256};

/// The key under which a step's effects are known.
fn key(run: RunId, step: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [run.to_string().as_str(), step] {
        hasher.update(part);
        hasher.update([0]);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn check(engine: &Engine, run: &Run, effects: &BTreeMap<String, u32>) {
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
