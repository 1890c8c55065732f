//! Requests as the chat completions API takes them.

use agent_runner_core::{
    llm::{ErrorKind, LlmRequest, ToolSpec},
    message::{Message, Part, Role},
};
use serde_json::{Map, Value, json};

use crate::llm::{
    Fault,
    names::ToolNames,
    outgoing::{replayed_arguments, shortest},
};

/// In what the servers that speak this API differ before the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// The field for the output limit. OpenAI deprecated `max_tokens`, which is the only one that
    /// many compatible servers know.
    output_limit: &'static str,
    /// Whether usage has to be asked for; Mistral sends it anyway and refuses the question.
    ask_usage: bool,
}

impl Dialect {
    /// The dialect spoken at `host`.
    pub(super) fn of(host: &str) -> Self {
        let output_limit = match host {
            "api.openai.com" => "max_completion_tokens",
            azure if azure.ends_with(".openai.azure.com") => "max_completion_tokens",
            _ => "max_tokens",
        };
        Self { output_limit, ask_usage: host != "api.mistral.ai" }
    }
}

/// Fields that [`LlmRequest`] names itself, which `extra` must not contradict.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "stream"];

/// The body of a request. `provider` is the id under which reasoning may be sent back.
pub(super) fn body(
    request: &LlmRequest,
    names: &ToolNames,
    dialect: Dialect,
    provider: &str,
) -> Result<Value, Fault> {
    let mut body = Map::new();
    body.insert("model".into(), request.model.clone().into());
    let messages: Vec<Value> = request
        .messages
        .iter()
        .flat_map(|message| turn(message, names, provider, &request.model))
        .collect();
    body.insert("messages".into(), messages.into());
    body.insert("stream".into(), true.into());
    if dialect.ask_usage {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request.tools.iter().map(|spec| tool(spec, names)).collect();
        body.insert("tools".into(), tools.into());
    }
    if let Some(schema) = &request.output_schema {
        body.insert(
            "response_format".into(),
            json!({"type": "json_schema", "json_schema": {
                "name": "reply", "schema": schema, "strict": is_strict(schema),
            }}),
        );
    }
    if let Some(limit) = request.max_output_tokens {
        body.insert(dialect.output_limit.into(), limit.into());
    }
    if let Some(temperature) = request.temperature.and_then(shortest) {
        body.insert("temperature".into(), temperature);
    }
    for (field, value) in &request.extra {
        if RESERVED.contains(&field.as_str()) {
            let message = format!("`extra` must not contain `{field}`, which the request sets");
            return Err(Fault::new(ErrorKind::InvalidRequest, message));
        }
        // `null` takes a field away that a server does not know.
        if value.is_null() {
            body.remove(field);
        } else {
            body.insert(field.clone(), value.clone());
        }
    }
    Ok(Value::Object(body))
}

fn tool(spec: &ToolSpec, names: &ToolNames) -> Value {
    json!({"type": "function", "function": {
        "name": names.wire(&spec.name),
        "description": spec.description,
        "parameters": spec.input_schema,
    }})
}

/// A message; the results of several tools are a message each.
fn turn(message: &Message, names: &ToolNames, provider: &str, model: &str) -> Vec<Value> {
    let mut turns: Vec<Value> = message.parts.iter().filter_map(result).collect();
    let text = message.plain_text();
    match message.role {
        Role::Assistant => turns.push(assistant(message, text, names, provider, model)),
        Role::System => turns.push(json!({"role": "system", "content": text})),
        Role::User | Role::Tool => {
            // Results answer the calls before them and so come before any text.
            if turns.is_empty() || !text.is_empty() {
                turns.push(json!({"role": "user", "content": text}));
            }
        }
    }
    turns
}

fn result(part: &Part) -> Option<Value> {
    match part {
        Part::ToolResult { call_id, text, .. } => {
            Some(json!({"role": "tool", "tool_call_id": call_id, "content": text}))
        }
        _ => None,
    }
}

fn assistant(
    message: &Message,
    text: String,
    names: &ToolNames,
    provider: &str,
    model: &str,
) -> Value {
    let calls: Vec<Value> = message
        .tool_calls()
        .map(|call| {
            let arguments = replayed_arguments(&call.arguments).to_string();
            json!({"id": call.id, "type": "function", "function": {
                "name": names.wire(&call.name), "arguments": arguments,
            }})
        })
        .collect();
    let mut turn = Map::new();
    turn.insert("role".into(), "assistant".into());
    let silent = text.is_empty() && !calls.is_empty();
    turn.insert("content".into(), if silent { Value::Null } else { text.into() });
    if !calls.is_empty() {
        // Reasoning that led to tool calls goes back where it came from: DeepSeek refuses the
        // conversation without it, and others have no use for it after their last word.
        for part in &message.parts {
            if let Part::Reasoning { text, provider_state: Some(state) } = part
                && state.provider == provider
                && state.model == model
                && let Some(field) = state.raw.get("field").and_then(Value::as_str)
            {
                let said = turn.entry(field).or_insert_with(|| Value::String(String::new()));
                if let Value::String(said) = said {
                    said.push_str(text);
                }
            }
        }
        turn.insert("tool_calls".into(), calls.into());
    }
    Value::Object(turn)
}

/// Whether a schema is in the subset that OpenAI takes as `strict`: objects are closed and all
/// their properties required. Anything else in strict mode is refused with HTTP 400.
fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            let closed =
                map.get("properties").and_then(Value::as_object).is_none_or(|properties| {
                    let required = map.get("required").and_then(Value::as_array);
                    map.get("additionalProperties") == Some(&Value::Bool(false))
                        && properties.keys().all(|key| {
                            required.is_some_and(|names| names.iter().any(|name| name == key))
                        })
                });
            let open = map.get("type").is_some_and(|kind| kind == "object")
                && !map.contains_key("properties");
            closed && !open && map.values().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
