//! The tool by which an agent hands a part of its task to another agent.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{
    limits,
    tool::{EffectPolicy, Tool, ToolCx, ToolError, ToolErrorKind, ToolInfo, ToolOutput, ToolSpec},
};

pub use crate::tool::AGENT_TOOL;

/// Describes the tool; the engine never calls it.
#[derive(Debug)]
pub(super) struct AgentTool {
    info: ToolInfo,
}

impl AgentTool {
    pub(super) fn new() -> Self {
        let spec = ToolSpec {
            name: AGENT_TOOL.to_owned(),
            description: "Hands a part of the task to another agent and returns its answer. It \
                          knows nothing but the goal you give it and has at most your tools. \
                          Several calls in one reply work at the same time."
                .to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "goal": {
                        "type": "string", "minLength": 1, "maxLength": limits::TEXT_BYTES_MAX,
                        "description": "What the agent is to do; everything it needs to know.",
                    },
                    "instructions": {
                        "type": "string", "maxLength": limits::TEXT_BYTES_MAX,
                        "description": "Rules for it, besides your own.",
                    },
                    "tools": {
                        "type": "array", "maxItems": 200,
                        "items": {"type": "string", "minLength": 1, "maxLength": 64},
                        "description": "Names of your tools, and patterns such as files.*, that it \
                                        gets. Left out: all but agent.run.",
                    },
                    "model": {
                        "type": "string", "minLength": 1, "maxLength": 200,
                        "description": "Its model, as provider/model. Left out: yours.",
                    },
                },
                "required": ["goal"],
                "additionalProperties": false,
            }),
        };
        Self { info: ToolInfo::new(spec, EffectPolicy::Pure).on_request() }
    }
}

#[async_trait]
impl Tool for AgentTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, _arguments: Value, _cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        Err(ToolError::new(ToolErrorKind::Conflict, "only a run can start an agent"))
    }
}
