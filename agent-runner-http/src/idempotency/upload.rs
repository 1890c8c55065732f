//! `Idempotency-Key` for bodies that are too large to be held: they are hashed while they pass.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use futures::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{IN_FLIGHT_MAX, Reserved, Slot, mismatch, slot};
use crate::{
    api::Api,
    extract::{hex, sha256_hex},
    problem::{Code, Problem},
};

/// Longest silence of a client that sends a body a second time.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A body on its way to its route.
#[derive(Debug)]
struct Passing {
    hasher: Sha256,
    /// The version of the record that holds its place.
    version: u64,
    /// When the place was last asked for.
    held_at: Timestamp,
}

/// Like `once`, without the body in the request's hash: that is known when the body has passed.
pub(super) async fn once(
    api: &Api,
    key: &str,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let slot = slot(api, key, &request);
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let media_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    let request_hash = sha256_hex(&[target.as_bytes(), media_type]);
    let version = match slot.reserve(&request_hash).await? {
        Reserved::Mine(version) => version,
        Reserved::Answered(answer, body_sha256) => {
            if Some(hash_of(body.into_data_stream()).await?) != body_sha256 {
                return Err(mismatch());
            }
            return Ok(answer.replay());
        }
    };
    let held_at = api.engine().clock().now();
    let passing = Passing { hasher: Sha256::new(), version, held_at };
    let passing = Arc::new(Mutex::new(passing));
    let hash = request_hash.clone();
    let watched = watch(body.into_data_stream(), slot.clone(), hash, Arc::clone(&passing));
    let response = next.run(Request::from_parts(parts, Body::from_stream(watched))).await;
    let (version, body_sha256) = {
        let passing = passing.lock().unwrap_or_else(PoisonError::into_inner);
        (passing.version, hex(&passing.hasher.clone().finalize()))
    };
    Ok(slot.settle(version, request_hash, Some(body_sha256), response).await)
}

/// The body as it comes, hashed; its place is held for as long as something comes.
fn watch(
    data: BodyDataStream,
    slot: Slot,
    request_hash: String,
    passing: Arc<Mutex<Passing>>,
) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    stream::unfold((data, slot, request_hash, passing), |(mut data, slot, hash, passing)| async {
        let piece = data.next().await?;
        let now = slot.api.engine().clock().now();
        let due = {
            let mut passing = passing.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(piece) = &piece {
                passing.hasher.update(piece);
            }
            let held = now.duration_since(passing.held_at).unsigned_abs();
            (held >= IN_FLIGHT_MAX / 3).then(|| {
                passing.held_at = now;
                passing.version
            })
        };
        if let Some(version) = due
            && let Some(version) = slot.hold(version, &hash).await
        {
            passing.lock().unwrap_or_else(PoisonError::into_inner).version = version;
        }
        Some((piece, (data, slot, hash, passing)))
    })
}

/// SHA-256 of a body that is not needed any more.
async fn hash_of(mut data: BodyDataStream) -> Result<String, Problem> {
    let mut hasher = Sha256::new();
    loop {
        match tokio::time::timeout(SILENCE_MAX, data.next()).await {
            Ok(Some(Ok(piece))) => hasher.update(&piece),
            Ok(Some(Err(_))) => {
                return Err(Problem::new(Code::BadRequest, "the request body broke off"));
            }
            Ok(None) => return Ok(hex(&hasher.finalize())),
            Err(_) => {
                let said = "the request body comes too slowly";
                return Err(Problem::new(Code::RequestTimeout, said));
            }
        }
    }
}
