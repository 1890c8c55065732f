//! Requests as `/api/chat` takes them.

use agent_runner_core::{
    llm::{Capabilities, LlmRequest, ReasoningEffort, ToolSpec},
    message::{Message, Part, ProviderState, Role},
};
use serde_json::{Map, Value, json};

use crate::llm::{
    Fault,
    call_ids::{WireIds, is_short},
    outgoing::{add_extra, replayed_arguments, shortest},
};

/// Fields that [`LlmRequest`] names itself, which `extra` must not contradict.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "stream"];

/// A request as it is sent, and what it could not say.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) body: Value,
    pub(super) notices: Vec<String>,
    /// The context length that it asks for.
    pub(super) context: Option<u64>,
}

/// The context length that the request itself asks for.
pub(super) fn asked_context(request: &LlmRequest) -> Option<&Value> {
    request.extra.get("options")?.get("num_ctx")
}

/// The body of a request to a model of which that is known. `provider` is the id under which
/// reasoning may be sent back.
pub(super) fn body(
    request: &LlmRequest,
    known: Capabilities,
    provider: &str,
) -> Result<Encoded, Fault> {
    let mut body = Map::new();
    body.insert("model".into(), request.model.clone().into());
    body.insert("messages".into(), turns(request, provider).into());
    body.insert("stream".into(), true.into());
    // Without these the server silently drops the oldest messages of a long conversation.
    body.insert("truncate".into(), false.into());
    body.insert("shift".into(), false.into());
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(tool).collect());
    }
    if let Some(schema) = &request.output_schema {
        body.insert("format".into(), schema.clone());
    }
    let mut options = Map::new();
    if let Some(num_ctx) = known.context_window {
        options.insert("num_ctx".into(), num_ctx.into());
    }
    if let Some(limit) = request.max_output_tokens {
        options.insert("num_predict".into(), limit.into());
    }
    if let Some(temperature) = request.temperature.and_then(shortest) {
        options.insert("temperature".into(), temperature);
    }
    let mut notices = Vec::new();
    match request.reasoning {
        None => {}
        // The server refuses to let a model think that cannot, but not to forbid it.
        Some(effort) if effort == ReasoningEffort::Off || known.reasoning == Some(true) => {
            body.insert("think".into(), think(effort));
        }
        Some(_) => notices.push(format!(
            "the reasoning effort was left out, because the server does not say that `{}` can think",
            request.model
        )),
    }
    let mut extra = request.extra.clone();
    if let Some(Value::Object(more)) = extra.remove("options") {
        options.extend(more);
    }
    add_extra(&mut body, &extra, &RESERVED)?;
    let context = options.get("num_ctx").and_then(Value::as_u64);
    if !options.is_empty() {
        body.insert("options".into(), options.into());
    }
    Ok(Encoded { body: Value::Object(body), notices, context })
}

/// Whether to think, or how much. A usual amount is said in the way that old servers know, too.
fn think(effort: ReasoningEffort) -> Value {
    match effort {
        ReasoningEffort::Off => false.into(),
        ReasoningEffort::Low => "low".into(),
        ReasoningEffort::Medium => true.into(),
        ReasoningEffort::High => "high".into(),
        ReasoningEffort::Max => "max".into(),
    }
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"type": "function", "function": {
        "name": spec.name, "description": spec.description, "parameters": spec.input_schema,
    }})
}

fn turns(request: &LlmRequest, provider: &str) -> Vec<Value> {
    let mut ids = WireIds::new(is_short);
    let mut turns = Vec::new();
    for message in &request.messages {
        turn(message, &mut ids, &mut turns);
        if message.role == Role::Assistant {
            turns.push(assistant(message, &mut ids, |state| {
                state.provider == provider && state.model == request.model
            }));
        }
    }
    turns
}

/// A message that is not the model's; the results of several tools are a message each.
fn turn(message: &Message, ids: &mut WireIds, turns: &mut Vec<Value>) {
    let mut results = false;
    for part in &message.parts {
        if let Part::ToolResult { call_id, name, text, .. } = part {
            let id = ids.result(call_id);
            turns.push(
                json!({"role": "tool", "content": text, "tool_name": name, "tool_call_id": id}),
            );
            results = true;
        }
    }
    let text = message.plain_text();
    match message.role {
        Role::Assistant => {}
        Role::System => turns.push(json!({"role": "system", "content": text})),
        Role::User | Role::Tool => {
            if !results || !text.is_empty() {
                turns.push(json!({"role": "user", "content": text}));
            }
        }
    }
}

fn assistant(
    message: &Message,
    ids: &mut WireIds,
    is_own: impl Fn(&ProviderState) -> bool,
) -> Value {
    let mut turn = Map::new();
    turn.insert("role".into(), "assistant".into());
    turn.insert("content".into(), message.plain_text().into());
    for part in &message.parts {
        if let Part::Reasoning { text, provider_state: Some(state) } = part
            && is_own(state)
        {
            turn.insert("thinking".into(), text.clone().into());
        }
    }
    let calls: Vec<Value> = message
        .tool_calls()
        .map(|call| {
            let arguments = replayed_arguments(&call.arguments);
            let function = json!({"name": call.name, "arguments": arguments});
            json!({"id": ids.call(&call.id), "function": function})
        })
        .collect();
    if !calls.is_empty() {
        turn.insert("tool_calls".into(), calls.into());
    }
    Value::Object(turn)
}

#[cfg(test)]
mod tests;
