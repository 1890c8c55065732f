//! What a call may use, before it is made.

use agent_runner_core::{
    llm::LlmRequest,
    message::{Message, Part},
};

/// Bytes of text that are about one token, in most languages and models rather too few.
const BYTES_PER_TOKEN: u64 = 4;
/// What a message costs besides its text: its role and its borders.
const TOKENS_PER_MESSAGE: u64 = 4;

fn len(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The tokens of a request's prompt, from its size alone: a token for every four bytes of text,
/// arguments, tools and schema, rounded up, and four for every message.
pub(super) fn estimate_tokens(request: &LlmRequest) -> u64 {
    let messages = request.messages.iter().map(message_bytes).fold(0, u64::saturating_add);
    let tools = request
        .tools
        .iter()
        .map(|tool| len(&tool.name) + len(&tool.description) + len(&tool.input_schema.to_string()))
        .fold(0, u64::saturating_add);
    let schema = request.output_schema.as_ref().map_or(0, |schema| len(&schema.to_string()));
    let bytes = messages.saturating_add(tools).saturating_add(schema);
    let count = u64::try_from(request.messages.len()).unwrap_or(u64::MAX);
    bytes.div_ceil(BYTES_PER_TOKEN).saturating_add(count.saturating_mul(TOKENS_PER_MESSAGE))
}

fn message_bytes(message: &Message) -> u64 {
    let bytes = |part: &Part| match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } => len(text),
        Part::ToolCall(call) => len(&call.name) + len(&call.arguments.to_string()),
        Part::ToolResult { text, name, .. } => len(text) + len(name),
        // A kind of part that this version does not know, by its JSON.
        other => serde_json::to_string(other).map_or(0, |json| len(&json)),
    };
    message.parts.iter().map(bytes).fold(0, u64::saturating_add)
}

/// The tokens of output that were delivered, from their bytes.
pub(super) const fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use agent_runner_core::{llm::ToolSpec, message::Role};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_as_large_as_its_texts() {
        let mut request = LlmRequest::new("m", vec![Message::text(Role::User, "x".repeat(400))]);
        assert_eq!(estimate_tokens(&request), 104);
        request.messages.push(Message::text(Role::Assistant, "y"));
        assert_eq!(estimate_tokens(&request), 109);
        request.tools.push(ToolSpec {
            name: "abcd".into(),
            description: "12345".into(),
            input_schema: json!({}),
        });
        assert_eq!(estimate_tokens(&request), 111);
        request.output_schema = Some(json!({"type": "object"}));
        assert_eq!(estimate_tokens(&request), 116);
    }
}
