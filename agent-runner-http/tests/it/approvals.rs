//! Approvals and tool calls over HTTP.

use agent_runner_core::testing::Turn;
use serde_json::{Value, json};

use crate::support::{Service, Setup, request};

fn acting() -> Service {
    Setup::new([Turn::tool("note", json!({"n": 1})), Turn::text("done")]).start()
}

fn asking(policy: &Value) -> Value {
    json!({"goal": "g", "tool_policy": policy})
}

/// The run's one approval, once it waits.
async fn asked(service: &Service, id: &str) -> Value {
    let stream = format!("/runs/{id}/events/stream?types=run.parked&include_deltas=false");
    let mut frames = service.open(request("GET", &stream, None)).await;
    assert_eq!(frames.next().await.unwrap().event, "run.parked");
    let list = service.get(&format!("/approvals?status=pending&run_id={id}")).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    list["items"][0].clone()
}

#[tokio::test]
async fn a_call_is_listed_approved_and_made() {
    let service = acting();
    let id = service.create(&asking(&json!({"approval": "always"}))).await;
    let approval = asked(&service, &id).await;
    let run = service.get(&format!("/runs/{id}")).await.json();
    assert_eq!(
        (&run["phase"], &run["waiting_on"]["reason"]),
        (&json!("parked"), &json!("approval"))
    );
    assert_eq!(run["options"]["tool_policy"]["approval"], "always");
    assert_eq!((&approval["tool"], &approval["arguments"]), (&json!("note"), &json!({"n": 1})));
    assert_eq!((&approval["kind"], &approval["status"]), (&json!("call"), &json!("pending")));
    let at = format!("/approvals/{}", approval["id"].as_str().unwrap());
    assert_eq!(service.get(&at).await.json(), approval);
    let word = json!({"decision": "approve", "by": "ada", "comment": "fine",
        "arguments_sha256": approval["arguments_sha256"]});
    let resolved = service.post(&format!("{at}/resolve"), &word).await;
    assert_eq!(resolved.status, 200, "{resolved:?}");
    let resolved = resolved.json();
    assert_eq!((&resolved["status"], &resolved["by"]), (&json!("approved"), &json!("ada")));
    assert_eq!(service.join(&id).await["status"], "COMPLETED");
    let again = service.post(&format!("{at}/resolve"), &word).await;
    assert_eq!((again.status.as_u16(), &again.json()["code"]), (409, &json!("conflict")));
    let none = service.get("/approvals?status=pending").await.json();
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_decides_nothing() {
    let service = acting();
    let id = service.create(&asking(&json!({"approval": "always"}))).await;
    let approval = asked(&service, &id).await;
    let at = format!("/approvals/{}", approval["id"].as_str().unwrap());
    for (body, status, pointer) in [
        (json!({}), 422, ""),
        (json!({"decision": "maybe"}), 422, "/decision"),
        (json!({"decision": "approve", "payload": {}}), 422, "/payload"),
        (json!({"decision": "edit"}), 422, "/payload"),
        (json!({"decision": "edit", "payload": {"n": "x"}}), 422, "/payload"),
        (json!({"decision": "approve", "by": ""}), 422, "/by"),
        (json!({"decision": "approve", "who": "me"}), 422, "/who"),
        (json!({"decision": "approve", "arguments_sha256": "0"}), 409, ""),
    ] {
        let answer = service.post(&format!("{at}/resolve"), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
        if !pointer.is_empty() {
            assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
        }
    }
    assert_eq!(service.get(&at).await.json()["status"], "pending");
    for (uri, status) in [
        ("/approvals/x", 404),
        ("/approvals/01a21eae-e2c3-7784-87b0-80f821283c42", 404),
        ("/approvals?status=open", 422),
        ("/approvals?run_id=x", 422),
        ("/approvals?cursor=x", 422),
    ] {
        assert_eq!(service.get(uri).await.status.as_u16(), status, "{uri}");
    }
    service.post(&format!("/runs/{id}/cancel"), &json!({})).await;
    let late = service.post(&format!("{at}/resolve"), &json!({"decision": "approve"})).await;
    assert_eq!((late.status.as_u16(), &late.json()["code"]), (410, &json!("expired")));
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_refused_where_it_is_given() {
    let service = acting();
    let bad = json!({"rules": [{"tool": "a b"}]});
    let run = service.post("/runs", &asking(&bad)).await;
    assert_eq!(run.status, 422);
    assert_eq!(run.json()["errors"][0]["pointer"], "/tool_policy/rules/0/tool");
    let settings = json!({"tools": bad, "shell": {"programs": ["/bin/sh"]},
        "git": {"remotes": {"origin": {"url": "https://me:secret@example.com/x"}}}});
    let project = service.post("/projects", &json!({"name": "p", "settings": settings})).await;
    assert_eq!(project.status, 422);
    let text = project.text.clone();
    let places: Vec<String> = project.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect();
    let want = [
        "/settings/tools/rules/0/tool",
        "/settings/shell/programs/0",
        "/settings/git/remotes/origin/url",
    ];
    assert_eq!(places, want);
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_tool_is_called_by_hand_within_the_projects_policy() {
    let service = Setup::new([Turn::text("done")]).start();
    let called = service.post("/tools/note/invoke", &json!({"arguments": {"n": 1}})).await;
    assert_eq!(called.status, 200, "{called:?}");
    let called = called.json();
    assert_eq!((&called["output"], &called["verdict"]), (&json!({"done": 1}), &json!("allow")));
    let dry = json!({"arguments": {"n": 2}, "dry_run": true});
    assert_eq!(service.post("/tools/note/invoke", &dry).await.json()["output"], Value::Null);
    for (uri, body, status) in [
        ("/tools/none/invoke", json!({}), 404),
        ("/tools/note/invoke", json!({"arguments": {"n": "x"}}), 422),
        ("/tools/note/invoke", json!({"args": {}}), 422),
        ("/tools/run.wait/invoke", json!({"arguments": {"seconds": 1}}), 409),
        ("/tools/doubt/invoke", json!({}), 502),
    ] {
        let answer = service.post(uri, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{uri} {body}: {answer:?}");
    }
    let settings = json!({"tools": {"deny": ["note"], "approval": "always"}});
    let project = service.post("/projects", &json!({"name": "p", "settings": settings})).await;
    let project = project.json();
    assert_eq!(project["settings"]["tools"]["deny"], json!(["note"]));
    let denied = json!({"project_id": project["id"], "arguments": {"n": 3}});
    let denied = service.post("/tools/note/invoke", &denied).await;
    assert_eq!((denied.status.as_u16(), &denied.json()["code"]), (403, &json!("forbidden")));
    let again = service.post("/tools/note/invoke", &json!({"arguments": {"n": 4}})).await;
    assert_eq!(again.json()["output"], json!({"done": 2}), "only two calls were made");
}
