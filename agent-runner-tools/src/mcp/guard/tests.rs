//! What comes through, and what does not.

use std::{collections::VecDeque, io};

use serde_json::{Value, json};

use super::*;

/// Says what it is told to say.
struct Script(VecDeque<Value>);

impl Transport<RoleClient> for Script {
    type Error = io::Error;

    fn send(
        &mut self,
        _item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        std::future::ready(Ok(()))
    }

    async fn receive(&mut self) -> Option<Message> {
        Some(serde_json::from_value(self.0.pop_front()?).unwrap())
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        Ok(())
    }
}

fn guarded(script: Vec<Value>) -> (Guarded<Script>, Arc<Notify>) {
    let changed = Arc::new(Notify::new());
    let log = ServerLog::new("x", Redactor::default());
    (Guarded::new(Script(script.into()), log, Arc::clone(&changed)), changed)
}

async fn heard(guarded: &mut Guarded<Script>) -> Vec<Value> {
    let mut heard = Vec::new();
    while let Some(message) = guarded.receive().await {
        heard.push(serde_json::to_value(message).unwrap());
    }
    heard
}

fn news(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params})
}

#[tokio::test]
async fn only_answers_and_bare_requests_come_through() {
    let (mut guarded, changed) = guarded(vec![
        news("message", &json!({"level": "info", "data": "x"})),
        news("progress", &json!({"progressToken": 1, "progress": 1.0})),
        news("resources/list_changed", &json!({})),
        news("tools/list_changed", &json!({})),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}),
        json!({"jsonrpc": "2.0", "id": 2, "error": {"code": 1, "message": "x"}}),
        json!({"jsonrpc": "2.0", "error": {"code": 1, "message": "of nobody"}}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": 4, "method": "roots/list"}),
        json!({"jsonrpc": "2.0", "id": 5, "method": "secret/thing", "params": {"a": "x".repeat(9_999)}}),
        json!({"jsonrpc": "2.0", "id": "y".repeat(200), "method": "ping"}),
    ]);
    let heard = heard(&mut guarded).await;
    let ids: Vec<i64> = heard.iter().map(|message| message["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(heard[2]["method"], "ping");
    assert_eq!((&heard[3]["method"], &heard[4]["method"]), (&json!("refused"), &json!("refused")));
    assert!(heard[4]["params"].is_null());
    changed.notified().await;
}

#[tokio::test]
async fn a_server_introduces_itself_briefly() {
    let info = |version: &str| {
        json!({"jsonrpc": "2.0", "id": 0, "result": {
            "protocolVersion": version, "instructions": "i".repeat(100_000),
            "capabilities": {"tools": {"listChanged": true}, "experimental": {"x": {"y": "z"}}},
            "serverInfo": {"name": "n\u{200b}".repeat(1_000), "version": "v".repeat(1_000)},
        }})
    };
    let (mut guarded_one, _) = guarded(vec![info("2025-11-25")]);
    let heard_one = heard(&mut guarded_one).await;
    let result = &heard_one[0]["result"];
    assert!(result.to_string().len() < 600, "{result}");
    assert_eq!(result["capabilities"], json!({"tools": {"listChanged": true}}));
    assert_eq!(result["serverInfo"]["name"], "n".repeat(200));
    let (mut guarded_two, _) = guarded(vec![info(&"9".repeat(1_000))]);
    assert!(heard(&mut guarded_two).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_at_a_moderate_rate_and_a_flood_ends_the_connection() {
    let ask = |id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"});
    let (mut guarded_one, _) = guarded((0..1_000).map(ask).collect());
    assert_eq!(heard(&mut guarded_one).await.len(), 32);
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}});
    let progress = news("progress", &json!({"progressToken": 1, "progress": 1.0}));
    for (count, ends) in [(10_000, false), (10_001, true)] {
        let mut script = vec![progress.clone(); count];
        script.push(answer.clone());
        let (mut guarded, _) = guarded(script);
        assert_eq!(heard(&mut guarded).await.is_empty(), ends, "{count}");
    }
}
