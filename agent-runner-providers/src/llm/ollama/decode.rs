//! The lines of `/api/chat` as events.

use std::collections::VecDeque;

use agent_runner_core::llm::{LlmEvent, LlmRequest, StopReason, Usage};
use serde_json::{Map, Value, json};

use super::{
    error,
    wire::{Call, Line},
};
use crate::{
    http::{EVENT_BYTES_MAX, LineDecoder},
    llm::{
        Fault,
        json::parse,
        reply::{Reply, arguments},
        stream::{REPLY_BYTES_MAX, ReplyDecoder, too_large},
    },
};

/// Decodes one reply.
#[derive(Debug)]
pub(super) struct Decoder {
    lines: LineDecoder,
    provider: String,
    model: String,
    request_id: Option<String>,
    reply: Reply,
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
            call_bytes: 0,
            started: false,
            done: false,
        }
    }

    fn lines(&mut self, lines: &[String], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        for line in lines {
            self.line(line, out)?;
        }
        Ok(())
    }

    fn line(&mut self, text: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if self.done {
            return Ok(());
        }
        let document: Value = parse(text).map_err(|_| {
            Fault::malformed("the address answers, but not as Ollama; check OLLAMA_HOST", text)
        })?;
        if let Some(fault) = error::reported(&document) {
            return Err(fault);
        }
        let line: Line = serde_json::from_value(document).map_err(|error| {
            Fault::malformed("the server sent a strange line", &error.to_string())
        })?;
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
            let reply = std::mem::take(&mut self.reply);
            let stop = stop(line.done_reason.as_deref());
            out.push_back(reply.finish(stop, usage, self.request_id.take()).into());
        }
        Ok(())
    }

    /// A call, which comes whole.
    fn call(&mut self, call: Call) -> LlmEvent {
        let name = call.function.name;
        let arguments = match call.function.arguments {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(Value::String(text)) => arguments(&text),
            Some(value) => value,
        };
        let json = match &arguments {
            Value::String(invalid) => invalid.clone(),
            valid => valid.to_string(),
        };
        self.call_bytes += json.len();
        self.reply.call(&call.id.unwrap_or_default(), name.clone(), arguments);
        LlmEvent::ToolCallDelta { name, json }
    }
}

impl ReplyDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let mut lines = Vec::new();
        let pushed = self.lines.push(bytes, &mut lines);
        self.lines(&lines, out)?;
        Ok(pushed?)
    }

    fn end(&mut self, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let mut lines = Vec::new();
        self.lines.finish(&mut lines);
        // A line that the end of the stream cut in two is a truncation, not a strange line.
        let began = |line: &str| self.started || line.starts_with('{');
        lines.retain(|line| parse::<Value>(line).is_ok() || !began(line));
        self.lines(&lines, out)
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
