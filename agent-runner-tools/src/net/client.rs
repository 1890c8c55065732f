//! The client.

use std::{error::Error, fmt, net::IpAddr, sync::Arc, time::Duration};

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use bytes::Bytes;
use reqwest::{
    Body, Client, Method, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
        HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LOCATION,
    },
    redirect,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    resolve::{Checked, Lookup, NotPublic, SystemLookup},
    target::{Reach, Target, blocked, check_address},
    unpack::Unpack,
};

/// Longest time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of a server.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest sum of an answer's headers, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Bounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetLimits {
    /// Longest time of a request, redirects and body included.
    pub total: Duration,
    /// Largest body, unpacked, in bytes.
    pub body_bytes_max: usize,
    /// Most redirects that are followed.
    pub redirects_max: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self { total: Duration::from_secs(30), body_bytes_max: 5 * 1024 * 1024, redirects_max: 5 }
    }
}

/// The client could not be built: the program's TLS provider does not serve it.
#[derive(Debug)]
pub struct GuardedClientError(reqwest::Error);

impl fmt::Display for GuardedClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guarded HTTP client could not be built")
    }
}

impl Error for GuardedClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// A request. Its headers are chosen by the program, never by a model.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a caller fills in all of it")]
pub struct NetRequest {
    /// GET, HEAD or POST.
    pub method: Method,
    /// Where.
    pub target: Target,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, of a POST.
    pub body: Option<Bytes>,
}

/// An answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NetResponse {
    /// The status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where it came from, after redirects.
    pub final_url: Url,
    /// The address that answered.
    pub ip: Option<IpAddr>,
    /// The body, unpacked.
    pub body: Bytes,
    /// Whether there is more of it.
    pub truncated: bool,
}

/// What came of one request.
pub(crate) enum Hop {
    /// An answer.
    Answer(NetResponse),
    /// The request to make next.
    Redirect(NetRequest),
}

/// An HTTP client for addresses that nobody in charge chose. Cheap to clone. It uses no proxy,
/// whatever the environment says, keeps no cookies, and tries nothing twice.
#[derive(Debug, Clone)]
pub struct GuardedClient {
    /// Dials public addresses only.
    public: Client,
    /// Dials what the operator lists.
    listed: Client,
    reach: Arc<Reach>,
    limits: NetLimits,
}

impl GuardedClient {
    /// A client that reaches so far, by the machine's resolver.
    ///
    /// # Errors
    /// [`GuardedClientError`].
    pub fn new(
        reach: Reach,
        limits: NetLimits,
        user_agent: &str,
    ) -> Result<Self, GuardedClientError> {
        Self::with_lookup(reach, limits, user_agent, &(Arc::new(SystemLookup) as Arc<dyn Lookup>))
    }

    /// The same by another resolver.
    ///
    /// # Errors
    /// [`GuardedClientError`].
    pub fn with_lookup(
        reach: Reach,
        limits: NetLimits,
        user_agent: &str,
        lookup: &Arc<dyn Lookup>,
    ) -> Result<Self, GuardedClientError> {
        Self::build(reach, limits, user_agent, (lookup, READ_TIMEOUT))
    }

    /// A client for servers that may be silent for so long; until one answers, sending counts.
    #[cfg(feature = "git")]
    pub(crate) fn patient(
        reach: Reach,
        user_agent: &str,
        silence: Duration,
    ) -> Result<Self, GuardedClientError> {
        let lookup = Arc::new(SystemLookup) as Arc<dyn Lookup>;
        Self::build(reach, NetLimits::default(), user_agent, (&lookup, silence))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the guard")]
    fn build(
        reach: Reach,
        limits: NetLimits,
        user_agent: &str,
        (lookup, silence): (&Arc<dyn Lookup>, Duration),
    ) -> Result<Self, GuardedClientError> {
        // Fails when the program has installed one already, which then is the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let build = |public: bool| {
            let resolver = Arc::new(Checked { lookup: Arc::clone(lookup), public });
            let builder = || {
                Client::builder()
                    .user_agent(user_agent)
                    .no_proxy()
                    .redirect(redirect::Policy::none())
                    .retry(reqwest::retry::never())
                    .dns_resolver(Arc::clone(&resolver))
                    .connect_timeout(CONNECT_TIMEOUT)
                    .read_timeout(silence)
                    .pool_max_idle_per_host(4)
            };
            // A bare container has no certificates; plain http works there.
            builder().build().or_else(|_| builder().tls_certs_only([]).build())
        };
        Ok(Self {
            public: build(true).map_err(GuardedClientError)?,
            listed: build(false).map_err(GuardedClientError)?,
            reach: Arc::new(reach),
            limits,
        })
    }

    /// Parses and checks a URL.
    ///
    /// # Errors
    /// As [`Target::parse`].
    pub fn target(&self, url: &str) -> Result<Target, ToolError> {
        Target::parse(url, &self.reach)
    }

    /// The bounds.
    #[must_use]
    pub const fn limits(&self) -> &NetLimits {
        &self.limits
    }

