//! A client of a run's event stream that reconnects as a browser does.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::Value;

use super::server::{PATIENCE, Site};

/// One frame of a stream of server-sent events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sse {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Sse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// Follows one connection, handing each frame to `take` until it says stop; whether it did.
pub(crate) async fn follow(
    client: &reqwest::Client,
    url: &str,
    last: Option<u64>,
    mut take: impl FnMut(Sse) -> bool,
) -> bool {
    let mut request = client.get(url).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let Ok(answer) = request.send().await else { return false };
    if answer.status() == 204 {
        return take(Sse { event: "stream.end".into(), ..Sse::default() });
    }
    if !answer.status().is_success() {
        return false;
    }
    let mut bytes = answer.bytes_stream();
    let mut buffer = Vec::new();
    while let Some(Ok(chunk)) = bytes.next().await {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            let frame = String::from_utf8(frame).unwrap();
            let mut sse = Sse::default();
            for line in frame.lines() {
                match line.split_once(':') {
                    Some(("id", id)) => sse.id = Some(id.trim().parse().unwrap()),
                    Some(("event", event)) => sse.event = event.trim().to_owned(),
                    Some(("data", data)) => sse.data.push_str(data.trim_start()),
                    _ => {}
                }
            }
            if !sse.event.is_empty() && take(sse) {
                return true;
            }
        }
    }
    false
}

/// Follows a run to its end over any number of connections and servers; the ids it saw, in order.
pub(crate) async fn follow_to_the_end(
    site: Site,
    client: reqwest::Client,
    run: String,
) -> Vec<u64> {
    let mut seen: Vec<u64> = Vec::new();
    let begun = Instant::now();
    let url = site.url(&format!("/runs/{run}/events/stream"));
    loop {
        let last = seen.last().copied();
        let mut new = Vec::new();
        let ended = follow(&client, &url, last, |sse| {
            new.extend(sse.id);
            assert_ne!(sse.event, "reset", "an id was given that is not durable");
            sse.event == "stream.end"
        })
        .await;
        seen.extend(new);
        if ended {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE * 10, "the stream of {run} never ends");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
