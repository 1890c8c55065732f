//! The events of one response, or one whole response, as events of ours.

use std::collections::{BTreeMap, HashSet, VecDeque};

use agent_runner_core::llm::{ErrorKind, LlmEvent, LlmRequest, StopReason, Usage};
use serde_json::{Value, json};

use super::wire::{Event, Response};
use crate::llm::{
    Fault,
    json::parse,
    openai::{
        error,
        frames::{FrameReader, Origin},
    },
    reply::Reply,
    stream::{REPLY_BYTES_MAX, too_large},
};

/// Most items of one response; the engine runs fewer calls. Bounds a server that never stops.
const ITEMS_MAX: usize = 4096;

/// A call as far as it has come in.
#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

/// Reads one reply.
#[derive(Debug)]
pub(in crate::llm::openai) struct ResponseReader {
    origin: Origin,
    reply: Reply,
    /// Calls that have begun and not ended, by their place in the output.
    calls: BTreeMap<u64, Call>,
    /// Items of which some text came, which must not be read again from the whole item.
    streamed: HashSet<u64>,
    /// Items that are complete.
    complete: HashSet<u64>,
    bytes: usize,
    refused: bool,
    started: bool,
    done: bool,
}

impl ResponseReader {
    /// A reader of the reply to `request`.
    pub(in crate::llm::openai) fn new(request: &LlmRequest, origin: Origin) -> Self {
        Self {
            origin,
            reply: Reply::new(request),
            calls: BTreeMap::new(),
            streamed: HashSet::new(),
            complete: HashSet::new(),
            bytes: 0,
            refused: false,
            started: false,
            done: false,
        }
    }

    fn start(&mut self, model: Option<String>, out: &mut VecDeque<LlmEvent>) {
        if !self.started {
            self.started = true;
            out.push_back(LlmEvent::Started { model: model.filter(|model| !model.is_empty()) });
        }
    }

    fn step(&mut self, mut event: Event, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let model = event.response.as_mut().and_then(|response| response.model.take());
        self.start(model, out);
        let place = event.output_index.unwrap_or(0);
        let delta = event.delta.unwrap_or_default();
        match event.kind.as_deref().unwrap_or_default() {
            "response.output_text.delta" => self.text(place, delta, out),
            "response.refusal.delta" => {
                self.refused = true;
                self.text(place, delta, out);
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.heard(place, &delta);
                out.extend(self.reply.reasoning(delta));
            }
            "response.reasoning_summary_part.added" if event.summary_index.unwrap_or(0) > 0 => {
                out.extend(self.reply.reasoning("\n\n"));
            }
            "response.output_item.added" => self.begin(place, event.item.as_ref()),
            "response.function_call_arguments.delta" => {
                let call = self.calls.entry(place).or_default();
                self.bytes += delta.len();
                call.arguments.push_str(&delta);
                let name = self.origin.names.name(&call.name);
                out.push_back(LlmEvent::ToolCallDelta { name, json: delta });
            }
            "response.output_item.done" => {
                if let Some(item) = &event.item {
                    self.item(place, item, out);
                }
            }
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => {
                self.end(event.response.unwrap_or_default(), out)?;
            }
            _ => {}
        }
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Fault> {
        if self.reply.len() + self.bytes > REPLY_BYTES_MAX {
            return Err(too_large());
        }
        if self.calls.len() + self.streamed.len() + self.complete.len() > ITEMS_MAX {
            return Err(Fault::new(
                ErrorKind::MalformedResponse,
                format!("the reply has more than {ITEMS_MAX} items"),
            ));
        }
        Ok(())
    }

    fn text(&mut self, place: u64, piece: String, out: &mut VecDeque<LlmEvent>) {
        self.heard(place, &piece);
        out.extend(self.reply.text(piece));
    }

    fn heard(&mut self, place: u64, piece: &str) {
        if !piece.is_empty() {
            self.streamed.insert(place);
        }
    }

    /// An item that begins: of a call, it has the name.
    fn begin(&mut self, place: u64, item: Option<&Value>) {
        if let Some(item) = item.filter(|item| kind(item) == "function_call") {
            let (id, name) = (string(item, "call_id"), string(item, "name"));
            self.calls.insert(place, Call { id, name, arguments: String::new() });
        }
    }

    /// A complete item. What of it was streamed is not read again.
    fn item(&mut self, place: u64, item: &Value, out: &mut VecDeque<LlmEvent>) {
        if !self.complete.insert(place) {
            return;
        }
        let streamed = self.streamed.contains(&place);
        match kind(item) {
            "message" => {
                for content in contents(item, "content").filter(|_| !streamed) {
                    let refusal = string(content, "refusal");
                    self.refused |= !refusal.is_empty();
                    out.extend(self.reply.text(string(content, "text")));
                    out.extend(self.reply.text(refusal));
                }
                // Newer models want to be told which of their words were only on the way.
                if let Some(phase) = item.get("phase").filter(|phase| phase.is_string()) {
                    let state = self.origin.state(json!({"phase": phase}));
                    self.reply.set_text_state(state);
                }
            }
            "reasoning" => {
                let texts = contents(item, "summary").chain(contents(item, "content"));
                for content in texts.filter(|_| !streamed) {
                    out.extend(self.reply.reasoning(string(content, "text")));
                }
                self.bytes += item.to_string().len();
                self.reply.set_reasoning_state(self.origin.state(json!({"item": item})));
            }
            "function_call" => self.call(place, item, out),
            _ => {}
        }
        self.reply.seal();
    }

    fn call(&mut self, place: u64, item: &Value, out: &mut VecDeque<LlmEvent>) {
        let begun = self.calls.remove(&place).unwrap_or_default();
        let name = self.origin.names.name(&string(item, "name"));
        let arguments = match item.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => begun.arguments.clone(),
            Some(whole) => whole.to_string(),
        };
        if begun.arguments.is_empty() {
            self.bytes += arguments.len();
            let json = arguments.clone();
            out.push_back(LlmEvent::ToolCallDelta { name: name.clone(), json });
        }
        self.reply.call_text(&string(item, "call_id"), name, &arguments);
    }

