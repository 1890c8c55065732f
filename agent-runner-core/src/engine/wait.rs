//! The one tool that the engine performs itself: wait for a moment or a signal, without holding
//! a worker.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::tool::{
    EffectPolicy, Tool, ToolCx, ToolError, ToolErrorKind, ToolInfo, ToolOutput, ToolSpec,
};

pub use crate::tool::WAIT_TOOL;

/// Longest wait in seconds: 30 days.
pub(super) const WAIT_SECONDS_MAX: u64 = 30 * 24 * 3600;

/// Describes the tool; the engine never calls it.
#[derive(Debug)]
pub(super) struct WaitTool {
    info: ToolInfo,
}

impl WaitTool {
    pub(super) fn new() -> Self {
        let spec = ToolSpec {
            name: WAIT_TOOL.to_owned(),
            description: "Waits for a number of seconds, for a signal from outside, or for \
                          whichever comes first. The run costs nothing while it waits."
                .to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "seconds": {
                        "type": "integer", "minimum": 0, "maximum": WAIT_SECONDS_MAX,
                        "description": "How long to wait at most.",
                    },
                    "signal": {
                        "type": "string", "minLength": 1, "maxLength": 200,
                        "description": "Name of the signal to wait for.",
                    },
                },
                "anyOf": [{"required": ["seconds"]}, {"required": ["signal"]}],
                "additionalProperties": false,
            }),
        };
        Self { info: ToolInfo::new(spec, EffectPolicy::Pure) }
    }
}

#[async_trait]
impl Tool for WaitTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, _arguments: Value, _cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        Err(ToolError::new(ToolErrorKind::Conflict, "only a run can wait"))
    }
}
