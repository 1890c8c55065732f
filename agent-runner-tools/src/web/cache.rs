//! Answers that may be given again (RFC 9111).

use std::{fmt, time::SystemTime};

use http::{Request, Response, StatusCode};
use http_cache_semantics::{AfterResponse, BeforeRequest, CachePolicy};
use jiff::Timestamp;
use quick_cache::{Weighter, sync::Cache};
use reqwest::header::HeaderMap;

use crate::net::{NetRequest, NetResponse};

/// Bytes of bodies that are kept.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Answers that are kept, about.
const ANSWERS: usize = 512;

/// An answer, and when it came.
#[derive(Debug, Clone)]
pub(super) struct Dated {
    pub(super) answer: NetResponse,
    pub(super) fetched_at: Timestamp,
}

#[derive(Clone)]
struct Kept {
    policy: CachePolicy,
    dated: Dated,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<String, Kept> for ByBytes {
    fn weight(&self, url: &String, kept: &Kept) -> u64 {
        let bytes = url.len().saturating_add(kept.dated.answer.body.len()).saturating_add(2_048);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Answers by URL. Of the GETs of the program only, which carry no credential.
pub(super) struct Answers {
    kept: Cache<String, Kept, ByBytes>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// What the cache knows of a request.
pub(super) enum Known {
    /// The answer, still fresh.
    Fresh(Dated),
    /// Nothing, or what has to be asked about again; the request has the headers for that.
    Ask(NetRequest),
}

fn as_request(request: &NetRequest) -> Option<Request<()>> {
    let mut asked = Request::builder()
        .method(request.method.clone())
        .uri(request.target.url().as_str())
        .body(())
        .ok()?;
    *asked.headers_mut() = request.headers.clone();
    Some(asked)
}

fn as_response(status: u16, headers: &HeaderMap) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    *response.headers_mut() = headers.clone();
    Some(response)
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { kept: Cache::with_weighter(ANSWERS, BYTES_MAX, ByBytes) }
    }

    /// Before a request is sent.
    pub(super) fn before(&self, mut request: NetRequest, now: Timestamp) -> Known {
        let kept = self.kept.get(request.target.url().as_str());
        let (Some(kept), Some(asked)) = (kept, as_request(&request)) else {
            return Known::Ask(request);
        };
        match kept.policy.before_request(&asked, SystemTime::from(now)) {
            BeforeRequest::Fresh(_) => Known::Fresh(kept.dated),
            BeforeRequest::Stale { request: parts, .. } => {
                request.headers = parts.headers;
                Known::Ask(request)
            }
        }
    }

    /// After an answer came for `request`: that answer, or the kept one that it confirms.
    pub(super) fn after(&self, request: &NetRequest, answer: NetResponse, now: Timestamp) -> Dated {
        let fresh = |answer| Dated { answer, fetched_at: now };
        let key = request.target.url().as_str();
        let parts = (as_request(request), as_response(answer.status, &answer.headers));
        let (Some(asked), Some(response)) = parts else { return fresh(answer) };
        if answer.status == 304 {
            let Some(kept) = self.kept.get(key) else { return fresh(answer) };
            let after = kept.policy.after_response(&asked, &response, SystemTime::from(now));
            if let AfterResponse::NotModified(policy, _) = after {
                let dated = kept.dated.clone();
                self.kept.insert(key.to_owned(), Kept { policy, dated });
            }
            return kept.dated;
        }
        let policy = CachePolicy::new(&asked, &response);
        if policy.is_storable() && !answer.truncated {
            let dated = fresh(answer.clone());
            self.kept.insert(key.to_owned(), Kept { policy, dated });
        } else {
            self.kept.remove(key);
        }
        fresh(answer)
    }
}
