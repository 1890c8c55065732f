//! Tool calls that a person or a program makes, and no run.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Engine, EngineError, Inner, driver::ToolInvocation};
use crate::{
    id::{ProjectId, StepKey},
    policy::{Asked, ToolPolicy, Verdict},
    project::Project,
    tool::{Risk, Tool, ToolCx, ToolError, ToolErrorKind, ToolOutput},
};

/// Why a call was not made or did not end well.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "it is the engine, or the tool")]
pub enum InvokeError {
    /// The project cannot be found or read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The call was refused, or the tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// What a call produced.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Invoked {
    /// The output.
    pub output: ToolOutput,
    /// How long it took.
    pub elapsed: Duration,
}

/// What would become of a call that a run made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolPreview {
    /// What the project's policy says.
    pub verdict: Verdict,
    /// The harm that the call can do.
    pub risk: Risk,
}

impl Engine {
    /// Checks a call without making it, and says what the project's policy says to a run that
    /// makes it and has read nothing but what people in charge wrote.
    ///
    /// # Errors
    /// `NotFound` for an unknown project; `UnknownTool`, `InvalidArgs`; `Denied` for a tool that
    /// the project's settings do not allow.
    pub async fn preview_tool(
        &self,
        project: ProjectId,
        name: &str,
        arguments: &Value,
    ) -> Result<ToolPreview, InvokeError> {
        let project = self.project(project).await?.project;
        let tool = self.inner.find_tool(&project, name, arguments)?;
        let asked = asked(name, &*tool, arguments);
        let verdict = project.settings.tools.decide(&asked);
        Ok(ToolPreview { verdict, risk: asked.risk })
    }

    /// Calls a tool in a project, as its owner. What the project's policy denies is refused; what
    /// it has people approve is made, because a person asks for it. Dropping the future cancels
    /// the call.
    ///
    /// # Errors
    /// `NotFound` for an unknown project; the tool's own errors; `UnknownTool`, `InvalidArgs`,
    /// `Denied` for a call that was not made.
    pub async fn invoke_tool(
        &self,
        project: ProjectId,
        name: &str,
        arguments: Value,
    ) -> Result<Invoked, InvokeError> {
        let project = self.project(project).await?.project;
        let tool = self.inner.admit(&project, name, &arguments)?;
        let (cx, _cancel_when_dropped) = self.inner.by_hand(&project);
        let call = ToolInvocation { inner: Arc::clone(&self.inner), tool, arguments, cx };
        let (result, elapsed) = call.perform().await;
        Ok(Invoked { output: result?, elapsed })
    }
}

fn asked<'a>(name: &'a str, tool: &dyn Tool, arguments: &'a Value) -> Asked<'a> {
    let risk = tool.risk(arguments);
    Asked { tool: name, arguments, risk, untrusted: false, calls: 0, calls_of_tool: 0 }
}

impl Inner {
    /// The circumstances of a call that a person makes; it is cancelled when the guard goes.
    pub(super) fn by_hand(&self, project: &Project) -> (ToolCx, DropGuard) {
        let cancel = CancellationToken::new();
        let cx = ToolCx::new(project.id, StepKey::new("direct"), self.ids.next().to_string())
            .with_settings(Arc::new(project.settings.clone()))
            .with_cancel(cancel.clone());
        (cx, cancel.drop_guard())
    }

    fn find_tool(
        &self,
        project: &Project,
        name: &str,
        arguments: &Value,
    ) -> Result<Arc<dyn Tool>, ToolError> {
        let refuse = |kind, said: String| Err(ToolError::new(kind, said));
        let Some(registered) = self.tools.registered(name) else {
            let shown: String = name.chars().take(80).collect();
            return refuse(ToolErrorKind::UnknownTool, format!("there is no tool `{shown}`"));
        };
        if !registered.tool.available(&project.settings) {
            let said = format!("the settings of project `{}` do not allow {name}", project.name);
            return refuse(ToolErrorKind::Denied, said);
        }
        match registered.schema.check(arguments) {
            Ok(()) => Ok(registered.tool),
            Err(violations) => refuse(ToolErrorKind::InvalidArgs, violations.join("; ")),
        }
    }

    fn admit(
        &self,
        project: &Project,
        name: &str,
        arguments: &Value,
    ) -> Result<Arc<dyn Tool>, ToolError> {
        let tool = self.find_tool(project, name, arguments)?;
        // A person asks: that is the approval.
        let attended = ToolPolicy { unattended: false, ..project.settings.tools.clone() };
        match attended.decide(&asked(name, &*tool, arguments)) {
            Verdict::Deny(why) => Err(ToolError::new(ToolErrorKind::Denied, why)),
            Verdict::Allow | Verdict::Ask(_) => Ok(tool),
        }
    }
}
