//! An outside party that writes down every request it gets.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};

use super::Background;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) body: Value,
}

type Entries = Arc<Mutex<Vec<Entry>>>;

pub(crate) struct Ledger {
    server: Background,
    entries: Entries,
}

async fn effect(
    State(entries): State<Entries>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut entries = entries.lock().unwrap();
    entries.push(Entry { key, body });
    Json(json!({"receipt": entries.len()}))
}

impl Ledger {
    pub(crate) async fn start() -> Self {
        let entries = Entries::default();
        let router = Router::new().route("/effect", post(effect)).with_state(Arc::clone(&entries));
        Self { server: Background::serve(router).await, entries }
    }

    /// `host:port`, as the operator allows it.
    pub(crate) fn host(&self) -> String {
        self.server.address.to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/effect", self.server.address)
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }
}
