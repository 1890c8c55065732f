//! A model's service behind five wire formats that does wrong what a service can do wrong, or what
//! an agent needs. How is the first part of its path: `http://host/<way>/…`.

mod request;
mod wire;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::wire::Fault;
pub(crate) use self::{request::Said, wire::Wire};
use super::Background;

/// The tool that an agent here calls first, under any name that a wire gives it.
const TOOL: &str = "time.now";
/// The tool that is offered where an answer cannot be held to a schema beside tools.
pub(crate) const FINAL_TOOL: &str = "final_answer";
/// What an agent here says in the end, in two pieces.
pub(crate) const ANSWER: [&str; 2] = ["I know ", "the time."];

/// The service.
pub(crate) struct Upstream {
    server: Background,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keys: Mutex<BTreeSet<String>>,
    /// The prompts that it was given, with the way and the wire.
    asked: Mutex<Vec<(String, Wire, Value)>>,
    /// Replies that may be completed.
    go_on: Semaphore,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let (keys, asked) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { keys, asked, go_on: Semaphore::new(0) });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        Self { server: Background::serve(router).await, shared }
    }

    /// Its address as a provider of that wire takes it, where it does wrong in that way.
    pub(crate) fn base_url(&self, wire: Wire, way: &str) -> String {
        let base = format!("http://{}/{way}", self.server.address);
        match wire {
            Wire::OpenAi | Wire::Responses => base + "/v1",
            Wire::Gemini => base + "/v1beta",
            Wire::Anthropic | Wire::Ollama => base,
        }
    }

    /// The same, with an id of its requests in place of the key.
    pub(crate) fn honest_url(&self, wire: Wire, way: &str) -> String {
        self.base_url(wire, &format!("{way}/honest"))
    }

    /// The keys that it was given until now.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.shared.keys.lock().unwrap().clone()
    }

    /// The prompts that it was given until now over that wire.
    pub(crate) fn asked(&self, wire: Wire, way: &str) -> Vec<Value> {
        let asked = self.shared.asked.lock().unwrap();
        let own = asked.iter().filter(|(w, over, _)| w == way && *over == wire);
        own.map(|(.., body)| body.clone()).collect()
    }

    /// Completes one reply of the way `agent`, which waits for that in the middle.
    pub(crate) fn go_on(&self) {
        self.shared.go_on.add_permits(1);
    }
}

