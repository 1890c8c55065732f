//! What was asked of models and what came of it, as a file.

mod journal;
mod nearest;
mod redact;

use std::time::Duration;

use agent_runner_core::{
    event::DecodeEventError,
    llm::{Capabilities, ErrorKind, LlmEvent, LlmRequest, ProviderError, Recovery, SendState},
    machine::ApplyError,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use self::{nearest::difference, redact::Redactor};
use super::canonical::{RequestKey, conversation, normal};

/// The version of the format that this library writes.
const VERSION: u64 = 1;

/// How much of a request is known, and so has to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// All of it.
    Request,
    /// The model and the conversation. A run's journal has neither the descriptions of its tools
    /// nor the instructions that are made of them.
    Conversation,
}

impl Scope {
    /// As much of a request as it covers.
    pub(super) fn normal(self, request: &LlmRequest) -> Value {
        match self {
            Self::Request => normal(request),
            Self::Conversation => conversation(request),
        }
    }
}

/// An event and when it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// Milliseconds since the request.
    pub at_ms: u64,
    /// What came.
    pub event: LlmEvent,
}

/// An error as a file keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedError {
    /// Milliseconds since the request.
    pub at_ms: u64,
    /// What happened.
    pub kind: ErrorKind,
    /// What to do about it.
    pub recovery: Recovery,
    /// Whether the request reached the service.
    pub sent: SendState,
    /// For people.
    pub context: String,
    /// The HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The service's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The service's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Milliseconds that the service asks to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The whole milliseconds of a time.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl RecordedError {
    /// The error without its cause, which is no text.
    pub(super) fn of(error: &ProviderError, at_ms: u64) -> Self {
        Self {
            at_ms,
            kind: error.kind(),
            recovery: error.recovery(),
            sent: error.sent(),
            context: error.context().to_owned(),
            http_status: error.http_status(),
            code: error.code().map(str::to_owned),
            request_id: error.request_id().map(str::to_owned),
            retry_after_ms: error.retry_after().map(millis),
        }
    }

    /// The error of that provider.
    pub(super) fn to_error(&self, provider: &str) -> ProviderError {
        let mut error = ProviderError::new(self.kind, provider.to_owned(), self.context.as_str())
            .with_recovery(self.recovery)
            .with_sent(self.sent);
        if let Some(status) = self.http_status {
            error = error.with_http_status(status);
        }
        if let Some(code) = &self.code {
            error = error.with_code(code.as_str());
        }
        if let Some(id) = &self.request_id {
            error = error.with_request_id(id.as_str());
        }
        if let Some(wait) = self.retry_after_ms {
            error = error.with_retry_after(Duration::from_millis(wait));
        }
        error
    }
}

/// A call and what came of it: events that end with [`LlmEvent::Finished`], or with the error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// How much of the request is known.
    pub scope: Scope,
    /// Names it; see [`RequestKey`].
    pub key: RequestKey,
    /// The id of the provider that was asked.
    pub provider: String,
    /// What its model could do.
    pub capabilities: Capabilities,
    /// The request in its normal form, as far as it is known.
    pub request: Value,
    /// What came, in order.
    pub events: Vec<RecordedEvent>,
    /// How it ended, if not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordedError>,
}

