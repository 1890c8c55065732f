//! The floor: the HTTP calls of a run with bare `reqwest`, and nothing else.

use serde_json::{Value, json};

use crate::model::TOOL_CALLS;

/// The bodies that the calls of one run send, made once.
pub(crate) struct Bodies(Vec<bytes::Bytes>);

impl Bodies {
    pub(crate) fn new(streamed: bool) -> Self {
        let mut messages = vec![json!({"role": "user", "content": super::engine::GOAL})];
        let mut bodies = Vec::new();
        for call in 0..=TOOL_CALLS {
            let mut body = json!({
                "model": "m",
                "messages": messages,
                "tools": [{"type": "function", "function": {
                    "name": "add",
                    "description": "Adds two numbers.",
                    "parameters": {"type": "object", "properties": {
                        "a": {"type": "integer"}, "b": {"type": "integer"}
                    }, "required": ["a", "b"]},
                }}],
            });
            if streamed {
                body["stream"] = Value::Bool(true);
                body["stream_options"] = json!({"include_usage": true});
            }
            bodies.push(body.to_string().into());
            messages.push(json!({"role": "assistant", "content": "x".repeat(230), "tool_calls": [
                {"id": format!("call_{call}"), "type": "function",
                 "function": {"name": "add", "arguments": "{\"a\":1,\"b\":2}"}}
            ]}));
            messages.push(
                json!({"role": "tool", "tool_call_id": format!("call_{call}"), "content": "3"}),
            );
        }
        Self(bodies)
    }
}

pub(crate) fn client() -> reqwest::Client {
    // No connection here is encrypted; the client wants to be able to.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The calls of one run.
pub(crate) async fn calls(client: &reqwest::Client, url: &str, bodies: &Bodies) {
    for body in &bodies.0 {
        let mut answer = client
            .post(url)
            .header("content-type", "application/json")
            .header("authorization", "Bearer test")
            .body(body.clone())
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await.unwrap() {
            bytes += piece.len();
        }
        assert!(bytes > 100);
    }
}
