//! The blocks of a reply, put together from the pieces in which they come.

use agent_runner_core::{
    llm::{ErrorKind, LlmEvent},
    message::{Part, ProviderState},
};
use serde_json::{Map, Value};

use super::wire::{Delta, DeltaKind};
use crate::llm::{
    Fault,
    names::ToolNames,
    reply::{Reply, arguments},
};

/// Most blocks of one reply. Bounds a server that never stops.
const BLOCKS_MAX: usize = 4096;

#[derive(Debug)]
enum Content {
    Text(String),
    Call {
        id: String,
        name: String,
        input: Value,
    },
    /// What goes back as it came: thinking, and what this library does not know.
    Raw(Map<String, Value>),
}

#[derive(Debug)]
struct Block {
    index: Option<u64>,
    content: Content,
    /// JSON text of the input, if it comes in pieces.
    input: String,
}

/// More of a block.
#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Thinking(String),
    Signature(String),
    Input(String),
    /// Of a kind that nobody knows.
    Other(Map<String, Value>),
}

impl Piece {
    /// The piece that any document tells.
    pub(super) fn of(delta: Value) -> Self {
        let Value::Object(mut delta) = delta else { return Self::Other(Map::new()) };
        let kind = delta.remove("type").unwrap_or_default();
        let mut take = |field: &str| match delta.remove(field) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        match kind.as_str().unwrap_or_default() {
            "text_delta" => Self::Text(take("text")),
            "thinking_delta" => Self::Thinking(take("thinking")),
            "signature_delta" => Self::Signature(take("signature")),
            "input_json_delta" => Self::Input(take("partial_json")),
            _ => Self::Other(delta),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Thinking(text) | Self::Signature(text) | Self::Input(text) => {
                text.len()
            }
            // What a block keeps of it is counted there.
            Self::Other(_) => 0,
        }
    }
}

impl From<Delta> for Piece {
    fn from(delta: Delta) -> Self {
        match delta.kind {
            DeltaKind::Text => Self::Text(delta.text.unwrap_or_default()),
            DeltaKind::Thinking => Self::Thinking(delta.thinking.unwrap_or_default()),
            DeltaKind::Signature => Self::Signature(delta.signature.unwrap_or_default()),
            DeltaKind::Input => Self::Input(delta.partial_json.unwrap_or_default()),
        }
    }
}

/// Whose blocks they are.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) names: ToolNames,
}

/// The blocks of one reply, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    bytes: usize,
}

impl Blocks {
    /// A block begins. `size` is what it takes as it came.
    pub(super) fn start(
        &mut self,
        index: Option<u64>,
        block: Value,
        size: usize,
        names: &ToolNames,
    ) -> Result<Option<LlmEvent>, Fault> {
        self.bytes += size;
        if self.blocks.len() >= BLOCKS_MAX {
            let message = format!("the reply has more than {BLOCKS_MAX} blocks");
            return Err(Fault::new(ErrorKind::MalformedResponse, message));
        }
        let Value::Object(mut block) = block else {
            return Err(Fault::malformed("the service sent a strange block", &block.to_string()));
        };
        let mut take = |field: &str| match block.remove(field) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (content, event) = match take("type").as_str() {
            "text" => {
                let text = take("text");
                (Content::Text(text.clone()), text_delta(text))
            }
            "tool_use" => {
                let (id, name) = (take("id"), take("name"));
                let input = block.remove("input").unwrap_or_default();
                let whole = input.as_object().is_some_and(|input| !input.is_empty());
                let json = if whole { input.to_string() } else { String::new() };
                let event = LlmEvent::ToolCallDelta { name: names.name(&name), json };
                (Content::Call { id, name, input }, Some(event))
            }
            kind => {
                block.insert("type".to_owned(), kind.into());
                let thought = block.get("thinking").and_then(Value::as_str).unwrap_or_default();
                let event = (kind == "thinking").then(|| reasoning_delta(thought.to_owned()));
                (Content::Raw(block), event.flatten())
            }
        };
        self.blocks.push(Block { index, content, input: String::new() });
        Ok(event)
    }

