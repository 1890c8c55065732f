//! `Idempotency-Key` for requests other than the creation of runs, which the engine makes
//! idempotent itself, in the transaction that writes the run.
//!
//! The first request with a key reserves a record, runs, and leaves its answer there for a day.
//! Only success uses a key up: after an error the request may be repeated, corrected or not.

mod upload;

use std::time::Duration;

use agent_runner_core::{
    store::{PutRecord, Record, RecordExpect, Store, StoreErrorKind},
    time,
};
use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    api::Api,
    extract::{IdempotencyKey, collect, sha256_hex},
    problem::{Code, Problem},
};

const COLLECTION: &str = "idempotency";
/// After this time a request that left no answer counts as dead.
const IN_FLIGHT_MAX: Duration = Duration::from_secs(60);
/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest answer that is kept.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Routes whose keys the engine keeps with the run itself; a bundle is its own key.
const CREATING: [&str; 6] =
    ["/runs", "/runs/wait", "/runs/stream", "/runs/{id}/fork", "/runs/{id}/rerun", "/runs/import"];
/// Routes whose bodies may be too large to be held.
const UPLOADING: [&str; 1] = ["/runs/{id}/artifacts"];
/// Says that an answer is the one of an earlier request.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What is kept under a key.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    request_hash: String,
    /// Of a body that is not part of that hash, once it was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_sha256: Option<String>,
    /// Missing while the request is in execution.
    answer: Option<Answer>,
}

impl Kept {
    /// Of a request that is in execution.
    fn open(request_hash: &str) -> Self {
        Self { request_hash: request_hash.to_owned(), body_sha256: None, answer: None }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
    body: String,
}

/// The layer.
pub(crate) async fn idempotent(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if request.method() != Method::POST || CREATING.contains(&route) {
        return next.run(request).await;
    }
    match IdempotencyKey::from_headers(request.headers()) {
        Ok(IdempotencyKey(None)) => next.run(request).await,
        Ok(IdempotencyKey(Some(key))) => {
            let answer = if UPLOADING.contains(&route) {
                upload::once(&api, &key, request, next).await
            } else {
                once(&api, &key, request, next).await
            };
            answer.unwrap_or_else(IntoResponse::into_response)
        }
        Err(problem) => problem.into_response(),
    }
}

async fn once(api: &Api, key: &str, request: Request, next: Next) -> Result<Response, Problem> {
    let slot = slot(api, key, &request);
    let (parts, body) = request.into_parts();
    let bytes = collect(&parts.headers, body, api.options()).await?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let request_hash = sha256_hex(&[target.as_bytes(), &canonical(&bytes)]);
    let version = match slot.reserve(&request_hash).await? {
        Reserved::Mine(version) => version,
        Reserved::Answered(answer, _) => return Ok(answer.replay()),
    };
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    Ok(slot.settle(version, request_hash, None, response).await)
}

/// Where the answer to a request with that key is kept.
fn slot(api: &Api, key: &str, request: &Request) -> Slot {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    Slot { api: api.clone(), key: sha256_hex(&[b"POST", route.as_bytes(), key.as_bytes()]) }
}

fn mismatch() -> Problem {
    Problem::new(
        Code::IdempotencyMismatch,
        "this idempotency key was used for another request; use a new key",
    )
}

/// JSON with sorted keys and without spaces, so that the same request is the same bytes; anything
/// else as it is.
fn canonical(bytes: &Bytes) -> Vec<u8> {
    let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    value.map_or_else(|| bytes.to_vec(), |value| value.to_string().into_bytes())
}

enum Reserved {
    /// The request is new; the record has this version.
    Mine(u64),
    /// It was answered before; the hash of its body when that is not part of the request's.
    Answered(Answer, Option<String>),
}

/// The record of one key.
#[derive(Debug, Clone)]
struct Slot {
    api: Api,
    key: String,
}

impl Slot {
    fn store(&self) -> &dyn Store {
        &**self.api.engine().store()
    }

    async fn reserve(&self, request_hash: &str) -> Result<Reserved, Problem> {
        let kept = Kept::open(request_hash);
        // Twice: a record found at first may expire before it is read.
        for _ in 0..2 {
            match self.put(&kept, RecordExpect::Absent, IN_FLIGHT_MAX).await {
                Ok(record) => return Ok(Reserved::Mine(record.version)),
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
            let Some(found) = self.store().record(COLLECTION, &self.key).await? else { continue };
            let found: Kept =
                serde_json::from_value(found.value).map_err(|_| Problem::internal())?;
            if found.request_hash != request_hash {
                return Err(mismatch());
            }
            if let Some(answer) = found.answer {
                return Ok(Reserved::Answered(answer, found.body_sha256));
            }
        }
        Err(Problem::new(
            Code::IdempotencyInFlight,
            "a request with this idempotency key is still in execution; ask again in a moment",
        )
        .retry_after(1))
    }

    async fn put(
        &self,
        kept: &Kept,
        expect: RecordExpect,
        keep: Duration,
    ) -> Result<Record, agent_runner_core::store::StoreError> {
        let put = PutRecord {
            collection: COLLECTION.to_owned(),
            key: self.key.clone(),
            // Strings and numbers only: it cannot fail.
            value: serde_json::to_value(kept).unwrap_or_default(),
            expect,
            expires_at: Some(time::later(self.api.engine().clock().now(), keep)),
        };
        self.store().put_record(put).await
    }

    /// Holds the place of a request that takes its time; the new version of its record.
    async fn hold(&self, version: u64, request_hash: &str) -> Option<u64> {
        let kept = Kept::open(request_hash);
        match self.put(&kept, RecordExpect::Version(version), IN_FLIGHT_MAX).await {
            Ok(record) => Some(record.version),
            Err(problem) => {
                warn!(error = %problem, "the place of an idempotent request may be lost");
                None
            }
        }
    }

    /// Keeps a good answer; gives the key back after any other.
    async fn settle(
        &self,
        version: u64,
        request_hash: String,
        body_sha256: Option<String>,
        response: Response,
    ) -> Response {
        let streams = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| !value.as_bytes().starts_with(b"application/json"));
        if !response.status().is_success() || streams {
            self.release(version).await;
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(bytes) = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await else {
            self.release(version).await;
            return Problem::internal().into_response();
        };
        let kept = Kept {
            request_hash,
            body_sha256,
            answer: Some(Answer {
                status: parts.status.as_u16(),
                content_type: text(&parts.headers, header::CONTENT_TYPE),
                location: text(&parts.headers, header::LOCATION),
                body: String::from_utf8_lossy(&bytes).into_owned(),
            }),
        };
        if let Err(problem) = self.put(&kept, RecordExpect::Version(version), KEPT).await {
            warn!(error = %problem, "the answer to an idempotent request could not be kept");
        }
        Response::from_parts(parts, Body::from(bytes))
    }

    async fn release(&self, version: u64) {
        let expect = RecordExpect::Version(version);
        if let Err(problem) = self.store().delete_record(COLLECTION, &self.key, expect).await {
            warn!(error = %problem, "an idempotency key stays reserved until it expires");
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

impl Answer {
    fn replay(self) -> Response {
        let mut response = Body::from(self.body).into_response();
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        for (name, value) in
            [(header::CONTENT_TYPE, self.content_type), (header::LOCATION, self.location)]
        {
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                headers.insert(name, value);
            }
        }
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}
