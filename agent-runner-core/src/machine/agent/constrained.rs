//! Tools for models that have none: every reply is constrained to one JSON Schema, the union of
//! "call this tool with these arguments" and "answer".

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    id::StepKey,
    llm::ToolSpec,
    message::{Message, Part, Role, ToolCall},
};

/// What a constrained reply chose.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    Tool(ToolCall),
    Answer(Value),
}

/// The schema of every reply. `answer` is the schema of the answer, a string when there is none.
#[must_use]
pub fn schema(tools: &[ToolSpec], answer: Option<&Value>) -> Value {
    let mut choices: Vec<Value> = tools
        .iter()
        .map(|tool| {
            json!({
                "type": "object",
                "properties": {"tool": {"const": tool.name}, "arguments": tool.input_schema},
                "required": ["tool", "arguments"],
                "additionalProperties": false,
            })
        })
        .collect();
    let answer = answer.cloned().unwrap_or_else(|| json!({"type": "string"}));
    choices.push(json!({
        "type": "object",
        "properties": {"answer": answer},
        "required": ["answer"],
        "additionalProperties": false,
    }));
    json!({"anyOf": choices})
}

/// What the model is told about its tools.
#[must_use]
pub fn instructions(tools: &[ToolSpec]) -> String {
    let mut text = String::from(
        "Reply with one JSON object. To use a tool: {\"tool\": NAME, \"arguments\": {...}}. \
         When the task is done: {\"answer\": ...}.\nTools:\n",
    );
    for tool in tools {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {}: {}", tool.name, tool.description);
    }
    text
}

/// Reads a reply that was constrained to [`schema`].
pub(super) fn parse(text: &str, step: &StepKey) -> Result<Choice, String> {
    let expected =
        "Reply with one JSON object: {\"tool\": NAME, \"arguments\": {...}} or {\"answer\": ...}.";
    let value: Value = serde_json::from_str(without_fence(text))
        .map_err(|error| format!("Your reply is not JSON ({error}). {expected}"))?;
    let Value::Object(mut object) = value else {
        return Err(format!("Your reply is not a JSON object. {expected}"));
    };
    if let Some(answer) = object.remove("answer") {
        return Ok(Choice::Answer(answer));
    }
    let Some(Value::String(name)) = object.remove("tool") else {
        return Err(format!("Your reply has neither `tool` nor `answer`. {expected}"));
    };
    let arguments = object.remove("arguments").unwrap_or_else(|| json!({}));
    Ok(Choice::Tool(ToolCall { id: format!("call-{step}"), name, arguments, provider_state: None }))
}

/// The conversation as such a model reads it: tool results are words of the user.
#[must_use]
pub fn render(conversation: &[Message]) -> Vec<Message> {
    conversation
        .iter()
        .map(|message| match message.role {
            Role::Tool => Message::text(Role::User, results(message)),
            Role::System | Role::User | Role::Assistant => message.clone(),
        })
        .collect()
}

fn results(message: &Message) -> String {
    let mut text = String::new();
    for part in &message.parts {
        if let Part::ToolResult { name, text: result, is_error, .. } = part {
            let word = if *is_error { "failed" } else { "is done" };
            let _ = writeln!(text, "The tool {name} {word}. It says:\n{result}");
        }
    }
    text
}

/// Models like to put JSON into a Markdown fence; what is inside counts.
pub(super) fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else {
        return text;
    };
    inner.split_once('\n').map_or(inner, |(_language, body)| body).trim()
}
