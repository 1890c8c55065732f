//! Tools written as one function.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    EffectPolicy, Footprint, IntoToolOutput, Tool, ToolCx, ToolError, ToolInfo, ToolOutput,
    typed::info_of,
};

type Touches = dyn Fn(&Value) -> Footprint + Send + Sync;
type Call =
    dyn Fn(Value, ToolCx) -> BoxFuture<'static, Result<ToolOutput, ToolError>> + Send + Sync;

/// A tool made of a function; see [`tool_fn`].
#[derive(Clone)]
pub struct FnTool {
    info: ToolInfo,
    call: Arc<Call>,
    touches: Option<Arc<Touches>>,
}

impl fmt::Debug for FnTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTool").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Makes a tool of a function with typed arguments; the schema comes from the type and its doc
/// comments.
///
/// ```
/// use agent_runner_core::tool::{EffectPolicy, Tool, ToolCx, tool_fn};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Shout {
///     /// What to shout.
///     text: String,
/// }
///
/// let tool = tool_fn("shout", "Turns a text into capitals.", EffectPolicy::Pure,
///     |args: Shout, _cx: ToolCx| async move { Ok(args.text.to_uppercase()) });
/// assert_eq!(tool.info().spec.input_schema["properties"]["text"]["description"], "What to shout.");
/// ```
pub fn tool_fn<A, O, F, Fut>(
    name: impl Into<String>,
    description: impl Into<String>,
    policy: EffectPolicy,
    function: F,
) -> FnTool
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    O: IntoToolOutput,
    F: Fn(A, ToolCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, ToolError>> + Send + 'static,
{
    let function = Arc::new(function);
    let call: Arc<Call> = Arc::new(move |arguments, cx| {
        let function = Arc::clone(&function);
        Box::pin(async move {
            let call = function(super::typed::parse(arguments)?, cx);
            call.await?.into_tool_output()
        })
    });
    FnTool { info: info_of::<A>(name.into(), description.into(), policy), call, touches: None }
}

impl FnTool {
    /// The same tool with another description of itself: risk, timeout, output limit.
    #[must_use]
    pub fn with_info(mut self, change: impl FnOnce(ToolInfo) -> ToolInfo) -> Self {
        self.info = change(self.info);
        self
    }

    /// The same tool, which says what a call touches.
    #[must_use]
    pub fn touching(
        mut self,
        touches: impl Fn(&Value) -> Footprint + Send + Sync + 'static,
    ) -> Self {
        self.touches = Some(Arc::new(touches));
        self
    }
}

#[async_trait]
impl Tool for FnTool {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        (self.call)(arguments, cx.clone()).await
    }

    fn footprint(&self, arguments: &Value) -> Footprint {
        self.touches.as_ref().map_or_else(Footprint::none, |touches| touches(arguments))
    }
}
