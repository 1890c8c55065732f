//! A model's service behind four wire formats that does wrong what a service can do wrong. How is
//! the first part of its path: `http://host/<way>/…`.

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

use super::Background;

/// What the service says is wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Key,
    Model,
    Service,
}

/// What the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
}

impl Wire {
    pub(crate) const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Ollama];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    fn of(path: &str) -> Self {
        if path.contains("/chat/completions") {
            Self::OpenAi
        } else if path.contains("/v1/messages") {
            Self::Anthropic
        } else if path.contains("GenerateContent") {
            Self::Gemini
        } else {
            Self::Ollama
        }
    }

    fn content_type(self) -> &'static str {
        if self == Self::Ollama { "application/x-ndjson" } else { "text/event-stream" }
    }

    fn frame(self, name: &str, data: &Value) -> String {
        match self {
            Self::OpenAi | Self::Gemini => format!("data: {data}\n\n"),
            Self::Anthropic => format!("event: {name}\ndata: {data}\n\n"),
            Self::Ollama => format!("{data}\n"),
        }
    }

    /// The beginning of a reply that says something and calls itself `id`.
    pub(crate) fn begins(self, id: &str, text: &str) -> String {
        let frame = |name, data: Value| self.frame(name, &data);
        match self {
            Self::OpenAi => frame(
                "",
                json!({
                    "id": id, "object": "chat.completion.chunk", "model": id,
                    "system_fingerprint": id,
                    "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}],
                }),
            ),
            Self::Anthropic => {
                frame(
                    "message_start",
                    json!({"type": "message_start", "message": {
                        "id": id, "type": "message", "role": "assistant", "model": id, "content": [],
                        "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1},
                    }}),
                ) + &frame(
                    "content_block_start",
                    json!({
                        "type": "content_block_start", "index": 0,
                        "content_block": {"type": "text", "text": ""},
                    }),
                ) + &frame(
                    "content_block_delta",
                    json!({
                        "type": "content_block_delta", "index": 0,
                        "delta": {"type": "text_delta", "text": text},
                    }),
                )
            }
            Self::Gemini => frame(
                "",
                json!({
                    "responseId": id, "modelVersion": id,
                    "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}],
                }),
            ),
            Self::Ollama => frame(
                "",
                json!({
                    "model": id, "message": {"role": "assistant", "content": text}, "done": false,
                }),
            ),
        }
    }

    /// The end of a good reply.
    pub(crate) fn ends(self) -> String {
        let frame = |name, data: Value| self.frame(name, &data);
        match self {
            Self::OpenAi => {
                frame(
                    "",
                    json!({
                        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                    }),
                ) + "data: [DONE]\n\n"
            }
            Self::Anthropic => {
                frame("content_block_stop", json!({"type": "content_block_stop", "index": 0}))
                    + &frame(
                        "message_delta",
                        json!({
                            "type": "message_delta", "delta": {"stop_reason": "end_turn"},
                            "usage": {"output_tokens": 2},
                        }),
                    )
                    + &frame("message_stop", json!({"type": "message_stop"}))
            }
            Self::Gemini => frame(
                "",
                json!({
                    "candidates": [{"index": 0, "finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
                }),
            ),
            Self::Ollama => frame(
                "",
                json!({
                    "message": {"role": "assistant", "content": ""}, "done": true,
                    "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2,
                }),
            ),
        }
    }

    /// A call of `time.now` whose arguments are not JSON, where the wire lets one send such.
    fn calls_badly(self) -> String {
        let bad = "{\"zone\": ";
        match self {
            Self::OpenAi => {
                self.frame(
                    "",
                    &json!({"choices": [{"index": 0, "delta": {"tool_calls": [
                        {"index": 0, "id": "c1", "type": "function",
                         "function": {"name": "time_now", "arguments": bad}},
                    ]}}]}),
                ) + &self.frame(
                    "",
                    &json!({
                        "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
                    }),
                ) + "data: [DONE]\n\n"
            }
            Self::Anthropic => {
                let frame = |name, data: Value| self.frame(name, &data);
                frame(
                    "message_start",
                    json!({"type": "message_start", "message": {
                        "id": "m", "role": "assistant", "model": "m", "content": [],
                        "usage": {"input_tokens": 1, "output_tokens": 1},
                    }}),
                ) + &frame(
                    "content_block_start",
                    json!({
                        "type": "content_block_start", "index": 0,
                        "content_block": {"type": "tool_use", "id": "t1", "name": "time_now", "input": {}},
                    }),
                ) + &frame(
                    "content_block_delta",
                    json!({
                        "type": "content_block_delta", "index": 0,
                        "delta": {"type": "input_json_delta", "partial_json": bad},
                    }),
                ) + &frame("content_block_stop", json!({"type": "content_block_stop", "index": 0}))
                    + &frame(
                        "message_delta",
                        json!({
                            "type": "message_delta", "delta": {"stop_reason": "tool_use"},
                            "usage": {"output_tokens": 2},
                        }),
                    )
                    + &frame("message_stop", json!({"type": "message_stop"}))
            }
            Self::Gemini | Self::Ollama => self.begins("m", "no call") + &self.ends(),
        }
    }

    /// The service's own way to say that something went wrong.
    fn error(self, fault: Fault, message: &str) -> Value {
        let [openai, anthropic, gemini] = match fault {
            Fault::Key => ["invalid_api_key", "authentication_error", "UNAUTHENTICATED"],
            Fault::Model => ["model_not_found", "not_found_error", "NOT_FOUND"],
            Fault::Service => ["server_error", "api_error", "INTERNAL"],
        };
        match self {
            Self::OpenAi => json!({"error": {
                "message": message, "type": openai, "param": message, "code": openai,
            }}),
            Self::Anthropic => json!({"type": "error", "error": {
                "type": anthropic, "message": message, "details": {"error_code": message},
            }}),
            Self::Gemini => json!({"error": {
                "code": 500, "message": message, "status": gemini,
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": message}],
            }}),
            Self::Ollama => json!({"error": message}),
        }
    }

    fn models(path: &str, id: &str) -> Value {
        if path.ends_with("/api/tags") {
            json!({"models": [{"name": "good"}, {"name": id}]})
        } else if path.contains("/v1beta") {
            let model = |id: &str| {
                json!({
                    "name": format!("models/{id}"), "displayName": id, "inputTokenLimit": 9_000,
                    "supportedGenerationMethods": ["generateContent"],
                })
            };
            json!({"models": [model("good"), model(id)]})
        } else {
            let model = |id: &str| json!({"id": id, "object": "model", "display_name": id});
            json!({"object": "list", "data": [model("good"), model(id)], "has_more": false})
        }
    }
}

/// The service.
pub(crate) struct Upstream {
    server: Background,
    keys: Keys,
}

type Keys = Arc<Mutex<BTreeSet<String>>>;

impl Upstream {
    pub(crate) async fn start() -> Self {
        let keys = Keys::default();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&keys));
        Self { server: Background::serve(router).await, keys }
    }

    /// Its address as a provider of that wire takes it, where it does wrong in that way.
    pub(crate) fn base_url(&self, wire: Wire, way: &str) -> String {
        let base = format!("http://{}/{way}", self.server.address);
        match wire {
            Wire::OpenAi => base + "/v1",
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
        self.keys.lock().unwrap().clone()
    }
}

