//! Anthropic's Messages API.

mod blocks;
mod decode;
mod encode;
mod error;
mod models;
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
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;
use url::form_urlencoded;

use self::{
    decode::Decoder,
    encode::{Encoded, Setting},
    wire::Page,
};
use super::{
    Fault, json,
    names::{NameRules, ToolNames},
    stream,
};
use crate::http::{HttpClient, Timeouts, base_url};

/// The provider's usual id.
const ID: &str = "anthropic";
/// Where the service is unless an operator says otherwise.
const BASE: &str = "https://api.anthropic.com";
/// The version of the API that this provider speaks.
const VERSION: HeaderValue = HeaderValue::from_static("2026-10-21");
/// The names that the API takes: `^[a-zA-Z0-9_-]{1,128}$`.
const NAMES: NameRules = NameRules { length_max: 128, also: "-", any_first: true };
/// Models asked for at once, the most that the service gives.
const PAGE: &str = "1000";
/// Pages of the list of models that are read; the service has far fewer models.
const PAGES_MAX: usize = 8;
/// Largest page read, in bytes.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest answer with a count read, in bytes.
const COUNT_BYTES_MAX: usize = 64 * 1024;
/// Models whose abilities are remembered. More than the service has; bounds the memory.
const KNOWN_MAX: usize = 1024;

/// How long the service keeps the beginning of a conversation that it has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheLifetime {
    /// Nothing is kept: every turn pays for the whole conversation.
    Off,
    /// Five minutes after its last use.
    #[default]
    FiveMinutes,
    /// An hour after its last use. Writing costs more.
    OneHour,
}

/// Talks to Anthropic's Messages API, or to a server that speaks it.
///
/// The API demands an output limit: that of the request, else the model's own as far as it is
/// known, else 16,384 tokens. It takes no temperature; one that is asked for is left out, and the
/// reply says so. `extra` of a request goes into the body as it is (`stop_sequences`,
/// `service_tier`); its `output_config` is added to the one set here; a field that is `null` there
/// is taken out of the body (`"thinking": null`).
#[derive(Debug)]
pub struct AnthropicProvider {
    http: HttpClient,
    cache: CacheLifetime,
    known: Mutex<BTreeMap<String, Capabilities>>,
}

impl AnthropicProvider {
    /// A provider with the id `anthropic`. `base_url` is what stands before `/v1/messages`; empty
    /// means `https://api.anthropic.com`. The key is sent as `x-api-key`; compatible servers may
    /// need none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the address is none, [`ErrorKind::Auth`] when the key
    /// cannot be a header, [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn new(base_url: &str, key: Option<SecretString>) -> Result<Self, ProviderError> {
        let base_url = if base_url.trim().is_empty() { BASE } else { base_url };
        let mut base = self::base_url(base_url).map_err(|what| {
            ProviderError::new(ErrorKind::InvalidRequest, ID, what).with_sent(SendState::NotSent)
        })?;
        // The paths begin with the version, which people like to write into the address, too.
        if let Some(path) = base.path().strip_suffix("/v1/").map(|path| format!("{path}/")) {
            base.set_path(&path);
        }
        let mut http = HttpClient::new(ID, base)?
            .with_header(HeaderName::from_static("anthropic-version"), VERSION);
        if let Some(key) = key {
            http = http.with_key_in(HeaderName::from_static("x-api-key"), "", key)?;
        }
        Ok(Self { http, cache: CacheLifetime::default(), known: Mutex::default() })
    }

    /// With another id, so that a program can have several of them.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.http = self.http.with_id(id);
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

    /// With features that the service is still trying out, by their names in `anthropic-beta`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when a name cannot be in a header.
    pub fn with_betas(
        mut self,
        betas: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, ProviderError> {
        let names: Vec<String> =
            betas.into_iter().map(|beta| beta.as_ref().trim().to_owned()).collect();
        let names = names.join(",");
        if names.is_empty() {
            return Ok(self);
        }
        let value = HeaderValue::from_str(&names).map_err(|_| {
            let message =
                "the name of a beta feature contains characters that a header cannot carry";
            self.http.unsent(Fault::new(ErrorKind::InvalidRequest, message))
        })?;
        self.http = self.http.with_header(HeaderName::from_static("anthropic-beta"), value);
        Ok(self)
    }

    /// With another lifetime of the prompt cache; five minutes by default.
    #[must_use]
    pub const fn with_cache(mut self, lifetime: CacheLifetime) -> Self {
        self.cache = lifetime;
        self
    }

    fn encoded(
        &self,
        request: &LlmRequest,
        names: &ToolNames,
        cache: CacheLifetime,
    ) -> Result<Encoded, ProviderError> {
        let setting = Setting {
            provider: self.id(),
            names,
            cache,
            generation: models::generation_of(&request.model),
            max_output: self.capabilities(&request.model).max_output,
        };
        encode::body(request, &setting).map_err(|fault| self.http.unsent(fault))
    }

    async fn page(&self, after: Option<&str>, cx: &CallCx) -> Result<Page, ProviderError> {
        let mut answer = self.http.send(Method::GET, &page_path(after), None, cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, None);
            return Err(refusal.into_error(fault));
        }
        let text = answer.document(PAGE_BYTES_MAX).await?;
        json::parse(&text)
            .map_err(|_| answer.fault(Fault::malformed("the list of models cannot be read", &text)))
    }

    fn remember(&self, models: &[ModelInfo]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + models.len() > KNOWN_MAX {
            known.clear();
        }
        known.extend(models.iter().take(KNOWN_MAX).map(|it| (it.id.clone(), it.capabilities)));
    }
}

