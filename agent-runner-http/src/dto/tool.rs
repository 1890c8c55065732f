//! Tools as clients see them.

use agent_runner_core::{
    id::ProjectId,
    tool::{SourceStatus, ToolInfo, ToolSource},
};
use serde::{Deserialize, Serialize};
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
    /// The most harm that a call can do: `read`, `write`, `destructive` or `outward`.
    risk: &'static str,
    /// Most seconds of a call.
    timeout_seconds: u64,
}

/// A server that offers tools.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolServer {
    /// What projects list in `settings.tool_sources`; the names of its tools begin with it.
    pub(crate) name: String,
    /// `ready`, `connecting` or `down`.
    status: &'static str,
    /// Why it is down.
    detail: Option<String>,
    /// Names of its tools; while it is down, those that it offered last.
    tools: Vec<String>,
}

impl From<&dyn ToolSource> for ToolServer {
    fn from(source: &dyn ToolSource) -> Self {
        let (status, detail) = match source.status() {
            SourceStatus::Ready => ("ready", None),
            SourceStatus::Down(why) => ("down", Some(why)),
            // A status that this version does not know is on its way to one that it does.
            SourceStatus::Connecting | _ => ("connecting", None),
        };
        let tools = source.tools().iter().map(|tool| tool.info().spec.name.clone()).collect();
        Self { name: source.name().to_owned(), status, detail, tools }
    }
}

/// A call to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"arguments": {"path": "notes.txt"}})))]
pub(crate) struct Invoke {
    /// Where; the default project when missing.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub(crate) project_id: Option<ProjectId>,
    /// What goes in; fits the tool's `input_schema`.
    #[serde(default = "nothing")]
    #[schema(value_type = Object)]
    pub(crate) arguments: Value,
    /// Only checks the call and says what the policy would say to a run.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What a call produced, or what would become of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Invoked {
    /// The output; `null` when nothing was called.
    pub(crate) output: Value,
    /// Where the output came from, when nobody in charge wrote it.
    pub(crate) untrusted: Option<String>,
    /// Milliseconds that the call took.
    pub(crate) elapsed_ms: u64,
    /// What the project's policy says to a run that makes this call: `allow`, `ask` or `deny`.
    pub(crate) verdict: &'static str,
    /// Why.
    pub(crate) reason: Option<String>,
    /// The harm that the call can do.
    pub(crate) risk: &'static str,
}

impl From<&ToolInfo> for Tool {
    fn from(info: &ToolInfo) -> Self {
        Self {
            name: info.spec.name.clone(),
            description: info.spec.description.clone(),
            input_schema: info.spec.input_schema.clone(),
            policy: info.policy.as_str(),
            risk: info.risk.as_str(),
            timeout_seconds: info.timeout.as_secs(),
        }
    }
}
