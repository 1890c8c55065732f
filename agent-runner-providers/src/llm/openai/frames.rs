//! The body of an answer as events, or as the one document of a server that does not stream.

use std::collections::VecDeque;

use agent_runner_core::llm::{LlmEvent, LlmRequest};
use agent_runner_core::message::ProviderState;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::{
    http::{EVENT_BYTES_MAX, SseDecoder, SseEvent},
    llm::{
        Fault,
        json::parse,
        names::ToolNames,
        stream::{ReplyDecoder, too_large},
    },
};

/// Where a reply comes from, and what that means for reading it.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) request_id: Option<String>,
    pub(super) names: ToolNames,
    /// What the request could not say.
    pub(super) notices: Vec<String>,
}

impl Origin {
    /// The origin of the reply to `request`.
    pub(super) fn of(request: &LlmRequest, names: ToolNames, provider: &str) -> Self {
        let (provider, model) = (provider.to_owned(), request.model.clone());
        Self { provider, model, request_id: None, names, notices: Vec::new() }
    }

    /// What only the same model may get back.
    pub(super) fn state(&self, raw: Value) -> ProviderState {
        ProviderState { provider: self.provider.clone(), model: self.model.clone(), raw }
    }
}

/// Reads what the body says.
pub(super) trait FrameReader: Send + 'static {
    /// An event with data, blanks around it removed.
    fn event(&mut self, name: &str, data: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault>;

    /// The whole reply in one document.
    fn document(&mut self, text: &str, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault>;

    /// The end of the body, after everything else.
    fn ended(&mut self, out: &mut VecDeque<LlmEvent>);
}

/// What the body turned out to be, which its first character tells better than its declared type.
#[derive(Debug)]
enum Form {
    Unknown,
    Events(SseDecoder),
    Document(Vec<u8>),
}

/// Decodes one reply.
#[derive(Debug)]
pub(super) struct Frames<R> {
    form: Form,
    reader: R,
}

impl<R: FrameReader> Frames<R> {
    /// A decoder that hands on what it finds.
    pub(super) const fn new(reader: R) -> Self {
        Self { form: Form::Unknown, reader }
    }

    fn event(&mut self, event: SseEvent<'_>, out: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let data = event.data.trim();
        if data.is_empty() { Ok(()) } else { self.reader.event(event.name, data, out) }
    }
}

impl<R: FrameReader> ReplyDecoder for Frames<R> {
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
            Form::Document(bytes) => {
                self.reader.document(&String::from_utf8_lossy(&bytes), out)?;
            }
            Form::Events(mut decoder) => decoder.finish(|event| {
                // An event that the end of the stream cut in two is a truncation, not a strange one.
                if event.data.trim() != "[DONE]" && parse::<IgnoredAny>(event.data).is_err() {
                    return Ok(());
                }
                self.event(event, out)
            })?,
        }
        self.reader.ended(out);
        Ok(())
    }
}