/// The key that a request brought.
fn key(headers: &HeaderMap) -> String {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").map(|value| value.trim_start_matches("Bearer "));
    bearer.or(header("x-api-key")).or(header("x-goog-api-key")).unwrap_or("no key").to_owned()
}

async fn serve(State(keys): State<Keys>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let way = path.split('/').nth(1).unwrap_or_default().to_owned();
    let (key, wire) = (key(&headers), Wire::of(path));
    keys.lock().unwrap().insert(key.clone());
    if path.ends_with("/api/show") {
        return (StatusCode::OK, json!({"capabilities": ["completion", "tools"]}).to_string())
            .into_response();
    }
    let mut answer = match (method == Method::GET, way.as_str()) {
        (true, "refuses" | "proxy" | "document") | (false, _) => wrong(&way, wire, &key),
        (true, _) => (StatusCode::OK, Wire::models(path, &key).to_string()).into_response(),
    };
    let echo = if path.contains("/honest/") { "req_42".to_owned() } else { key };
    for name in ["x-request-id", "request-id", "www-authenticate", "location", "x-should-retry"] {
        let value = if name == "x-should-retry" { "false" } else { echo.as_str() };
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
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
            wire.error(Fault::Model, "model 'm' not found").to_string(),
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
        "arguments" => stream(wire.calls_badly()),
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
