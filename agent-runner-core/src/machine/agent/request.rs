//! What is sent to the model: a pure function of the conversation, stable from turn to turn, so
//! that a provider's prompt cache hits.

use serde_json::Value;

use super::{
    constrained,
    final_tool::{self, FINAL_TOOL},
};
use crate::{
    agent::ToolMode,
    llm::{Capabilities, LlmRequest, ToolSpec},
    message::{Message, Role},
    run::RunSpec,
};

/// What the request depends on besides the conversation.
#[derive(Debug)]
pub struct RequestRules<'a> {
    /// What was asked for.
    pub spec: &'a RunSpec,
    /// The tools the agent may call, by name.
    pub tools: &'a [ToolSpec],
    /// How tools are offered; never `Auto`.
    pub mode: ToolMode,
    /// What the model can do.
    pub capabilities: Capabilities,
}

impl RequestRules<'_> {
    /// Whether the answer comes as a call of [`FINAL_TOOL`]: it has a schema to which the model
    /// cannot be held while it has tools.
    #[must_use]
    pub fn answers_by_tool(&self) -> bool {
        self.mode == ToolMode::Native
            && self.spec.agent.output_schema.is_some()
            && !self.tools.is_empty()
            && !self.capabilities.has_schema(true)
    }

    /// The mode that `Auto` means for a model.
    #[must_use]
    pub const fn resolve(wanted: ToolMode, capabilities: &Capabilities) -> ToolMode {
        match wanted {
            ToolMode::Auto if matches!(capabilities.tools, Some(true)) => ToolMode::Native,
            ToolMode::Auto => ToolMode::Constrained,
            ToolMode::Native | ToolMode::Constrained => wanted,
        }
    }
}

/// Puts a request together.
#[must_use]
pub fn build_request(conversation: Vec<Message>, rules: &RequestRules<'_>) -> LlmRequest {
    let agent = &rules.spec.agent;
    let constrained = rules.mode == ToolMode::Constrained && !rules.tools.is_empty();
    let mut system = agent.instructions.clone();
    let mut request = LlmRequest::new(agent.model.model(), Vec::new());
    let mut messages = if constrained {
        push_paragraph(&mut system, &constrained::instructions(rules.tools));
        let choices = if constrained::goes_in_circles(&conversation) { &[] } else { rules.tools };
        request.output_schema = Some(constrained::schema(choices, agent.output_schema.as_ref()));
        constrained::render(&conversation)
    } else {
        request.tools = rules.tools.to_vec();
        if let Some(schema) = &agent.output_schema {
            if rules.capabilities.has_schema(!rules.tools.is_empty()) {
                request.output_schema = Some(schema.clone());
            }
            if rules.answers_by_tool() {
                request.tools.push(final_tool::spec(schema));
            }
            // Said in words as well: a model that calls tools first sees the schema only here.
            let how = if rules.answers_by_tool() {
                format!("When you are done, call {FINAL_TOOL}; its arguments are your answer.")
            } else {
                format!(
                    "Your final answer must be JSON that fits this JSON Schema, and nothing else: {schema}"
                )
            };
            push_paragraph(&mut system, &how);
        }
        conversation
    };
    if !system.is_empty() {
        messages.insert(0, Message::text(Role::System, system));
    }
    request.messages = messages;
    request.max_output_tokens = agent.max_output_tokens;
    request.temperature = agent.temperature;
    request.reasoning = agent.reasoning;
    request
}

fn push_paragraph(text: &mut String, paragraph: &str) {
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(paragraph);
}

/// A tool's output as the model reads it: text as it is, anything else as JSON, cut at `max`
/// bytes with a word about it.
#[must_use]
pub fn shown_to_model(output: &Value, max: usize) -> String {
    let text = match output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown = text.get(..end).unwrap_or_default();
    format!("{shown}\n[cut: {} of {} bytes are shown]", shown.len(), text.len())
}
