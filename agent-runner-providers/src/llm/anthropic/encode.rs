//! Requests as the Messages API takes them.

mod cache;
mod schema;
mod thinking;
mod turns;

use agent_runner_core::llm::{ErrorKind, LlmRequest, ToolSpec};
use serde_json::{Map, Value, json};

use self::turns::Conversation;
use super::{CacheLifetime, models::Generation};
use crate::llm::{Fault, names::ToolNames, outgoing::shortest};

/// Fields that [`LlmRequest`] names itself, which `extra` must not contradict.
const RESERVED: [&str; 5] = ["model", "messages", "system", "tools", "stream"];
/// Most tokens of a reply when neither the request, the service nor the table of generations says
/// a number, which the API demands. Room for a long answer and the thinking before it.
const MAX_TOKENS: u64 = 16_384;
/// The fields that the counting of a prompt takes.
const COUNTED: [&str; 7] =
    ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"];

/// What a request is encoded with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    /// The id under which blocks may be sent back.
    pub(super) provider: &'a str,
    pub(super) names: &'a ToolNames,
    pub(super) cache: CacheLifetime,
    pub(super) generation: Generation,
    /// Most tokens of a reply, as far as that is known.
    pub(super) max_output: Option<u64>,
}

/// A request's body.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) body: Value,
    /// What was done otherwise than asked.
    pub(super) notices: Vec<String>,
}

/// The body of a request.
pub(super) fn body(request: &LlmRequest, setting: &Setting<'_>) -> Result<Encoded, Fault> {
    let mut notices = Vec::new();
    let mut conversation = Conversation::of(request, setting.names, setting.provider);
    let mut tools: Vec<Value> =
        request.tools.iter().map(|spec| tool(spec, setting.names)).collect();
    let max_tokens =
        request.max_output_tokens.map(u64::from).or(setting.max_output).unwrap_or(MAX_TOKENS);
    let reasoning = thinking::of(request.reasoning, setting.generation, max_tokens, &conversation);
    notices.extend(reasoning.notice);
    if let Some(temperature) = request.temperature.and_then(shortest) {
        notices.push(format!(
            "the temperature of {temperature} was left out: this version of the API takes none"
        ));
    }
    cache::mark(setting.cache, &mut tools, &mut conversation);

    let mut body = Map::new();
    body.insert("model".into(), request.model.clone().into());
    body.insert("max_tokens".into(), max_tokens.into());
    body.insert("stream".into(), true.into());
    if !conversation.system.is_empty() {
        body.insert("system".into(), conversation.system.into());
    }
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
    let messages: Vec<Value> = conversation.turns.into_iter().map(turns::Turn::into_json).collect();
    body.insert("messages".into(), messages.into());
    if let Some(thinking) = reasoning.thinking {
        body.insert("thinking".into(), thinking);
    }
    let mut output = Map::new();
    if let Some(effort) = reasoning.effort {
        output.insert("effort".into(), effort.into());
    }
    if let Some(schema) = &request.output_schema {
        let schema = schema::accepted(schema);
        output.insert("format".into(), json!({"type": "json_schema", "schema": schema}));
    }
    if !output.is_empty() {
        body.insert("output_config".into(), output.into());
    }
    add_extra(&mut body, request)?;
    Ok(Encoded { body: Value::Object(body), notices })
}

/// The body for counting the prompt of a request that was encoded.
pub(super) fn counted(body: Value) -> Value {
    match body {
        Value::Object(mut body) => {
            body.retain(|field, _| COUNTED.contains(&field.as_str()));
            Value::Object(body)
        }
        other => other,
    }
}

fn add_extra(body: &mut Map<String, Value>, request: &LlmRequest) -> Result<(), Fault> {
    for (field, value) in &request.extra {
        match (field.as_str(), value, body.get_mut(field)) {
            (name, ..) if RESERVED.contains(&name) => {
                let message = format!("`extra` must not contain `{field}`, which the request sets");
                return Err(Fault::new(ErrorKind::InvalidRequest, message));
            }
            // An effort of its own must not take away the schema, and the other way round.
            ("output_config", Value::Object(more), Some(Value::Object(output))) => {
                output.extend(more.clone());
            }
            // `null` takes a field away that a server does not know.
            (_, Value::Null, _) => drop(body.remove(field)),
            _ => drop(body.insert(field.clone(), value.clone())),
        }
    }
    Ok(())
}

fn tool(spec: &ToolSpec, names: &ToolNames) -> Value {
    let mut schema = spec.input_schema.clone();
    match &mut schema {
        Value::Object(map) => {
            map.entry("type").or_insert_with(|| "object".into());
        }
        other => *other = json!({"type": "object"}),
    }
    let mut tool = Map::new();
    tool.insert("name".into(), names.wire(&spec.name).into());
    if !spec.description.trim().is_empty() {
        tool.insert("description".into(), spec.description.clone().into());
    }
    tool.insert("input_schema".into(), schema);
    Value::Object(tool)
}

#[cfg(test)]
mod tests;
