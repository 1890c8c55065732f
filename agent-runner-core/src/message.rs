//! What is said between a model, its tools and people, neutral of any provider's wire format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the operator.
    System,
    /// The goal, directives, and everything that is not the model's own word.
    User,
    /// The model.
    Assistant,
    /// The outcome of a tool call.
    Tool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: String,
        /// What the provider wants back verbatim with this part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_state: Option<ProviderState>,
    },
    /// The model's reasoning; shown to people, sent back only to the model it came from.
    Reasoning {
        /// The text; may be empty while the state is not.
        text: String,
        /// What the provider wants back verbatim with this part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_state: Option<ProviderState>,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// The call this answers.
        call_id: String,
        /// The tool's name.
        name: String,
        /// The answer as the model reads it.
        text: String,
        /// Whether the call failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

/// A model's request to run a tool. What it says is hostile input until checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique within the conversation.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments; `Value::String` when they were not valid JSON. A number in them that has
    /// more digits than a `Value` keeps is a string of those digits.
    pub arguments: Value,
    /// What the provider wants back verbatim with this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_state: Option<ProviderState>,
}

/// Opaque data of a provider (signatures, encrypted reasoning), valid only for the same model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProviderState {
    /// The provider's id.
    pub provider: String,
    /// The model's id.
    pub model: String,
    /// Verbatim.
    pub raw: Value,
}

impl Message {
    /// A message of one text part.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text { text: text.into(), provider_state: None }] }
    }

    /// The text parts joined, reasoning left out.
    #[must_use]
    pub fn plain_text(&self) -> String {
        let mut out = String::new();
        for part in &self.parts {
            if let Part::Text { text, .. } = part {
                out.push_str(text);
            }
        }
        out
    }

    /// The tool calls in this message, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            Part::Text { .. } | Part::Reasoning { .. } | Part::ToolResult { .. } => None,
        })
    }

    /// Replaces what a database or a terminal cannot hold: NUL becomes U+FFFD.
    /// (PostgreSQL's `text` and `jsonb` refuse U+0000.)
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        for part in &mut self.parts {
            match part {
                Part::Text { text, .. }
                | Part::Reasoning { text, .. }
                | Part::ToolResult { text, .. } => clean_text(text),
                Part::ToolCall(call) => {
                    clean_text(&mut call.id);
                    clean_text(&mut call.name);
                    clean_value(&mut call.arguments);
                }
            }
        }
        self
    }
}

/// Replaces NUL by U+FFFD in place.
pub fn clean_text(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{FFFD}");
    }
}

/// [`clean_text`] on every string and key inside `value`.
pub fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => clean_text(text),
        Value::Array(items) => items.iter_mut().for_each(clean_value),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, value)| (key.replace('\0', "\u{FFFD}"), value))
                    .collect();
            }
            map.values_mut().for_each(clean_value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_replaced_in_text_arguments_and_keys() {
        let message = Message {
            role: Role::Assistant,
            parts: vec![
                Part::Text { text: "a\0b".into(), provider_state: None },
                Part::ToolCall(ToolCall {
                    id: "c\0".into(),
                    name: "n".into(),
                    arguments: json!({"k\0": ["v\0"]}),
                    provider_state: None,
                }),
            ],
        };
        let text = serde_json::to_string(&message.cleaned()).unwrap();
        assert!(!text.contains("\\u0000"), "{text}");
        assert!(text.contains("a\u{FFFD}b"));
    }
}
