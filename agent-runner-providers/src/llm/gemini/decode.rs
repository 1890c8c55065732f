//! A stream of partial replies, or one document of them, as events.

mod bare;
mod finish;

use std::{borrow::Cow, collections::VecDeque};

use agent_runner_core::{
    llm::{ErrorKind, LlmEvent, LlmRequest, StopReason, Usage},
    message::{Part, ProviderState},
};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use self::{
    bare::{Bare, Found},
    finish::{CONTINUATION, Finish, detail, finish},
};
use super::{
    CALL_ID, CONTINUATION_TOKEN, SIGNATURE, error,
    usage::usage,
    wire::{self, Candidate, Frame, FunctionCall, PromptFeedback},
};
use crate::{
    http::{EVENT_BYTES_MAX, SseDecoder},
    llm::{
        Fault,
        json::{parse, quote_long_numbers, says_error},
        names::ToolNames,
        reply::{Reply, arguments},
        stream::{REPLY_BYTES_MAX, ReplyDecoder, too_large},
    },
};

/// Most parts of one reply; the engine runs fewer calls. Bounds a server that never stops.
const PARTS_MAX: usize = 4096;
/// Longest id of a reply that is kept, in bytes; they have about 22.
const RESPONSE_ID_BYTES_MAX: usize = 256;

/// What the body turned out to be, which its first character tells better than its declared type.
#[derive(Debug)]
enum Form {
    Unknown,
    Events(Lines),
    Document(Vec<u8>),
}

/// Server-sent events with errors between them that are no events.
#[derive(Debug)]
struct Lines {
    events: SseDecoder,
    bare: Bare,
}

/// What more text continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
    Nothing,
}

/// Decodes one reply.
#[derive(Debug)]
pub(super) struct Decoder {
    form: Form,
    provider: String,
    model: String,
    request_id: Option<String>,
    names: ToolNames,
    reply: Reply,
    open: Open,
    parts: usize,
    bytes: usize,
    usage: Usage,
    stop: Option<StopReason>,
    continuation: Option<String>,
    started: bool,
    unread: bool,
}

impl Decoder {
    /// A decoder for the reply to `request`; `model` is its model without the `models/`.
    pub(super) fn new(request: &LlmRequest, names: ToolNames, provider: &str, model: &str) -> Self {
        Self {
            form: Form::Unknown,
            provider: provider.to_owned(),
            model: model.to_owned(),
            request_id: None,
            names,
            reply: Reply::new(request),
            open: Open::Nothing,
            parts: 0,
            bytes: 0,
            usage: Usage::default(),
            stop: None,
            continuation: None,
            started: false,
            unread: false,
        }
    }

    /// With the id of the request from the answer's head.
    pub(super) fn with_request_id(mut self, id: Option<String>) -> Self {
        self.request_id = id;
        self
    }

    /// With something that was done otherwise than asked.
    pub(super) fn with_notice(mut self, notice: Option<String>) -> Self {
        if let Some(notice) = notice {
            self.reply.notice(notice);
        }
        self
    }

    fn event(&mut self, name: &str, data: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let data = data.trim();
        if data.is_empty() {
            return Ok(());
        }
        // Calls come as objects, whose numbers would lose digits when they are read.
        let quoted = quote_long_numbers(data);
        if matches!(quoted, Cow::Owned(_)) {
            let notice = "numbers with more digits than a number keeps here became text";
            self.reply.notice(notice);
        }
        let data = &*quoted;
        // Nearly all events are frames that say nothing of an error.
        if data.starts_with('{')
            && !says_error(data)
            && let Ok(frame) = parse::<Frame>(data)
        {
            return self.accept(frame, out);
        }
        match parse::<Value>(data) {
            Ok(document) => self.document(document, out),
            Err(_) if name == "error" => Err(Fault::new(ErrorKind::Unavailable, data)),
            Err(_) => Err(Fault::malformed("the service sent an event that is not JSON", data)),
        }
    }

    /// A partial reply, an array of them, or an error.
    fn document(&mut self, document: Value, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        match document {
            Value::Array(frames) => frames.into_iter().try_for_each(|frame| self.frame(frame, out)),
            frame => self.frame(frame, out),
        }
    }

    fn frame(&mut self, document: Value, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if let Some(fault) = error::reported(&document, None) {
            return Err(fault);
        }
        let frame: Frame = serde_json::from_value(document).map_err(|error| {
            Fault::malformed("the service sent a strange event", &error.to_string())
        })?;
        self.accept(frame, out)
    }

