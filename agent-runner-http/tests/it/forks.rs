//! Forks and reruns over HTTP.

use serde_json::{Value, json};

use crate::support::{answering, request, with_header};

#[tokio::test]
async fn a_run_goes_on_elsewhere_and_starts_anew() {
    let service = answering("forty-two");
    let new = json!({"goal": "what is it", "tags": ["a"], "options": {"max_steps": 3}});
    let source = service.create(&new).await;
    service.join(&source).await;
    let events = service.get(&format!("/runs/{source}/events")).await.json();
    let asked = events["items"].as_array().unwrap();
    let asked = asked.iter().find(|event| event["type"] == "llm.started").unwrap()["id"].clone();

    let body = json!({"goal": "what was it", "options": {"temperature": 0.5}});
    let forked = service.post(&format!("/runs/{source}/fork"), &body).await;
    assert_eq!(forked.status, 201, "{}", forked.json());
    let fork = forked.json();
    let id = fork["id"].as_str().unwrap();
    assert_eq!(forked.header("location"), format!("/runs/{id}"));
    assert_eq!(fork["forked_from"], json!({"run_id": source, "event": asked}));
    assert_eq!((&fork["goal"], &fork["tags"]), (&json!("what was it"), &json!(["a"])));
    assert_eq!(fork["options"]["temperature"], 0.5);
    assert_eq!(fork["options"]["max_steps"], 3);
    let done = service.join(id).await;
    assert_eq!((&done["status"], &done["output"]), (&json!("COMPLETED"), &json!("forty-two")));

    let body = json!({"event": 1, "name": "again"});
    let first = service.post(&format!("/runs/{source}/fork"), &body).await.json();
    assert_eq!((&first["forked_from"]["event"], &first["name"]), (&json!(1), &json!("again")));
    let again = service.post(&format!("/runs/{source}/rerun"), &json!({})).await;
    assert_eq!(again.status, 201);
    assert_eq!(again.json()["forked_from"], json!({"run_id": source, "event": 1}));
    assert_eq!(service.get(&format!("/runs/{source}")).await.json()["forked_from"], Value::Null);
}

#[tokio::test]
async fn a_fork_that_makes_no_sense_names_its_fields() {
    let service = answering("forty-two");
    let source = service.create(&json!({"goal": "g"})).await;
    let last = service.join(&source).await["last_event_id"].as_u64().unwrap();
    for (body, pointer) in [
        (json!({"event": 0}), "/event"),
        (json!({"event": last}), "/event"),
        (json!({"event": last + 1}), "/event"),
        (json!({"model": "nowhere/x"}), "/model"),
        (json!({"options": {"max_step": 3}}), "/options/max_step"),
        (json!({"evnt": 3}), "/evnt"),
    ] {
        let refused = service.post(&format!("/runs/{source}/fork"), &body).await;
        assert_eq!(refused.status, 422, "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let missing = "/runs/01930000-0000-7000-8000-000000000000/fork";
    assert_eq!(service.post(missing, &json!({})).await.status, 404);
    let refused = service.post(&format!("/runs/{source}/rerun"), &json!({"event": 1})).await;
    assert_eq!(refused.status, 422, "a rerun begins at the beginning");
}

#[tokio::test]
async fn one_key_gives_one_fork() {
    let service = answering("forty-two");
    let source = service.create(&json!({"goal": "g"})).await;
    service.join(&source).await;
    let path = format!("/runs/{source}/fork");
    let send = async |body: Value| {
        let request = with_header(request("POST", &path, Some(&body)), "idempotency-key", "k");
        service.send(request).await
    };
    let one = send(json!({"name": "a"})).await;
    let same = send(json!({"name": "a"})).await;
    assert_eq!((one.status.as_u16(), same.status.as_u16()), (201, 201));
    assert_eq!(one.json()["id"], same.json()["id"]);
    assert_eq!(same.header("idempotency-replayed"), "true");
    let other = send(json!({"name": "b"})).await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (422, &json!("idempotency_mismatch"))
    );
}

#[tokio::test]
async fn two_runs_are_compared() {
    let service = answering("forty-two");
    let source = service.create(&json!({"goal": "what is it"})).await;
    service.join(&source).await;
    let body = json!({"goal": "what was it"});
    let fork = service.post(&format!("/runs/{source}/rerun"), &body).await.json();
    let fork = fork["id"].as_str().unwrap();
    service.join(fork).await;
    let diff = service.get(&format!("/runs/{source}/diff/{fork}")).await.json();
    assert_eq!((&diff["same_story"], &diff["steps"]), (&json!(true), &json!([])));
    assert_eq!(diff["left"]["parts_at"], Value::Null);
    assert_eq!((&diff["left"]["run_id"], &diff["right"]["run_id"]), (&json!(source), &json!(fork)));
    let goal = json!({"pointer": "/goal", "left": "what is it", "right": "what was it"});
    assert_eq!(diff["spec"][1], goal);

    let other = service.create(&json!({"goal": "g", "options": {"max_steps": 1}})).await;
    service.post(&format!("/runs/{other}/cancel"), &json!({})).await;
    service.join(&other).await;
    let diff = service.get(&format!("/runs/{source}/diff/{other}")).await.json();
    assert_eq!(diff["left"]["status"], "COMPLETED");
    let missing = "01930000-0000-7000-8000-000000000000";
    for (left, right) in [(source.as_str(), missing), (missing, source.as_str()), ("x", fork)] {
        assert_eq!(service.get(&format!("/runs/{left}/diff/{right}")).await.status, 404);
    }
}
