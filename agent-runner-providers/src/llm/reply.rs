//! A reply as it grows: what was streamed is by construction what the finished message says.

use std::{borrow::Cow, collections::HashSet};

use agent_runner_core::{
    llm::{Cost, LlmEvent, LlmFinished, LlmRequest, StopReason, Usage},
    message::{Message, Part, ProviderState, Role, ToolCall},
};
use serde_json::{Map, Value};

use super::json;

/// The parts of one reply, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    parts: Vec<Part>,
    /// Parts before this one are complete: more text begins a new part.
    sealed: usize,
    bytes: usize,
    ids: CallIds,
    notices: Vec<String>,
    cost: Option<Cost>,
    stop_detail: Option<String>,
}

impl Reply {
    /// An empty reply to `request`.
    pub(crate) fn new(request: &LlmRequest) -> Self {
        Self { ids: CallIds::of(request), ..Self::default() }
    }

    /// More text; an empty piece is no event.
    pub(crate) fn text(&mut self, piece: impl Into<String>) -> Option<LlmEvent> {
        let piece = piece.into();
        if piece.is_empty() {
            return None;
        }
        self.bytes += piece.len();
        let open = self.parts.iter_mut().skip(self.sealed).rev().find_map(|part| match part {
            Part::Text { text, .. } => Some(text),
            _ => None,
        });
        match open {
            Some(text) => text.push_str(&piece),
            None => self.parts.push(Part::Text { text: piece.clone(), provider_state: None }),
        }
        Some(LlmEvent::TextDelta { text: piece })
    }

    /// More reasoning; an empty piece is no event.
    pub(crate) fn reasoning(&mut self, piece: impl Into<String>) -> Option<LlmEvent> {
        let piece = piece.into();
        if piece.is_empty() {
            return None;
        }
        self.bytes += piece.len();
        match self.open_reasoning() {
            Some((text, _)) => text.push_str(&piece),
            None => self.parts.push(Part::Reasoning { text: piece.clone(), provider_state: None }),
        }
        Some(LlmEvent::ReasoningDelta { text: piece })
    }

    fn open_reasoning(&mut self) -> Option<(&mut String, &mut Option<ProviderState>)> {
        self.parts.iter_mut().skip(self.sealed).rev().find_map(|part| match part {
            Part::Reasoning { text, provider_state } => Some((text, provider_state)),
            _ => None,
        })
    }

    /// What to send back with the reasoning, unless that is known already.
    pub(crate) fn keep_reasoning_state(
        &mut self,
        provider: &str,
        model: &str,
        raw: impl FnOnce() -> Value,
    ) {
        if self.open_reasoning().is_none() {
            self.parts.push(Part::Reasoning { text: String::new(), provider_state: None });
        }
        if let Some((_, state)) = self.open_reasoning() {
            state.get_or_insert_with(|| ProviderState {
                provider: provider.to_owned(),
                model: model.to_owned(),
                raw: raw(),
            });
        }
    }

    /// What to send back with the reasoning, in place of anything known until now.
    pub(crate) fn set_reasoning_state(&mut self, state: ProviderState) {
        match self.open_reasoning() {
            Some((_, known)) => *known = Some(state),
            None => self
                .parts
                .push(Part::Reasoning { text: String::new(), provider_state: Some(state) }),
        }
    }

    /// What to send back with the text that was said last.
    pub(crate) fn set_text_state(&mut self, state: ProviderState) {
        let open = self.parts.iter_mut().skip(self.sealed).rev().find_map(|part| match part {
            Part::Text { provider_state, .. } => Some(provider_state),
            _ => None,
        });
        if let Some(known) = open {
            *known = Some(state);
        }
    }

    /// Ends the parts so far: more text or reasoning begins a new part.
    pub(crate) const fn seal(&mut self) {
        self.sealed = self.parts.len();
    }

    /// A whole part, which no later piece continues.
    pub(crate) fn part(&mut self, part: Part) {
        self.parts.push(part);
        self.sealed = self.parts.len();
    }

    /// A complete tool call under the id that the service gave, if it gave a usable one.
    pub(crate) fn call(&mut self, id: &str, name: String, arguments: Value) {
        self.call_with_state(id, name, arguments, None);
    }

    /// A complete tool call whose arguments came as text.
    pub(crate) fn call_text(&mut self, id: &str, name: String, text: &str) {
        self.notice_long_numbers(&name, text);
        self.call(id, name, arguments(text));
    }

    /// Says that numbers in a call became text, if `text`, which has the call, has such numbers.
    pub(crate) fn notice_long_numbers(&mut self, name: &str, text: &str) {
        if json::has_long_numbers(text) {
            self.notice(format!(
                "numbers in a call of `{name}` have more digits than a number keeps here; they became text"
            ));
        }
    }

    /// The same, with what to send back with it.
    pub(crate) fn call_with_state(
        &mut self,
        id: &str,
        name: String,
        arguments: Value,
        provider_state: Option<ProviderState>,
    ) {
        let id = self.ids.admit(id);
        self.parts.push(Part::ToolCall(ToolCall { id, name, arguments, provider_state }));
    }

    /// Says that something was done otherwise than asked.
    pub(crate) fn notice(&mut self, notice: impl Into<String>) {
        self.notices.push(notice.into());
    }

    /// What the service says that the call cost.
    pub(crate) fn cost(&mut self, cost: Cost) {
        self.cost = Some(cost);
    }

    /// What the service says about why it stopped.
    pub(crate) fn stop_detail(&mut self, detail: impl Into<String>) {
        self.stop_detail = Some(detail.into());
    }

    /// The bytes of text and reasoning so far.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    /// The finished reply. Tool calls decide over `stop`, because many servers say `stop` after
    /// them; a reply that was cut or filtered stays so.
    pub(crate) fn finish(
        self,
        stop: StopReason,
        usage: Usage,
        request_id: Option<String>,
    ) -> LlmFinished {
        let called = self.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        let stop = match stop {
            StopReason::EndTurn if called => StopReason::ToolCalls,
            StopReason::ToolCalls if !called => StopReason::EndTurn,
            stop => stop,
        };
        LlmFinished {
            request_id,
            cost: self.cost,
            stop_detail: self.stop_detail,
            notices: self.notices,
            ..LlmFinished::new(Message { role: Role::Assistant, parts: self.parts }, stop, usage)
        }
    }
}

/// The arguments of a tool call as a model wrote them: nothing means no arguments, and what is
/// not JSON stays the text that it is. A number that [`Value`] cannot hold to the last digit, such
/// as an id of 20 digits, becomes a string of its digits: a tool that wants a number refuses it and
/// the model is told, which is better than a tool that works on another number.
pub(crate) fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    json::parse(&json::quote_long_numbers(text)).unwrap_or_else(|_| Value::String(text.to_owned()))
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

    #[test]
    fn a_number_that_would_lose_digits_becomes_text() {
        let whole = "123456789012345678901234567890";
        assert_eq!(
            arguments(&format!(r#"{{"id": {whole}, "n": [18446744073709551615, 0.1, 1e3]}}"#)),
            json!({"id": whole, "n": [u64::MAX, 0.1, 1000.0]})
        );
        assert_eq!(arguments(r#"{"big": 1e400}"#), json!({"big": "1e400"}));
        let cut = format!(r#"{{"id": {whole}"#);
        assert_eq!(arguments(&cut), json!(cut));
    }
}