    /// Sends a request whose answer is read by the caller, without following redirects.
    pub(crate) async fn open(
        &self,
        method: Method,
        target: &Target,
        headers: HeaderMap,
        body: Option<Body>,
    ) -> Result<Response, ToolError> {
        let client = if target.listed { &self.listed } else { &self.public };
        let mut request = client.request(method, target.url.clone()).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| transport(target.host(), error))?;
        // The belt: the addresses were checked before they were dialled.
        if let (false, Some(peer)) = (target.listed, response.remote_addr()) {
            check_address(peer.ip()).map_err(ToolError::may_have_run)?;
        }
        let names = response.headers().iter().map(|(n, v)| n.as_str().len() + v.len());
        if names.sum::<usize>() > HEADER_BYTES_MAX {
            let said = "the answer's headers are larger than 64 KiB";
            return Err(ToolError::new(ToolErrorKind::TooLarge, said).may_have_run());
        }
        Ok(response)
    }

    /// Sends a request, follows redirects, and reads the answer up to the bounds.
    ///
    /// # Errors
    /// `Denied` with the code `blocked_target`; `Network`; `Timeout`; `TooLarge` for a body that
    /// unpacks to far more than it is; `Cancelled`.
    pub async fn send(
        &self,
        request: NetRequest,
        cancel: &CancellationToken,
    ) -> Result<NetResponse, ToolError> {
        let work = tokio::time::timeout(self.limits.total, self.follow(request));
        match cancel.run_until_cancelled(work).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                let said = "the server did not answer in time";
                Err(ToolError::new(ToolErrorKind::Timeout, said).may_have_run())
            }
            None => {
                let said = "the call was cancelled; the server may have acted on it";
                Err(ToolError::new(ToolErrorKind::Cancelled, said).may_have_run())
            }
        }
    }

    async fn follow(&self, mut request: NetRequest) -> Result<NetResponse, ToolError> {
        for hop in 0..=self.limits.redirects_max {
            match after(hop, self.hop(request).await)? {
                Hop::Answer(answer) => return Ok(answer),
                Hop::Redirect(next) => request = next,
            }
        }
        Err(self.too_many_redirects())
    }

    pub(crate) fn too_many_redirects(&self) -> ToolError {
        let said = format!("there are more than {} redirects", self.limits.redirects_max);
        ToolError::new(ToolErrorKind::Network, said).may_have_run()
    }

    /// Sends a request and reads the answer up to the bounds, or says where it redirects to.
    /// Without a limit of time.
    pub(crate) async fn hop(&self, request: NetRequest) -> Result<Hop, ToolError> {
        let NetRequest { mut method, target, mut headers, mut body } = request;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        let sent = body.clone().map(Body::from);
        let response = self.open(method.clone(), &target, headers.clone(), sent).await?;
        let next = self.redirected(&target, &response).map_err(ToolError::may_have_run)?;
        let Some(next) = next else {
            let head = method == Method::HEAD;
            return self.read(&target, response, head).await.map(Hop::Answer);
        };
        let status = response.status();
        let stays =
            matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !stays && method != Method::HEAD {
            method = Method::GET;
            body = None;
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_LENGTH);
        }
        for conditional in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            headers.remove(conditional);
        }
        if next.url.origin() != target.url.origin() {
            if body.is_some() {
                let said = "the server sends what was posted to another host";
                return Err(blocked(said).may_have_run());
            }
            // Any other could be a secret of its sender.
            headers = [ACCEPT, ACCEPT_LANGUAGE]
                .into_iter()
                .filter_map(|name| headers.remove(&name).map(|value| (name, value)))
                .collect();
        }
        Ok(Hop::Redirect(NetRequest { method, target: next, headers, body }))
    }

    /// Where a redirect leads, checked like any other URL.
    pub(super) fn redirected(
        &self,
        from: &Target,
        response: &Response,
    ) -> Result<Option<Target>, ToolError> {
        let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = response.headers().get(LOCATION).filter(|_| follows) else {
            return Ok(None);
        };
        let location = location.to_str().unwrap_or_default();
        let url = from.url.join(location).map_err(|error| {
            let said = "the server redirects to what is no URL";
            ToolError::new(ToolErrorKind::Network, said).may_have_run().with_source(error)
        })?;
        if from.url.scheme() == "https" && url.scheme() == "http" {
            return Err(blocked("the server redirects from https to http"));
        }
        Target::check(url, &self.reach).map(Some)
    }

    async fn read(
        &self,
        target: &Target,
        mut response: Response,
        head: bool,
    ) -> Result<NetResponse, ToolError> {
        let (status, ip) = (response.status().as_u16(), response.remote_addr().map(|a| a.ip()));
        let headers = std::mem::take(response.headers_mut());
        let mut unpack = Unpack::new(&headers, self.limits.body_bytes_max)?;
        while !head && !unpack.full() {
            let piece = response.chunk().await.map_err(|error| transport(target.host(), error))?;
            let Some(piece) = piece else { break };
            unpack.take(&piece)?;
        }
        let (body, truncated) = if head { (Bytes::new(), false) } else { unpack.finish()? };
        Ok(NetResponse { status, headers, final_url: target.url.clone(), ip, body, truncated })
    }
}

/// What came of a hop: after the first one, something was sent.
pub(crate) fn after<T>(hop: usize, result: Result<T, ToolError>) -> Result<T, ToolError> {
    result.map_err(|error| if hop == 0 { error } else { error.may_have_run() })
}

/// What went wrong on the way. The URL may hold a secret, so it goes nowhere.
pub(super) fn transport(host: &str, error: reqwest::Error) -> ToolError {
    let error = error.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(source) = cause {
        if let Some(refused) = source.downcast_ref::<NotPublic>() {
            return blocked(refused.to_string());
        }
        cause = source.source();
    }
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
