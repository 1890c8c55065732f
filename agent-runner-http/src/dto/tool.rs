//! Tools as clients see them.

use agent_runner_core::tool::ToolInfo;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Something an agent can do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tool {
    /// Its name.
    #[schema(examples("files.read"))]
    pub(crate) name: String,
    /// What it does and when to use it.
    description: String,
    /// JSON Schema of its arguments.
    #[schema(value_type = Object)]
    input_schema: Value,
    /// What happens when a call's outcome is unknown: `pure`, `idempotent`, `at_most_once`, `ask`
    /// or `reconcile`.
    policy: &'static str,
    /// Most seconds of a call.
    timeout_seconds: u64,
}

impl From<&ToolInfo> for Tool {
    fn from(info: &ToolInfo) -> Self {
        Self {
            name: info.spec.name.clone(),
            description: info.spec.description.clone(),
            input_schema: info.spec.input_schema.clone(),
            policy: info.policy.as_str(),
            timeout_seconds: info.timeout.as_secs(),
        }
    }
}
