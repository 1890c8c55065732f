//! A server that is a service.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use reqwest::{
    Client,
    header::{HeaderName, HeaderValue},
    redirect,
};
use rmcp::{
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::{
        StreamableHttpClientTransport,
        common::client_side_sse::ExponentialBackoff,
        streamable_http_client::{
            HttpStatusError, SseError, StreamableHttpClient, StreamableHttpClientTransportConfig,
            StreamableHttpError, StreamableHttpPostResponse, StreamableHttpResponseLimits,
        },
    },
};
use rmcp_sse::Sse;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    config::{McpServerError, parse_header, parse_url},
    link::Link,
    secret::Redactor,
};

/// Longest time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request failed. The URL may hold a secret, so it says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpFault {
    /// Nothing was sent.
    Connect,
    /// The answer did not come, or not to its end.
    Broken,
}

impl fmt::Display for HttpFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "could not connect",
            Self::Broken => "the connection broke before the answer ended",
        })
    }
}

impl Error for HttpFault {}

type Fault = StreamableHttpError<HttpFault>;

/// The error without anything that the server or the URL says.
fn tell_less(error: StreamableHttpError<reqwest::Error>) -> Fault {
    use StreamableHttpError as E;
    match error {
        E::Client(error) if error.is_connect() => E::Client(HttpFault::Connect),
        E::HttpStatus(error) => E::HttpStatus(error),
        E::SessionExpired => E::SessionExpired,
        E::ServerDoesNotSupportSse => E::ServerDoesNotSupportSse,
        E::ServerDoesNotSupportDeleteSession => E::ServerDoesNotSupportDeleteSession,
        E::ResponseBodyTooLarge { max_size } => E::ResponseBodyTooLarge { max_size },
        E::AuthRequired(_) => E::HttpStatus(HttpStatusError::new(401, None)),
        E::InsufficientScope(_) => E::HttpStatus(HttpStatusError::new(403, None)),
        E::UnexpectedContentType(_) => E::UnexpectedContentType(None),
        E::UnexpectedServerResponse(said) => {
            // It begins with the status when that was the reason.
            let status = said.strip_prefix("HTTP ").and_then(|rest| rest.get(..3));
            match status.and_then(|status| status.parse().ok()) {
                Some(status) => E::HttpStatus(HttpStatusError::new(status, None)),
                None => E::UnexpectedServerResponse("not of the protocol".into()),
            }
        }
        _ => E::Client(HttpFault::Broken),
    }
}

/// An HTTP client for one server. It follows no redirects, uses no proxy, whatever the
/// environment says, and keeps no cookies.
#[derive(Debug, Clone)]
struct HttpClient {
    inner: Client,
    redactor: Arc<Redactor>,
    link: Arc<Link>,
}

impl HttpClient {
    fn cleaned(
        &self,
        events: BoxStream<'static, Result<Sse, SseError>>,
    ) -> BoxStream<'static, Result<Sse, SseError>> {
        let (redactor, link) = (Arc::clone(&self.redactor), Arc::clone(&self.link));
        let clean = move |mut event: Sse| {
            if let Some(data) = event.data.as_mut()
                && let Ok(mut value) = serde_json::from_str::<Value>(data)
                && redactor.value(&mut value)
            {
                *data = value.to_string();
            }
            event
        };
        let look = move |event: Result<Sse, SseError>| {
            if event.is_err() {
                // Streams break when services die, or only by themselves: somebody has to look.
                link.suspect.notify_one();
            }
            event.map(&clean)
        };
        events.map(look).boxed()
    }

    fn cleaned_message(&self, message: ServerJsonRpcMessage) -> ServerJsonRpcMessage {
        let value = serde_json::to_value(&message).ok();
        let clean = value.and_then(|mut value| {
            self.redactor.value(&mut value).then(|| serde_json::from_value(value).ok())?
        });
        clean.unwrap_or(message)
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = HttpFault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(
            uri,
            message,
            session_id,
            auth_header,
            custom_headers,
            limits,
        )
        .await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        use StreamableHttpPostResponse as Answer;
        let answer = self
            .inner
            .post_message_with_response_limits(
                uri,
                message,
                session_id,
                auth_header,
                custom_headers,
                limits,
            )
            .await
            .map_err(tell_less)?;
        Ok(match answer {
            Answer::Json(message, session) => Answer::Json(self.cleaned_message(message), session),
            Answer::Sse(events, session) => Answer::Sse(self.cleaned(events), session),
            other => other,
        })
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Fault> {
        self.inner
            .delete_session(uri, session_id, auth_header, custom_headers)
            .await
            .map_err(tell_less)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        let bytes_max = StreamableHttpResponseLimits::default().max_sse_event_size;
        self.get_stream_with_max_sse_event_size(
            uri,
            session_id,
            last_event_id,
            auth_header,
            custom_headers,
            bytes_max,
        )
        .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        max_sse_event_size: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        self.inner
            .get_stream_with_max_sse_event_size(
                uri,
                session_id,
                last_event_id,
                auth_header,
                custom_headers,
                max_sse_event_size,
            )
            .await
            .map(|events| self.cleaned(events))
            .map_err(tell_less)
    }
}

/// A service, and how to speak to it.
#[derive(Debug, Clone)]
pub(super) struct HttpEndpoint {
    client: HttpClient,
    config: StreamableHttpClientTransportConfig,
}

impl HttpEndpoint {
    #[expect(clippy::disallowed_methods, reason = "the operator chose the address")]
    pub(super) fn new(
        url: &str,
        headers: &BTreeMap<String, SecretString>,
        redactor: Redactor,
        link: &Arc<Link>,
    ) -> Result<Self, McpServerError> {
        let limits = &link.limits;
        // Fails when the program has installed one already, which then is the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(concat!("agent-runner/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_keepalive(limits.ping)
                .pool_max_idle_per_host(4)
        };
        // A bare container has no certificates; plain http works there.
        let inner = builder()
            .build()
            .or_else(|_| builder().tls_certs_only([]).build())
            .map_err(|_| McpServerError { field: "url", what: "no HTTP client could be built" })?;
        let headers = headers.iter().map(|(name, value)| parse_header(name, value));
        let mut config = StreamableHttpClientTransportConfig::with_uri(parse_url(url)?.as_str())
            .custom_headers(headers.collect::<Result<_, _>>()?)
            .max_concurrent_requests(limits.calls_max)
            .max_sse_event_size(limits.message_bytes_max)
            .max_json_response_size(limits.message_bytes_max)
            .max_error_response_size(4 * 1024)
            // A session that is lost is a connection that is lost: everything begins again.
            .reinit_on_expired_session(false);
        let mut retry = ExponentialBackoff::default();
        retry.max_times = Some(10);
        retry.max_delay = Some(Duration::from_secs(30));
        config.retry_config = Arc::new(retry);
        let client = HttpClient { inner, redactor: Arc::new(redactor), link: Arc::clone(link) };
        Ok(Self { client, config })
    }

    /// A new conversation.
    pub(super) fn open(&self) -> StreamableHttpClientTransport<impl StreamableHttpClient + use<>> {
        StreamableHttpClientTransport::with_client(self.client.clone(), self.config.clone())
    }
}
