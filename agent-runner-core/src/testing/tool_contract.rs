//! The contract of [`Tool`] as tests, named after its clauses.
//!
//! A tool proves itself with one line in its tests, in a module of its own:
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{testing::tool_contract::ToolHarness, tool::{EffectPolicy, Tool, ToolCx, ToolError, Typed, TypedTool}};
//! # #[derive(Debug)]
//! # struct Shout;
//! # #[derive(serde::Deserialize, schemars::JsonSchema)]
//! # #[serde(deny_unknown_fields)]
//! # struct ShoutArgs { text: String }
//! # impl TypedTool for Shout {
//! #     const NAME: &'static str = "shout";
//! #     const POLICY: EffectPolicy = EffectPolicy::Pure;
//! #     type Args = ShoutArgs;
//! #     type Output = String;
//! #     fn description(&self) -> std::borrow::Cow<'_, str> { "Shouts.".into() }
//! #     async fn run(&self, args: ShoutArgs, _cx: &ToolCx) -> Result<String, ToolError> { Ok(args.text.to_uppercase()) }
//! # }
//! use serde_json::{Value, json};
//!
//! #[derive(Debug)]
//! struct ShoutHarness(Arc<dyn Tool>);
//!
//! #[async_trait::async_trait]
//! impl ToolHarness for ShoutHarness {
//!     async fn open() -> Self {
//!         Self(Arc::new(Typed::new(Shout)))
//!     }
//!
//!     fn tool(&self) -> Arc<dyn Tool> {
//!         self.0.clone()
//!     }
//!
//!     fn valid(&self) -> Value {
//!         json!({"text": "hello"})
//!     }
//!
//!     fn refused(&self) -> Vec<Value> {
//!         vec![json!({"text": 5})]
//!     }
//! }
//!
//! agent_runner_core::tool_contract!(ShoutHarness);
//! # fn main() {}
//! ```

mod hostile;

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    id::{ProjectId, RunId, StepKey},
    schema::Schema,
    tool::{EffectPolicy, Tool, ToolCx, ToolError, ToolErrorKind, ToolOutput, ToolRegistry},
};

/// Brings a tool before the suite, with a world for it to act on.
#[async_trait]
pub trait ToolHarness: fmt::Debug + Sized + Send + Sync + 'static {
    /// Makes a tool and a fresh world.
    async fn open() -> Self;

    /// The tool that [`ToolHarness::open`] made.
    fn tool(&self) -> Arc<dyn Tool>;

    /// Arguments of a call that succeeds.
    fn valid(&self) -> Value;

    /// Arguments of calls that must fail, whether the schema refuses them or the tool does. The
    /// suite adds its own.
    fn refused(&self) -> Vec<Value>;

    /// Texts that no answer may contain: paths of the host, secrets.
    fn private(&self) -> Vec<String> {
        Vec::new()
    }

    /// Everything the tool has done to its world, as text that is equal when the world is. Empty
    /// for a tool that does nothing outside.
    async fn effects(&self) -> Vec<String> {
        Vec::new()
    }

    /// Arguments of a call that would last longer than the suite's patience if it were not
    /// cancelled. `None` when the tool has none.
    fn lasting(&self) -> Option<Value> {
        None
    }
}

/// The longest that a case may take, so that a tool that hangs fails its test.
const CASE_LIMIT: Duration = Duration::from_secs(120);
/// What "soon" means after a call is cancelled.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);
/// Calls with random arguments.
const RANDOM_CALLS: usize = 192;
/// The longest that such a call is waited for.
const RANDOM_LIMIT: Duration = Duration::from_millis(100);

/// Runs a case within its time limit.
#[doc(hidden)]
pub async fn run_case(case: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(CASE_LIMIT, Box::pin(case)).await;
    assert!(ended.is_ok(), "the case did not end within {CASE_LIMIT:?}: the tool hangs");
}

