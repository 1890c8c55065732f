//! Ollama's native API: a stream of JSON lines from `/api/chat`.

mod decode;
mod embed;
mod encode;
mod error;
mod pull;
mod wire;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use agent_runner_core::llm::{
    BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
    ProviderError, SendState,
};
use async_trait::async_trait;
use futures::StreamExt as _;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

pub use self::pull::PullProgress;
use self::{
    decode::Decoder,
    wire::{Show, Tags},
};
use super::{Fault, json, outgoing::rest_of, stream};
use crate::http::{HttpClient, Timeouts, base_url};

/// The port of a server that nobody moved.
const PORT: u16 = 11434;
/// Largest document about models read, in bytes; `/api/show` lists every tensor of a model.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Models whose abilities are remembered. More than anyone has pulled; bounds the memory.
const KNOWN_MAX: usize = 256;
/// Questions about models asked at once.
const ASKED_AT_ONCE: usize = 4;
/// Context length asked for unless told otherwise, in tokens. The server's own default (4,096 on
/// most machines) is too short for an agent, and a model's full length often exceeds the memory.
const CONTEXT_MAX: u64 = 16 * 1024;

/// Talks to an Ollama server.
///
/// A request asks for the model's context length up to a bound, because the server's default is
/// short; a conversation that does not fit is an error instead of one that silently lost its
/// beginning. `extra` of a request goes into the body as it is (`keep_alive`, `think`); its
/// `options` are added to the ones set here and win over them (`{"num_ctx": 32768}`).
#[derive(Debug)]
pub struct OllamaProvider {
    http: HttpClient,
    context_max: u64,
    known: Mutex<BTreeMap<String, Capabilities>>,
}

impl OllamaProvider {
    /// A provider with the id `ollama`. `base_url` takes every form of `OLLAMA_HOST`: a host, with
    /// or without port (11434), or a URL with its own port; empty means this machine.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the address is none, [`ErrorKind::Internal`] when TLS
    /// cannot be set up.
    pub fn new(base_url: &str) -> Result<Self, ProviderError> {
        let base = address(base_url).map_err(|what| {
            ProviderError::new(ErrorKind::InvalidRequest, "ollama", what)
                .with_sent(SendState::NotSent)
        })?;
        Ok(Self {
            http: HttpClient::new("ollama", base)?,
            context_max: CONTEXT_MAX,
            known: Mutex::default(),
        })
    }

    /// With another id, so that a program can have several of them.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.http = self.http.with_id(id);
        self
    }

    /// With a key, which only Ollama's cloud and proxies ask for.
    ///
    /// # Errors
    /// [`ErrorKind::Auth`] when the key cannot be a header.
    pub fn with_key(mut self, key: SecretString) -> Result<Self, ProviderError> {
        self.http = self.http.with_key(key)?;
        Ok(self)
    }

    /// With the longest context to ask for, in tokens; 16,384 by default, and 0 for as much as the
    /// model has. Memory grows with it.
    #[must_use]
    pub const fn with_context_max(mut self, tokens: u64) -> Self {
        self.context_max = tokens;
        self
    }

    /// With other timeouts.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Result<Self, ProviderError> {
        self.http = self.http.with_timeouts(timeouts)?;
        Ok(self)
    }

    fn known(&self, model: &str) -> Option<Capabilities> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }

    /// What the server says of a model, asked once. `None` when a server that has the model does
    /// not say (old versions, proxies): that is no reason not to call it.
    async fn ask(&self, model: &str, cx: &CallCx) -> Result<Option<Capabilities>, ProviderError> {
        if let Some(known) = self.known(model) {
            return Ok(Some(known));
        }
        let question = json!({"model": model});
        let mut answer = self.http.send(Method::POST, "api/show", Some(question), cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, Some(model));
            let error = refusal.into_error(fault);
            return match error.kind() {
                ErrorKind::ModelNotFound | ErrorKind::Auth => Err(error),
                _ => Ok(None),
            };
        }
        let text = answer.document(DOCUMENT_BYTES_MAX).await?;
        let Ok(show) = json::parse::<Show>(&text) else { return Ok(None) };
        let capabilities = self.capabilities_of(&show);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(model.to_owned(), capabilities);
        Ok(Some(capabilities))
    }

    fn capabilities_of(&self, show: &Show) -> Capabilities {
        let length = show.model_info.iter().flatten().find_map(|(field, value)| {
            field.ends_with(".context_length").then(|| value.as_u64()).flatten()
        });
        // A model without a length, and an operator without a bound, say zero.
        let context_max = Some(self.context_max).filter(|most| *most > 0);
        let window = length
            .filter(|length| *length > 0)
            .map(|length| context_max.map_or(length, |most| length.min(most)));
        let can = |what: &str| {
            show.capabilities.as_ref().map(|list| list.iter().any(|item| item == what))
        };
        Capabilities {
            tools: can("tools"),
            vision: can("vision"),
            reasoning: can("thinking"),
            context_window: window,
            ..default_capabilities()
        }
    }

    async fn info(&self, model: String, cx: &CallCx) -> ModelInfo {
        // A model that cannot be asked about is listed all the same.
        let asked = self.ask(&model, cx).await.ok().flatten();
        ModelInfo { id: model, capabilities: asked.unwrap_or_else(default_capabilities) }
    }
}

