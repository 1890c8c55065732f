//! A model behind OpenAI's wire format that does what the goal of the run says. What it answers
//! depends only on the conversation, so a repeated request gets the same answer.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::Background;

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicUsize,
    hung_up: AtomicUsize,
}

pub(crate) struct Model {
    server: Background,
    counts: Arc<Counts>,
}

impl Model {
    pub(crate) async fn start() -> Self {
        let counts = Arc::<Counts>::default();
        let models = || async { Json(json!({"object": "list", "data": [{"id": "fake"}]})) };
        let router = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(chat))
            .with_state(Arc::clone(&counts));
        Self { server: Background::serve(router).await, counts }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.server.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Clients that closed the connection before the reply was complete.
    pub(crate) fn hung_up(&self) -> usize {
        self.counts.hung_up.load(Ordering::SeqCst)
    }
}

/// Counts a reply that is dropped before it is complete.
struct Guard {
    counts: Arc<Counts>,
    complete: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.complete {
            self.counts.hung_up.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn chunk(delta: &Value, finish: &Value) -> Bytes {
    let chunk = json!({
        "id": "x", "object": "chat.completion.chunk", "model": "fake",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    });
    Bytes::from(format!("data: {chunk}\n\n"))
}

fn text(words: &str) -> Vec<Bytes> {
    let mut chunks: Vec<Bytes> = words
        .split_inclusive(' ')
        .map(|word| chunk(&json!({"content": word}), &Value::Null))
        .collect();
    chunks.push(chunk(&json!({}), &json!("stop")));
    chunks
}

fn call(name: &str, arguments: &Value) -> Vec<Bytes> {
    let call = json!({"tool_calls": [{
        "index": 0, "id": "call_1", "type": "function",
        "function": {"name": name, "arguments": arguments.to_string()},
    }]});
    vec![chunk(&call, &Value::Null), chunk(&json!({}), &json!("tool_calls"))]
}

/// The name under which a tool was offered: providers rewrite names that a wire refuses.
fn offered(request: &Value, wanted: &str) -> String {
    let like = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "");
    request["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| tool["function"]["name"].as_str())
        .find(|name| like(name) == like(wanted))
        .unwrap_or(wanted)
        .to_owned()
}

/// What the goal asks for: `key=value` words.
fn asked<'a>(goal: &'a str, key: &str) -> Option<&'a str> {
    goal.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

async fn chat(State(counts): State<Arc<Counts>>, Json(request): Json<Value>) -> Response {
    counts.requests.fetch_add(1, Ordering::SeqCst);
    let messages = request["messages"].as_array().unwrap();
    let goal = messages.iter().find(|m| m["role"] == "user").unwrap()["content"].as_str().unwrap();
    let turn = messages.iter().filter(|m| m["role"] == "assistant").count();
    let effects = asked(goal, "effects").map_or(0, |n| n.parse::<usize>().unwrap());
    let mut silence = Duration::ZERO;
    let mut hold = false;
    let chunks = if turn < effects {
        let body = json!({"id": asked(goal, "id"), "n": turn});
        let arguments = json!({"url": asked(goal, "url").unwrap(), "json": body});
        call(&offered(&request, "http.post"), &arguments)
    } else if let Some(millis) = asked(goal, "silent") {
        silence = Duration::from_millis(millis.parse().unwrap());
        text("at last")
    } else if goal.contains("hold") {
        hold = true;
        vec![chunk(&json!({"content": "I begin "}), &Value::Null)]
    } else {
        text(&format!("done after {turn} turns"))
    };
    let guard = Guard { counts, complete: false };
    let body = stream::unfold(
        (chunks.into_iter(), guard, false),
        move |(mut chunks, mut guard, begun)| async move {
            if !begun {
                tokio::time::sleep(silence).await;
            }
            match chunks.next() {
                Some(chunk) => Some((Ok::<_, Infallible>(chunk), (chunks, guard, true))),
                None if guard.complete => None,
                None if hold => {
                    std::future::pending::<()>().await;
                    None
                }
                None => {
                    guard.complete = true;
                    Some((Ok(Bytes::from_static(b"data: [DONE]\n\n")), (chunks, guard, true)))
                }
            }
        },
    );
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(body.boxed())).into_response()
}
