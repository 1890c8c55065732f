//! A stream of chat completion chunks, or one whole completion, as events.

use std::collections::VecDeque;

use agent_runner_core::llm::{ErrorKind, LlmEvent, LlmRequest, StopReason, Usage};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    calls::Calls,
    error,
    wire::{Choice, Chunk, Delta},
};
use crate::{
    http::{EVENT_BYTES_MAX, SseDecoder, SseEvent},
    llm::{
        Fault,
        json::{parse, says_error},
        names::ToolNames,
        reply::{Reply, arguments},
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
    provider: String,
    model: String,
    request_id: Option<String>,
    names: ToolNames,
    reply: Reply,
    calls: Calls,
    usage: Usage,
    stop: Option<StopReason>,
    refused: bool,
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
        Self {
            form: Form::Unknown,
            provider: provider.to_owned(),
            model: request.model.clone(),
            request_id,
            names,
            reply: Reply::new(request),
            calls: Calls::default(),
            usage: Usage::default(),
            stop: None,
            refused: false,
            started: false,
            done: false,
        }
    }

    fn event(&mut self, event: SseEvent<'_>, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.finish(out);
            return Ok(());
        }
        // Whoever reports an error says the word; all else is read in one go. What that cannot
        // read is read again as any document, which is more lenient and says what is wrong.
        if event.name != "error"
            && !says_error(data)
            && let Ok(chunk) = parse(data)
        {
            return self.chunk(chunk, out);
        }
        let Ok(document) = parse::<Value>(data) else {
            return Err(match event.name {
                "error" => Fault::new(ErrorKind::Unavailable, data),
                _ => Fault::malformed("the service sent an event that is not JSON", data),
            });
        };
        if event.name == "error" && document.get("error").is_none() {
            let fault = error::reported(&json!({"error": document}), None);
            return fault.map_or(Ok(()), Err);
        }
        self.any(document, out)
    }

    /// An error, or a chunk.
    fn any(&mut self, document: Value, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if let Some(fault) = error::reported(&document, None) {
            return Err(fault);
        }
        let chunk = serde_json::from_value(document).map_err(|error| {
            Fault::malformed("the service sent a strange event", &error.to_string())
        })?;
        self.chunk(chunk, out)
    }

    fn chunk(&mut self, chunk: Chunk, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if !self.started {
            self.started = true;
            out.push_back(LlmEvent::Started {
                model: chunk.model.filter(|model| !model.is_empty()),
            });
        }
        let reported = chunk.usage.or_else(|| chunk.x_groq?.get("usage").cloned());
        if let Some(reported) = reported.filter(Value::is_object) {
            // The last report counts: some servers send running totals on every chunk.
            self.usage = usage(&reported);
        }
        // One choice was asked for; another index is somebody else's.
        for choice in chunk.choices.unwrap_or_default() {
            if choice.index.unwrap_or(0) == 0 {
                self.choice(choice, out)?;
            }
        }
        if self.reply.len() + self.calls.len() > REPLY_BYTES_MAX {
            return Err(too_large());
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        match (choice.delta, choice.message) {
            (Some(delta), _) => self.delta(delta, out)?,
            (None, Some(message)) => self.delta(*message, out)?,
            (None, None) => {}
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            Some("error") => {
                let message = "the service gave up in the middle of the reply";
                return Err(Fault::new(ErrorKind::Unavailable, message));
            }
            Some(reason) => self.stop = Some(stop(reason)),
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        // A server in transition between the two names sends both with the same text.
        let reasoning = match (delta.reasoning_content, delta.reasoning) {
            (Some(Value::String(text)), _) => Some(("reasoning_content", text)),
            (_, Some(Value::String(text))) => Some(("reasoning", text)),
            _ => None,
        };
        if let Some((field, text)) = reasoning {
            let raw = || json!({"field": field});
            self.reply.keep_reasoning_state(&self.provider, &self.model, raw);
            out.extend(self.reply.reasoning(text));
        }
        match delta.content {
            Some(Value::String(text)) => out.extend(self.reply.text(text)),
            Some(Value::Array(parts)) => {
                for part in &parts {
                    self.part(part, out);
                }
            }
            _ => {}
        }
        if let Some(refusal) = delta.refusal.filter(|refusal| !refusal.is_empty()) {
            self.refused = true;
            out.extend(self.reply.text(refusal));
        }
        for call in delta.tool_calls.unwrap_or_default() {
            let (name, json) = self.calls.push(call)?;
            out.push_back(LlmEvent::ToolCallDelta { name: self.names.name(name), json });
        }
        Ok(())
    }

    /// A typed part of Mistral's: text, or thinking that contains texts.
    fn part(&mut self, part: &Value, out: &mut VecDeque<LlmEvent>) {
        let text =
            |part: &Value| part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        match part.get("thinking").and_then(Value::as_array) {
            Some(thoughts) => {
                for thought in thoughts {
                    out.extend(self.reply.reasoning(text(thought)));
                }
            }
            None => out.extend(self.reply.text(text(part))),
        }
    }

    fn finish(&mut self, out: &mut VecDeque<LlmEvent>) {
        self.done = true;
        for call in std::mem::take(&mut self.calls).into_calls() {
            let name = self.names.name(&call.name);
            self.reply.call(&call.id, name, arguments(&call.arguments));
        }
        let stop = match self.stop.take().unwrap_or(StopReason::EndTurn) {
            StopReason::EndTurn if self.refused => StopReason::Refusal,
            stop => stop,
        };
        let reply = std::mem::take(&mut self.reply);
        out.push_back(reply.finish(stop, self.usage, self.request_id.take()).into());
    }

    fn document(&mut self, bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(bytes);
        let document: Value = parse(&text).map_err(|_| {
            Fault::malformed(
                "the address answers, but not as this API; is the base URL right?",
                &text,
            )
        })?;
        if document.get("choices").is_none() && error::reported(&document, None).is_none() {
            return Err(Fault::malformed("the service sent a document without a reply", &text));
        }
        self.any(document, out)?;
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
            Form::Events(decoder) => decoder.push(bytes, |event| self.event(event, out)),
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
            Form::Unknown => {}
            Form::Document(bytes) => self.document(&bytes, out)?,
            Form::Events(mut decoder) => decoder.finish(|event| {
                // An event that the end of the stream cut in two is a truncation, not a strange one.
                if event.data.trim() != "[DONE]" && parse::<IgnoredAny>(event.data).is_err() {
                    return Ok(());
                }
                self.event(event, out)
            })?,
        }
        // Not every server sends `[DONE]`, but every one says why the model stopped.
        if !self.done && self.stop.is_some() {
            self.finish(out);
        }
        Ok(())
    }
}

fn stop(reason: &str) -> StopReason {
    match reason {
        "stop" => StopReason::EndTurn,
        "tool_calls" | "function_call" => StopReason::ToolCalls,
        "length" | "model_length" => StopReason::MaxTokens,
        "content_filter" => StopReason::ContentFilter,
        other => StopReason::Other(other.to_owned()),
    }
}

/// The API counts cached tokens as prompt tokens and reasoning as completion.
fn usage(reported: &Value) -> Usage {
    let count = |path: &str| reported.pointer(path).and_then(Value::as_u64);
    let cache_read = count("/prompt_tokens_details/cached_tokens");
    let cache_write = count("/prompt_tokens_details/cache_write_tokens");
    let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
    Usage {
        input: count("/prompt_tokens").map(|prompt| prompt.saturating_sub(cached)),
        output: count("/completion_tokens"),
        cache_read,
        cache_write,
        cache_write_1h: None,
        reasoning: count("/completion_tokens_details/reasoning_tokens"),
    }
}

#[cfg(test)]
mod tests;
