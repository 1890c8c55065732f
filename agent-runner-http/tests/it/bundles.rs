//! Runs on their way to another server and back.

use std::time::Duration;

use agent_runner_core::{limits, testing::Turn};
use agent_runner_http::ApiOptions;
use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};

use crate::support::{Setup, answering, idle, with_header};

fn import(uri: &str, bundle: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method("POST")
        .uri(uri)
        .header("content-type", "application/x-ndjson")
        .body(bundle.into())
        .unwrap()
}

#[tokio::test]
async fn a_run_goes_to_another_server_and_on_from_there() {
    let here = answering("forty-two");
    let new = json!({"goal": "what is it", "tags": ["a"], "metadata": {"n": [1, 0.5]}});
    let source = here.create(&new).await;
    let before = here.join(&source).await;
    let exported = here.get(&format!("/runs/{source}/export")).await;
    assert_eq!(exported.status, 200);
    assert_eq!(exported.header("content-type"), "application/x-ndjson");
    assert!(exported.header("content-disposition").contains(&format!("{source}.ndjson")));
    let first: Value = serde_json::from_str(exported.text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["run"]["format"], &first["run"]["version"]),
        (&json!("agent-runner.run"), &json!(1))
    );

    let there = answering("something else");
    let imported = there.send(import("/runs/import", exported.text.clone())).await;
    assert_eq!(imported.status, 201, "{imported:?}");
    let run = imported.json();
    let id = run["id"].as_str().unwrap();
    assert_eq!(imported.header("location"), format!("/runs/{id}"));
    assert_eq!(imported.header("idempotency-replayed"), "");
    assert_eq!(run["imported_from"]["run_id"], source.as_str());
    for field in ["status", "output", "goal", "tags", "metadata", "usage", "spend", "finished_at"] {
        assert_eq!(run[field], before[field], "{field}");
    }
    let events = |answer: Value| -> Vec<Value> {
        let items = answer["items"].as_array().unwrap().clone();
        let kept = ["id", "type", "payload", "created_at"];
        items.iter().map(|event| kept.iter().map(|field| event[field].clone()).collect()).collect()
    };
    let old = here.get(&format!("/runs/{source}/events")).await.json();
    let new = there.get(&format!("/runs/{id}/events")).await.json();
    assert_eq!(events(new), events(old));
    let steps = there.get(&format!("/runs/{id}/steps")).await.json();
    assert_eq!(steps["items"][0]["status"], "SUCCEEDED");

    let again = there.send(import("/runs/import", exported.text.clone())).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (201, &json!(id)));
    assert_eq!(again.header("idempotency-replayed"), "true");
    let fork = there.post(&format!("/runs/{id}/fork"), &json!({})).await.json();
    assert_eq!(
        (&fork["forked_from"]["run_id"], &fork["imported_from"]),
        (&json!(id), &Value::Null)
    );
    let done = there.join(fork["id"].as_str().unwrap()).await;
    assert_eq!(done["output"], "something else");

    let project = there.post("/projects", &json!({"name": "p"})).await.json()["id"].clone();
    let uri = format!("/runs/import?project_id={}", project.as_str().unwrap());
    let other = there.send(import(&uri, exported.text)).await.json();
    assert_eq!(other["project_id"], project);
    assert_ne!(other["id"], id);
}

#[tokio::test]
async fn what_cannot_be_exported_says_why() {
    let service = idle();
    let queued = service.create(&json!({"goal": "g"})).await;
    let refused = service.get(&format!("/runs/{queued}/export")).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (409, &json!("invalid_transition"))
    );
    assert!(refused.json()["detail"].as_str().unwrap().contains("QUEUED"));
    let unknown = service.get("/runs/01930000-0000-7000-8000-000000000000/export").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn what_cannot_be_imported_says_why_and_leaves_nothing() {
    let here = answering("forty-two");
    let source = here.create(&json!({"goal": "g"})).await;
    here.join(&source).await;
    let bundle = here.get(&format!("/runs/{source}/export")).await.text;
    let there = idle();
    let cut = bundle.strip_suffix("\n").unwrap().to_owned();
    for (bundle, words) in [
        (String::new(), "line 1: the bundle breaks off"),
        (cut, "the line has no end"),
        (bundle.replacen("forty-two", "forty-one", 1), "damaged or changed"),
        ("{\"goal\": \"g\"}\n".to_owned(), "line 1: a bundle begins with"),
    ] {
        let refused = there.send(import("/runs/import", bundle)).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (422, &json!("validation")));
        let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
    let undeclared = Request::post("/runs/import").body(Body::from(bundle.clone())).unwrap();
    let refused = there.send(undeclared).await;
    assert_eq!(refused.status, 415);
    assert!(refused.json()["detail"].as_str().unwrap().contains("application/x-ndjson"));
    let nowhere = "/runs/import?project_id=01930000-0000-7000-8000-000000000000";
    assert_eq!(there.send(import(nowhere, bundle.clone())).await.status, 404);
    let typo = there.send(import("/runs/import?project=1", bundle)).await;
    assert_eq!(
        (typo.status.as_u16(), &typo.json()["errors"][0]["pointer"]),
        (422, &json!("/project"))
    );
    let large = with_header(
        import("/runs/import", Body::empty()),
        "content-length",
        &(limits::BUNDLE_BYTES_MAX + 1).to_string(),
    );
    assert_eq!(there.send(large).await.status, 413);
    assert_eq!(there.get("/runs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_bundle_may_be_larger_than_other_bodies_also_with_a_key() {
    let here = answering(&"long ".repeat(600_000));
    let source = here.create(&json!({"goal": "g"})).await;
    here.join(&source).await;
    let bundle = here.get(&format!("/runs/{source}/export")).await.text;
    assert!(bundle.len() > 4 * ApiOptions::default().body_bytes_max);
    let there = idle();
    let keyed = with_header(import("/runs/import", bundle.clone()), "idempotency-key", "k");
    let first = there.send(keyed).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let keyed = with_header(import("/runs/import", bundle), "idempotency-key", "another");
    let again = there.send(keyed).await;
    assert_eq!(again.json()["id"], first.json()["id"], "a bundle is its own key");
    let wrong = with_header(import("/runs/import", ""), "idempotency-key", "");
    assert_eq!(there.send(wrong).await.status, 422);
}

#[tokio::test]
async fn few_bundles_are_received_at_once() {
    let mut setup = Setup::new([Turn::text("done")]);
    setup.options = ApiOptions { imports_max: 1, ..ApiOptions::default() };
    let service = std::sync::Arc::new(setup.idle());
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel();
    let slow = stream::once(async move {
        begin.send(()).unwrap();
        ended.await.unwrap();
        Ok::<_, std::io::Error>(Bytes::from_static(b"{}\n"))
    });
    let first = tokio::spawn({
        let service = service.clone();
        async move { service.send(import("/runs/import", Body::from_stream(slow))).await }
    });
    begun.await.unwrap();
    let second = service.send(import("/runs/import", "{}\n")).await;
    assert_eq!((second.status.as_u16(), second.header("retry-after")), (503, "1"), "{second:?}");
    end.send(()).unwrap();
    let first = tokio::time::timeout(Duration::from_secs(20), first).await.unwrap().unwrap();
    assert_eq!(first.status, 422);
    assert_eq!(service.send(import("/runs/import", "{}\n")).await.status, 422, "its place is free");
}
