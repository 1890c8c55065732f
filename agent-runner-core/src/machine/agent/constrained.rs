//! Tools for models that have none: every reply is constrained to one JSON Schema, the union of
//! "call this tool with these arguments" and "answer".
//!
//! Servers that constrain a reply make the model write an object's keys in the order of the
//! schema, which is alphabetical here. So the keys are such that a tool's name comes before its
//! input: a model chooses what to do before it says with what.

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
                "properties": {"tool": {"const": tool.name}, "with": tool.input_schema},
                "required": ["tool", "with"],
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

/// What the model is told about its tools. The wording here and in [`render`] was chosen by trying
/// it on a model of 135 million parameters (`docs/REAL_MODEL.md`).
#[must_use]
pub fn instructions(tools: &[ToolSpec]) -> String {
    let mut text = String::from(
        "You complete tasks by calling tools. Reply with one JSON object.\n\n\
         To call a tool: {\"tool\": ..., \"with\": ...}\n\
         To finish: {\"answer\": ...}\n\nTools:\n",
    );
    for tool in tools {
        let properties = tool.input_schema.get("properties").and_then(Value::as_object);
        let names: Vec<&str> =
            properties.into_iter().flat_map(|all| all.keys().map(String::as_str)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {}({}): {}", tool.name, names.join(", "), tool.description);
    }
    text
}

/// Whether the last call was the one before it again, with the same result: calling once more
/// cannot help, and small models do it for ever. Such a model is left only the answer.
#[must_use]
pub fn goes_in_circles(conversation: &[Message]) -> bool {
    let [.., first_call, first_result, second_call, second_result] = conversation else {
        return false;
    };
    let called = first_call.role == Role::Assistant && second_call.role == Role::Assistant;
    let told = first_result.role == Role::Tool && second_result.role == Role::Tool;
    let same_call = first_call.plain_text().trim() == second_call.plain_text().trim();
    called && told && same_call && results(first_result) == results(second_result)
}

/// Reads a reply that was constrained to [`schema`].
pub(super) fn parse(text: &str, step: &StepKey) -> Result<Choice, String> {
    let expected =
        "Reply with one JSON object: {\"tool\": NAME, \"with\": {...}} or {\"answer\": ...}.";
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
    let arguments = object.remove("with").unwrap_or_else(|| json!({}));
    Ok(Choice::Tool(ToolCall { id: format!("call-{step}"), name, arguments, provider_state: None }))
}

/// The conversation as such a model reads it: the goal is a task, tool results are words of the
/// user, and its own calls are compact JSON (small models repeat a call that stands there spread
/// over lines).
#[must_use]
pub fn render(conversation: &[Message]) -> Vec<Message> {
    conversation
        .iter()
        .enumerate()
        .map(|(n, message)| match message.role {
            Role::User if n == 0 => Message::text(
                Role::User,
                format!(
                    "Task: {}\nReply with the first tool call, or with {{\"answer\": ...}} if no \
                     tool is needed.",
                    message.plain_text()
                ),
            ),
            Role::Tool => Message::text(
                Role::User,
                format!("{}If the task is done, reply with {{\"answer\": ...}}.", results(message)),
            ),
            Role::Assistant => Message::text(Role::Assistant, compact(&message.plain_text())),
            Role::System | Role::User => message.clone(),
        })
        .collect()
}

fn compact(text: &str) -> String {
    serde_json::from_str::<Value>(without_fence(text))
        .map_or_else(|_| text.to_owned(), |value| value.to_string())
}

fn results(message: &Message) -> String {
    let mut text = String::new();
    for part in &message.parts {
        if let Part::ToolResult { name, text: result, is_error, .. } = part {
            let word = if *is_error { "Error" } else { "Result" };
            let _ = writeln!(text, "{word} of {name}: {result}");
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
