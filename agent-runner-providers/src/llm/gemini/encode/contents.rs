//! A conversation as contents that alternate between `user` and `model`.
//!
//! Whatever the conversation, the contents obey the rules for which the API refuses requests: each
//! call is answered, in order, in the content that follows it, and nothing else is an answer. What
//! was said once is said in the same bytes in every later request, so that caches find it.

use std::collections::{HashSet, VecDeque};

use agent_runner_core::message::{Message, Part, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::Target;
use crate::llm::{
    gemini::{CALL_ID, CONTINUATION_TOKEN, SIGNATURE},
    names::ToolNames,
    outgoing::replayed_arguments,
};

/// What Google documents as the signature of a call that no model of theirs made.
const FOREIGN_SIGNATURE: &str = "skip_thought_signature_validator";
/// The answer to a call that has none in the conversation.
const UNANSWERED: &str = "there is no result of this call";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    User,
    Model,
}

/// A call as it is sent, and under which id its answer is looked for.
#[derive(Debug)]
struct Call {
    id: String,
    wire_id: Option<String>,
    name: String,
    arguments: Value,
    signature: Option<String>,
}

/// A result of a tool.
#[derive(Debug)]
struct Answer {
    call_id: String,
    name: String,
    text: String,
    is_error: bool,
}

#[derive(Debug)]
enum Piece {
    Said(Value),
    Call(Call),
    Answer(Answer),
}

#[derive(Debug)]
struct Turn {
    speaker: Speaker,
    pieces: Vec<Piece>,
}

/// The conversation without a reply that is to go on, and with what it goes on: the service wants
/// the request again that it had stopped answering.
pub(super) fn paused<'a>(
    messages: &'a [Message],
    target: Target<'_>,
) -> (&'a [Message], Option<&'a str>) {
    let token = |message: &'a Message| {
        message.parts.iter().rev().find_map(|part| match part {
            Part::Text { provider_state, .. } => {
                target.own(provider_state.as_ref(), CONTINUATION_TOKEN)
            }
            _ => None,
        })
    };
    let Some(last) = messages.last().and_then(token) else { return (messages, None) };
    let replies = messages.iter().rev().take_while(|message| token(message).is_some()).count();
    let (before, _) = messages.split_at(messages.len().saturating_sub(replies));
    (before, Some(last))
}

/// The parts of the system instruction, and the contents.
pub(super) fn contents(
    messages: &[Message],
    names: &ToolNames,
    target: Target<'_>,
) -> (Vec<Value>, Vec<Value>) {
    // Instructions from the middle stay there: moved to the front they would change what was sent
    // before, and apply to what was said before them.
    let front = messages.iter().take_while(|message| message.role == Role::System).count();
    let (system, rest) = messages.split_at(front);
    let system = system
        .iter()
        .map(Message::plain_text)
        .filter(|text| !text.is_empty())
        .map(|text| json!({"text": text}))
        .collect();
    let mut writer = Writer { names, target, ids: HashSet::new(), calls: Vec::new() };
    let mut contents = Vec::new();
    for turn in turns(rest, &mut writer) {
        contents.extend(writer.contents(turn));
    }
    contents.extend(writer.answers(VecDeque::new(), Vec::new()));
    (system, contents)
}

/// The conversation with what one side says in a row put together.
fn turns(messages: &[Message], writer: &mut Writer<'_>) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        for part in &message.parts {
            let Some((speaker, piece)) = writer.piece(message.role, part) else { continue };
            match turns.last_mut() {
                Some(turn) if turn.speaker == speaker => turn.pieces.push(piece),
                _ => turns.push(Turn { speaker, pieces: vec![piece] }),
            }
        }
    }
    turns
}

struct Writer<'a> {
    names: &'a ToolNames,
    target: Target<'a>,
    /// The ids that were sent so far.
    ids: HashSet<String>,
    /// The calls of the content before, which the next one answers.
    calls: Vec<Call>,
}

