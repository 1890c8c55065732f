//! The way from libgit2 to a remote.
//!
//! libgit2 is built without TLS and is never told where a remote is: for each call it gets an
//! address of this process, valid for that call. What it asks there is passed on if it is one of the
//! three requests that git makes of the call's own remote; the guard decides where that leads, the
//! credential is added here, and what comes back is looked at on its way.

mod pack;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_runner_core::tool::{ToolError, ToolErrorKind};
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http_body_util::{BodyDataStream, BodyExt as _, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use self::pack::PackCheck;
use super::{
    error::{denied, failed, not_found, too_large},
    options::GitLimits,
};
use crate::net::GuardedClient;

/// Connections at once: libgit2 uses one.
const CONNECTIONS_MAX: usize = 8;
/// What is gathered of a request before it is sent, so that short ones say how long they are.
const GATHERED_BYTES: usize = 1024 * 1024;
/// Largest list of references, in bytes.
const REFS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a call wants of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Fetch,
    Push,
}

impl Service {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "git-upload-pack",
            Self::Push => "git-receive-pack",
        }
    }
}

/// Where a relay leads.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) client: GuardedClient,
    /// The repository, without a `/` at the end.
    pub(super) url: String,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) service: Service,
    pub(super) limits: GitLimits,
}

/// An address of this process that leads to one repository, for as long as it is served.
#[derive(Debug)]
pub(super) struct Relay {
    listener: TcpListener,
    url: String,
    /// What the paths of requests begin with; nobody else can guess it.
    root: String,
    upstream: Upstream,
    failure: Failure,
}

/// The first thing that went wrong.
#[derive(Debug, Clone, Default)]
struct Failure(Arc<Mutex<Option<ToolError>>>);

