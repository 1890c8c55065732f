//! The tool by which an agent asks a person.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::tool::{
    EffectPolicy, Tool, ToolCx, ToolError, ToolErrorKind, ToolInfo, ToolOutput, ToolSpec,
};

pub use crate::tool::ASK_TOOL;

/// Describes the tool; the engine never calls it.
#[derive(Debug)]
pub(super) struct AskTool {
    info: ToolInfo,
}

impl AskTool {
    pub(super) fn new() -> Self {
        let spec = ToolSpec {
            name: ASK_TOOL.to_owned(),
            description: "Asks a person and waits for the answer, if need be for days. Use it \
                          when only a person can know or decide. The run costs nothing meanwhile."
                .to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "question": {
                        "type": "string", "minLength": 1, "maxLength": 10_000,
                        "description": "What to ask; everything the person needs to know.",
                    },
                    "schema": {
                        "type": "object",
                        "description": "JSON Schema that the answer must fit. Left out: a text.",
                    },
                },
                "required": ["question"],
                "additionalProperties": false,
            }),
        };
        Self { info: ToolInfo::new(spec, EffectPolicy::Pure).on_request() }
    }
}

#[async_trait]
impl Tool for AskTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, _arguments: Value, _cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        Err(ToolError::new(ToolErrorKind::Conflict, "only a run can ask"))
    }
}