/// The key that a request brought.
fn key(headers: &HeaderMap) -> String {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").map(|value| value.trim_start_matches("Bearer "));
    bearer.or(header("x-api-key")).or(header("x-goog-api-key")).unwrap_or("no key").to_owned()
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    (method, uri, headers): (Method, Uri, HeaderMap),
    body: Bytes,
) -> Response {
    let path = uri.path();
    let way = path.split('/').nth(1).unwrap_or_default().to_owned();
    let (key, wire) = (key(&headers), Wire::of(path));
    shared.keys.lock().unwrap().insert(key.clone());
    if path.ends_with("/api/show") {
        return (StatusCode::OK, json!({"capabilities": ["completion", "tools"]}).to_string())
            .into_response();
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if method == Method::POST {
        shared.asked.lock().unwrap().push((way.clone(), wire, request.clone()));
    }
    let mut answer = match (method == Method::GET, way.as_str()) {
        (true, "refuses" | "proxy" | "document") => wrong(&way, wire, &key),
        (true, _) => (StatusCode::OK, Wire::models(path, &key).to_string()).into_response(),
        (false, "agent" | "mends" | "misfits") => agent(shared, &way, wire, &request),
        (false, _) => wrong(&way, wire, &key),
    };
    let echo = if path.contains("/honest/") { "req_42".to_owned() } else { key };
    for name in ["x-request-id", "request-id", "www-authenticate", "location", "x-should-retry"] {
        let value = if name == "x-should-retry" { "false" } else { echo.as_str() };
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}

/// What a model says that first calls a tool. Then it answers: with a text, in pieces, or with what
/// has to fit a schema, which it first does not, or never.
fn agent(shared: Arc<Shared>, way: &str, wire: Wire, request: &Value) -> Response {
    let (replies, offered) = (wire.replies(request), wire.offered(request));
    let id = format!("call_{}", replies + 1);
    let stream = |body| ([(CONTENT_TYPE, wire.content_type())], body).into_response();
    if wire.results(request).is_empty() {
        let like = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let tool = offered.iter().find(|(name, _)| like(name) == like(TOOL));
        let Some((name, _)) = tool else {
            return (StatusCode::BAD_REQUEST, "the tool is not offered").into_response();
        };
        return stream(Body::from(wire.calls(&id, name, "{}")));
    }
    if way == "agent" {
        let [begin, rest] = ANSWER;
        let rest = wire.goes_on(rest) + &wire.ends();
        let rest = stream::once(async move {
            shared.go_on.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(rest)
        });
        let begin = stream::once(async move { Ok(wire.begins("m", begin)) });
        return stream(Body::from_stream(begin.chain(rest)));
    }
    let fits = way == "mends" && replies > 1;
    let answer = if fits { "{\"n\": 1}" } else { "{\"n\": \"one\"}" };
    stream(Body::from(if offered.iter().any(|(name, _)| name == FINAL_TOOL) {
        wire.calls(&id, FINAL_TOOL, answer)
    } else {
        wire.begins("m", answer) + &wire.ends()
    }))
}

/// An answer to a prompt, or to any request that goes wrong.
fn wrong(way: &str, wire: Wire, key: &str) -> Response {
    let body = |status: StatusCode, kind: &'static str, text: String| {
        (status, [(CONTENT_TYPE, kind)], text).into_response()
    };
    let said = format!("the key {key} is not what it should be");
    let stream = |text: String| body(StatusCode::OK, wire.content_type(), text);
    match way {
        "refuses" => body(
            StatusCode::UNAUTHORIZED,
            "application/json",
            wire.error(Fault::Key, &said).to_string(),
        ),
        "unknown" => body(
            StatusCode::NOT_FOUND,
            "application/json",
            wire.error(Fault::Model, "there is nothing of that name").to_string(),
        ),
        "proxy" => {
            let page =
                format!("<html><body><h1>502 Bad Gateway</h1>\r\n<p>{key}</p></body></html>");
            body(StatusCode::BAD_GATEWAY, "text/html", page)
        }
        "document" => {
            body(StatusCode::OK, "application/json", wire.error(Fault::Service, &said).to_string())
        }
        "breaks" => stream(
            wire.begins(key, "I begin ") + &wire.frame("error", &wire.error(Fault::Service, &said)),
        ),
        "cut" => stream(wire.begins(key, key)),
        "arguments" => stream(wire.calls("c1", "time_now", "{\"zone\": ")),
        "line" => {
            let text = "x".repeat(10 * 1024 * 1024);
            stream(wire.begins("m", &text) + &wire.ends())
        }
        "endless-line" => endless(Bytes::from(format!("data: \"{}", "x".repeat(64 * 1024)))),
        "endless" => endless(Bytes::from(wire.begins("m", &"word ".repeat(100_000)))),
        "page" => {
            body(StatusCode::OK, "text/html", "<html><body>Please log in</body></html>".into())
        }
        // The key as an id, a model's name and a text, split over two pieces.
        _ => {
            let all = wire.begins(key, key) + &wire.ends();
            let at = all.find(key).map_or(0, |at| at + key.len() / 2);
            let (a, b) = all.split_at(at);
            let pieces =
                [a.to_owned(), b.to_owned()].map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
            let slow = stream::iter(pieces).then(|piece| async {
                tokio::task::yield_now().await;
                piece
            });
            ([(CONTENT_TYPE, wire.content_type())], Body::from_stream(slow)).into_response()
        }
    }
}

fn endless(piece: Bytes) -> Response {
    let pieces = stream::repeat(piece).then(|piece| async {
        tokio::time::sleep(Duration::from_micros(1)).await;
        Ok::<_, Infallible>(piece)
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}
