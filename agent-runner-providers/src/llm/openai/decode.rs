//! A stream of chat completion chunks, or one whole completion, as events.

use std::collections::VecDeque;

use agent_runner_core::llm::{
    Cost, ErrorKind, FactSource, LlmEvent, LlmRequest, MicroUsd, StopReason, Usage,
};
use serde_json::{Value, json};

use super::{
    calls::Calls,
    details::Details,
    error,
    frames::{FrameReader, Origin},
    profile::{Profile, ReasoningField},
    wire::{Choice, Chunk, Delta},
};
use crate::llm::{
    Fault,
    json::{parse, says_error},
    reply::Reply,
    stream::{REPLY_BYTES_MAX, too_large},
};

/// Reads one reply.
#[derive(Debug)]
pub(super) struct ChatReader {
    origin: Origin,
    fields: &'static [ReasoningField],
    tells_cost: bool,
    reply: Reply,
    calls: Calls,
    details: Details,
    usage: Usage,
    stop: Option<StopReason>,
    refused: bool,
    started: bool,
    done: bool,
}

impl ChatReader {
    /// A reader of the reply to `request`.
    pub(super) fn new(request: &LlmRequest, origin: Origin, profile: &Profile) -> Self {
        Self {
            origin,
            fields: profile.reasoning_fields,
            tells_cost: profile.tells_cost,
            reply: Reply::new(request),
            calls: Calls::default(),
            details: Details::default(),
            usage: Usage::default(),
            stop: None,
            refused: false,
            started: false,
            done: false,
        }
    }

    fn chunk(&mut self, chunk: Chunk, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if !self.started {
            self.started = true;
            out.push_back(LlmEvent::Started {
                model: chunk.model.filter(|model| !model.is_empty()),
            });
        }
        // One choice was asked for; another index is somebody else's.
        for choice in chunk.choices.unwrap_or_default() {
            if choice.index.unwrap_or(0) == 0 {
                self.choice(choice, out)?;
            }
        }
        let reported = chunk.usage.or_else(|| chunk.x_groq?.get("usage").cloned());
        if let Some(reported) = reported.filter(Value::is_object) {
            self.usage(&reported, out);
        }
        if self.reply.len() + self.calls.len() + self.details.len() > REPLY_BYTES_MAX {
            return Err(too_large());
        }
        Ok(())
    }

    /// The last report counts: some servers send running totals on every chunk.
    fn usage(&mut self, reported: &Value, out: &mut VecDeque<LlmEvent>) {
        let usage = usage(reported);
        if usage != self.usage {
            self.usage = usage;
            out.push_back(LlmEvent::Usage { usage });
        }
        if let Some(cost) = self.tells_cost.then(|| cost(reported)).flatten() {
            self.reply.cost(cost);
        }
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

    fn delta(&mut self, mut delta: Delta, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        // A server in transition between two names sends both with the same text.
        let said = self.fields.iter().find_map(|field| match delta.reasoning(*field) {
            Some(Value::String(text)) => Some((*field, text)),
            _ => None,
        });
        if let Some((field, text)) = said {
            self.keep_state(|| json!({"field": field.as_str()}));
            out.extend(self.reply.reasoning(text));
        }
        for piece in delta.reasoning_details.into_iter().flatten() {
            self.details.push(piece);
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
        for call in delta.tool_calls.into_iter().flatten() {
            let (name, json) = self.calls.push(call)?;
            out.push_back(LlmEvent::ToolCallDelta { name: self.origin.names.name(name), json });
        }
        Ok(())
    }

    fn keep_state(&mut self, raw: impl FnOnce() -> Value) {
        self.reply.keep_reasoning_state(&self.origin.provider, &self.origin.model, raw);
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
        let mut reply = std::mem::take(&mut self.reply);
        let details = std::mem::take(&mut self.details).into_entries();
        if !details.is_empty() {
            reply.set_reasoning_state(self.origin.state(json!({"details": details})));
        }
        for call in std::mem::take(&mut self.calls).into_calls() {
            reply.call_text(&call.id, self.origin.names.name(&call.name), &call.arguments);
        }
        for notice in self.origin.notices.drain(..) {
            reply.notice(notice);
        }
        let stop = match self.stop.take().unwrap_or(StopReason::EndTurn) {
            StopReason::EndTurn if self.refused => StopReason::Refusal,
            stop => stop,
        };
        out.push_back(reply.finish(stop, self.usage, self.origin.request_id.take()).into());
    }
}

/// A chunk, unless it reports an error. Read twice only where that matters: an error has many
/// forms, and a field may stand twice in a document.
fn chunk_of(text: &str) -> Result<Chunk, Fault> {
    if !says_error(text)
        && let Ok(chunk) = parse(text)
    {
        return Ok(chunk);
    }
    let document: Value = parse(text)
        .map_err(|_| Fault::malformed("the service sent an event that is not JSON", text))?;
    if let Some(fault) = error::reported(&document, None) {
        return Err(fault);
    }
    serde_json::from_value(document)
        .map_err(|error| Fault::malformed("the service sent a strange event", &error.to_string()))
}

impl FrameReader for ChatReader {
    fn event(&mut self, name: &str, data: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if self.done {
            return Ok(());
        }
        if data == "[DONE]" {
            self.finish(out);
            return Ok(());
        }
        if name == "error" {
            return Err(error::event(data));
        }
        self.chunk(chunk_of(data)?, out)
    }

    fn document(&mut self, text: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let document: Value = parse(text).map_err(|_| {
            Fault::malformed(
                "the address answers, but not as this API; is the base URL right?",
                text,
            )
        })?;
        if document.get("choices").is_none() && error::reported(&document, None).is_none() {
            return Err(Fault::malformed("the service sent a document without a reply", text));
        }
        self.chunk(chunk_of(text)?, out)?;
        self.finish(out);
        Ok(())
    }

    fn ended(&mut self, out: &mut VecDeque<LlmEvent>) {
        // Not every server sends `[DONE]`, but every one says why the model stopped.
        if !self.done && self.stop.is_some() {
            self.finish(out);
        }
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
    let cache_read = count("/prompt_tokens_details/cached_tokens")
        // DeepSeek's name for it.
        .or_else(|| count("/prompt_cache_hit_tokens"));
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

/// The price of the call in US dollars, with what an own key of the user's pays upstream.
fn cost(reported: &Value) -> Option<Cost> {
    let dollars = |path: &str| reported.pointer(path).and_then(Value::as_f64);
    let own_key = reported.get("is_byok") == Some(&Value::Bool(true));
    let upstream = dollars("/cost_details/upstream_inference_cost").filter(|_| own_key);
    let micros = (dollars("/cost")? + upstream.unwrap_or(0.0)) * 1e6;
    // Rounded up, but not for the noise that binary fractions add to a whole number.
    let micros = (micros - 1e-6).ceil();
    let micro_usd = if micros <= 0.0 { 0 } else { format!("{micros:.0}").parse().ok()? };
    Some(Cost {
        micro_usd: MicroUsd(micro_usd),
        source: FactSource::Provider,
        basis: "usage.cost".to_owned(),
    })
}

#[cfg(test)]
mod tests;
