//! Tool calls put together from the pieces in which compatible servers send them.

use agent_runner_core::llm::ErrorKind;
use serde::de::IgnoredAny;

use super::wire::ToolCallDelta;
use crate::llm::{Fault, json};

/// Most tool calls of one reply; the engine runs fewer. Bounds a server that never stops.
const CALLS_MAX: usize = 1024;

/// A tool call as far as it has come in.
#[derive(Debug, Default)]
pub(super) struct Call {
    slot: Option<u64>,
    /// As the server gave it; may be empty.
    pub(super) id: String,
    /// As the model wrote it.
    pub(super) name: String,
    /// JSON text.
    pub(super) arguments: String,
}

/// The tool calls of one reply.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    bytes: usize,
}

impl Calls {
    /// Takes a piece of a call and returns its name and the new piece of its arguments.
    pub(super) fn push(&mut self, delta: ToolCallDelta) -> Result<(&str, String), Fault> {
        let function = delta.function.unwrap_or_default();
        let id = delta.id.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let at = match self.find(delta.index, &id, &name) {
            Some(at) => at,
            None if self.calls.len() >= CALLS_MAX => {
                return Err(Fault::new(
                    ErrorKind::MalformedResponse,
                    format!("the reply contains more than {CALLS_MAX} tool calls"),
                ));
            }
            None => {
                self.calls.push(Call { slot: delta.index, ..Call::default() });
                self.calls.len() - 1
            }
        };
        let piece = function.arguments.as_deref().map(json::raw_text).unwrap_or_default();
        self.bytes += piece.len();
        let Some(call) = self.calls.get_mut(at) else { return Ok(("", piece)) };
        if call.id.is_empty() {
            call.id = id;
        }
        // Some servers repeat the name in every piece, so it is never appended.
        if call.name.is_empty() {
            call.name = name;
        }
        call.arguments.push_str(&piece);
        Ok((&call.name, piece))
    }

    /// The call that a piece belongs to, `None` if it begins a new one.
    ///
    /// The index should tell, but servers leave it out or send 0 for every call; then another id,
    /// another name, or the same name after complete arguments begins a new call.
    fn find(&self, slot: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let same = |call: &Call| !id.is_empty() && call.id == id && call.slot == slot;
        if let Some(at) = self.calls.iter().rposition(same) {
            return Some(at);
        }
        let at = match slot {
            Some(_) => self.calls.iter().rposition(|call| call.slot == slot)?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = self.calls.get(at)?;
        let other_id = !id.is_empty() && !call.id.is_empty();
        let other_name = !name.is_empty()
            && !call.name.is_empty()
            && (name != call.name || is_complete(&call.arguments));
        (!other_id && !other_name).then_some(at)
    }

    /// The bytes of arguments so far.
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    /// The calls, in the order in which they began.
    pub(super) fn into_calls(self) -> Vec<Call> {
        self.calls
    }
}

fn is_complete(arguments: &str) -> bool {
    arguments.trim_end().ends_with('}') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Ids, names and arguments that result from the deltas.
    fn calls(deltas: Value) -> Vec<(String, String, String)> {
        let deltas: Vec<ToolCallDelta> = serde_json::from_value(deltas).unwrap();
        let mut calls = Calls::default();
        for delta in deltas {
            calls.push(delta).unwrap();
        }
        calls.into_calls().into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn interleaved_pieces_are_joined_by_index() {
        let joined = calls(json!([
            {"index": 0, "id": "a", "type": "function", "function": {"name": "x", "arguments": ""}},
            {"index": 1, "id": "b", "function": {"name": "y", "arguments": "{"}},
            {"index": 0, "function": {"arguments": "{\"q\":"}},
            {"index": 1, "function": {"arguments": "}"}},
            {"index": 0, "id": null, "function": {"name": null, "arguments": "1}"}},
        ]));
        assert_eq!(joined, [call("a", "x", "{\"q\":1}"), call("b", "y", "{}")]);
    }

    #[test]
    fn another_id_at_the_same_index_is_another_call() {
        let joined = calls(json!([
            {"index": 0, "id": "a", "function": {"name": "x", "arguments": "{\"n\":"}},
            {"index": 0, "id": "b", "function": {"name": "x", "arguments": "{\"n\":"}},
            {"index": 0, "id": "a", "function": {"arguments": "1}"}},
            {"index": 0, "id": "b", "function": {"arguments": "2}"}},
        ]));
        assert_eq!(joined, [call("a", "x", "{\"n\":1}"), call("b", "x", "{\"n\":2}")]);
    }

    #[test]
    fn a_repeated_id_or_name_continues_its_call() {
        let joined = calls(json!([
            {"index": 0, "id": "a", "function": {"name": "x", "arguments": "{\"n\""}},
            {"index": 0, "id": "a", "function": {"name": "x", "arguments": ":1}"}},
            {"index": 1, "function": {"name": "y", "arguments": "{\"n\""}},
            {"index": 1, "function": {"name": "y", "arguments": ":2}"}},
        ]));
        assert_eq!(joined, [call("a", "x", "{\"n\":1}"), call("", "y", "{\"n\":2}")]);
    }

    #[test]
    fn whole_calls_without_index_and_id_are_told_apart_by_their_names_and_ends() {
        let joined = calls(json!([
            {"id": "", "function": {"name": "x", "arguments": "{}"}},
            {"id": "", "function": {"name": "x", "arguments": "{\"n\":1}"}},
            {"id": "", "function": {"name": "y", "arguments": {"n": 2}}},
        ]));
        assert_eq!(
            joined,
            [call("", "x", "{}"), call("", "x", "{\"n\":1}"), call("", "y", "{\"n\":2}")]
        );
    }

    #[test]
    fn a_server_that_never_stops_calling_is_refused() {
        let mut calls = Calls::default();
        let delta = |index| ToolCallDelta { index: Some(index), ..ToolCallDelta::default() };
        for index in 0..1024 {
            calls.push(delta(index)).unwrap();
        }
        assert_eq!(calls.push(delta(5000)).unwrap_err().kind, ErrorKind::MalformedResponse);
    }
}