/// Expands to the whole contract of [`Tool`](crate::tool::Tool) for one
/// [`ToolHarness`](crate::testing::tool_contract::ToolHarness), one `#[tokio::test]` per case.
///
/// The crate that calls it needs tokio with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! tool_contract {
    ($harness:ty) => {
        $crate::tool_contract! { @cases $harness;
            c1_the_description_never_changes,
            c2_the_schema_is_a_closed_object,
            c2_valid_arguments_fit_and_succeed,
            c2_an_unknown_argument_is_refused,
            c2_random_arguments_never_panic,
            c3_a_pure_tool_changes_nothing,
            c3_one_idempotency_key_has_one_effect,
            c4_an_error_that_rules_out_an_effect_left_none,
            c5_refusals_explain_themselves_and_keep_private_things,
            c6_a_call_that_is_already_cancelled_ends_soon,
            c6_cancelling_a_call_ends_it_soon,
        }
    };
    (@cases $harness:ty; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use $crate::testing::tool_contract as suite;
                suite::run_case(suite::$case::<$harness>()).await;
            }
        )*
    };
}

/// The circumstances of a call by step `step`: the same for the same step.
#[must_use]
pub fn cx(step: &str) -> ToolCx {
    let run = RunId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001));
    let project = ProjectId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0002));
    ToolCx::new(project, StepKey::new(step), format!("{step:0>64}")).of_run(run, 1)
}

/// Clause 1.
pub async fn c1_the_description_never_changes<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    let before = tool.info().clone();
    let _ = tool.call(harness.valid(), &cx("1")).await;
    for arguments in harness.refused() {
        let _ = tool.call(arguments, &cx("2")).await;
    }
    assert_eq!(tool.info(), &before);
    assert_eq!(harness.tool().info(), &before);
    let added = ToolRegistry::default().add(tool);
    assert!(added.is_ok(), "the registry refuses the tool: {added:?}");
}

/// Clause 2: what the schema promises.
pub async fn c2_the_schema_is_a_closed_object<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    let schema = &tool.info().spec.input_schema;
    assert_eq!(schema["type"], "object", "{schema}");
    assert_eq!(schema["additionalProperties"], false, "unknown arguments must be refused");
    let compiled = Schema::compile(schema);
    assert!(compiled.is_ok(), "{compiled:?}");
    assert!(!tool.info().spec.description.is_empty(), "a model must learn what the tool does");
    let zero = Duration::ZERO;
    assert!(tool.info().timeout > zero, "a timeout of zero ends every call");
}

/// Clause 2: what fits is done.
pub async fn c2_valid_arguments_fit_and_succeed<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    let schema = Schema::compile(&tool.info().spec.input_schema).unwrap();
    assert_eq!(schema.check(&harness.valid()), Ok(()));
    tool.call(harness.valid(), &cx("1")).await.expect("the harness says these are valid");
}

/// Clause 2: what does not fit is refused by the schema, and by the tool for itself.
pub async fn c2_an_unknown_argument_is_refused<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    let mut arguments = harness.valid();
    arguments["an_argument_that_no_tool_has"] = json!(1);
    let schema = Schema::compile(&tool.info().spec.input_schema).unwrap();
    schema.check(&arguments).expect_err("the schema takes an unknown argument");
    let error = tool.call(arguments, &cx("1")).await.expect_err("the tool took it");
    assert_eq!(error.kind(), ToolErrorKind::InvalidArgs);
    assert!(!error.effect_possible());
}

/// Clause 2: arguments are hostile.
pub async fn c2_random_arguments_never_panic<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    let schema = tool.info().spec.input_schema.clone();
    for arguments in hostile::arguments(&schema, &harness.valid(), RANDOM_CALLS) {
        let told = arguments.to_string();
        let cx = cx("1");
        // Some arguments may ask for a long call; how it would end is not asked here.
        let call = tokio::time::timeout(RANDOM_LIMIT, tool.call(arguments, &cx));
        let ended = AssertUnwindSafe(call).catch_unwind().await;
        assert!(ended.is_ok(), "the tool panics on {told}");
    }
}

/// Clause 3, for a tool without effects. Others pass: they do not claim it.
pub async fn c3_a_pure_tool_changes_nothing<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    if tool.info().policy != EffectPolicy::Pure {
        return;
    }
    let before = harness.effects().await;
    tool.call(harness.valid(), &cx("1")).await.unwrap();
    assert_eq!(harness.effects().await, before, "a pure tool has no effect");
}

