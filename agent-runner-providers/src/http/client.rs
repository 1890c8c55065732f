//! The one HTTP client: how requests are sent and how their answers are waited for and read.

use std::{borrow::Cow, error::Error as StdError, time::Duration};

use agent_runner_core::llm::{CallCx, ErrorKind, ProviderError, Recovery, SendState};
use bytes::Bytes;
use reqwest::{
    Method, Response,
    header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{redact::excerpt, retry_after::retry_after};
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
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(120),
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
}

/// Bytes of a refusal's body that are read; its error document stands at the beginning.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Time for the body of a refusal, of which the status alone says enough.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// A client for one service.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: reqwest::Client,
    provider: Cow<'static, str>,
    base: Url,
    // Twice, because a header cannot be searched for in a text and a secret is no header.
    key: Option<SecretString>,
    authorization: Option<HeaderValue>,
    timeouts: Timeouts,
}

impl HttpClient {
    /// A client for the service at `base`, whose path ends with a slash.
    pub(crate) fn new(provider: &'static str, base: Url) -> Result<Self, ProviderError> {
        let timeouts = Timeouts::default();
        let client = build(provider, &base, timeouts)?;
        let provider = Cow::Borrowed(provider);
        Ok(Self { client, provider, base, key: None, authorization: None, timeouts })
    }

    /// With a key, sent as `Authorization: Bearer`.
    pub(crate) fn with_key(mut self, key: SecretString) -> Result<Self, ProviderError> {
        let value = format!("Bearer {}", key.expose_secret());
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            // The cause would quote the key.
            self.error(
                ErrorKind::Auth,
                "the API key contains characters that a header cannot carry; is a line break at its end?",
            )
        })?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        self.key = Some(key);
        Ok(self)
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

    /// Sends a request and waits for the answer's head. `path` is relative to the base.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        cx: &CallCx,
    ) -> Result<Body, ProviderError> {
        let started = Instant::now();
        let url = self.base.join(path).map_err(|error| {
            self.error(ErrorKind::Internal, "the base URL takes no path").with_source(error)
        })?;
        // Compression would hold deltas back until a block of it is full.
        let mut request = self.client.request(method, url).header(ACCEPT_ENCODING, "identity");
        if let Some(key) = &self.authorization {
            request = request.header(AUTHORIZATION, key.clone());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let call = Call {
            provider: self.provider.clone(),
            place: self.base.origin().ascii_serialization(),
            key: self.key.clone(),
            cancel: cx.cancel.clone(),
            first_byte: self.timeouts.first_byte,
            idle: self.timeouts.idle,
            first_byte_by: started + self.timeouts.first_byte,
            total: cx.timeout.map(|timeout| (started + timeout, timeout)),
        };
        let response = call
            .wait(call.first_byte_by, call.first_byte, request.send())
            .await?
            .map_err(|error| call.transport(error))?;
        Ok(Body { response, call, started: false })
    }
}

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

fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What the waiting for an answer needs to know.
#[derive(Debug)]
struct Call {
    provider: Cow<'static, str>,
    /// Scheme, host and port: what a person needs in order to mend a connection.
    place: String,
    key: Option<SecretString>,
    cancel: CancellationToken,
    first_byte: Duration,
    idle: Duration,
    first_byte_by: Instant,
    total: Option<(Instant, Duration)>,
}

impl Call {
    /// Waits for `work` until `by`, which is `patience` after its beginning.
    async fn wait<T>(
        &self,
        by: Instant,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, ProviderError> {
        let (by, timeout) = match self.total {
            Some((total_by, total)) if total_by < by => (total_by, Err(total)),
            _ => (by, Ok(patience)),
        };
        // `work` goes before the timer: a reader that was itself slow must not blame the service.
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(self.error(ErrorKind::Cancelled, "the call was cancelled")),
            done = work => Ok(done),
            () = tokio::time::sleep_until(by) => Err(self.error(ErrorKind::Timeout, match timeout {
                Ok(patience) => format!("{} sent nothing for {patience:?}", self.place),
                Err(total) => format!("{} did not complete its answer within {total:?}", self.place),
            })),
        }
    }

    fn error(&self, kind: ErrorKind, context: impl Into<String>) -> ProviderError {
        ProviderError::new(kind, self.provider.clone(), context)
    }

