//! A conversation as the API's turns, in which user and assistant alternate.

use std::borrow::Cow;

use agent_runner_core::{
    llm::LlmRequest,
    message::{Message, Part, ProviderState, Role},
};
use serde_json::{Value, json};

use crate::llm::{names::ToolNames, outgoing::replayed_arguments};

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Assistant,
}

/// One turn; never empty.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) speaker: Speaker,
    pub(super) blocks: Vec<Value>,
}

/// A whole conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The instructions before the first turn.
    pub(super) system: Vec<Value>,
    pub(super) turns: Vec<Turn>,
}

impl Turn {
    pub(super) fn into_json(self) -> Value {
        let role = match self.speaker {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        };
        json!({"role": role, "content": self.blocks})
    }

    fn calls(&self) -> Vec<String> {
        let calls = self.blocks.iter().filter(|block| is(block, "tool_use"));
        calls.filter_map(|call| Some(call.get("id")?.as_str()?.to_owned())).collect()
    }

    fn answer(&mut self, mut calls: Vec<String>) {
        let mut rest = Vec::new();
        for mut block in std::mem::take(&mut self.blocks) {
            let Some(id) = block.get("tool_use_id").and_then(Value::as_str) else {
                rest.push(block);
                continue;
            };
            match calls.iter().position(|call| call == id) {
                Some(at) => {
                    calls.remove(at);
                    self.blocks.push(block);
                }
                None => {
                    let text = block.get_mut("content").map(Value::take);
                    rest.extend(text.map(|text| json!({"type": "text", "text": text})));
                }
            }
        }
        self.blocks.extend(calls.iter().map(|id| {
            let content = "The call was not carried out.";
            json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": true})
        }));
        self.blocks.append(&mut rest);
    }
}

impl Conversation {
    /// The conversation of a request. What is added to a conversation later changes nothing of
    /// what stands here already, so that the service finds it in its cache.
    pub(super) fn of(request: &LlmRequest, names: &ToolNames, provider: &str) -> Self {
        let mut conversation = Self::default();
        for message in &request.messages {
            match message.role {
                Role::Assistant => {
                    let blocks = assistant(message, names, provider, &request.model);
                    conversation.add(Speaker::Assistant, blocks);
                }
                Role::System if conversation.turns.is_empty() => {
                    conversation.system.extend(message.parts.iter().filter_map(text));
                }
                // Instructions that come later stand where they came: before the first turn they
                // would change the beginning, and not every model takes them elsewhere.
                Role::System | Role::User | Role::Tool => {
                    let blocks =
                        message.parts.iter().filter_map(|part| result(part).or(text(part)));
                    conversation.add(Speaker::User, blocks.collect());
                }
            }
        }
        conversation.answer_calls();
        conversation
    }

    /// Puts the results of a turn's calls at the beginning of the next, one for each call and none
    /// besides, because the API refuses anything else: a call that was cut off has no result, and a
    /// conversation that was shortened may have a result without its call.
    fn answer_calls(&mut self) {
        let mut calls = Vec::new();
        for turn in &mut self.turns {
            match turn.speaker {
                Speaker::Assistant => calls = turn.calls(),
                Speaker::User => turn.answer(std::mem::take(&mut calls)),
            }
        }
        self.turns.retain(|turn| !turn.blocks.is_empty());
    }

    fn add(&mut self, speaker: Speaker, blocks: Vec<Value>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.speaker == speaker => last.blocks.extend(blocks),
            _ => self.turns.push(Turn { speaker, blocks }),
        }
    }

    /// Whether the model waits for the results of calls that it made without a thought that can be
    /// shown to it, because the thought was another model's.
    pub(super) fn is_thoughtless(&self) -> bool {
        let mut turns = self.turns.iter().rev();
        let answers = turns
            .next()
            .is_some_and(|turn| turn.blocks.first().is_some_and(|block| is(block, "tool_result")));
        answers
            && turns.next().is_some_and(|turn| {
                turn.blocks
                    .first()
                    .is_none_or(|block| !is(block, "thinking") && !is(block, "redacted_thinking"))
            })
    }
}

/// Whether a block is of that kind.
pub(super) fn is(block: &Value, kind: &str) -> bool {
    block.get("type").is_some_and(|it| it == kind)
}

/// A text; the API refuses one without a visible character.
fn text(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } if !text.trim().is_empty() => {
            Some(json!({"type": "text", "text": text}))
        }
        _ => None,
    }
}

fn result(part: &Part) -> Option<Value> {
    let Part::ToolResult { call_id, text, is_error, .. } = part else { return None };
    let mut block = json!({"type": "tool_result", "tool_use_id": wire_id(call_id)});
    if let Value::Object(block) = &mut block {
        if !text.trim().is_empty() {
            block.insert("content".into(), text.clone().into());
        }
        if *is_error {
            block.insert("is_error".into(), true.into());
        }
    }
    Some(block)
}

fn assistant(message: &Message, names: &ToolNames, provider: &str, model: &str) -> Vec<Value> {
    let kept = |state: &Option<ProviderState>| {
        let state = state.as_ref()?;
        (state.provider == provider && state.model == model).then(|| state.raw.clone())
    };
    message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { provider_state, .. } => kept(provider_state).or_else(|| text(part)),
            // Reasoning of another model is nothing that this one has said.
            Part::Reasoning { provider_state, .. } => kept(provider_state),
            Part::ToolCall(call) => kept(&call.provider_state).or_else(|| {
                Some(json!({
                    "type": "tool_use",
                    "id": wire_id(&call.id),
                    "name": names.wire(&call.name),
                    "input": replayed_arguments(&call.arguments),
                }))
            }),
            _ => None,
        })
        .collect()
}

/// The id of a call as the API takes it: letters, digits, `_` and `-`. Other services give other
/// ids, of which no two become the same.
fn wire_id(id: &str) -> Cow<'_, str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.bytes().all(fits) {
        return Cow::Borrowed(id);
    }
    let mut wire = String::from("id_");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() {
            wire.push(char::from(byte));
        } else {
            wire.push_str(&format!("_{byte:02x}"));
        }
    }
    Cow::Owned(wire)
}
