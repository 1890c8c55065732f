//! Google's Gemini API (`generateContent`).

use std::borrow::Cow;

use agent_runner_core::llm::{
    BoxStream, CallCx, Capabilities, ErrorKind, LlmEvent, LlmProvider, LlmRequest, ModelInfo,
    ProviderError, SendState,
};
use async_trait::async_trait;
use reqwest::header::HeaderName;
use secrecy::SecretString;

use super::Fault;
use crate::http::{HttpClient, Timeouts, base_url};

/// The header of the key. A key in the URL would end up in logs.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Talks to Google's Gemini API.
#[derive(Debug)]
pub struct GeminiProvider {
    http: HttpClient,
}

impl GeminiProvider {
    /// A provider with the id `gemini`. `base_url` is what stands before `/models`, usually
    /// `https://generativelanguage.googleapis.com`; without a path it means `/v1beta` there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the address is none, [`ErrorKind::Auth`] when the key
    /// cannot be a header, [`ErrorKind::Internal`] when TLS cannot be set up.
    pub fn new(base_url: &str, key: Option<SecretString>) -> Result<Self, ProviderError> {
        let base = self::base_url(base_url).map_err(|what| {
            ProviderError::new(ErrorKind::InvalidRequest, "gemini", what)
                .with_sent(SendState::NotSent)
        })?;
        let base = match base.path() {
            "/" => base.join("v1beta/").unwrap_or(base),
            _ => base,
        };
        let mut http = HttpClient::new("gemini", base)?;
        if let Some(key) = key {
            http = http.with_key_in(KEY_HEADER, "", key)?;
        }
        Ok(Self { http })
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
}

#[async_trait]
impl LlmProvider for GeminiProvider {
    fn id(&self) -> &str {
        self.http.id()
    }

    fn capabilities(&self, _model: &str) -> Capabilities {
        Capabilities::default()
    }

    async fn models(&self, _cx: &CallCx) -> Result<Vec<ModelInfo>, ProviderError> {
        let fault = Fault::new(ErrorKind::UnsupportedFeature, "the models cannot be listed");
        Err(self.http.unsent(fault))
    }

    async fn stream(
        &self,
        _request: &LlmRequest,
        _cx: &CallCx,
    ) -> Result<BoxStream<'static, Result<LlmEvent, ProviderError>>, ProviderError> {
        let fault = Fault::new(ErrorKind::UnsupportedFeature, "the models cannot be asked");
        Err(self.http.unsent(fault))
    }
}
