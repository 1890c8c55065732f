//! The answer of a service: how it is waited for, read, and made into an error.

use std::{borrow::Cow, error::Error as StdError, io, iter, time::Duration};

use agent_runner_core::llm::{ErrorKind, ProviderError, RateLimits, Recovery, SendState};
use bytes::Bytes;
use reqwest::{Response, header::HeaderMap};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{rate_limits::rate_limits, redact::excerpt, retry_after::retry_after, scrub::Scrubber};
use crate::llm::Fault;

/// Bytes of a refusal's body that are read; its error document stands at the beginning.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Time for the body of a refusal, of which the status alone says enough.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// What lies at the bottom of an error: the words of the operating system.
pub(super) fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The next cause of an error. An I/O error hides the one that it is made of.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// What to do about a connection that failed for TLS, if it did.
fn tls_hint(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let mut causes = iter::successors(Some(error), |error| cause(*error));
    Some(match causes.find_map(|error| error.downcast_ref())? {
        rustls::Error::InvalidCertificate(_) => {
            "; this machine does not trust the server's certificate"
        }
        rustls::Error::InvalidMessage(_) => "; the server does not speak TLS: is it http:// there?",
        _ => "; the server and this program have no TLS in common",
    })
}

/// What the waiting for an answer needs to know.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) provider: Cow<'static, str>,
    /// Scheme, host and port: what a person needs in order to mend a connection.
    pub(super) place: String,
    pub(super) key: Option<SecretString>,
    pub(super) cancel: CancellationToken,
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
    pub(super) content: Duration,
    pub(super) started: Instant,
    pub(super) total: Option<Duration>,
}

impl Call {
    /// Waits for `work` for as long as `patience`, counted from `since`, and the call last.
    pub(super) async fn wait<T>(
        &self,
        since: Instant,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, ProviderError> {
        let left = patience.saturating_sub(since.elapsed());
        let call_left = self.total.map(|total| total.saturating_sub(self.started.elapsed()));
        let (left, timeout) = match (call_left, self.total) {
            (Some(call_left), Some(total)) if call_left < left => (call_left, Err(total)),
            _ => (left, Ok(patience)),
        };
        // `work` goes before the timer: a reader that was itself slow must not blame the service.
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(self.error(ErrorKind::Cancelled, "the call was cancelled")),
            done = work => Ok(done),
            () = tokio::time::sleep(left) => Err(self.error(ErrorKind::Timeout, match timeout {
                Ok(patience) => format!("{} sent nothing for {patience:?}", self.place),
                Err(total) => format!("{} did not complete its answer within {total:?}", self.place),
            })),
        }
    }

    fn error(&self, kind: ErrorKind, context: impl Into<String>) -> ProviderError {
        ProviderError::new(kind, self.provider.clone(), context)
    }

    /// The error of a request that got no answer.
    pub(super) fn transport(&self, error: reqwest::Error) -> ProviderError {
        let (kind, sent, what) = if error.is_connect() {
            let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Network };
            (kind, SendState::NotSent, "cannot connect to")
        } else if error.is_builder() {
            (ErrorKind::Internal, SendState::NotSent, "cannot build the request to")
        } else {
            (ErrorKind::Network, SendState::Unknown, "lost the connection to")
        };
        let (cause, hint) = (deepest(&error), tls_hint(&error).unwrap_or_default());
        self.error(kind, format!("{what} {}: {cause}{hint}", self.place))
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
    scrubber: Scrubber,
}

impl Body {
    /// An answer whose head has come in.
    pub(super) fn new(response: Response, call: Call) -> Self {
        let scrubber = Scrubber::of(call.key.as_ref());
        Self { response, call, started: false, scrubber }
    }

    /// The next piece without the key, `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        while let Some(piece) = self.piece().await? {
            let clean = self.scrubber.push(piece);
            if !clean.is_empty() {
                return Ok(Some(clean));
            }
        }
        Ok(self.scrubber.finish())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ProviderError> {
        let (since, patience) = if self.started {
            (Instant::now(), self.call.idle)
        } else {
            (self.call.started, self.call.first_byte)
        };
        let chunk = self.call.wait(since, patience, self.response.chunk()).await;
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

    /// The error of a service that has sent nothing but signs of life since then, if that is too
    /// long.
    pub(crate) fn without_content(&self, since: Instant) -> Option<ProviderError> {
        let patience = self.call.content;
        (since.elapsed() > patience).then(|| {
            let context =
                format!("{} sent nothing but signs of life for {patience:?}", self.call.place);
            self.sent(self.call.error(ErrorKind::Timeout, context))
        })
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

    /// What the service still allows.
    pub(crate) fn limits(&self) -> Option<RateLimits> {
        rate_limits(self.headers(), jiff::Timestamp::now())
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
        let since = Instant::now();
        while bytes.len() < REFUSAL_BYTES_MAX {
            let piece = self.call.wait(since, REFUSAL_PATIENCE, self.response.chunk()).await;
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
        let mut message = self.call.excerpt(&fault.message);
        if fault.kind == ErrorKind::Auth {
            message.push_str(match self.call.key {
                Some(_) => "; check the API key",
                None => "; set an API key",
            });
        }
        let mut error = self.call.error(fault.kind, message);
        if let Some(wait) = fault.retry_after {
            error = error.with_retry_after(wait);
        }
        if let Some(recovery) = fault.recovery {
            error = error.with_recovery(recovery);
        }
        if let Some(id) = fault.request_id {
            error = error.with_request_id(self.call.excerpt(&id));
        }
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
    /// The title of the web page that came in place of an answer, if it is one: something between
    /// here and the service speaks.
    pub(crate) fn page_title(&self) -> Option<&str> {
        let page = self.text.trim_start().starts_with('<').then_some(self.text.as_str())?;
        let title = page.split_once("<title>").map_or("untitled", |(_, rest)| rest);
        Some(title.split_once("</title>").map_or(title, |(title, _)| title).trim())
    }

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
