//! Requests as `/api/chat` takes them.

use agent_runner_core::{
    llm::{ErrorKind, LlmRequest, ToolSpec},
    message::{Message, Part, Role},
};
use serde_json::{Map, Value, json};

use crate::llm::{
    Fault,
    outgoing::{replayed_arguments, shortest},
};

/// Fields that [`LlmRequest`] names itself, which `extra` must not contradict.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "stream"];

/// The context length that the request itself asks for.
pub(super) fn asked_context(request: &LlmRequest) -> Option<&Value> {
    request.extra.get("options")?.get("num_ctx")
}

/// The body of a request. `provider` is the id under which reasoning may be sent back.
pub(super) fn body(
    request: &LlmRequest,
    num_ctx: Option<u64>,
    provider: &str,
) -> Result<Value, Fault> {
    let mut body = Map::new();
    body.insert("model".into(), request.model.clone().into());
    let messages: Vec<Value> = request
        .messages
        .iter()
        .flat_map(|message| turn(message, provider, &request.model))
        .collect();
    body.insert("messages".into(), messages.into());
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
    if let Some(num_ctx) = num_ctx {
        options.insert("num_ctx".into(), num_ctx.into());
    }
    if let Some(limit) = request.max_output_tokens {
        options.insert("num_predict".into(), limit.into());
    }
    if let Some(temperature) = request.temperature.and_then(shortest) {
        options.insert("temperature".into(), temperature);
    }
    for (field, value) in &request.extra {
        match (field.as_str(), value) {
            ("options", Value::Object(more)) => options.extend(more.clone()),
            (name, _) if RESERVED.contains(&name) => {
                let message = format!("`extra` must not contain `{field}`, which the request sets");
                return Err(Fault::new(ErrorKind::InvalidRequest, message));
            }
            (_, Value::Null) => drop(body.remove(field)),
            (_, value) => drop(body.insert(field.clone(), value.clone())),
        }
    }
    if !options.is_empty() {
        body.insert("options".into(), options.into());
    }
    Ok(Value::Object(body))
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"type": "function", "function": {
        "name": spec.name, "description": spec.description, "parameters": spec.input_schema,
    }})
}

/// A message; the results of several tools are a message each.
fn turn(message: &Message, provider: &str, model: &str) -> Vec<Value> {
    let mut turns: Vec<Value> = message.parts.iter().filter_map(result).collect();
    let text = message.plain_text();
    match message.role {
        Role::Assistant => turns.push(assistant(message, text, provider, model)),
        Role::System => turns.push(json!({"role": "system", "content": text})),
        Role::User | Role::Tool => {
            if turns.is_empty() || !text.is_empty() {
                turns.push(json!({"role": "user", "content": text}));
            }
        }
    }
    turns
}

fn result(part: &Part) -> Option<Value> {
    match part {
        Part::ToolResult { call_id, name, text, .. } => Some(
            json!({"role": "tool", "content": text, "tool_name": name, "tool_call_id": call_id}),
        ),
        _ => None,
    }
}

fn assistant(message: &Message, text: String, provider: &str, model: &str) -> Value {
    let mut turn = Map::new();
    turn.insert("role".into(), "assistant".into());
    turn.insert("content".into(), text.into());
    for part in &message.parts {
        if let Part::Reasoning { text, provider_state: Some(state) } = part
            && state.provider == provider
            && state.model == model
        {
            turn.insert("thinking".into(), text.clone().into());
        }
    }
    let calls: Vec<Value> = message
        .tool_calls()
        .map(|call| {
            let arguments = replayed_arguments(&call.arguments);
            json!({"id": call.id, "function": {"name": call.name, "arguments": arguments}})
        })
        .collect();
    if !calls.is_empty() {
        turn.insert("tool_calls".into(), calls.into());
    }
    Value::Object(turn)
}

#[cfg(test)]
mod tests;
