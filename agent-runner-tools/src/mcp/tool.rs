//! A tool of a server.

use std::{fmt, sync::Arc, time::Duration};

use agent_runner_core::{
    project::ProjectSettings,
    schema::Schema,
    tool::{
        EffectPolicy, Footprint, Risk, Tool, ToolCx, ToolError, ToolErrorKind, ToolInfo,
        ToolOutput, ToolSpec,
    },
};
use async_trait::async_trait;
use serde_json::Value;

use super::{call::call, link::Link, output};

/// Time for what surrounds a call: making the result, keeping artifacts.
const MARGIN: Duration = Duration::from_secs(30);

/// A tool of a server.
pub(super) struct McpTool {
    link: Arc<Link>,
    /// As the server calls it.
    remote: String,
    info: ToolInfo,
    schema: Schema,
}

impl fmt::Debug for McpTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpTool").field("name", &self.info.spec.name).finish_non_exhaustive()
    }
}

impl McpTool {
    pub(super) fn new(
        link: Arc<Link>,
        remote: String,
        (spec, schema): (ToolSpec, Schema),
        policy: EffectPolicy,
        risk: Risk,
    ) -> Self {
        let mut info = ToolInfo::new(spec, policy).with_risk(risk);
        info.timeout = link.limits.wait * 2 + link.limits.call + MARGIN;
        Self { link, remote, info, schema }
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.remote == other.remote && self.info == other.info
    }
}

#[async_trait]
impl Tool for McpTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let refuse = |why: String| Err(ToolError::new(ToolErrorKind::InvalidArgs, why));
        if let Err(violations) = self.schema.check(&arguments) {
            return refuse(violations.join("; "));
        }
        let Value::Object(arguments) = arguments else {
            return refuse("the arguments must be a JSON object".to_owned());
        };
        let result = call(&self.link, &self.remote, arguments, &cx.cancel).await?;
        output::of_result(result, &self.link, &self.info.spec.name, cx).await
    }

    /// Calls of one server keep the order in which the model asked, except those that only read.
    fn footprint(&self, _arguments: &Value) -> Footprint {
        let server = format!("mcp/{}", self.link.server);
        match self.info.policy {
            EffectPolicy::Pure => Footprint::none().reads(server),
            _ => Footprint::none().writes(server),
        }
    }

    fn available(&self, settings: &ProjectSettings) -> bool {
        settings.has_source(&self.link.server)
    }
}
