//! Requests as the Responses API takes them.

use agent_runner_core::{
    llm::{LlmRequest, ToolSpec},
    message::{Message, Part, ProviderState, Role},
};
use serde_json::{Map, Value, json};

use crate::llm::{
    Fault,
    call_ids::WireIds,
    names::ToolNames,
    openai::{
        encode::{Encoded, named_schema, no_effort},
        profile::Profile,
    },
    outgoing::{add_extra, replayed_arguments, shortest},
};

/// Fields that [`LlmRequest`] names itself, which `extra` must not contradict.
const RESERVED: [&str; 4] = ["model", "input", "tools", "stream"];

/// The body of a request. `provider` is the id under which reasoning may be sent back.
pub(in crate::llm::openai) fn body(
    request: &LlmRequest,
    names: &ToolNames,
    profile: &Profile,
    provider: &str,
) -> Result<Encoded, Fault> {
    let mut body = Map::new();
    body.insert("model".into(), request.model.clone().into());
    body.insert("input".into(), Items::of(request, names, profile, provider).into());
    body.insert("stream".into(), true.into());
    body.insert("store".into(), false.into());
    body.insert("include".into(), json!(["reasoning.encrypted_content"]));
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request.tools.iter().map(|spec| tool(spec, names)).collect();
        body.insert("tools".into(), tools.into());
    }
    if let Some(schema) = &request.output_schema {
        let mut format = named_schema(schema, profile);
        format.insert("type".into(), "json_schema".into());
        body.insert("text".into(), json!({"format": format}));
    }
    if let Some(limit) = request.max_output_tokens {
        body.insert("max_output_tokens".into(), limit.into());
    }
    if let Some(temperature) = request.temperature.and_then(shortest) {
        body.insert("temperature".into(), temperature);
    }
    let mut notices = Vec::new();
    if let Some(effort) = request.reasoning {
        match profile.effort.word(effort) {
            Some(word) => drop(body.insert("reasoning".into(), json!({"effort": word}))),
            None => notices.push(no_effort(profile)),
        }
    }
    add_extra(&mut body, &profile.extra, &RESERVED)?;
    add_extra(&mut body, &request.extra, &RESERVED)?;
    Ok(Encoded { body: Value::Object(body), notices })
}

/// Strict is the default of this API and would refuse most schemas.
fn tool(spec: &ToolSpec, names: &ToolNames) -> Value {
    json!({
        "type": "function",
        "name": names.wire(&spec.name),
        "description": spec.description,
        "parameters": spec.input_schema,
        "strict": false,
    })
}

/// The items of a conversation as they are put together, the oldest first.
#[derive(Debug)]
struct Items<'a> {
    names: &'a ToolNames,
    profile: &'a Profile,
    provider: &'a str,
    model: &'a str,
    ids: WireIds,
    items: Vec<Value>,
}

impl<'a> Items<'a> {
    fn of(
        request: &'a LlmRequest,
        names: &'a ToolNames,
        profile: &'a Profile,
        provider: &'a str,
    ) -> Vec<Value> {
        let ids = WireIds::new(profile.call_ids.rule());
        let mut items =
            Self { names, profile, provider, model: &request.model, ids, items: Vec::new() };
        for message in &request.messages {
            items.message(message);
        }
        items.items
    }

    fn message(&mut self, message: &Message) {
        if message.role == Role::Assistant {
            self.assistant(message);
            return;
        }
        let text = message.plain_text();
        let mut results = false;
        for part in &message.parts {
            if let Part::ToolResult { call_id, text, .. } = part {
                let id = self.ids.result(call_id);
                self.items
                    .push(json!({"type": "function_call_output", "call_id": id, "output": text}));
                results = true;
            }
        }
        // Results answer the calls before them and so come before any text.
        if !results || !text.is_empty() {
            let role = match message.role {
                Role::System => self.profile.instructions.as_str(),
                Role::User | Role::Tool | Role::Assistant => "user",
            };
            self.items.push(json!({"role": role, "content": text}));
        }
    }

    fn assistant(&mut self, message: &Message) {
        // The service refuses reasoning that nothing follows.
        let mut thoughts = Vec::new();
        for part in &message.parts {
            match part {
                Part::Reasoning { provider_state: Some(state), .. } => {
                    thoughts.extend(self.replayable(state).cloned());
                }
                Part::Text { text, provider_state } if !text.is_empty() => {
                    self.items.append(&mut thoughts);
                    let own = provider_state.as_ref().filter(|state| self.is_own(state));
                    self.items.push(match own.and_then(|state| state.raw.get("phase")) {
                        Some(phase) => {
                            json!({"role": "assistant", "content": text, "phase": phase})
                        }
                        None => json!({"role": "assistant", "content": text}),
                    });
                }
                Part::ToolCall(call) => {
                    self.items.append(&mut thoughts);
                    self.items.push(json!({
                        "type": "function_call",
                        "call_id": self.ids.call(&call.id),
                        "name": self.names.wire(&call.name),
                        "arguments": replayed_arguments(&call.arguments).to_string(),
                    }));
                }
                _ => {}
            }
        }
    }

    fn is_own(&self, state: &ProviderState) -> bool {
        state.provider == self.provider && state.model == self.model
    }

    /// A reasoning item that this model gave and that says something without the service's memory.
    fn replayable<'s>(&self, state: &'s ProviderState) -> Option<&'s Value> {
        let item = state.raw.get("item").filter(|_| self.is_own(state))?;
        let sealed = item.get("encrypted_content").is_some_and(Value::is_string);
        let open = item.get("content").and_then(Value::as_array).is_some_and(|it| !it.is_empty());
        (sealed || open).then_some(item)
    }
}

#[cfg(test)]
mod tests;
