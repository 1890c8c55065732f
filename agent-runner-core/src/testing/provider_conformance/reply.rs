//! What a model says, and how it ends.

use serde_json::{Value, json};

use super::{OptionalScene, STRUCTURED, hear_scene, open};
use crate::{
    llm::{CallCx, ErrorKind, LlmEvent, LlmFinished, LlmRequest, StopReason},
    testing::llm_contract::{Heard, LlmHarness, hear_request, request},
};

/// The reply of a scene that ends well, and what came before it.
fn good((mut heard, error): Heard) -> (Vec<LlmEvent>, LlmFinished) {
    assert!(error.is_none(), "the scene ends well, but: {error:?}");
    let Some(LlmEvent::Finished(finished)) = heard.pop() else {
        panic!("a good stream ends with `Finished`, not with {:?}", heard.last());
    };
    (heard, *finished)
}

/// Whether `is` holds for a value anywhere in a document.
fn anywhere(document: &Value, is: &impl Fn(&Value) -> bool) -> bool {
    is(document)
        || match document {
            Value::Array(items) => items.iter().any(|item| anywhere(item, is)),
            Value::Object(map) => map.values().any(|value| anywhere(value, is)),
            _ => false,
        }
}

/// The last request that the service got, if the harness shows its requests.
fn last_request<H: LlmHarness>(harness: &H) -> Option<Value> {
    let body = harness.requests().pop()?;
    Some(serde_json::from_str(&body).expect("requests are JSON"))
}

/// [`OptionalScene::Structured`].
pub async fn the_schema_reaches_the_service_and_the_reply_fits_it<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::Structured).await;
    let mut request = request(harness.model());
    request.tools.clear();
    structured(&harness, request).await;
}

/// [`OptionalScene::StructuredBesideTools`].
pub async fn the_schema_and_the_tools_reach_the_service_together<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::StructuredBesideTools).await;
    let can = harness.provider().capabilities(&harness.model()).schema_with_tools;
    assert_ne!(
        can,
        Some(false),
        "the provider denies it; declare `skip: {{ structured_beside_tools: \"why\" }}`"
    );
    let request = request(harness.model());
    let tools = request.tools.clone();
    let body = structured(&harness, request).await;
    for tool in tools {
        let [name, schema] = [Value::from(tool.name), tool.input_schema];
        assert!(anywhere(&body, &|value| *value == name), "the tool {name} is not in {body}");
        assert!(anywhere(&body, &|value| *value == schema), "{schema} is not in {body}");
    }
}

/// Asks for a structured reply, which comes. What the service was asked is returned.
async fn structured<H: LlmHarness>(harness: &H, mut request: LlmRequest) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": false,
    });
    request.output_schema = Some(schema.clone());
    let (_, finished) = good(hear_request(harness, &request, &CallCx::new("1")).await);
    let said: Value = serde_json::from_str(&finished.message.plain_text()).unwrap();
    assert_eq!(said, serde_json::from_str::<Value>(STRUCTURED).unwrap());
    assert_eq!(finished.stop, StopReason::EndTurn);
    assert_eq!(finished.message.tool_calls().count(), 0, "the engine has no such tool");
    let body = last_request(harness).expect("the harness shows no requests");
    assert!(anywhere(&body, &|value| *value == schema), "the schema is not in {body}");
    body
}

/// [`OptionalScene::EmptyArguments`].
pub async fn no_arguments_are_an_empty_object<H: LlmHarness>() {
    let (_, heard) = hear_scene::<H>(OptionalScene::EmptyArguments).await;
    let (_, finished) = good(heard);
    let arguments: Vec<_> = finished.message.tool_calls().map(|call| &call.arguments).collect();
    assert_eq!(arguments, [&json!({})]);
}

/// [`OptionalScene::ParallelCalls`].
pub async fn calls_side_by_side_keep_their_own_arguments<H: LlmHarness>() {
    let (_, heard) = hear_scene::<H>(OptionalScene::ParallelCalls).await;
    let (_, finished) = good(heard);
    let calls: Vec<_> = finished
        .message
        .tool_calls()
        .map(|call| (call.name.as_str(), call.arguments.clone()))
        .collect();
    let expected = [("shout", json!({"text": "a"})), ("shout", json!({"text": "b"}))];
    assert_eq!(calls, expected);
    assert_eq!(finished.stop, StopReason::ToolCalls);
}

/// [`OptionalScene::Usage`].
pub async fn tokens_are_counted_as_core_counts_them<H: LlmHarness>() {
    let (harness, heard) = hear_scene::<H>(OptionalScene::Usage).await;
    let (before, finished) = good(heard);
    assert_eq!(finished.usage, harness.usage());
    let told = before.iter().rev().find_map(|event| match event {
        LlmEvent::Usage { usage } => Some(*usage),
        _ => None,
    });
    assert!(told.is_none_or(|usage| usage == finished.usage), "the last one counts: {told:?}");
}

/// [`OptionalScene::MaxTokens`].
pub async fn a_reply_that_hit_its_limit_says_so<H: LlmHarness>() {
    let harness = open::<H>(OptionalScene::MaxTokens).await;
    let mut request = request(harness.model());
    request.max_output_tokens = Some(17);
    let (_, finished) = good(hear_request(&harness, &request, &CallCx::new("1")).await);
    assert_eq!(finished.stop, StopReason::MaxTokens);
    assert!(!finished.message.plain_text().is_empty(), "what was said until then is lost");
    let limit = |body: &Value| anywhere(body, &|value| *value == json!(17));
    let body = last_request(&harness);
    assert!(body.as_ref().is_none_or(limit), "the limit is not in {body:?}");
}

/// [`OptionalScene::Refusal`].
pub async fn a_refusal_is_not_an_answer<H: LlmHarness>() {
    not_an_answer::<H>(OptionalScene::Refusal).await;
}

/// [`OptionalScene::ContentFilter`].
pub async fn a_filtered_reply_is_not_an_answer<H: LlmHarness>() {
    not_an_answer::<H>(OptionalScene::ContentFilter).await;
}

async fn not_an_answer<H: LlmHarness>(scene: OptionalScene) {
    let (_, (heard, error)) = hear_scene::<H>(scene).await;
    if let Some(error) = error {
        assert_eq!(error.kind(), ErrorKind::ContentFilter, "{error}");
        return;
    }
    let (_, finished) = good((heard, None));
    let stops = [StopReason::Refusal, StopReason::ContentFilter];
    assert!(stops.contains(&finished.stop), "{:?}", finished.stop);
}
