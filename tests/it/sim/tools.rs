//! Tools that take their time, fail, and remember what they did.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    step::EffectPolicy,
    tool::{Reconciled, Tool, ToolCx, ToolError, ToolErrorKind, ToolInfo, ToolOutput, ToolSpec},
};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chance::Chance;

/// Effects by the key that came with the call.
pub(super) type Effects = Arc<Mutex<BTreeMap<String, u32>>>;

#[derive(Debug)]
pub(super) struct SimTool {
    info: ToolInfo,
    effects: Effects,
    chance: Chance,
    slowest: Duration,
}

impl SimTool {
    pub(super) fn new(
        policy: EffectPolicy,
        effects: &Effects,
        chance: &Chance,
        slowest: Duration,
    ) -> Self {
        let spec = ToolSpec {
            name: policy.as_str().to_owned(),
            description: "Has an effect.".to_owned(),
            input_schema: json!({"type": "object"}),
        };
        let info = ToolInfo::new(spec, policy);
        Self { info, effects: Arc::clone(effects), chance: chance.clone(), slowest }
    }

    async fn wait(&self) {
        tokio::time::sleep(self.chance.time(self.slowest)).await;
    }
}

#[async_trait]
impl Tool for SimTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, _arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let broken = || ToolError::new(ToolErrorKind::Network, "the line broke");
        self.wait().await;
        if self.chance.one_in(8) {
            return Err(broken());
        }
        *self.effects.lock().unwrap().entry(cx.idempotency_key.clone()).or_default() += 1;
        self.wait().await;
        if self.chance.one_in(12) {
            return Err(broken().may_have_run());
        }
        Ok(ToolOutput::new(json!("done")))
    }

    async fn reconcile(&self, _arguments: &Value, cx: &ToolCx) -> Result<Reconciled, ToolError> {
        self.wait().await;
        if self.chance.one_in(5) {
            return Ok(Reconciled::Unknown);
        }
        let happened = self.effects.lock().unwrap().contains_key(&cx.idempotency_key);
        Ok(match happened {
            true => Reconciled::Done(ToolOutput::new(json!("done before"))),
            false => Reconciled::NotDone,
        })
    }
}