/// Clause 3. Tools of another policy pass: the engine never repeats them unasked.
pub async fn c3_one_idempotency_key_has_one_effect<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    if tool.info().policy != EffectPolicy::Idempotent {
        return;
    }
    tool.call(harness.valid(), &cx("1")).await.unwrap();
    let once = harness.effects().await;
    for attempt in 2..=3 {
        let again = ToolCx { attempt, ..cx("1") };
        tool.call(harness.valid(), &again).await.unwrap();
        assert_eq!(harness.effects().await, once, "attempt {attempt} had an effect of its own");
    }
}

/// Clause 4.
pub async fn c4_an_error_that_rules_out_an_effect_left_none<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    for arguments in refused(&harness) {
        let before = harness.effects().await;
        let error = refuse(&tool, &arguments).await;
        if !error.effect_possible() {
            assert_eq!(harness.effects().await, before, "{arguments} had an effect: {error}");
        }
    }
}

/// Clause 5.
pub async fn c5_refusals_explain_themselves_and_keep_private_things<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    for arguments in refused(&harness) {
        let error = refuse(&tool, &arguments).await;
        assert!(error.for_model().len() >= 10, "{arguments}: `{error}` helps no model");
        for private in harness.private() {
            let told = error.for_model();
            assert!(!told.contains(&private), "{arguments}: `{told}` tells `{private}`");
        }
    }
    let description = &tool.info().spec.description;
    for private in harness.private() {
        assert!(!description.contains(&private), "the description tells `{private}`");
    }
}

/// Clause 6, before the call begins.
pub async fn c6_a_call_that_is_already_cancelled_ends_soon<H: ToolHarness>() {
    let harness = H::open().await;
    let cx = cx("1");
    cx.cancel.cancel();
    for arguments in [Some(harness.valid()), harness.lasting()].into_iter().flatten() {
        ends_soon(&harness.tool(), arguments, &cx).await;
    }
}

/// Clause 6, while it lasts.
pub async fn c6_cancelling_a_call_ends_it_soon<H: ToolHarness>() {
    let harness = H::open().await;
    let tool = harness.tool();
    if let Some(ended) = begin_and_cancel(&tool, harness.lasting()).await {
        let error = ended.expect_err("the harness says that this call would last");
        assert_eq!(error.kind(), ToolErrorKind::Cancelled, "{error}");
    }
    // How a call that needs no time ends is not asked: it may be done before it is cancelled.
    let _ = begin_and_cancel(&tool, Some(harness.valid())).await;
}

/// Begins a call, cancels it, and waits for its end.
async fn begin_and_cancel(
    tool: &Arc<dyn Tool>,
    arguments: Option<Value>,
) -> Option<Result<ToolOutput, ToolError>> {
    let arguments = arguments?;
    let told = arguments.to_string();
    let cx = cx("1");
    let mut call = std::pin::pin!(tool.call(arguments, &cx));
    // One poll begins the call.
    if let Some(ended) = call.as_mut().now_or_never() {
        return Some(ended);
    }
    cx.cancel.cancel();
    let ended = tokio::time::timeout(CANCEL_LIMIT, call).await;
    assert!(ended.is_ok(), "{told} went on for {CANCEL_LIMIT:?} after it was cancelled");
    ended.ok()
}

async fn ends_soon(tool: &Arc<dyn Tool>, arguments: Value, cx: &ToolCx) {
    let told = arguments.to_string();
    let ended = tokio::time::timeout(CANCEL_LIMIT, tool.call(arguments, cx)).await;
    assert!(ended.is_ok(), "{told} took longer than {CANCEL_LIMIT:?} although it was cancelled");
}

/// What must be refused: the harness's list and what no tool takes.
fn refused<H: ToolHarness>(harness: &H) -> Vec<Value> {
    let mut list = vec![json!(null), json!("text"), json!([1, 2]), json!({"\u{0}": "\u{0}"})];
    list.extend(harness.refused());
    list
}

async fn refuse(tool: &Arc<dyn Tool>, arguments: &Value) -> ToolError {
    let answer: Result<ToolOutput, ToolError> = tool.call(arguments.clone(), &cx("refused")).await;
    match answer {
        Err(error) => error,
        Ok(output) => panic!("{arguments} must be refused, but the tool answered {output:?}"),
    }
}

#[cfg(test)]
mod tests;
