//! Tools written as a typed function: arguments and output are Rust types.

use std::{borrow::Cow, fmt, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    EffectPolicy, Footprint, IntoToolOutput, Risk, Tool, ToolCx, ToolError, ToolErrorKind,
    ToolInfo, ToolOutput, ToolSpec,
};
use crate::project::ProjectSettings;

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
    /// Its output: anything that is JSON, or a [`ToolOutput`] with more to say.
    type Output: IntoToolOutput + Send;

    /// What it does and when to use it, for the model.
    fn description(&self) -> Cow<'_, str>;

    /// How long a call may take.
    fn timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// The most harm that a call can do. See [`ToolInfo::risk`].
    fn risk(&self) -> Risk {
        ToolInfo::usual_risk(Self::POLICY)
    }

    /// The harm that this call can do. See [`Tool::risk`].
    fn risk_of(&self, _args: &Self::Args) -> Risk {
        self.risk()
    }

    /// What this call touches. See [`Tool::footprint`].
    fn footprint(&self, _args: &Self::Args) -> Footprint {
        Footprint::none()
    }

    /// Whether runs of a project with these settings may have it. See [`Tool::available`].
    fn available(&self, _settings: &ProjectSettings) -> bool {
        true
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
        let description = inner.description().into_owned();
        let mut info = info_of::<T::Args>(T::NAME.to_owned(), description, T::POLICY);
        info.risk = inner.risk();
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
        self.inner.run(parse(arguments)?, cx).await?.into_tool_output()
    }

    fn risk(&self, arguments: &Value) -> Risk {
        parse(arguments.clone()).map_or(self.info.risk, |args| self.inner.risk_of(&args))
    }

    fn footprint(&self, arguments: &Value) -> Footprint {
        parse(arguments.clone())
            .map_or_else(|_: ToolError| Footprint::none(), |args| self.inner.footprint(&args))
    }

    fn available(&self, settings: &ProjectSettings) -> bool {
        self.inner.available(settings)
    }
}

pub(super) fn parse<A: DeserializeOwned>(arguments: Value) -> Result<A, ToolError> {
    serde_json::from_value(arguments)
        .map_err(|error| ToolError::new(ToolErrorKind::InvalidArgs, error.to_string()))
}

/// What a tool with such arguments says of itself.
pub(super) fn info_of<A: JsonSchema>(
    name: String,
    description: String,
    policy: EffectPolicy,
) -> ToolInfo {
    let mut input_schema = schemars::schema_for!(A).to_value();
    if let Some(schema) = input_schema.as_object_mut() {
        // The title is the Rust type's name: noise for a model.
        schema.remove("title");
    }
    ToolInfo::new(ToolSpec { name, description, input_schema }, policy)
}
