//! A stream of the API's events, or one whole message, as events.

use std::collections::VecDeque;

use agent_runner_core::llm::{ErrorKind, LlmEvent, LlmRequest, StopReason, Usage};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    blocks::{Blocks, Origin, Piece},
    error,
    wire::{BlockDelta, Event, Message},
};
use crate::{
    http::{EVENT_BYTES_MAX, SseDecoder},
    llm::{
        Fault,
        json::parse,
        names::ToolNames,
        reply::Reply,
        stream::{REPLY_BYTES_MAX, ReplyDecoder, too_large},
    },
};

/// What the body turned out to be, which its first character tells better than its declared type.
#[derive(Debug)]
enum Form {
    Unknown,
    Events(SseDecoder),
    Document(Vec<u8>),
}

/// Decodes one reply.
#[derive(Debug)]
pub(super) struct Decoder {
    form: Form,
    origin: Origin,
    request_id: Option<String>,
    reply: Reply,
    blocks: Blocks,
    usage: Usage,
    stop: Option<StopReason>,
    started: bool,
    done: bool,
}

impl Decoder {
    /// A decoder for the reply to `request`.
    pub(super) fn new(
        request: &LlmRequest,
        names: ToolNames,
        provider: &str,
        request_id: Option<String>,
    ) -> Self {
        let (provider, model) = (provider.to_owned(), request.model.clone());
        Self {
            form: Form::Unknown,
            origin: Origin { provider, model, names },
            request_id,
            reply: Reply::new(request),
            blocks: Blocks::default(),
            usage: Usage::default(),
            stop: None,
            started: false,
            done: false,
        }
    }

    /// With what was done otherwise than asked.
    pub(super) fn with_notices(mut self, notices: Vec<String>) -> Self {
        for notice in notices {
            self.reply.notice(notice);
        }
        self
    }

    fn event(&mut self, name: &str, data: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let data = data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if matches!(name, "" | "content_block_delta")
            && let Ok(BlockDelta { index, delta, .. }) = parse(data)
        {
            return self.delta(index, delta.into(), out);
        }
        let Ok(event) = parse::<Event>(data) else {
            return match name {
                "error" => Err(Fault::new(ErrorKind::Unavailable, data)),
                ""
                | "message_start"
                | "content_block_start"
                | "content_block_delta"
                | "message_delta" => {
                    Err(Fault::malformed("the service sent an event that is not JSON", data))
                }
                _ => Ok(()),
            };
        };
        let index = event.index.as_ref().and_then(Value::as_u64);
        match (event.kind.as_deref().unwrap_or(name), event.error) {
            ("message_start", _) => self.begin(event.message.unwrap_or_default(), out)?,
            ("content_block_start", _) => {
                self.started(None, out);
                let block = event.content_block.unwrap_or_default();
                out.extend(self.blocks.start(index, block, data.len(), &self.origin.names)?);
            }
            ("content_block_delta", _) => {
                return self.delta(index, Piece::of(event.delta.unwrap_or_default()), out);
            }
            ("message_delta", _) => {
                let delta = event.delta.unwrap_or_default();
                self.stopped(delta.get("stop_reason"), delta.get("stop_details"));
                self.used(event.usage.as_ref(), out);
            }
            ("message_stop", _) => self.finish(out),
            ("ping", _) => out.push_back(LlmEvent::Keepalive),
            ("error", error) => {
                let error = error.unwrap_or_else(|| json!({"message": event.message}));
                return Err(failed(&error, event.request_id.as_ref()));
            }
            ("", Some(error)) => return Err(failed(&error, event.request_id.as_ref())),
            // The service may add kinds of events at any time; `content_block_stop` says nothing.
            _ => {}
        }
        self.check_size()
    }