    /// More of a block.
    pub(super) fn delta(
        &mut self,
        index: Option<u64>,
        piece: Piece,
        names: &ToolNames,
    ) -> Result<Option<LlmEvent>, Fault> {
        self.bytes += piece.len();
        let Some(at) = self.blocks.iter().rposition(|block| block.index == index) else {
            return Err(Fault::new(
                ErrorKind::MalformedResponse,
                "the service sent a piece of a block that did not begin",
            ));
        };
        let (_, rest) = self.blocks.split_at_mut(at);
        let Some((block, later)) = rest.split_first_mut() else { return Ok(None) };
        Ok(match (&mut block.content, piece) {
            (Content::Text(text), Piece::Text(piece)) => {
                // The pieces in the order in which they were shown must be the text.
                if later.iter().any(|block| matches!(block.content, Content::Text(_))) {
                    let message = "the service went on with a text after it began another";
                    return Err(Fault::new(ErrorKind::MalformedResponse, message));
                }
                text.push_str(&piece);
                text_delta(piece)
            }
            (Content::Call { name, .. }, Piece::Input(json)) => {
                block.input.push_str(&json);
                let name = names.name(name);
                (!json.is_empty()).then_some(LlmEvent::ToolCallDelta { name, json })
            }
            (Content::Raw(_), Piece::Input(json)) => {
                block.input.push_str(&json);
                None
            }
            (Content::Raw(raw), Piece::Thinking(piece)) => {
                append(raw, "thinking", &piece);
                reasoning_delta(piece)
            }
            (Content::Raw(raw), Piece::Text(piece)) => {
                append(raw, "text", &piece);
                None
            }
            (Content::Raw(raw), Piece::Signature(piece)) => {
                append(raw, "signature", &piece);
                None
            }
            (Content::Raw(raw), Piece::Other(delta)) if is_unknown(raw) => {
                self.bytes += merge(raw, delta);
                None
            }
            _ => None,
        })
    }

    /// The bytes of all of them so far.
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    /// All of them as the parts of the reply.
    pub(super) fn into_reply(self, reply: &mut Reply, origin: &Origin) {
        for Block { content, input: json, .. } in self.blocks {
            match content {
                Content::Text(text) => drop(reply.text(text)),
                Content::Call { id, name, input } => {
                    let input = match input {
                        _ if !json.is_empty() => arguments(&json),
                        Value::Null => arguments(""),
                        Value::String(text) => arguments(&text),
                        input => input,
                    };
                    let name = origin.names.name(&name);
                    reply.notice_long_numbers(&name, &json);
                    reply.call(&id, name, input);
                }
                Content::Raw(mut raw) => {
                    if !json.is_empty() {
                        raw.insert("input".to_owned(), arguments(&json));
                    }
                    keep(raw, reply, origin);
                }
            }
            reply.seal();
        }
    }
}

/// A block that goes back as it came, as a part that shows what people may see of it.
fn keep(raw: Map<String, Value>, reply: &mut Reply, origin: &Origin) {
    let text = |field: &str| raw.get(field).and_then(Value::as_str).unwrap_or_default();
    let (provider, model) = (origin.provider.as_str(), origin.model.as_str());
    match text("type") {
        "thinking" => {
            drop(reply.reasoning(text("thinking")));
            // The output limit may cut a thought before its signature, and nobody takes it back
            // unsigned.
            if !text("signature").is_empty() {
                reply.keep_reasoning_state(provider, model, || Value::Object(raw));
            }
        }
        "redacted_thinking" => {
            reply.keep_reasoning_state(provider, model, || Value::Object(raw));
        }
        _ => reply.part(Part::Text {
            text: String::new(),
            provider_state: Some(ProviderState {
                provider: provider.to_owned(),
                model: model.to_owned(),
                raw: Value::Object(raw),
            }),
        }),
    }
}

fn is_unknown(raw: &Map<String, Value>) -> bool {
    raw.get("type").is_none_or(|kind| kind != "thinking" && kind != "redacted_thinking")
}

/// Adds a piece to a text in a block.
fn append(raw: &mut Map<String, Value>, field: &str, piece: &str) {
    match raw.get_mut(field) {
        Some(Value::String(text)) => text.push_str(piece),
        _ => drop(raw.insert(field.to_owned(), piece.into())),
    }
}

/// A piece of a kind that nobody knows, for a block that nobody knows: it adds to the texts that it
/// names and replaces the rest. Returns the bytes that it adds.
fn merge(raw: &mut Map<String, Value>, delta: Map<String, Value>) -> usize {
    let mut bytes = 0;
    for (field, value) in delta {
        bytes += field.len();
        match (raw.get_mut(&field), value) {
            (Some(Value::String(text)), Value::String(piece)) => {
                bytes += piece.len();
                text.push_str(&piece);
            }
            (_, value) => {
                bytes += value.to_string().len();
                raw.insert(field, value);
            }
        }
    }
    bytes
}

fn text_delta(text: String) -> Option<LlmEvent> {
    (!text.is_empty()).then_some(LlmEvent::TextDelta { text })
}

fn reasoning_delta(text: String) -> Option<LlmEvent> {
    (!text.is_empty()).then_some(LlmEvent::ReasoningDelta { text })
}
