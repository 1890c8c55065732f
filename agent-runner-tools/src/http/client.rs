//! The one HTTP client of the tools: the list is asked before every request.

use std::{fmt, sync::Arc, time::Duration};

use agent_runner_core::tool::{ToolCx, ToolError, ToolErrorKind};
use reqwest::{
    RequestBuilder, Response,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
    redirect,
};
use url::Url;

use super::allow::HttpAllow;

/// Longest time of one call, connecting and the body included. The tools' own timeout.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest body, of a request and of an answer, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 8 * 1024;
/// What the operator sets to open the tools.
const SETTING: &str = "AGENT_RUNNER_HTTP_ALLOW";

/// The client could not be built: the program's TLS provider does not serve it.
#[derive(Debug)]
pub struct HttpClientError(reqwest::Error);

impl fmt::Display for HttpClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the HTTP client of the tools could not be built")
    }
}

impl std::error::Error for HttpClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// An HTTP client that calls listed hosts only. Cheap to clone.
///
/// It follows no redirect, uses no proxy (whatever the environment says), keeps no cookies, asks
/// for bodies as they are, tries nothing twice and reuses no connection, so that a request that
/// failed to connect was certainly not sent.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    allow: Arc<HttpAllow>,
}

impl HttpClient {
    /// A client for the hosts of `allow`. Certificates are those that the system trusts; where
    /// there are none, a warning says so and only plain http works.
    ///
    /// # Errors
    /// [`HttpClientError`].
    pub fn new(allow: HttpAllow) -> Result<Self, HttpClientError> {
        Self::with_timeout(allow, CALL_TIMEOUT)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the guard of listed hosts")]
    pub(super) fn with_timeout(
        allow: HttpAllow,
        timeout: Duration,
    ) -> Result<Self, HttpClientError> {
        // Fails when the program has installed one already, which then is the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("agent-runner/", env!("CARGO_PKG_VERSION")))
                .default_headers(headers.clone())
                .no_proxy()
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .pool_max_idle_per_host(0)
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(timeout)
        };
        let client = builder().build().or_else(|error| {
            // A bare container has no certificates. Plain http, loopback above all, works there.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "https calls of tools will fail: install the system's CA certificates"
            );
            builder().tls_certs_only([]).build()
        });
        Ok(Self { client: client.map_err(HttpClientError)?, allow: Arc::new(allow) })
    }

    /// The list as part of a tool's description.
    pub(super) fn reachable(&self) -> String {
        if self.allow.is_empty() {
            return "The operator has allowed no host yet.".to_owned();
        }
        let list: String = self.allow.to_string().chars().take(2_000).collect();
        format!("Allowed hosts: {list}.")
    }

    pub(super) fn get(&self, url: &str) -> Result<Call, ToolError> {
        let url = self.check(url)?;
        Ok(Call { host: host_of(&url), request: self.client.get(url) })
    }

    pub(super) fn post(&self, url: &str) -> Result<Call, ToolError> {
        let url = self.check(url)?;
        Ok(Call { host: host_of(&url), request: self.client.post(url) })
    }

    fn check(&self, text: &str) -> Result<Url, ToolError> {
        let invalid = |said: &str| ToolError::new(ToolErrorKind::InvalidArgs, said);
        if text.len() > URL_BYTES_MAX {
            return Err(invalid("`url` is longer than 8 KiB: shorten it"));
        }
        // The URL parser drops them without a word, so a name could be hidden from a reader.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("`url` holds a space or a control character: percent-encode it"));
        }
        let url = Url::parse(text).map_err(|error| {
            invalid("`url` is not a URL: write it in full, such as `https://example.com/path`")
                .with_source(error)
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(denied("`url` must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(denied("`url` must not hold a user name or a password"));
        }
        if !self.allow.allows(&url) {
            let host = host_of(&url);
            return Err(denied(&format!(
                "the host {host} is not allowed. The operator can allow it by adding {host} to \
                 {SETTING}; go on without it or use an allowed host"
            )));
        }
        Ok(url)
    }
}

fn denied(said: &str) -> ToolError {
    ToolError::new(ToolErrorKind::Denied, said)
}

/// `host:port`, as the list spells it.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A checked request.
pub(super) struct Call {
    /// `host:port`, for errors.
    host: String,
    pub(super) request: RequestBuilder,
}

/// The head of an answer, and its body as far as it is wanted.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether the body has more than [`BODY_BYTES_MAX`] bytes.
    pub(super) cut: bool,
}

impl Answer {
    /// The header `Content-Type`.
    pub(super) fn content_type(&self) -> Option<String> {
        self.header(CONTENT_TYPE.as_str())
    }

    /// The header `Location` of a redirect.
    pub(super) fn location(&self) -> Option<String> {
        if (300..400).contains(&self.status) { self.header(LOCATION.as_str()) } else { None }
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// A body as text, and whether bytes that are no UTF-8 were replaced.
pub(super) fn text_of(body: Vec<u8>) -> (String, bool) {
    match String::from_utf8(body) {
        Ok(text) => (text, false),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
    }
}

impl Call {
    /// Sends the request and reads the answer. Dropping the future closes the connection.
    pub(super) async fn send(self, cx: &ToolCx) -> Result<Answer, ToolError> {
        let Self { host, request } = self;
        if cx.cancel.is_cancelled() {
            let said = "the call was cancelled before anything was sent";
            return Err(ToolError::new(ToolErrorKind::Cancelled, said));
        }
        let exchange = async {
            let response = request.send().await.map_err(|error| transport(&host, error))?;
            read(response).await.map_err(|error| transport(&host, error))
        };
        cx.cancel.run_until_cancelled(exchange).await.unwrap_or_else(|| {
            let said = "the call was cancelled; the server may have acted on it";
            Err(ToolError::new(ToolErrorKind::Cancelled, said).may_have_run())
        })
    }
}

async fn read(mut response: Response) -> Result<Answer, reqwest::Error> {
    let mut answer = Answer {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: Vec::new(),
        cut: false,
    };
    while let Some(chunk) = response.chunk().await? {
        let room = BODY_BYTES_MAX.saturating_sub(answer.body.len());
        answer.body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            answer.cut = true;
            break;
        }
    }
    Ok(answer)
}

/// What went wrong on the way. The URL may hold a secret, so it goes nowhere.
fn transport(host: &str, error: reqwest::Error) -> ToolError {
    let error = error.without_url();
    if error.is_connect() {
        let said = format!("could not connect to {host}; nothing was sent");
        return ToolError::new(ToolErrorKind::Network, said).with_source(error);
    }
    let (kind, said) = if error.is_timeout() {
        (ToolErrorKind::Timeout, format!("{host} did not answer in time"))
    } else {
        (ToolErrorKind::Network, format!("the connection to {host} broke before the answer ended"))
    };
    ToolError::new(kind, said).may_have_run().with_source(error)
}
