//! Requests as `generateContent` takes them.

mod contents;

use agent_runner_core::{
    llm::{ErrorKind, LlmRequest, ReasoningEffort, ToolSpec},
    message::ProviderState,
};
use serde_json::{Map, Value, json};

use self::contents::{contents, paused};
use super::{
    CONTINUATION_TOKEN,
    family::{Family, Thinking},
};
use crate::llm::{Fault, names::ToolNames, outgoing::shortest};

/// Fields that [`LlmRequest`] names itself, which `extra` must not contradict.
const RESERVED: [&str; 4] = ["model", "contents", "systemInstruction", "tools"];
/// The field whose own fields `extra` may add to.
const CONFIG: &str = "generationConfig";

/// Whom a request is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The id under which signatures may be sent back.
    pub(super) provider: &'a str,
    /// The model without its `models/`.
    pub(super) model: &'a str,
    /// What is known of it by its name.
    pub(super) family: Family,
    /// How it is told how much to think.
    pub(super) thinking: Thinking,
}

impl Target<'_> {
    /// A text that this model sent along, to come back to it.
    fn own<'s>(&self, state: Option<&'s ProviderState>, field: &str) -> Option<&'s str> {
        let state =
            state.filter(|state| state.provider == self.provider && state.model == self.model)?;
        state.raw.get(field)?.as_str()
    }
}

/// A body, and what it leaves out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) body: Value,
    pub(super) notice: Option<String>,
}

/// The body of a request.
pub(super) fn outgoing(
    request: &LlmRequest,
    names: &ToolNames,
    target: Target<'_>,
) -> Result<Outgoing, Fault> {
    if request.output_schema.is_some()
        && !request.tools.is_empty()
        && target.family.schema_excludes_tools
    {
        return Err(Fault::new(
            ErrorKind::UnsupportedFeature,
            format!(
                "the model `{}` takes no schema for its reply beside tools; leave one of them out",
                target.model
            ),
        ));
    }
    let (messages, continuation) = paused(&request.messages, target);
    let (system, contents) = contents(messages, names, target);
    let mut body = Map::new();
    body.insert("contents".into(), contents.into());
    if !system.is_empty() {
        body.insert("systemInstruction".into(), json!({"parts": system}));
    }
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request.tools.iter().map(|spec| tool(spec, names)).collect();
        body.insert("tools".into(), json!([{"functionDeclarations": tools}]));
    }
    if let Some(token) = continuation {
        body.insert(CONTINUATION_TOKEN.into(), token.into());
    }
    let (config, notice) = config(request, target);
    if !config.is_empty() {
        body.insert(CONFIG.into(), config.into());
    }
    for (field, value) in &request.extra {
        add(&mut body, field, value)?;
    }
    Ok(Outgoing { body: Value::Object(body), notice })
}

fn tool(spec: &ToolSpec, names: &ToolNames) -> Value {
    json!({
        "name": names.wire(&spec.name),
        "description": spec.description,
        "parametersJsonSchema": spec.input_schema,
    })
}

fn config(request: &LlmRequest, target: Target<'_>) -> (Map<String, Value>, Option<String>) {
    let mut config = Map::new();
    if let Some(schema) = &request.output_schema {
        config.insert("responseMimeType".into(), "application/json".into());
        config.insert("responseJsonSchema".into(), schema.clone());
    }
    if let Some(limit) = request.max_output_tokens {
        config.insert("maxOutputTokens".into(), limit.into());
    }
    if let Some(temperature) = request.temperature.and_then(shortest) {
        config.insert("temperature".into(), temperature);
    }
    let Some(effort) = request.reasoning else { return (config, None) };
    match target.thinking.config(effort) {
        Some(thinking) => {
            config.insert("thinkingConfig".into(), thinking);
            (config, None)
        }
        // That it does not think is just what was asked.
        None if target.thinking == Thinking::No && effort == ReasoningEffort::Off => (config, None),
        None => {
            let model = target.model;
            let notice = format!("how much to reason was not said, which `{model}` does not take");
            (config, Some(notice))
        }
    }
}

/// Adds a field of `extra`; `null` takes one away.
fn add(body: &mut Map<String, Value>, field: &str, value: &Value) -> Result<(), Fault> {
    if RESERVED.contains(&field) {
        let message = format!("`extra` must not contain `{field}`, which the request sets");
        return Err(Fault::new(ErrorKind::InvalidRequest, message));
    }
    match value {
        Value::Null => {
            body.remove(field);
        }
        Value::Object(more) if field == CONFIG => {
            let config = body.entry(CONFIG).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(config) = config {
                config.extend(more.clone());
                config.retain(|_, value| !value.is_null());
            }
        }
        value => {
            body.insert(field.to_owned(), value.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
