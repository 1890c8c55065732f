//! How many tokens a request has, before anybody counted them.

use std::io;

use serde::Serialize;

use super::LlmRequest;
use crate::message::{Message, Part};

/// Tokens that a message has besides its text: its role and what separates it from the next.
const PER_MESSAGE: u64 = 4;

/// The tokens of a request's prompt, roughly: four ASCII bytes or one other character make a token,
/// and three bytes of JSON do. Tokenizers differ by a factor of two around this, so whoever needs
/// more corrects it by what the service reported for an earlier request of the same conversation.
#[must_use]
pub fn estimate_tokens(request: &LlmRequest) -> u64 {
    let tools: u64 = request.tools.iter().map(json).sum();
    let schema = request.output_schema.as_ref().map_or(0, json);
    estimate_messages(&request.messages) + tools + schema
}

/// The same for messages alone.
#[must_use]
pub fn estimate_messages(messages: &[Message]) -> u64 {
    messages.iter().map(message).sum()
}

fn message(message: &Message) -> u64 {
    let parts: u64 = message.parts.iter().map(part).sum();
    PER_MESSAGE + parts
}

fn part(part: &Part) -> u64 {
    match part {
        // What the provider wants back is as long as the text it stands for, or longer.
        Part::Text { text: said, provider_state }
        | Part::Reasoning { text: said, provider_state } => {
            text(said).max(provider_state.as_ref().map_or(0, |state| json(&state.raw)))
        }
        Part::ToolCall(call) => text(&call.name) + json(&call.arguments) + PER_MESSAGE,
        Part::ToolResult { name, text: said, .. } => text(name) + text(said) + PER_MESSAGE,
    }
}

/// The tokens of a text.
#[must_use]
pub fn estimate_text(said: &str) -> u64 {
    text(said)
}

fn text(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    // Every character has one byte that is no continuation of another.
    let other = text.bytes().filter(|byte| *byte >= 0xC0).count();
    count(ascii).div_ceil(4) + count(other)
}

fn json(value: &impl Serialize) -> u64 {
    let mut length = Length(0);
    // Counting never fails; a value that cannot be written counts as what was written of it.
    let _ = serde_json::to_writer(&mut length, value);
    length.0.div_ceil(3)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Counts bytes instead of keeping them.
struct Length(u64);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += count(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{llm::ToolSpec, message::Role};

    #[test]
    fn text_of_any_script_counts() {
        assert_eq!(text("abcdefgh"), 2);
        assert_eq!(text("żółw"), 1 + 3);
        assert_eq!(text("你好吗"), 3);
        assert_eq!(text(""), 0);
    }

    #[test]
    fn a_longer_request_never_counts_less() {
        let mut request = LlmRequest::new("m", vec![Message::text(Role::User, "hello")]);
        let mut last = estimate_tokens(&request);
        assert!(last > 0);
        request.messages.push(Message::text(Role::Assistant, "a".repeat(400)));
        assert!(estimate_tokens(&request) >= last + 100);
        last = estimate_tokens(&request);
        request.tools.push(ToolSpec {
            name: "t".into(),
            description: "d".repeat(300),
            input_schema: json!({"type": "object"}),
        });
        assert!(estimate_tokens(&request) >= last + 100);
    }
}
