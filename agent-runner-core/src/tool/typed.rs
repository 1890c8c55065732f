//! Tools written as a typed function: arguments and output are Rust types.

use std::{borrow::Cow, fmt, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{EffectPolicy, Tool, ToolCx, ToolError, ToolErrorKind, ToolInfo, ToolOutput, ToolSpec};

/// A tool with typed arguments; the schema comes from the type and its doc comments.
///
/// ```
/// use agent_runner_core::tool::{EffectPolicy, ToolCx, ToolError, Typed, TypedTool};
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// #[derive(Debug)]
/// struct Shout;
///
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct ShoutArgs {
///     /// What to shout.
///     text: String,
/// }
///
/// impl TypedTool for Shout {
///     const NAME: &'static str = "shout";
///     const POLICY: EffectPolicy = EffectPolicy::Pure;
///     type Args = ShoutArgs;
///     type Output = String;
///
///     fn description(&self) -> std::borrow::Cow<'_, str> {
///         "Turns a text into capitals.".into()
///     }
///
///     async fn run(&self, args: ShoutArgs, _cx: &ToolCx) -> Result<String, ToolError> {
///         Ok(args.text.to_uppercase())
///     }
/// }
///
/// let tool = Typed::new(Shout);
/// # use agent_runner_core::tool::Tool;
/// assert_eq!(tool.info().spec.input_schema["properties"]["text"]["description"], "What to shout.");
/// ```
pub trait TypedTool: fmt::Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// What happens when a call's outcome is unknown.
    const POLICY: EffectPolicy;
    /// Its arguments. Derive with `deny_unknown_fields`, so that a typo is answered.
    type Args: DeserializeOwned + JsonSchema + Send;
    /// Its output.
    type Output: Serialize + Send;

    /// What it does and when to use it, for the model.
    fn description(&self) -> Cow<'_, str>;

    /// How long a call may take.
    fn timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Does it. See [`Tool::call`].
    ///
    /// # Errors
    /// [`ToolError`].
    fn run(
        &self,
        args: Self::Args,
        cx: &ToolCx,
    ) -> impl Future<Output = Result<Self::Output, ToolError>> + Send;
}

/// Makes a [`Tool`] of a [`TypedTool`].
#[derive(Debug)]
pub struct Typed<T> {
    inner: T,
    info: ToolInfo,
}

impl<T: TypedTool> Typed<T> {
    /// Wraps a typed tool.
    #[must_use]
    pub fn new(inner: T) -> Self {
        let mut input_schema = schemars::schema_for!(T::Args).to_value();
        if let Some(schema) = input_schema.as_object_mut() {
            // The title is the Rust type's name: noise for a model.
            schema.remove("title");
        }
        let spec = ToolSpec {
            name: T::NAME.to_owned(),
            description: inner.description().into_owned(),
            input_schema,
        };
        let mut info = ToolInfo::new(spec, T::POLICY);
        info.timeout = inner.timeout();
        Self { inner, info }
    }

    /// The same tool with another policy, for tools whose policy the operator chooses.
    #[must_use]
    pub const fn with_policy(mut self, policy: EffectPolicy) -> Self {
        self.info.policy = policy;
        self
    }
}

#[async_trait]
impl<T: TypedTool> Tool for Typed<T> {
    fn info(&self) -> &ToolInfo {
        &self.info
    }

    async fn call(&self, arguments: Value, cx: &ToolCx) -> Result<ToolOutput, ToolError> {
        let args = serde_json::from_value(arguments)
            .map_err(|error| ToolError::new(ToolErrorKind::InvalidArgs, error.to_string()))?;
        let output = self.inner.run(args, cx).await?;
        let value = serde_json::to_value(output).map_err(|error| {
            ToolError::new(ToolErrorKind::Internal, "the tool's output is not JSON")
                .may_have_run()
                .with_source(error)
        })?;
        Ok(ToolOutput { value })
    }
}
