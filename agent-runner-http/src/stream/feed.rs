//! From the engine's frames to a response.

use std::{convert::Infallible, time::Duration};

use agent_runner_core::{
    engine::{EngineError, Frame, WatchOptions},
    event::EventBody,
    id::RunId,
    llm::BoxStream,
    run::Run,
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::encode::Format;
use crate::{
    api::Api,
    dto::event::{DELTA, Event, delta},
    extract::{FromQuery, Parameters, nearest},
    observe::RequestId,
    problem::Problem,
};

/// What of a run's events a client wants.
#[derive(Debug)]
pub(crate) struct StreamQuery {
    after: Option<u64>,
    types: Vec<String>,
    deltas: bool,
}

impl FromQuery for StreamQuery {
    fn from_query(parameters: &mut Parameters) -> Self {
        let after = parameters.parsed("after", "the number of an event");
        let types = event_types(parameters);
        let deltas = parameters.parsed("include_deltas", "`true` or `false`");
        if parameters.text("until").is_some_and(|until| until != "terminal") {
            parameters.wrong("until", "query parameter `until` can only be `terminal`");
        }
        Self { after, types, deltas: deltas.unwrap_or(true) }
    }
}

/// The `types` parameter.
pub(crate) fn event_types(parameters: &mut Parameters) -> Vec<String> {
    let types = parameters.list("types");
    for kind in &types {
        if EventBody::KINDS.contains(&kind.as_str()) || kind == DELTA {
            continue;
        }
        let shown: String = kind.chars().take(80).collect();
        let detail = match nearest(kind, EventBody::KINDS.iter().copied()) {
            Some(meant) => format!("there is no event type `{shown}`; did you mean `{meant}`?"),
            None => format!("there is no event type `{shown}`"),
        };
        parameters.wrong("types", detail);
    }
    types
}

/// The number after which a client wants to go on: `Last-Event-ID` counts more than `?after=`,
/// because a browser sends the first when it reconnects to an address with the second.
fn resume_after(headers: &HeaderMap, query: &StreamQuery) -> Result<u64, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else {
        return Ok(query.after.unwrap_or(0));
    };
    value.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
        Problem::field(
            "/last_event_id",
            "the Last-Event-ID header must be the number of an event of this run",
        )
    })
}

/// Answers with the stream of `run`.
pub(crate) fn attach(
    api: &Api,
    run: &Run,
    headers: &HeaderMap,
    RequestId(request_id): RequestId,
    query: StreamQuery,
) -> Result<Response, Problem> {
    let format = Format::wanted(headers)?;
    let after = resume_after(headers, &query)?;
    if run.status.is_terminal() && after == run.last_seq {
        // Everything was delivered: a 204 makes an `EventSource` stop.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let live = query.deltas && (query.types.is_empty() || query.types.iter().any(|t| t == DELTA));
    let feed = Feed {
        run: run.id,
        request_id,
        frames: api.engine().watch(run.id, WatchOptions { after, live }),
        types: query.types,
        format,
        keep_alive: api.options().keep_alive_interval,
        closing: api.closing().clone(),
        last: after,
        done: false,
    };
    let hello = stream::iter([format.hello()]);
    let chunks = hello.chain(stream::unfold(feed, |mut feed| async move {
        let chunk = feed.next().await?;
        Some((chunk, feed))
    }));
    Ok(respond(format, chunks))
}

/// A response that streams `chunks`, with the headers that keep others from buffering it.
pub(crate) fn respond(
    format: Format,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Response {
    let mut response = Body::from_stream(chunks.map(Ok::<_, Infallible>)).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    // Nginx buffers answers unless it is told not to.
    out.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Feed {
    run: RunId,
    request_id: String,
    frames: BoxStream<'static, Result<Frame, EngineError>>,
    types: Vec<String>,
    format: Format,
    keep_alive: Duration,
    closing: CancellationToken,
    last: u64,
    done: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Bytes> {
        let silence = tokio::time::sleep(self.keep_alive);
        tokio::pin!(silence);
        while !self.done {
            let frame = tokio::select! {
                biased;
                () = self.closing.cancelled() => {
                    self.done = true;
                    // Without id and without end: the client comes back and goes on.
                    let data = json!({"type": "stream.closing", "last_event_id": self.last});
                    return Some(self.format.frame(None, "stream.closing", &data));
                }
                frame = self.frames.next() => frame,
                () = &mut silence => return Some(self.format.keep_alive()),
            };
            let chunk = self.encode(frame);
            if chunk.is_some() {
                return chunk;
            }
        }
        None
    }

    /// The bytes of a frame; `None` for one that the client does not want, and at the end.
    fn encode(&mut self, frame: Option<Result<Frame, EngineError>>) -> Option<Bytes> {
        match frame {
            Some(Ok(Frame::Event(event))) => {
                self.last = event.seq;
                if !self.types.is_empty() && !self.types.contains(&event.kind) {
                    return None;
                }
                let event = Event::from(event);
                Some(self.format.frame(Some(event.id), &event.kind, &event))
            }
            Some(Ok(Frame::Live(live))) => {
                Some(self.format.frame(None, DELTA, &delta(self.run, &live)))
            }
            Some(Ok(Frame::Reset { last_seq })) => {
                let data = json!({"type": "reset", "last_event_id": last_seq});
                Some(self.format.frame(None, "reset", &data))
            }
            Some(Ok(Frame::End { status })) => {
                self.done = true;
                let data = json!({
                    "type": "stream.end", "run_id": self.run, "status": status,
                    "last_event_id": self.last,
                });
                Some(self.format.frame(None, "stream.end", &data))
            }
            Some(Err(error)) => {
                self.done = true;
                let problem =
                    Problem::from(error).body(&format!("/runs/{}", self.run), &self.request_id);
                let data = json!({"type": "stream.error", "problem": problem});
                Some(self.format.frame(None, "stream.error", &data))
            }
            None => {
                self.done = true;
                None
            }
        }
    }
}
