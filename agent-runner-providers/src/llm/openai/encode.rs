//! Requests as the chat completions API takes them.

use agent_runner_core::{
    llm::{LlmRequest, ToolSpec},
    message::{Message, Part, Role},
};
use serde_json::{Map, Value, json};

use super::profile::{Echo, Profile, ReasoningField};
use crate::llm::{
    Fault,
    call_ids::WireIds,
    names::ToolNames,
    outgoing::{add_extra, replayed_arguments, shortest},
};

/// Fields that [`LlmRequest`] names itself, which `extra` must not contradict.
const RESERVED: [&str; 4] = ["model", "messages", "tools", "stream"];
/// What the model is made to say between a tool and a user, for servers that want it to speak.
const NOTED: &str = "Understood.";

/// A request as it is sent, and what it could not say.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) body: Value,
    pub(super) notices: Vec<String>,
}

/// The body of a request. `provider` is the id under which reasoning may be sent back.
pub(super) fn body(
    request: &LlmRequest,
    names: &ToolNames,
    profile: &Profile,
    provider: &str,
) -> Result<Encoded, Fault> {
    let mut body = Map::new();
    body.insert("model".into(), request.model.clone().into());
    body.insert("messages".into(), Turns::of(request, names, profile, provider).into());
    body.insert("stream".into(), true.into());
    if profile.ask_usage {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request.tools.iter().map(|spec| tool(spec, names)).collect();
        body.insert("tools".into(), tools.into());
    }
    if let Some(schema) = &request.output_schema {
        let schema = named_schema(schema, profile);
        body.insert(
            "response_format".into(),
            json!({"type": "json_schema", "json_schema": schema}),
        );
    }
    if let Some(limit) = request.max_output_tokens {
        body.insert(profile.output_limit.as_str().into(), limit.into());
    }
    if let Some(temperature) = request.temperature.and_then(shortest) {
        body.insert("temperature".into(), temperature);
    }
    let mut notices = Vec::new();
    if let Some(effort) = request.reasoning {
        match profile.effort.fields(effort) {
            Some(fields) => body.extend(fields),
            None => notices.push(no_effort(profile)),
        }
    }
    add_extra(&mut body, &profile.extra, &RESERVED)?;
    add_extra(&mut body, &request.extra, &RESERVED)?;
    Ok(Encoded { body: Value::Object(body), notices })
}

/// The notice that the wish for reasoning was left out.
pub(super) fn no_effort(profile: &Profile) -> String {
    format!(
        "the reasoning effort was left out, because servers of the profile `{}` take none",
        profile.name
    )
}

/// A schema with the name that the API wants, and strict where both sides can.
pub(super) fn named_schema(schema: &Value, profile: &Profile) -> Map<String, Value> {
    let mut named = Map::new();
    named.insert("name".into(), "reply".into());
    named.insert("schema".into(), schema.clone());
    if profile.strict_schemas {
        named.insert("strict".into(), is_strict(schema).into());
    }
    named
}

fn tool(spec: &ToolSpec, names: &ToolNames) -> Value {
    json!({"type": "function", "function": {
        "name": names.wire(&spec.name),
        "description": spec.description,
        "parameters": spec.input_schema,
    }})
}

/// The turns of a conversation as they are put together, the oldest first.
#[derive(Debug)]
struct Turns<'a> {
    names: &'a ToolNames,
    profile: &'a Profile,
    provider: &'a str,
    model: &'a str,
    ids: WireIds,
    turns: Vec<Value>,
}

impl<'a> Turns<'a> {
    fn of(
        request: &'a LlmRequest,
        names: &'a ToolNames,
        profile: &'a Profile,
        provider: &'a str,
    ) -> Vec<Value> {
        let ids = WireIds::new(profile.call_ids.rule());
        let mut turns =
            Self { names, profile, provider, model: &request.model, ids, turns: Vec::new() };
        for message in &request.messages {
            turns.message(message);
        }
        turns.turns
    }

    /// A message; the results of several tools are a turn each.
    fn message(&mut self, message: &Message) {
        let text = message.plain_text();
        let mut results = false;
        for part in &message.parts {
            if let Part::ToolResult { call_id, text, .. } = part {
                let id = self.ids.result(call_id);
                self.turns.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
                results = true;
            }
        }
        match message.role {
            Role::Assistant => {
                let turn = self.assistant(message, text);
                self.turns.push(turn);
            }
            Role::System => {
                let role = self.profile.instructions.as_str();
                self.turns.push(json!({"role": role, "content": text}));
            }
            Role::User | Role::Tool => {
                // Results answer the calls before them and so come before any text.
                if !results || !text.is_empty() {
                    self.user(&text);
                }
            }
        }
    }

    fn user(&mut self, text: &str) {
        let after_tool = self
            .turns
            .last()
            .is_some_and(|turn| turn.get("role").is_some_and(|role| role == "tool"));
        if after_tool && !self.profile.user_after_tool {
            self.turns.push(json!({"role": "assistant", "content": NOTED}));
        }
        self.turns.push(json!({"role": "user", "content": text}));
    }

    fn assistant(&mut self, message: &Message, text: String) -> Value {
        let calls: Vec<Value> = message
            .tool_calls()
            .map(|call| {
                let arguments = replayed_arguments(&call.arguments).to_string();
                json!({"id": self.ids.call(&call.id), "type": "function", "function": {
                    "name": self.names.wire(&call.name), "arguments": arguments,
                }})
            })
            .collect();
        let mut turn = Map::new();
        turn.insert("role".into(), "assistant".into());
        let silent = text.is_empty() && !calls.is_empty();
        turn.insert("content".into(), if silent { Value::Null } else { text.into() });
        let echo = match self.profile.echo {
            Echo::Never => false,
            Echo::WithToolCalls => !calls.is_empty(),
            Echo::Always => true,
        };
        if echo {
            self.reasoning(message, &mut turn);
        }
        if !calls.is_empty() {
            turn.insert("tool_calls".into(), calls.into());
        }
        Value::Object(turn)
    }

    /// Reasoning goes back where it came from: another model has no use for it, and services
    /// refuse what they did not sign.
    fn reasoning(&self, message: &Message, turn: &mut Map<String, Value>) {
        let mut details = Vec::new();
        let mut said = Map::new();
        for part in &message.parts {
            let Part::Reasoning { text, provider_state: Some(state) } = part else { continue };
            if state.provider != self.provider || state.model != self.model {
                continue;
            }
            if let Some(Value::Array(own)) = state.raw.get("details") {
                details.extend(own.iter().cloned());
            }
            let field = state.raw.get("field").and_then(Value::as_str);
            if let Some(field) = field.and_then(ReasoningField::named) {
                let entry = said.entry(field.as_str()).or_insert_with(|| String::new().into());
                if let Value::String(said) = entry {
                    said.push_str(text);
                }
            }
        }
        // The details contain the text.
        if details.is_empty() {
            turn.extend(said);
        } else {
            turn.insert("reasoning_details".into(), details.into());
        }
        if self.profile.echo_empty
            && let Some(field) = self.profile.reasoning_fields.first()
        {
            turn.entry(field.as_str()).or_insert_with(|| String::new().into());
        }
    }
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