    fn transport(&self, error: reqwest::Error) -> ProviderError {
        let (kind, sent, what) = if error.is_connect() {
            let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Network };
            (kind, SendState::NotSent, "cannot connect to")
        } else if error.is_builder() {
            (ErrorKind::Internal, SendState::NotSent, "cannot build the request to")
        } else {
            (ErrorKind::Network, SendState::Unknown, "lost the connection to")
        };
        let cause = deepest(&error);
        self.error(kind, format!("{what} {}: {cause}", self.place))
            .with_sent(sent)
            .with_source(error.without_url())
    }

    fn excerpt(&self, text: &str) -> String {
        excerpt(text, self.key.as_ref().map(|key| key.expose_secret()))
    }
}

/// An answer: its head, and its body as it comes in. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Body {
    response: Response,
    call: Call,
    started: bool,
}

impl Body {
    /// The next piece, `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        let (by, patience) = if self.started {
            (Instant::now() + self.call.idle, self.call.idle)
        } else {
            (self.call.first_byte_by, self.call.first_byte)
        };
        let chunk = self.call.wait(by, patience, self.response.chunk()).await;
        self.started = true;
        match chunk.map_err(|error| self.sent(error))? {
            Ok(chunk) => Ok(chunk),
            Err(error) => {
                let context = format!(
                    "the connection to {} broke in the middle of the answer: {}",
                    self.call.place,
                    deepest(&error)
                );
                let broken = self.call.error(ErrorKind::StreamTruncated, context);
                Err(self.sent(broken.with_source(error.without_url())))
            }
        }
    }

    /// Whether the service accepted the request.
    pub(crate) fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// The service's own id of the request.
    pub(crate) fn request_id(&self) -> Option<String> {
        let headers = self.response.headers();
        ["x-request-id", "request-id", "x-generation-id"]
            .into_iter()
            .find_map(|name| headers.get(name)?.to_str().ok())
            .map(|id| self.call.excerpt(id))
            .filter(|id| !id.is_empty())
    }

    /// Reads a document of at most `limit` bytes to its end.
    pub(crate) async fn document(&mut self, limit: usize) -> Result<String, ProviderError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > limit {
                return Err(self.fault(Fault::new(
                    ErrorKind::MalformedResponse,
                    format!("the answer is larger than {limit} bytes"),
                )));
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads what a service says about a request that it refused.
    pub(crate) async fn refusal(mut self) -> Refusal {
        let mut bytes = Vec::new();
        let by = Instant::now() + REFUSAL_PATIENCE;
        while bytes.len() < REFUSAL_BYTES_MAX {
            let piece = self.call.wait(by, REFUSAL_PATIENCE, self.response.chunk()).await;
            let Ok(Ok(Some(piece))) = piece else { break };
            bytes.extend_from_slice(&piece);
        }
        bytes.truncate(REFUSAL_BYTES_MAX);
        Refusal {
            status: self.response.status().as_u16(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
            body: self,
        }
    }

    /// Makes an error of what the service said in an accepted answer.
    pub(crate) fn fault(&self, fault: Fault) -> ProviderError {
        let error = self.call.error(fault.kind, self.call.excerpt(&fault.message));
        self.sent(match fault.code {
            Some(code) => error.with_code(self.call.excerpt(&code)),
            None => error,
        })
    }

    fn sent(&self, error: ProviderError) -> ProviderError {
        let error = error.with_sent(SendState::Sent);
        match self.request_id() {
            Some(id) => error.with_request_id(id),
            None => error,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }
}

/// A request that the service refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The beginning of the body.
    pub(crate) text: String,
    body: Body,
}

impl Refusal {
    /// Makes an error of it, with what the headers say about trying again.
    pub(crate) fn into_error(self, fault: Fault) -> ProviderError {
        let mut error = self.body.fault(fault).with_http_status(self.status);
        if let Some(wait) = retry_after(self.body.headers(), jiff::Timestamp::now()) {
            error = error.with_retry_after(wait);
        }
        match self.body.header("x-should-retry") {
            Some("true") => error.with_recovery(Recovery::Retry),
            Some("false") if error.recovery() == Recovery::Retry => {
                error.with_recovery(Recovery::GiveUp)
            }
            _ => error,
        }
    }
}