    fn end(&mut self, response: Response, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if let Some(error) = response.error.filter(|error| !error.is_null()) {
            let fault = error::reported(&json!({"error": error}), None);
            return fault.map_or(Ok(()), Err);
        }
        let stop = match response.status.as_deref() {
            Some("failed" | "cancelled") => {
                let message = "the service gave up in the middle of the reply";
                return Err(Fault::new(ErrorKind::Unavailable, message));
            }
            Some("incomplete") => {
                let reason = response.incomplete_details.and_then(|details| details.reason);
                incomplete(reason.as_deref())
            }
            _ => StopReason::EndTurn,
        };
        // Servers that do not stream items have them here.
        for (place, item) in (0..).zip(response.output.into_iter().flatten()) {
            self.item(place, &item, out);
        }
        self.check_size()?;
        for (_, call) in std::mem::take(&mut self.calls) {
            let name = self.origin.names.name(&call.name);
            self.reply.call_text(&call.id, name, &call.arguments);
        }
        let usage = response.usage.as_ref().map(usage).unwrap_or_default();
        self.finish(stop, usage, out);
        Ok(())
    }

    fn finish(&mut self, stop: StopReason, usage: Usage, out: &mut VecDeque<LlmEvent>) {
        self.done = true;
        let mut reply = std::mem::take(&mut self.reply);
        for notice in self.origin.notices.drain(..) {
            reply.notice(notice);
        }
        let stop = match stop {
            StopReason::EndTurn if self.refused => StopReason::Refusal,
            stop => stop,
        };
        out.push_back(reply.finish(stop, usage, self.origin.request_id.take()).into());
    }
}

impl FrameReader for ResponseReader {
    fn event(&mut self, name: &str, data: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if self.done || data == "[DONE]" {
            return Ok(());
        }
        let mut event: Event = match parse(data) {
            Ok(event) => event,
            Err(_) if name == "error" => return Err(error::event(data)),
            Err(error) => {
                let what = format!("the service sent a strange event ({error})");
                return Err(Fault::malformed(&what, data));
            }
        };
        let kind = event.kind.get_or_insert_with(|| name.to_owned());
        if kind == "error" || (event.error.is_some() && !kind.starts_with("response.")) {
            return Err(error::event(data));
        }
        self.step(event, out)
    }

    fn document(&mut self, text: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let document: Value = parse(text).map_err(|_| {
            Fault::malformed(
                "the address answers, but not as this API; is the base URL right?",
                text,
            )
        })?;
        if let Some(fault) = error::reported(&document, None) {
            return Err(fault);
        }
        if document.get("output").is_none() {
            return Err(Fault::malformed("the service sent a document without a reply", text));
        }
        let mut response: Response = serde_json::from_value(document).map_err(|error| {
            Fault::malformed("the service sent a strange document", &error.to_string())
        })?;
        self.start(response.model.take(), out);
        self.end(response, out)
    }

    fn ended(&mut self, _out: &mut VecDeque<LlmEvent>) {
        // Without one of the last events the reply was cut.
    }
}

fn kind(item: &Value) -> &str {
    item.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn string(item: &Value, field: &str) -> String {
    item.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn contents<'a>(item: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    item.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn incomplete(reason: Option<&str>) -> StopReason {
    match reason {
        Some("max_output_tokens" | "max_tokens") => StopReason::MaxTokens,
        Some("content_filter") => StopReason::ContentFilter,
        Some(other) => StopReason::Other(other.to_owned()),
        None => StopReason::Other("incomplete".to_owned()),
    }
}

/// The API counts cached tokens as input and reasoning as output.
fn usage(reported: &Value) -> Usage {
    let count = |path: &str| reported.pointer(path).and_then(Value::as_u64);
    let cache_read = count("/input_tokens_details/cached_tokens");
    let cache_write = count("/input_tokens_details/cache_write_tokens");
    let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
    Usage {
        input: count("/input_tokens").map(|input| input.saturating_sub(cached)),
        output: count("/output_tokens"),
        cache_read,
        cache_write,
        cache_write_1h: None,
        reasoning: count("/output_tokens_details/reasoning_tokens"),
    }
}

#[cfg(test)]
mod tests;