    fn delta(
        &mut self,
        index: Option<u64>,
        piece: Piece,
        out: &mut VecDeque<LlmEvent>,
    ) -> Result<(), Fault> {
        self.started(None, out);
        out.extend(self.blocks.delta(index, piece, &self.origin.names)?);
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Fault> {
        let size = self.reply.len() + self.blocks.len();
        if size > REPLY_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }

    fn started(&mut self, model: Option<&Value>, out: &mut VecDeque<LlmEvent>) {
        if !std::mem::replace(&mut self.started, true) {
            let model = model.and_then(Value::as_str).filter(|model| !model.is_empty());
            out.push_back(LlmEvent::Started { model: model.map(str::to_owned) });
        }
    }

    /// The beginning of a message, or all of it.
    fn begin(&mut self, message: Value, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let message: Message = serde_json::from_value(message).unwrap_or_default();
        self.started(message.model.as_ref(), out);
        if let Some(Value::Array(content)) = message.content {
            for (index, block) in (0..).zip(content) {
                let size = block.to_string().len();
                out.extend(self.blocks.start(Some(index), block, size, &self.origin.names)?);
            }
        }
        self.stopped(message.stop_reason.as_ref(), message.stop_details.as_ref());
        self.used(message.usage.as_ref(), out);
        Ok(())
    }

    fn stopped(&mut self, reason: Option<&Value>, details: Option<&Value>) {
        if let Some(reason) = reason.and_then(Value::as_str) {
            self.stop = Some(stop(reason));
        }
        let said = |field: &str| details?.get(field)?.as_str().filter(|text| !text.is_empty());
        let said: Vec<&str> =
            [said("category"), said("explanation")].into_iter().flatten().collect();
        if !said.is_empty() {
            self.reply.stop_detail(said.join(": "));
        }
    }

    fn used(&mut self, reported: Option<&Value>, out: &mut VecDeque<LlmEvent>) {
        if let Some(reported) = reported.filter(|reported| reported.is_object()) {
            self.usage = usage(reported, self.usage);
            out.push_back(LlmEvent::Usage { usage: self.usage });
        }
    }

    fn finish(&mut self, out: &mut VecDeque<LlmEvent>) {
        self.done = true;
        let mut reply = std::mem::take(&mut self.reply);
        std::mem::take(&mut self.blocks).into_reply(&mut reply, &self.origin);
        let stop = self.stop.take().unwrap_or(StopReason::EndTurn);
        out.push_back(reply.finish(stop, self.usage, self.request_id.take()).into());
    }

    fn document(&mut self, bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(bytes);
        let document: Value = parse(&text).map_err(|error| {
            if error.is_eof() {
                let message = "the service ended the reply in the middle of it";
                return Fault::new(ErrorKind::StreamTruncated, message);
            }
            let what = "the address answers, but not as this API; is the base URL right?";
            Fault::malformed(what, &text)
        })?;
        if let Some(fault) = error::reported(&document, None) {
            return Err(fault);
        }
        if !document.get("content").is_some_and(Value::is_array) {
            return Err(Fault::malformed("the service sent a document without a reply", &text));
        }
        self.begin(document, out)?;
        self.finish(out);
        Ok(())
    }
}

impl ReplyDecoder for Decoder {
    fn push(&mut self, mut bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if matches!(self.form, Form::Unknown) {
            bytes = bytes.trim_ascii_start();
            self.form = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[' | b'<') => Form::Document(Vec::new()),
                Some(_) => Form::Events(SseDecoder::new(EVENT_BYTES_MAX)),
            };
        }
        // Taken out, because the rest of the decoder takes the events.
        let mut form = std::mem::replace(&mut self.form, Form::Unknown);
        let pushed = match &mut form {
            Form::Unknown => Ok(()),
            Form::Events(decoder) => {
                decoder.push(bytes, |event| self.event(event.name, event.data, out))
            }
            Form::Document(document) if document.len() + bytes.len() > EVENT_BYTES_MAX => {
                Err(too_large())
            }
            Form::Document(document) => {
                document.extend_from_slice(bytes);
                Ok(())
            }
        };
        self.form = form;
        pushed
    }

    fn end(&mut self, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        match std::mem::replace(&mut self.form, Form::Unknown) {
            Form::Unknown => Ok(()),
            Form::Document(bytes) => self.document(&bytes, out),
            Form::Events(mut decoder) => decoder.finish(|event| {
                // An event that the end of the stream cut in two is a truncation, not a strange one.
                if parse::<IgnoredAny>(event.data).is_err() {
                    return Ok(());
                }
                self.event(event.name, event.data, out)
            }),
        }
    }
}

/// The fault that an event reports after the service had accepted the request.
fn failed(error: &Value, request_id: Option<&Value>) -> Fault {
    let document = json!({"type": "error", "error": error, "request_id": request_id});
    error::reported(&document, None)
        .unwrap_or_else(|| Fault::new(ErrorKind::Unavailable, "the service gave up"))
}

fn stop(reason: &str) -> StopReason {
    match reason {
        "end_turn" => StopReason::EndTurn,
        "tool_use" => StopReason::ToolCalls,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "pause_turn" => StopReason::Pause,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextFull,
        other => StopReason::Other(other.to_owned()),
    }
}

/// What was used until now. Every report is a running total of what it mentions; the API counts
/// cached tokens beside the others, and thinking as output.
fn usage(reported: &Value, before: Usage) -> Usage {
    let count = |path: &str| reported.pointer(path).and_then(Value::as_u64);
    Usage {
        input: count("/input_tokens").or(before.input),
        output: count("/output_tokens").or(before.output),
        cache_read: count("/cache_read_input_tokens").or(before.cache_read),
        cache_write: count("/cache_creation_input_tokens").or(before.cache_write),
        cache_write_1h: count("/cache_creation/ephemeral_1h_input_tokens")
            .or(before.cache_write_1h),
        reasoning: count("/output_tokens_details/thinking_tokens").or(before.reasoning),
    }
}

#[cfg(test)]
mod tests;