impl Writer<'_> {
    fn piece(&mut self, role: Role, part: &Part) -> Option<(Speaker, Piece)> {
        let speaker = if role == Role::Assistant { Speaker::Model } else { Speaker::User };
        Some(match part {
            Part::Text { text, provider_state } => {
                let signature = self.target.own(provider_state.as_ref(), SIGNATURE);
                // A signature may sit on an empty text, and is missed where that is gone.
                if text.is_empty() && signature.is_none() {
                    return None;
                }
                (speaker, Piece::Said(said(text, signature)))
            }
            Part::Reasoning { text, provider_state } => {
                let signature = self.target.own(provider_state.as_ref(), SIGNATURE)?;
                let mut thought = said(text, Some(signature));
                if let Value::Object(thought) = &mut thought {
                    thought.insert("thought".into(), true.into());
                }
                (speaker, Piece::Said(thought))
            }
            Part::ToolCall(call) => (Speaker::Model, Piece::Call(self.call(call))),
            Part::ToolResult { call_id, name, text, is_error } => {
                let (call_id, name, text) = (call_id.clone(), name.clone(), text.clone());
                (Speaker::User, Piece::Answer(Answer { call_id, name, text, is_error: *is_error }))
            }
            _ => return None,
        })
    }

    fn call(&mut self, call: &ToolCall) -> Call {
        let state = call.provider_state.as_ref();
        // Only ids of the service's own making go back; one that it gave twice names nothing.
        let wire_id = self.target.own(state, CALL_ID).map(|id| {
            let id = if self.ids.contains(id) { &call.id } else { id };
            id.to_owned()
        });
        self.ids.extend(wire_id.clone());
        Call {
            id: call.id.clone(),
            wire_id,
            name: self.names.wire(&call.name),
            arguments: replayed_arguments(&call.arguments),
            signature: self.target.own(state, SIGNATURE).map(str::to_owned),
        }
    }

    /// A turn as contents: usually one.
    fn contents(&mut self, turn: Turn) -> Vec<Value> {
        match turn.speaker {
            Speaker::User => {
                let (mut answers, mut texts) = (VecDeque::new(), Vec::new());
                for piece in turn.pieces {
                    match piece {
                        Piece::Answer(answer) => answers.push_back(answer),
                        Piece::Said(text) => texts.push(text),
                        Piece::Call(_) => {}
                    }
                }
                self.answers(answers, texts).into_iter().collect()
            }
            Speaker::Model => vec![self.model(turn.pieces)],
        }
    }

    fn model(&mut self, pieces: Vec<Piece>) -> Value {
        let mut parts = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Said(text) => parts.push(text),
                Piece::Call(mut call) => {
                    // Of calls made at once the first one carries the signature.
                    if self.calls.is_empty() && self.target.family.wants_signatures {
                        call.signature.get_or_insert_with(|| FOREIGN_SIGNATURE.to_owned());
                    }
                    parts.push(call.wire());
                    self.calls.push(call);
                }
                Piece::Answer(_) => {}
            }
        }
        json!({"role": "model", "parts": parts})
    }

    /// The user's content: an answer for each call of the content before, in their order, then
    /// what else is said.
    fn answers(&mut self, mut answers: VecDeque<Answer>, texts: Vec<Value>) -> Option<Value> {
        let mut parts = Vec::new();
        for call in std::mem::take(&mut self.calls) {
            let at = answers.iter().position(|answer| answer.call_id == call.id);
            parts.push(call.answered(at.and_then(|at| answers.remove(at))));
        }
        // A result whose call is not there would be refused as an answer.
        parts.extend(answers.iter().map(|answer| {
            json!({"text": format!("Result of an earlier call of {}:\n{}", answer.name, answer.text)})
        }));
        parts.extend(texts);
        (!parts.is_empty()).then(|| json!({"role": "user", "parts": parts}))
    }
}

impl Call {
    fn wire(&self) -> Value {
        let mut call = Map::new();
        call.insert("name".into(), self.name.clone().into());
        call.insert("args".into(), self.arguments.clone());
        if let Some(id) = &self.wire_id {
            call.insert("id".into(), id.clone().into());
        }
        let mut part = Map::new();
        part.insert("functionCall".into(), call.into());
        if let Some(signature) = &self.signature {
            part.insert("thoughtSignature".into(), signature.clone().into());
        }
        part.into()
    }

    fn answered(self, answer: Option<Answer>) -> Value {
        let response = match answer {
            Some(Answer { text, is_error: false, .. }) => json!({"output": text}),
            Some(Answer { text, is_error: true, .. }) => json!({"error": text}),
            None => json!({"error": UNANSWERED}),
        };
        let mut answered = Map::new();
        answered.insert("name".into(), self.name.into());
        answered.insert("response".into(), response);
        if let Some(id) = self.wire_id {
            answered.insert("id".into(), id.into());
        }
        json!({"functionResponse": answered})
    }
}

fn said(text: &str, signature: Option<&str>) -> Value {
    match signature {
        Some(signature) => json!({"text": text, "thoughtSignature": signature}),
        None => json!({"text": text}),
    }
}
