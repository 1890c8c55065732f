//! The lines of `/api/chat` as events.

use std::collections::VecDeque;

use agent_runner_core::{
    llm::{LlmEvent, LlmRequest, StopReason, Usage},
    message::Part,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    error,
    wire::{Call, Line},
};
use crate::{
    http::{EVENT_BYTES_MAX, LineDecoder},
    llm::{
        Fault,
        json::{parse, raw_text},
        reply::Reply,
        stream::{REPLY_BYTES_MAX, ReplyDecoder, too_large},
    },
};

/// Bytes of text that a token has on average; of code and of other scripts it has fewer.
const BYTES_PER_TOKEN: u64 = 4;
/// The context length of a server that was not told one.
const CONTEXT_DEFAULT: u64 = 4096;

/// Decodes one reply.
#[derive(Debug)]
pub(super) struct Decoder {
    lines: LineDecoder,
    provider: String,
    model: String,
    request_id: Option<String>,
    reply: Reply,
    notices: Vec<String>,
    context: Option<u64>,
    prompt_bytes: u64,
    call_bytes: usize,
    started: bool,
    done: bool,
}

impl Decoder {
    /// A decoder for the reply to `request`.
    pub(super) fn new(request: &LlmRequest, provider: &str, request_id: Option<String>) -> Self {
        Self {
            lines: LineDecoder::new(EVENT_BYTES_MAX),
            provider: provider.to_owned(),
            model: request.model.clone(),
            request_id,
            reply: Reply::new(request),
            notices: Vec::new(),
            context: None,
            prompt_bytes: prompt_bytes(request),
            call_bytes: 0,
            started: false,
            done: false,
        }
    }

    /// With what the request could not say.
    pub(super) fn with_notices(mut self, notices: Vec<String>) -> Self {
        self.notices = notices;
        self
    }

    /// With the context length that the request asked for.
    pub(super) const fn with_context(mut self, context: Option<u64>) -> Self {
        self.context = context;
        self
    }

    fn line(&mut self, text: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if self.done {
            return Ok(());
        }
        let line = line_of(text)?;
        if !self.started {
            self.started = true;
            let model = line.model.filter(|model| !model.is_empty());
            out.push_back(LlmEvent::Started { model });
        }
        // The last line may carry content and calls, too.
        if let Some(turn) = line.message {
            if let Some(thinking) = turn.thinking.filter(|text| !text.is_empty()) {
                let raw = || json!({"field": "thinking"});
                self.reply.keep_reasoning_state(&self.provider, &self.model, raw);
                out.extend(self.reply.reasoning(thinking));
            }
            out.extend(self.reply.text(turn.content.unwrap_or_default()));
            for call in turn.tool_calls.into_iter().flatten() {
                out.push_back(self.call(call));
            }
        }
        if self.reply.len() + self.call_bytes > REPLY_BYTES_MAX {
            return Err(too_large());
        }
        if line.done {
            let usage = Usage {
                input: Some(line.prompt_eval_count.unwrap_or(0)),
                output: Some(line.eval_count.unwrap_or(0)),
                ..Usage::default()
            };
            self.done = true;
            let mut reply = std::mem::take(&mut self.reply);
            for notice in self.notices.drain(..) {
                reply.notice(notice);
            }
            if let Some(notice) = self.truncated(line.prompt_eval_count) {
                reply.notice(notice);
            }
            let stop = stop(line.done_reason.as_deref());
            out.push_back(reply.finish(stop, usage, self.request_id.take()).into());
        }
        Ok(())
    }

    /// A call, which comes whole.
    fn call(&mut self, call: Call) -> LlmEvent {
        let name = call.function.name;
        let json = call.function.arguments.as_deref().map(raw_text).unwrap_or_default();
        self.call_bytes += json.len();
        self.reply.call_text(&call.id.unwrap_or_default(), name.clone(), &json);
        LlmEvent::ToolCallDelta { name, json }
    }

    /// What to say when the server read far less than was sent: old ones drop the beginning of a
    /// conversation that does not fit, and tell nobody.
    fn truncated(&self, read: Option<u64>) -> Option<String> {
        let read = read.filter(|read| *read > 0)?;
        let sent = self.prompt_bytes / BYTES_PER_TOKEN;
        let fits = sent <= self.context.unwrap_or(CONTEXT_DEFAULT);
        (!fits && read.saturating_mul(2) < sent).then(|| {
            format!(
                "the server read {read} tokens of a prompt of about {sent}: it may have dropped the beginning of the conversation"
            )
        })
    }
}

/// A line, unless it reports an error. Read twice only where that matters.
fn line_of(text: &str) -> Result<Line, Fault> {
    if let Ok(line) = parse::<Line>(text)
        && line.error.is_none()
    {
        return Ok(line);
    }
    let document: Value = parse(text).map_err(|_| {
        Fault::malformed("the address answers, but not as Ollama; check OLLAMA_HOST", text)
    })?;
    if let Some(fault) = error::reported(&document) {
        return Err(fault);
    }
    serde_json::from_value(document)
        .map_err(|error| Fault::malformed("the server sent a strange line", &error.to_string()))
}

/// The bytes of everything that a request makes the model read.
fn prompt_bytes(request: &LlmRequest) -> u64 {
    let part = |part: &Part| match part {
        Part::Text { text, .. } | Part::ToolResult { text, .. } => text.len(),
        Part::ToolCall(call) => call.arguments.to_string().len(),
        // Reasoning may stay here.
        _ => 0,
    };
    let said: usize = request.messages.iter().flat_map(|message| &message.parts).map(part).sum();
    u64::try_from(said).unwrap_or(u64::MAX)
}

impl ReplyDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        // Taken out, because the rest of the decoder takes the lines.
        let mut lines = std::mem::replace(&mut self.lines, LineDecoder::new(EVENT_BYTES_MAX));
        let pushed = lines.push(bytes, |line| self.line(line, out));
        self.lines = lines;
        pushed
    }

    fn end(&mut self, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let mut lines = std::mem::replace(&mut self.lines, LineDecoder::new(EVENT_BYTES_MAX));
        lines.finish(|line| {
            // A line that the end of the stream cut in two is a truncation, not a strange line.
            let began = self.started || line.starts_with('{');
            if began && parse::<IgnoredAny>(line).is_err() {
                return Ok(());
            }
            self.line(line, out)
        })
    }
}

fn stop(reason: Option<&str>) -> StopReason {
    match reason {
        None | Some("" | "stop") => StopReason::EndTurn,
        Some("length") => StopReason::MaxTokens,
        Some(other) => StopReason::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests;
