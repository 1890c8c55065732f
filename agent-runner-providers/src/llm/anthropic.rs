//! Anthropic's Messages API.

use std::borrow::Cow;

use agent_runner_core::llm::{
    BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
    ProviderError, SendState,
};
use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::Fault;
use crate::http::{HttpClient, Timeouts, base_url};

/// The provider's usual id.
const ID: &str = "anthropic";
/// Where the service is unless an operator says otherwise.
const BASE: &str = "https://api.anthropic.com";
/// The version of the API that this provider speaks.
const VERSION: HeaderValue = HeaderValue::from_static("2026-10-21");

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

/// Talks to Anthropic's Messages API.
#[derive(Debug)]
pub struct AnthropicProvider {
    http: HttpClient,
    cache: CacheLifetime,
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
        if let Some(path) = base.path().strip_suffix("v1/").map(str::to_owned) {
            base.set_path(&path);
        }
        let mut http = HttpClient::new(ID, base)?
            .with_header(HeaderName::from_static("anthropic-version"), VERSION);
        if let Some(key) = key {
            http = http.with_key_in(HeaderName::from_static("x-api-key"), "", key)?;
        }
        Ok(Self { http, cache: CacheLifetime::default() })
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
    pub fn with_betas(mut self, betas: Vec<String>) -> Result<Self, ProviderError> {
        if betas.is_empty() {
            return Ok(self);
        }
        let value = HeaderValue::from_str(&betas.join(",")).map_err(|_| {
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
}

#[async_trait]
impl LlmProvider for AnthropicProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        Capabilities::default()
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        Err(self.http.unsent(Fault::new(ErrorKind::UnsupportedFeature, "not yet")))
    }

    async fn stream(
        &self,
        _request: &LlmRequest,
        _cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        Err(self.http.unsent(Fault::new(ErrorKind::UnsupportedFeature, "not yet")))
    }
}