#[async_trait]
impl LlmProvider for AnthropicProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    fn capabilities(&self, model: &str) -> Capabilities {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied();
        known.unwrap_or_else(|| models::generation_of(model).capabilities())
    }

    async fn models(&self, cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        let started = Instant::now();
        let mut models = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.page(after.as_deref(), &rest(cx, started)).await?;
            models.extend(page.data.iter().filter_map(models::info));
            match page.last_id.filter(|_| page.has_more == Some(true)) {
                Some(last) if after.as_ref() != Some(&last) => after = Some(last),
                _ => break,
            }
        }
        self.remember(&models);
        Ok(models)
    }

    async fn count_tokens(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<Option<u64>, ProviderError> {
        let names = ToolNames::of(request, NAMES);
        let body = self.encoded(request, &names, CacheLifetime::Off)?.body;
        let body = encode::counted(body);
        let mut answer =
            self.http.send(Method::POST, "v1/messages/count_tokens", Some(body), cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, Some(&request.model));
            // Compatible servers do not all count.
            let is_unknown = matches!(refusal.status, 404 | 405 | 501);
            if is_unknown && fault.kind != ErrorKind::ModelNotFound {
                return Ok(None);
            }
            return Err(refusal.into_error(fault));
        }
        let text = answer.document(COUNT_BYTES_MAX).await?;
        let document: Option<Value> = json::parse(&text).ok();
        document
            .and_then(|document| document.get("input_tokens")?.as_u64())
            .map(Some)
            .ok_or_else(|| answer.fault(Fault::malformed("the count cannot be read", &text)))
    }

    async fn stream(
        &self,
        request: &LlmRequest,
        cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let names = ToolNames::of(request, NAMES);
        let encoded = self.encoded(request, &names, self.cache)?;
        let answer = self.http.send(Method::POST, "v1/messages", Some(encoded.body), cx).await?;
        if !answer.is_success() {
            let refusal = answer.refusal().await;
            let fault = error::refused(&refusal, Some(&request.model));
            return Err(refusal.into_error(fault));
        }
        let decoder = Decoder::new(request, names, self.id(), answer.request_id())
            .with_notices(encoded.notices);
        Ok(stream::events(answer, decoder))
    }
}

/// The circumstances of a call that is made of several requests, for the next of them.
fn rest(cx: &CallCx, started: Instant) -> CallCx {
    let left = cx.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
    CallCx { timeout: left, ..cx.clone() }
}

/// The path of a page of the list of models.
fn page_path(after: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", PAGE);
    if let Some(after) = after {
        query.append_pair("after_id", after);
    }
    format!("v1/models?{}", query.finish())
}
