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

/// What performs effects: it takes its time and fails, before and after.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    effects: Effects,
    chance: Chance,
    slowest: Duration,
    /// A defect of a test of the rules: every effect happens twice.
    pub(super) trembles: bool,
}

impl Hand {
    pub(super) fn new(effects: &Effects, chance: &Chance, slowest: Duration) -> Self {
        let (effects, chance) = (Arc::clone(effects), chance.clone());
        Self { effects, chance, slowest, trembles: false }
    }

    async fn wait(&self) {
        tokio::time::sleep(self.chance.time(self.slowest)).await;
    }

    /// Has the effect of that key, mostly.
    pub(super) async fn act(&self, key: &str) -> Result<Value, ToolError> {
        let broken = || ToolError::new(ToolErrorKind::Network, "the line broke");
        self.wait().await;
        if self.chance.one_in(8) {
            return Err(broken());
        }
        let times = if self.trembles { 2 } else { 1 };
        *self.effects.lock().unwrap().entry(key.to_owned()).or_default() += times;
        self.wait().await;
        if self.chance.one_in(12) {
            return Err(broken().may_have_run());
        }
        Ok(json!("done"))
    }
}

#[derive(Debug)]
pub(super) struct SimTool {
    info: ToolInfo,
    hand: Hand,
}

impl SimTool {
    pub(super) fn new(policy: EffectPolicy, hand: &Hand) -> Self {
        let spec = ToolSpec {
            name: policy.as_str().to_owned(),
            description: "Has an effect.".to_owned(),
            input_schema: json!({"type": "object"}),
        };
        Self { info: ToolInfo::new(spec, policy), hand: hand.clone() }
    }
}

#[async_trait]
impl Tool for SimTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, _arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        self.hand.act(&cx.idempotency_key).await.map(ToolOutput::new)
    }

    async fn reconcile(&self, _arguments: &Value, cx: &ToolCx) -> Result<Reconciled, ToolError> {
        self.hand.wait().await;
        if self.hand.chance.one_in(5) {
            return Ok(Reconciled::Unknown);
        }
        let happened = self.hand.effects.lock().unwrap().contains_key(&cx.idempotency_key);
        Ok(match happened {
            true => Reconciled::Done(ToolOutput::new(json!("done before"))),
            false => Reconciled::NotDone,
        })
    }
}
