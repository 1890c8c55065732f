//! The one HTTP client: how requests are sent.

use std::{borrow::Cow, time::Duration};

use agent_runner_core::llm::{CallCx, ErrorKind, ProviderError, SendState};
use reqwest::{
    Method,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::answer::{Body, Call, deepest};
use crate::llm::Fault;

/// How long a provider waits for its service. Each wait restarts when its phase begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For the connection, TLS included. 10 s by default.
    pub connect: Duration,
    /// From the request to the first byte of the answer's body. 5 minutes by default, because a
    /// local server loads the model first and a reasoning model thinks first.
    pub first_byte: Duration,
    /// Between two pieces of the body. 2 minutes by default.
    pub idle: Duration,
    /// Without anything of a reply, although the service sends signs of life. 15 minutes by
    /// default, because a request may wait in a queue and a model think without showing it.
    pub content: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(120),
            content: Duration::from_secs(900),
        }
    }
}

impl Timeouts {
    /// With that time for the connection.
    #[must_use]
    pub const fn with_connect(mut self, connect: Duration) -> Self {
        self.connect = connect;
        self
    }

    /// With that time to the first byte of the body.
    #[must_use]
    pub const fn with_first_byte(mut self, first_byte: Duration) -> Self {
        self.first_byte = first_byte;
        self
    }

    /// With that time between two pieces of the body.
    #[must_use]
    pub const fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// With that time without anything of a reply.
    #[must_use]
    pub const fn with_content(mut self, content: Duration) -> Self {
        self.content = content;
        self
    }
}

/// A client for one service.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: reqwest::Client,
    provider: Cow<'static, str>,
    base: Url,
    // Twice, because a header cannot be searched for in a text and a secret is no header.
    key: Option<SecretString>,
    headers: HeaderMap,
    timeouts: Timeouts,
}

impl HttpClient {
    /// A client for the service at `base`, whose path ends with a slash.
    pub(crate) fn new(provider: &'static str, base: Url) -> Result<Self, ProviderError> {
        let timeouts = Timeouts::default();
        let client = build(provider, &base, timeouts)?;
        let provider = Cow::Borrowed(provider);
        Ok(Self { client, provider, base, key: None, headers: HeaderMap::new(), timeouts })
    }

    /// With a key, sent as `Authorization: Bearer`.
    pub(crate) fn with_key(self, key: SecretString) -> Result<Self, ProviderError> {
        self.with_key_in(reqwest::header::AUTHORIZATION, "Bearer ", key)
    }

    /// With a key, sent in that header behind a prefix.
    pub(crate) fn with_key_in(
        mut self,
        header: HeaderName,
        prefix: &str,
        key: SecretString,
    ) -> Result<Self, ProviderError> {
        let value = format!("{prefix}{}", key.expose_secret());
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            // The cause would quote the key.
            self.error(
                ErrorKind::Auth,
                "the API key contains characters that a header cannot carry; is a line break at its end?",
            )
        })?;
        value.set_sensitive(true);
        self.headers.insert(header, value);
        self.key = Some(key);
        Ok(self)
    }

    /// With a header that every request carries.
    pub(crate) fn with_header(mut self, header: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(header, value);
        self
    }

    /// With another provider id.
    pub(crate) fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.provider = id.into();
        self
    }

    /// With other timeouts.
    pub(crate) fn with_timeouts(mut self, timeouts: Timeouts) -> Result<Self, ProviderError> {
        self.client = build(self.provider.clone(), &self.base, timeouts)?;
        self.timeouts = timeouts;
        Ok(self)
    }

    /// The provider's id.
    pub(crate) fn id(&self) -> &str {
        &self.provider
    }

    fn error(&self, kind: ErrorKind, context: impl Into<String>) -> ProviderError {
        ProviderError::new(kind, self.provider.clone(), context).with_sent(SendState::NotSent)
    }

    /// Makes an error of a request that is wrong before it is sent.
    pub(crate) fn unsent(&self, fault: Fault) -> ProviderError {
        self.error(fault.kind, fault.message)
    }

    /// Sends a request and waits for the answer's head. `path` is relative to the base. The body's value is
    /// let go before the waiting, which may be long.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        cx: &CallCx,
    ) -> Result<Body, ProviderError> {
        let started = Instant::now();
        let url = self.base.join(path).map_err(|error| {
            self.error(ErrorKind::Internal, "the base URL takes no path").with_source(error)
        })?;
        // Compression would hold deltas back until a block of it is full.
        let mut request = self
            .client
            .request(method, url)
            .header(ACCEPT_ENCODING, "identity")
            .headers(self.headers.clone());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let call = Call {
            provider: self.provider.clone(),
            place: self.base.origin().ascii_serialization(),
            key: self.key.clone(),
            cancel: cx.cancel.clone(),
            first_byte: self.timeouts.first_byte,
            idle: self.timeouts.idle,
            content: self.timeouts.content,
            started,
            total: cx.timeout,
        };
        let response = call
            .wait(started, call.first_byte, request.send())
            .await?
            .map_err(|error| call.transport(error))?;
        Ok(Body::new(response, call))
    }
}

#[expect(clippy::disallowed_methods, reason = "the operator chose the address")]
fn build(
    provider: impl Into<Cow<'static, str>>,
    base: &Url,
    timeouts: Timeouts,
) -> Result<reqwest::Client, ProviderError> {
    // Fails when the program has installed a provider already, which then is the one to use.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = reqwest::Client::builder()
        .connect_timeout(timeouts.connect)
        // A redirected POST loses its body or hands the key to another host.
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .user_agent(concat!("agent-runner/", env!("CARGO_PKG_VERSION")));
    if base.scheme() == "http" {
        // Without TLS a machine without CA certificates is no reason to fail.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        let cause = deepest(&error);
        ProviderError::new(
            ErrorKind::Internal,
            provider,
            format!("cannot set up TLS: {cause}; are CA certificates installed?"),
        )
        .with_sent(SendState::NotSent)
        .with_source(error.without_url())
    })
}