impl Interaction {
    /// The model that was asked.
    #[must_use]
    pub fn model(&self) -> &str {
        self.request.get("model").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it ends, and nothing comes after the end.
    fn is_complete(&self) -> bool {
        let is_end = |it: &RecordedEvent| matches!(it.event, LlmEvent::Finished(_));
        let ends = self.events.iter().filter(|it| is_end(it)).count();
        match self.error {
            Some(_) => ends == 0,
            None => ends == 1 && self.events.last().is_some_and(is_end),
        }
    }
}

/// What is wrong with a cassette or a journal.
#[derive(Debug)]
#[non_exhaustive]
pub enum CassetteError {
    /// The text does not begin with a header.
    NoHeader,
    /// A newer version of this library wrote it.
    Version(u64),
    /// A line is not an interaction.
    Line(usize, serde_json::Error),
    /// A line is an interaction without an end.
    Incomplete(usize),
    /// The event of this number stands in the journal without its payload: read it whole.
    Stub(u64),
    /// An event of the journal cannot be read.
    Event(DecodeEventError),
    /// The journal breaks the rules of a run.
    Journal(ApplyError),
    /// The cassette would be larger than that many bytes.
    TooLarge(usize),
}

impl std::fmt::Display for CassetteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoHeader => {
                write!(
                    f,
                    "the text is no cassette: its first line must be {{\"cassette\":{VERSION}}}"
                )
            }
            Self::Version(version) => {
                write!(f, "the cassette has version {version}; this library reads up to {VERSION}")
            }
            Self::Line(line, _) => write!(f, "line {line} of the cassette cannot be read"),
            Self::Incomplete(line) => {
                write!(f, "line {line} of the cassette has neither a complete reply nor an error")
            }
            Self::Stub(seq) => {
                write!(f, "event {seq} is large and stands apart from its journal; read it whole")
            }
            Self::Event(_) => f.write_str("the journal cannot be read"),
            Self::Journal(_) => f.write_str("the journal cannot be replayed"),
            Self::TooLarge(max) => {
                write!(f, "the run's conversations are too long for a cassette of {max} bytes")
            }
        }
    }
}

impl std::error::Error for CassetteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Line(_, source) => Some(source),
            Self::Event(source) => Some(source),
            Self::Journal(source) => Some(source),
            Self::NoHeader
            | Self::Version(_)
            | Self::Incomplete(_)
            | Self::Stub(_)
            | Self::TooLarge(_) => None,
        }
    }
}

/// Calls of models and what came of them, in the order in which they ended.
///
/// As a file it is JSON lines: a header `{"cassette":1}`, then one [`Interaction`] a line. Files
/// may be appended to each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cassette {
    /// The calls.
    pub interactions: Vec<Interaction>,
}

impl Cassette {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`CassetteError`] that names the line.
    pub fn from_json_lines(text: &str) -> Result<Self, CassetteError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().and_then(|(_, line)| version(line));
        read_up_to(header.ok_or(CassetteError::NoHeader)?)?;
        let mut interactions = Vec::new();
        for (n, line) in lines {
            if let Some(version) = version(line) {
                read_up_to(version)?;
                continue;
            }
            let interaction: Interaction =
                serde_json::from_str(line).map_err(|error| CassetteError::Line(n + 1, error))?;
            if !interaction.is_complete() {
                return Err(CassetteError::Incomplete(n + 1));
            }
            interactions.push(interaction);
        }
        Ok(Self { interactions })
    }

    /// The cassette without these secrets, wherever they stand. Calls out of which one cannot be
    /// taken are left out.
    #[must_use]
    pub fn without(self, secrets: &[SecretString]) -> Self {
        let redactor = Redactor::new(secrets);
        let kept = self.interactions.into_iter().filter_map(|it| redactor.interaction(it));
        Self { interactions: kept.collect() }
    }

    /// The text of a file.
    #[must_use]
    pub fn to_json_lines(&self) -> String {
        let mut text = format!("{}\n", json!({ "cassette": VERSION }));
        for interaction in &self.interactions {
            text.push_str(&line(interaction));
            text.push('\n');
        }
        text
    }
}

/// An interaction as a line.
pub(super) fn line(interaction: &Interaction) -> String {
    // Serialising our own types cannot fail: no map has keys other than strings.
    serde_json::to_string(interaction).unwrap_or_default()
}

/// The version that a header names.
fn version(line: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Header {
        cassette: u64,
    }
    serde_json::from_str::<Header>(line).ok().map(|header| header.cassette)
}

const fn read_up_to(version: u64) -> Result<(), CassetteError> {
    if version > VERSION { Err(CassetteError::Version(version)) } else { Ok(()) }
}