impl Failure {
    fn set(&self, error: ToolError) -> io::Error {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other("the transfer ended")
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// The requests that git makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Refs,
    Transfer,
}

impl Relay {
    pub(super) async fn open(upstream: Upstream) -> Result<Self, ToolError> {
        let fail = |error: io::Error| {
            ToolError::new(ToolErrorKind::Internal, "the way to the remote could not be opened")
                .with_source(error)
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let mut random = [0_u8; 16];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut random)
            .map_err(|_| fail(io::Error::other("no randomness")))?;
        let root: String =
            random.iter().fold("/".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        let url = format!("http://{address}{root}");
        Ok(Self { listener, url, root, upstream, failure: Failure::default() })
    }

    /// What libgit2 is told.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Why the remote could not be used, once.
    pub(super) fn failure(&self) -> Option<ToolError> {
        self.failure.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Answers, until this is dropped; every connection ends then.
    pub(super) async fn serve(&self) {
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if open.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => open.push(self.connection(stream)),
                    // Out of handles: others have to be closed first.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                Some(()) = open.next() => {}
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| async {
            Ok::<_, std::convert::Infallible>(match self.answer(request).await {
                Ok(answer) => answer,
                Err(error) => {
                    let _ = self.failure.set(error);
                    empty(StatusCode::BAD_GATEWAY)
                }
            })
        });
        // What breaks here breaks for libgit2 too, which tells.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    /// Which of the three requests it is, if any.
    fn asked(&self, request: &Request<Incoming>) -> Option<Asked> {
        let service = self.upstream.service.as_str();
        let path = request.uri().path().strip_prefix(&self.root)?;
        match (request.method(), path, request.uri().query()) {
            (&Method::GET, "/info/refs", Some(query)) => {
                (query.strip_prefix("service=") == Some(service)).then_some(Asked::Refs)
            }
            (&Method::POST, path, None) => {
                (path.strip_prefix('/') == Some(service)).then_some(Asked::Transfer)
            }
            _ => None,
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, ToolError> {
        let Some(asked) = self.asked(&request) else { return Ok(empty(StatusCode::NOT_FOUND)) };
        let Upstream { client, url, authorization, service, limits } = &self.upstream;
        let service = service.as_str();
        let (url, kind) = match asked {
            Asked::Refs => (format!("{url}/info/refs?service={service}"), "advertisement"),
            Asked::Transfer => (format!("{url}/{service}"), "result"),
        };
        let kind = format!("application/x-{service}-{kind}");
        let target = client.target(&url)?;
        let mut headers = HeaderMap::new();
        let text = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("*/*"))
        };
        headers.insert(ACCEPT, text(&kind));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let (method, body) = match asked {
            Asked::Refs => (Method::GET, None),
            Asked::Transfer => {
                headers.insert(CONTENT_TYPE, text(&format!("application/x-{service}-request")));
                (Method::POST, Some(self.gather(request.into_body()).await?))
            }
        };
        let response = client.open(method, &target, headers, body).await?;
        check(&response, &kind)?;
        let check = match (asked, self.upstream.service) {
            (Asked::Transfer, Service::Fetch) => Some(PackCheck::new(limits)),
            _ => None,
        };
        let max = if asked == Asked::Refs { REFS_BYTES_MAX } else { limits.fetch_bytes_max };
        let mut answer = Response::new(self.pass(response, max, check));
        answer.headers_mut().insert(CONTENT_TYPE, text(&kind));
        Ok(answer)
    }

    /// A request's body: whole when it is short, else as it comes, up to the limit.
    async fn gather(&self, body: Incoming) -> Result<reqwest::Body, ToolError> {
        let broken = |error| {
            ToolError::new(ToolErrorKind::Network, "the transfer broke off")
                .may_have_run()
                .with_source(error)
        };
        let max = self.upstream.limits.push_bytes_max;
        let large = move || {
            too_large(format!("what is to be pushed is larger than {max} bytes: push less at once"))
        };
        let size = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut body = BodyDataStream::new(body);
        let mut begun = Vec::new();
        while begun.len() < GATHERED_BYTES {
            match body.next().await {
                Some(piece) => begun.extend_from_slice(&piece.map_err(broken)?),
                None => return Ok(begun.into()),
            }
            if size(&begun) > max {
                return Err(large());
            }
        }
        let (mut sent, failure) = (size(&begun), self.failure.clone());
        let begun = futures::stream::once(async { Ok(Bytes::from(begun)) });
        Ok(reqwest::Body::wrap_stream(begun.chain(body.map(move |piece| {
            let piece = piece.map_err(|error| failure.set(broken(error)))?;
            sent = sent.saturating_add(size(&piece));
            if sent > max { Err(failure.set(large())) } else { Ok(piece) }
        }))))
    }

    /// An answer's body as it comes, up to the limit.
    fn pass(
        &self,
        response: reqwest::Response,
        max: u64,
        mut check: Option<PackCheck>,
    ) -> UnsyncBoxBody<Bytes, io::Error> {
        let failure = self.failure.clone();
        let mut got = 0_u64;
        StreamBody::new(response.bytes_stream().map(move |piece| {
            let piece = piece.map_err(|error| {
                let said = "the connection to the remote broke before the transfer ended";
                failure.set(
                    ToolError::new(ToolErrorKind::Network, said)
                        .may_have_run()
                        .with_source(error.without_url()),
                )
            })?;
            got = got.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if got > max {
                return Err(
                    failure.set(too_large(format!("the remote sends more than {max} bytes")))
                );
            }
            if let Some(check) = &mut check {
                check.take(&piece).map_err(|error| failure.set(error))?;
            }
            Ok(Frame::data(piece))
        }))
        .boxed_unsync()
    }
}

/// Whether a remote answered as git's remotes do.
fn check(response: &reqwest::Response, kind: &str) -> Result<(), ToolError> {
    let status = response.status();
    let network = |said: String| ToolError::new(ToolErrorKind::Network, said);
    match status.as_u16() {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            return Err(denied(
                "the remote leads to another address, which is not followed; its settings need the final one",
            )
            .with_code("blocked_target"));
        }
        401 | 403 => {
            return Err(denied(
                "the remote refuses: it needs another credential or more rights; tell the operator",
            ));
        }
        404 => {
            return Err(not_found(
                "the remote has no such repository, or does not show it to this credential",
            ));
        }
        413 => return Err(too_large("the remote takes no push of that size: push less at once")),
        429 | 503 => {
            let wait = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|wait| wait.to_str().ok()?.parse().ok());
            let said = "the remote is busy; try again later";
            return Err(ToolError::new(ToolErrorKind::RateLimited, said)
                .with_retry_after(Duration::from_secs(wait.unwrap_or(5).min(300))));
        }
        status => return Err(network(format!("the remote answered with status {status}"))),
    }
    let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
    if header(CONTENT_TYPE) != Some(kind.as_bytes()) {
        return Err(network("the remote's address is not one of a git repository".to_owned()));
    }
    if header(CONTENT_ENCODING).is_some_and(|encoding| encoding != b"identity") {
        return Err(network(
            "the remote packs its answers in a way that was not asked for".to_owned(),
        ));
    }
    Ok(())
}

/// What libgit2 could not do with a remote; what the relay knows takes its place.
pub(super) fn remote_failed(what: &str) -> impl FnOnce(git2::Error) -> ToolError {
    let failed = failed(what);
    move |error| match error.class() {
        git2::ErrorClass::Net | git2::ErrorClass::Http | git2::ErrorClass::Ssl => {
            let said = "the remote did not answer as git's remotes do";
            ToolError::new(ToolErrorKind::Network, said).with_source(error)
        }
        _ => failed(error),
    }
}
