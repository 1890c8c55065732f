//! A tool that writes down each of its effects, so that a test can count them.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::Gate;
use crate::tool::{
    EffectPolicy, Reconciled, Risk, Tool, ToolCx, ToolError, ToolInfo, ToolOutput, ToolSpec,
};

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// The key that came with the call.
    pub idempotency_key: String,
    /// What it was called with.
    pub arguments: Value,
    /// Which try it was.
    pub attempt: u32,
}

type Answer = dyn Fn(&Value, &ToolCx) -> Result<ToolOutput, ToolError> + Send + Sync;

/// A tool that takes any object, records its effect, and answers as the test says.
#[derive(Clone)]
pub struct LedgerTool {
    info: ToolInfo,
    effects: Arc<Mutex<Vec<Effect>>>,
    gate: Option<Gate>,
    answer: Option<Arc<Answer>>,
    probe: Option<Reconciled>,
    probes_itself: bool,
}

impl std::fmt::Debug for LedgerTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerTool").field("info", &self.info).finish_non_exhaustive()
    }
}

impl LedgerTool {
    /// A tool of that name and policy that answers `{"done": n}`, the n-th effect.
    #[must_use]
    pub fn new(name: &str, policy: EffectPolicy) -> Self {
        let spec = ToolSpec {
            name: name.to_owned(),
            description: "Writes down that it was called.".to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "additionalProperties": false,
            }),
        };
        Self {
            info: ToolInfo::new(spec, policy),
            effects: Arc::default(),
            gate: None,
            answer: None,
            probe: None,
            probes_itself: false,
        }
    }

    /// The same tool with this risk.
    #[must_use]
    pub fn with_risk(mut self, risk: Risk) -> Self {
        self.info = self.info.with_risk(risk);
        self
    }

    /// Waits at a gate after each effect and before its answer.
    #[must_use]
    pub fn held_by(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Answers with what the function says.
    #[must_use]
    pub fn answering(
        mut self,
        answer: impl Fn(&Value, &ToolCx) -> Result<ToolOutput, ToolError> + Send + Sync + 'static,
    ) -> Self {
        self.answer = Some(Arc::new(answer));
        self
    }

    /// Answers probes with this.
    #[must_use]
    pub fn probed_as(mut self, probe: Reconciled) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Answers probes with what it wrote down.
    #[must_use]
    pub const fn probing_its_ledger(mut self) -> Self {
        self.probes_itself = true;
        self
    }

    /// The effects so far, in order.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Tool for LedgerTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let count = {
            let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
            effects.push(Effect {
                idempotency_key: cx.idempotency_key.clone(),
                arguments: arguments.clone(),
                attempt: cx.attempt,
            });
            effects.len()
        };
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        match &self.answer {
            Some(answer) => answer(&arguments, cx),
            None => Ok(ToolOutput::new(json!({"done": count}))),
        }
    }

    async fn reconcile(&self, _arguments: &Value, cx: &ToolCx) -> Result<Reconciled, ToolError> {
        if self.probes_itself {
            let happened =
                self.effects().iter().any(|effect| effect.idempotency_key == cx.idempotency_key);
            return Ok(match happened {
                true => Reconciled::Done(ToolOutput::new(json!("it was done before"))),
                false => Reconciled::NotDone,
            });
        }
        Ok(self.probe.clone().unwrap_or(Reconciled::Unknown))
    }
}
