//! A reply as it grows: what was streamed is by construction what the finished message says.

use std::{borrow::Cow, collections::HashSet};

use agent_runner_core::{
    llm::{LlmEvent, LlmFinished, LlmRequest, StopReason, Usage},
    message::{Message, Part, ProviderState, Role, ToolCall},
};
use serde_json::{Map, Value};

use super::json;

/// The text, reasoning and tool calls of one reply.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    text: String,
    reasoning: String,
    reasoning_state: Option<ProviderState>,
    calls: Vec<ToolCall>,
    ids: CallIds,
}

impl Reply {
    /// An empty reply to `request`.
    pub(crate) fn new(request: &LlmRequest) -> Self {
        Self {
            text: String::new(),
            reasoning: String::new(),
            reasoning_state: None,
            calls: Vec::new(),
            ids: CallIds::of(request),
        }
    }

    /// More text; an empty piece is no event.
    pub(crate) fn text(&mut self, text: impl Into<String>) -> Option<LlmEvent> {
        let text = text.into();
        self.text.push_str(&text);
        (!text.is_empty()).then_some(LlmEvent::TextDelta { text })
    }

    /// More reasoning; an empty piece is no event.
    pub(crate) fn reasoning(&mut self, text: impl Into<String>) -> Option<LlmEvent> {
        let text = text.into();
        self.reasoning.push_str(&text);
        (!text.is_empty()).then_some(LlmEvent::ReasoningDelta { text })
    }

    /// What to send back with the reasoning.
    #[cfg(feature = "_http")]
    pub(crate) fn keep_reasoning_state(
        &mut self,
        provider: &str,
        model: &str,
        raw: impl FnOnce() -> Value,
    ) {
        self.reasoning_state.get_or_insert_with(|| ProviderState {
            provider: provider.to_owned(),
            model: model.to_owned(),
            raw: raw(),
        });
    }

    /// A complete tool call under the id that the service gave, if it gave a usable one.
    pub(crate) fn call(&mut self, id: &str, name: String, arguments: Value) {
        let id = self.ids.admit(id);
        self.calls.push(ToolCall { id, name, arguments, provider_state: None });
    }

    /// The bytes of text and reasoning so far.
    #[cfg(feature = "_http")]
    pub(crate) const fn len(&self) -> usize {
        self.text.len() + self.reasoning.len()
    }

    /// The finished reply. Tool calls decide over `stop`, because many servers say `stop` after
    /// them; a reply that was cut or filtered stays so.
    pub(crate) fn finish(
        self,
        stop: StopReason,
        usage: Usage,
        request_id: Option<String>,
    ) -> LlmFinished {
        let stop = match stop {
            StopReason::EndTurn if !self.calls.is_empty() => StopReason::ToolCalls,
            StopReason::ToolCalls if self.calls.is_empty() => StopReason::EndTurn,
            stop => stop,
        };
        let mut parts = Vec::new();
        if !self.reasoning.is_empty() || self.reasoning_state.is_some() {
            let provider_state = self.reasoning_state;
            parts.push(Part::Reasoning { text: self.reasoning, provider_state });
        }
        if !self.text.is_empty() {
            parts.push(Part::Text { text: self.text, provider_state: None });
        }
        parts.extend(self.calls.into_iter().map(Part::ToolCall));
        let message = Message { role: Role::Assistant, parts };
        LlmFinished { message, stop, usage, request_id }
    }
}

/// The arguments of a tool call as a model wrote them: nothing means no arguments, and what is
/// not JSON stays the text that it is.
pub(crate) fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    json::parse(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// The ids of tool calls that a conversation has used.
#[derive(Debug, Default)]
struct CallIds {
    used: HashSet<String>,
    next: usize,
}

/// Longest id taken from a service; the official ones stay below 64 bytes.
const CALL_ID_BYTES_MAX: usize = 256;

impl CallIds {
    fn of(request: &LlmRequest) -> Self {
        let used: HashSet<String> = request
            .messages
            .iter()
            .flat_map(Message::tool_calls)
            .map(|call| call.id.clone())
            .collect();
        Self { next: used.len(), used }
    }

    /// `given` if it is new to the conversation, else an id made up. Local servers number their
    /// calls anew in every reply, or not at all.
    fn admit(&mut self, given: &str) -> String {
        let mut id = Cow::Borrowed(given);
        while id.is_empty() || id.len() > CALL_ID_BYTES_MAX || self.used.contains(id.as_ref()) {
            // Nine letters and digits, the only form that Mistral takes back.
            id = Cow::Owned(format!("call{:05}", self.next));
            self.next += 1;
        }
        let id = id.into_owned();
        self.used.insert(id.clone());
        id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finished(stop: StopReason, call: bool) -> LlmFinished {
        let mut reply = Reply::new(&LlmRequest::new("m", Vec::new()));
        if call {
            reply.call("", "t".into(), json!({}));
        }
        reply.finish(stop, Usage::default(), None)
    }

    #[test]
    fn tool_calls_decide_why_the_model_stopped() {
        assert_eq!(finished(StopReason::EndTurn, true).stop, StopReason::ToolCalls);
        assert_eq!(finished(StopReason::ToolCalls, false).stop, StopReason::EndTurn);
        assert_eq!(finished(StopReason::MaxTokens, true).stop, StopReason::MaxTokens);
    }

    #[test]
    fn ids_that_are_missing_repeated_or_used_before_are_replaced() {
        let mut before = Reply::new(&LlmRequest::new("m", Vec::new()));
        before.call("call_0", "t".into(), json!({}));
        let message = before.finish(StopReason::EndTurn, Usage::default(), None).message;
        let mut reply = Reply::new(&LlmRequest::new("m", vec![message]));
        for id in ["call_0", "", "x", "x", "call00009"] {
            reply.call(id, "t".into(), json!({}));
        }
        let message = reply.finish(StopReason::EndTurn, Usage::default(), None).message;
        let ids: Vec<_> = message.tool_calls().map(|call| call.id.as_str()).collect();
        assert_eq!(ids, ["call00001", "call00002", "x", "call00003", "call00009"]);
    }

    #[test]
    fn arguments_are_json_or_stay_text() {
        assert_eq!(arguments(" "), json!({}));
        assert_eq!(arguments(r#"{"a":"\ud800"}"#), json!({"a": "\u{FFFD}"}));
        assert_eq!(arguments(r#"{"a":"#), json!("{\"a\":"));
    }
}