    fn accept(&mut self, frame: Frame, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let candidates = frame.candidates.unwrap_or_default();
        if let Some(feedback) = frame.prompt_feedback
            && candidates.is_empty()
            && let Some(fault) = blocked(feedback)
        {
            return Err(fault);
        }
        if !self.started {
            self.started = true;
            let model = frame.model_version.filter(|model| !model.is_empty());
            out.push_back(LlmEvent::Started { model });
        }
        if self.request_id.is_none() {
            let fits = |id: &String| {
                (1..=RESPONSE_ID_BYTES_MAX).contains(&id.len())
                    && id.bytes().all(|byte| byte.is_ascii_graphic())
            };
            self.request_id = frame.response_id.filter(fits);
        }
        // Before the candidate, so that the usage of a reply that failed is told, too.
        if let Some(reported) = frame.usage_metadata.filter(Value::is_object) {
            let usage = usage(&reported);
            // Each frame tells the whole usage until then.
            if usage != self.usage {
                self.usage = usage;
                out.push_back(LlmEvent::Usage { usage });
            }
        }
        // One candidate was asked for; another index is somebody else's.
        for candidate in candidates {
            if candidate.index.unwrap_or(0) == 0 {
                self.candidate(candidate, out)?;
            }
        }
        Ok(())
    }

    fn candidate(
        &mut self,
        candidate: Candidate,
        out: &mut VecDeque<LlmEvent>,
    ) -> Result<(), Fault> {
        let parts = candidate.content.and_then(|content| content.parts);
        for part in parts.into_iter().flatten() {
            self.part(part, out)?;
        }
        if let Some(token) = candidate.continuation_token.filter(|token| !token.is_empty()) {
            self.grow(token.len())?;
            self.continuation = Some(token);
        }
        let Some(reason) = candidate.finish_reason else { return Ok(()) };
        let detail = detail(&reason, candidate.finish_message.as_deref());
        match finish(&reason) {
            Finish::NotYet => {}
            Finish::Stopped(stop) => {
                if !matches!(stop, StopReason::EndTurn | StopReason::MaxTokens) {
                    self.reply.stop_detail(detail);
                }
                self.stop = Some(stop);
            }
            Finish::Failed(kind) => {
                let message = format!("the service gave the reply up: {detail}");
                return Err(Fault::new(kind, message).with_code(Some(reason)));
            }
        }
        Ok(())
    }

    fn part(&mut self, part: wire::Part, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let signature = part.thought_signature.filter(|signature| !signature.is_empty());
        let thought = part.thought.unwrap_or(false);
        match (part.function_call, part.text, signature) {
            (Some(call), _, signature) => self.call(call, signature, out),
            (None, text, Some(signature)) => {
                self.signed(text.unwrap_or_default(), thought, signature, out)
            }
            (None, Some(text), None) => self.text(text, thought, out),
            (None, None, None) => {
                if !std::mem::replace(&mut self.unread, true) {
                    self.reply
                        .notice("a part of the reply that is neither text nor a call was left out");
                }
                Ok(())
            }
        }
    }

    /// Text without a signature, which continues the text before it.
    fn text(
        &mut self,
        text: String,
        thought: bool,
        out: &mut VecDeque<LlmEvent>,
    ) -> Result<(), Fault> {
        if text.is_empty() {
            return Ok(());
        }
        let kind = if thought { Open::Thought } else { Open::Text };
        if self.open != kind {
            self.begin(kind)?;
        }
        self.grow(text.len())?;
        out.extend(if thought { self.reply.reasoning(text) } else { self.reply.text(text) });
        Ok(())
    }

    /// Text with a signature, which stays a part of its own even if it is empty.
    fn signed(
        &mut self,
        text: String,
        thought: bool,
        signature: String,
        out: &mut VecDeque<LlmEvent>,
    ) -> Result<(), Fault> {
        self.begin(Open::Nothing)?;
        self.grow(text.len() + signature.len())?;
        let provider_state = self.state([(SIGNATURE, Some(signature))]);
        let said = (!text.is_empty()).then(|| text.clone());
        if thought {
            out.extend(said.map(|text| LlmEvent::ReasoningDelta { text }));
            self.reply.part(Part::Reasoning { text, provider_state });
        } else {
            out.extend(said.map(|text| LlmEvent::TextDelta { text }));
            self.reply.part(Part::Text { text, provider_state });
        }
        Ok(())
    }

    fn call(
        &mut self,
        call: FunctionCall,
        signature: Option<String>,
        out: &mut VecDeque<LlmEvent>,
    ) -> Result<(), Fault> {
        let arguments = match call.args {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(Value::String(text)) => arguments(&text),
            Some(whole) => whole,
        };
        let name = self.names.name(&call.name.unwrap_or_default());
        let id = call.id.filter(|id| !id.is_empty());
        let json = match &arguments {
            Value::String(text) => text.clone(),
            whole => whole.to_string(),
        };
        self.begin(Open::Nothing)?;
        let held = [id.as_deref(), signature.as_deref()].into_iter().flatten().map(str::len);
        self.grow(held.sum::<usize>() + json.len() + name.len())?;
        let state = self.state([(CALL_ID, id.clone()), (SIGNATURE, signature)]);
        out.push_back(LlmEvent::ToolCallDelta { name: name.clone(), json });
        self.reply.call_with_state(&id.unwrap_or_default(), name, arguments, state);
        Ok(())
    }