fn default_capabilities() -> Capabilities {
    // The format constrains tool calls, too, so both at once do not work.
    Capabilities {
        json_schema: Some(true),
        schema_with_tools: Some(false),
        ..Capabilities::default()
    }
}

/// The server's address from a form of `OLLAMA_HOST`.
fn address(text: &str) -> Result<Url, &'static str> {
    let text = text.trim().trim_matches(['"', '\'']);
    let mut url = if text.contains("://") {
        base_url(text)?
    } else {
        let authority = text.split('/').next().unwrap_or_default();
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let host =
            if authority.is_empty() || authority.starts_with(':') { "127.0.0.1" } else { "" };
        let mut url = base_url(&format!("http://{host}{text}"))?;
        if !has_port && url.set_port(Some(PORT)).is_err() {
            return Err("the address takes no port; write it as http://host:port");
        }
        url
    };
    // Where a server listens on every address, a client on the same machine finds it here.
    let local = match url.host_str() {
        Some("0.0.0.0") => Some("127.0.0.1"),
        Some("[::]") => Some("[::1]"),
        _ => None,
    };
    if let Some(local) = local {
        url.set_host(Some(local)).map_err(|_| "the address names no host")?;
    }
    Ok(url)
}

#[async_trait]
impl LlmProvider for OllamaProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        self.known(model).unwrap_or_else(default_capabilities)
    }

    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        let started = Instant::now();
        let mut answer = self.http.send(Method::GET, "api/tags", None, cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, None);
            return Err(refusal.into_error(fault));
        }
        let text = answer.document(DOCUMENT_BYTES_MAX).await?;
        let tags: Tags = json::parse(&text).map_err(|_| {
            answer.fault(Fault::malformed("the list of models cannot be read", &text))
        })?;
        let names = tags.models.into_iter().flatten().map(|tag| tag.name).take(KNOWN_MAX);
        Ok(futures::stream::iter(names)
            .map(|model| async move { self.info(model, &rest_of(cx, started)).await })
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await)
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let started = Instant::now();
        let own_context = encode::asked_context(request);
        let known = if own_context.is_none() || request.reasoning.is_some() {
            self.ask(&request.model, cx).await?.unwrap_or_default()
        } else {
            Capabilities::default()
        };
        let encoded =
            encode::body(request, known, self.id()).map_err(|fault| self.http.unsent(fault))?;
        let cx = rest_of(cx, started);
        let answer = self.http.send(Method::POST, "api/chat", Some(encoded.body), &cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, Some(&request.model));
            return Err(refusal.into_error(fault));
        }
        let decoder = Decoder::new(request, self.id(), answer.request_id())
            .with_notices(encoded.notices)
            .with_context(encoded.context);
        Ok(stream::events(answer, decoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_ollama_host_is_an_address() {
        let table = [
            ("", "http://127.0.0.1:11434/"),
            ("127.0.0.1:11434", "http://127.0.0.1:11434/"),
            ("0.0.0.0", "http://127.0.0.1:11434/"),
            (":5000", "http://127.0.0.1:5000/"),
            ("box", "http://box:11434/"),
            ("box:80", "http://box/"),
            ("box/ollama", "http://box:11434/ollama/"),
            ("[::1]", "http://[::1]:11434/"),
            ("[::]:7", "http://[::1]:7/"),
            ("http://box", "http://box/"),
            ("\"https://box/x\"", "https://box/x/"),
        ];
        for (text, expected) in table {
            assert_eq!(address(text).unwrap().as_str(), expected, "{text}");
        }
        for text in ["http://", "a b", "ftp://box", "user:key@box"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