    /// What has to come back with a part: exactly what came with it.
    fn state<const N: usize>(
        &self,
        texts: [(&'static str, Option<String>); N],
    ) -> Option<ProviderState> {
        let raw: Map<String, Value> = texts
            .into_iter()
            .filter_map(|(field, text)| Some((field.to_owned(), text?.into())))
            .collect();
        (!raw.is_empty()).then(|| ProviderState {
            provider: self.provider.clone(),
            model: self.model.clone(),
            raw: raw.into(),
        })
    }

    fn begin(&mut self, open: Open) -> Result<(), Fault> {
        self.reply.seal();
        self.open = open;
        self.parts += 1;
        if self.parts > PARTS_MAX {
            let message = format!("the reply contains more than {PARTS_MAX} parts");
            return Err(Fault::new(ErrorKind::MalformedResponse, message));
        }
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > REPLY_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }

    fn finish(&mut self, stop: StopReason, out: &mut VecDeque<LlmEvent>) {
        let mut reply = std::mem::take(&mut self.reply);
        let stop = match (stop, self.continuation.take()) {
            (StopReason::Other(reason), Some(token)) if reason == CONTINUATION => {
                let provider_state = self.state([(CONTINUATION_TOKEN, Some(token))]);
                reply.part(Part::Text { text: String::new(), provider_state });
                StopReason::Pause
            }
            (stop, _) => stop,
        };
        out.push_back(reply.finish(stop, self.usage, self.request_id.take()).into());
    }

    /// Takes bytes of a stream, so that what stands between events keeps its place.
    fn lines(
        &mut self,
        lines: &mut Lines,
        bytes: &[u8],
        out: &mut VecDeque<LlmEvent>,
    ) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let found = lines.bare.next(rest)?;
            let (Found::Other(count) | Found::Piece(count) | Found::Document(count, _)) = found;
            let (piece, tail) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = tail;
            match found {
                Found::Other(_) => self.events(&mut lines.events, piece, out)?,
                Found::Piece(_) => {}
                Found::Document(_, json) => self.bare(&json, out)?,
            }
        }
        Ok(())
    }

    fn events(
        &mut self,
        decoder: &mut SseDecoder,
        bytes: &[u8],
        out: &mut VecDeque<LlmEvent>,
    ) -> Result<(), Fault> {
        decoder.push(bytes, |event| self.event(event.name, event.data, out))
    }

    /// JSON that stood in the stream without being an event.
    fn bare(&mut self, json: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(json);
        match parse::<Value>(&text) {
            Ok(document) => self.document(document, out),
            Err(_) => Err(Fault::malformed("the service sent something that is no event", &text)),
        }
    }

    fn whole(&mut self, bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(bytes);
        let document: Value = parse(&text).map_err(|error| {
            if error.is_eof() {
                let message = "the service ended the document before it was complete";
                return Fault::new(ErrorKind::StreamTruncated, message);
            }
            let what = "the address answers, but not as this API; is the base URL right?";
            Fault::malformed(what, &text)
        })?;
        let first = document.get(0).unwrap_or(&document);
        let known = ["candidates", "promptFeedback", "usageMetadata", "error"];
        if !known.iter().any(|field| first.get(field).is_some()) {
            return Err(Fault::malformed("the service sent a document without a reply", &text));
        }
        self.document(document, out)
    }
}

impl ReplyDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let mut bytes = bytes;
        if matches!(self.form, Form::Unknown) {
            bytes = bytes.trim_ascii_start();
            self.form = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[' | b'<') => Form::Document(Vec::new()),
                Some(_) => Form::Events(Lines {
                    events: SseDecoder::new(EVENT_BYTES_MAX),
                    bare: Bare::new(EVENT_BYTES_MAX),
                }),
            };
        }
        match std::mem::replace(&mut self.form, Form::Unknown) {
            Form::Unknown => {}
            Form::Events(mut lines) => {
                self.lines(&mut lines, bytes, out)?;
                self.form = Form::Events(lines);
            }
            Form::Document(document) if document.len() + bytes.len() > EVENT_BYTES_MAX => {
                return Err(too_large());
            }
            Form::Document(mut document) => {
                document.extend_from_slice(bytes);
                self.form = Form::Document(document);
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        match std::mem::replace(&mut self.form, Form::Unknown) {
            Form::Unknown => {}
            Form::Document(bytes) => self.whole(&bytes, out)?,
            Form::Events(mut lines) => {
                lines.events.finish(|event| {
                    // An event that the end of the stream cut in two is a truncation, not a
                    // strange one.
                    if parse::<IgnoredAny>(event.data).is_err() {
                        return Ok(());
                    }
                    self.event(event.name, event.data, out)
                })?;
            }
        }
        // There is no last event; a reply is complete when it says why the model stopped.
        if let Some(stop) = self.stop.take() {
            self.finish(stop, out);
        }
        Ok(())
    }
}

fn blocked(feedback: PromptFeedback) -> Option<Fault> {
    let reason = feedback.block_reason.filter(|reason| !reason.is_empty())?;
    let detail = detail(&reason, feedback.block_reason_message.as_deref());
    let message = format!("the prompt was blocked: {detail}");
    Some(Fault::new(ErrorKind::ContentFilter, message).with_code(Some(reason)))
}

#[cfg(test)]
mod tests;
