//! The same key and the same request have one effect and one answer.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    store::{InMemoryStore, Store},
    testing::{Fault, FaultyStore, Gate, ManualClock, ScriptedModel, StoreCall, Turn},
    time::{Clock as _, SystemClock},
};
use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{Setup, idle, request, with_header};

fn keyed(uri: &str, key: &str, body: &Value) -> Request<Body> {
    with_header(request("POST", uri, Some(body)), "idempotency-key", key)
}

#[tokio::test]
async fn a_run_is_created_once_per_key_however_its_creation_is_asked_for() {
    let service = Setup::new([Turn::text("done")]).start();
    let body = json!({"goal": "g", "tags": ["t"]});
    let first = service.send(keyed("/runs", "k", &body)).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (201, ""));
    let id = first.json()["id"].clone();
    // The same JSON in other words.
    let spaced = Request::builder()
        .method("POST")
        .uri("/runs")
        .header("content-type", "application/json; charset=utf-8")
        .header("idempotency-key", "k")
        .body(Body::from(r#"{ "tags": ["t"],  "goal": "g" }"#))
        .unwrap();
    let again = service.send(spaced).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (201, &id));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
    let waited = service.send(keyed("/runs/wait", "k", &body)).await;
    assert_eq!((&waited.json()["id"], &waited.json()["status"]), (&id, &json!("COMPLETED")));
    let mut frames = service.open(keyed("/runs/stream", "k", &body)).await;
    assert_eq!(frames.next().await.unwrap().data["run_id"], id);
    let other = service.send(keyed("/runs", "k", &json!({"goal": "h"}))).await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (422, &json!("idempotency_mismatch"))
    );
    assert_eq!(service.get("/runs").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_hundred_racing_creations_with_one_key_give_one_run() {
    let service = idle();
    let body = json!({"goal": "g"});
    let calls = (0..100).map(|_| service.send(keyed("/runs", "race", &body)));
    let answers = futures::future::join_all(calls).await;
    let mut ids: Vec<String> =
        answers.iter().map(|a| a.json()["id"].as_str().unwrap().to_owned()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let fresh = answers.iter().filter(|a| a.header("idempotency-replayed").is_empty()).count();
    assert_eq!(fresh, 1);
}

#[tokio::test]
async fn other_posts_replay_their_first_answer() {
    let service = idle();
    let body = json!({"name": "p", "metadata": {"x": 1}});
    let first = service.send(keyed("/projects", "k", &body)).await;
    assert_eq!(first.status, 201);
    let again = service.send(keyed("/projects", "k", &body)).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.header("idempotency-replayed"), "true");
    for header in ["location", "content-type"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    let other = service.send(keyed("/projects", "k", &json!({"name": "q"}))).await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (422, &json!("idempotency_mismatch"))
    );
    let run = service.create(&json!({"goal": "g"})).await;
    let cancel = format!("/runs/{run}/cancel");
    let first = service.send(keyed(&cancel, "k", &json!({}))).await;
    assert_eq!(first.status, 202, "a key belongs to its route");
    let again = service.send(keyed(&cancel, "k", &json!({}))).await;
    assert_eq!((again.status.as_u16(), again.text), (202, first.text));
}

#[tokio::test]
async fn a_request_that_failed_may_be_corrected_under_its_key() {
    let service = idle();
    let wrong = service.send(keyed("/projects", "k", &json!({"nam": "p"}))).await;
    assert_eq!(wrong.status, 422);
    let right = service.send(keyed("/projects", "k", &json!({"name": "p"}))).await;
    assert_eq!((right.status.as_u16(), right.header("idempotency-replayed")), (201, ""));
}

#[tokio::test]
async fn a_second_request_during_the_first_is_told_to_wait() {
    let gate = Gate::new();
    let held = Turn::Held("a".into(), gate.clone(), Box::new(Turn::text("b")));
    let model = ScriptedModel::new([held]);
    let mut setup = Setup::new([]);
    setup.providers = vec![Arc::new(model.clone())];
    let service = Arc::new(setup.idle());
    let body = json!({"prompt": "p"});
    let first = tokio::spawn({
        let (service, body) = (Arc::clone(&service), body.clone());
        async move { service.send(keyed("/providers/test/generate", "k", &body)).await }
    });
    gate.wait_for_arrival().await;
    let second = service.send(keyed("/providers/test/generate", "k", &body)).await;
    assert_eq!(
        (second.status.as_u16(), &second.json()["code"]),
        (409, &json!("idempotency_in_flight"))
    );
    assert_eq!(second.header("retry-after"), "1");
    gate.open();
    let first = first.await.unwrap();
    assert_eq!(first.status, 200);
    let third = service.send(keyed("/providers/test/generate", "k", &body)).await;
    assert_eq!((third.text, model.requests().len()), (first.text, 1));
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_still_delivered_once() {
    let inner: Arc<dyn Store> = Arc::new(InMemoryStore::new());
    let store = Arc::new(FaultyStore::new(inner).counting(&[StoreCall::Append]));
    // The message is written, but the service does not learn it.
    store.fail_nth(1, Fault::AfterCommit);
    let mut setup = Setup::new([Turn::text("done")]);
    setup.store = store;
    let service = setup.idle();
    let id = service.create(&json!({"goal": "g"})).await;
    let uri = format!("/runs/{id}/directive");
    let lost = service.send(keyed(&uri, "k", &json!({"text": "once"}))).await;
    assert_eq!(lost.status, 503);
    let again = service.send(keyed(&uri, "k", &json!({"text": "once"}))).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (201, &json!(2)));
    let events = service.get(&format!("/runs/{id}/events")).await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 2);
}

fn upload(run: &str, key: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(format!("/runs/{run}/artifacts?name=a.bin"))
        .header("idempotency-key", key)
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn an_artifact_of_any_size_is_added_once_per_key() {
    let service = idle();
    let run = service.create(&json!({"goal": "g"})).await;
    let large: Vec<u8> = (0..3 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let first = service.send(upload(&run, "k", large.clone())).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (201, ""));
    assert_eq!(first.json()["size"], large.len());
    let again = service.send(upload(&run, "k", large.clone())).await;
    assert_eq!((again.status.as_u16(), &again.text), (201, &first.text));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));

    let mut other = large.clone();
    other.pop();
    let refused = service.send(upload(&run, "k", other)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (422, &json!("idempotency_mismatch"))
    );
    let versions = || async {
        let list = service.get(&format!("/runs/{run}/artifacts")).await.json();
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(versions().await, 1);
    // One that broke off used no key up.
    let cut = stream::iter([Ok(Bytes::from_static(b"be")), Err(std::io::Error::other("cut"))]);
    let broken = service.send(upload(&run, "l", Body::from_stream(cut))).await;
    assert_eq!(broken.status, 400, "{}", broken.text);
    let whole = service.send(upload(&run, "l", "begun")).await;
    assert_eq!((whole.status.as_u16(), versions().await), (201, 2));
}

#[tokio::test]
async fn a_slow_upload_keeps_its_key_as_long_as_something_comes() {
    let clock = ManualClock::new(SystemClock.now());
    let mut setup = Setup::new([]);
    setup.store = Arc::new(InMemoryStore::with_clock(Arc::new(clock.clone())));
    setup.clock = Some(Arc::new(clock.clone()));
    let service = Arc::new(setup.idle());
    let run = service.create(&json!({"goal": "g"})).await;
    let (pieces, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(stream::unfold(body, |mut body| async {
        Some((body.recv().await?, body))
    }));
    let slow = tokio::spawn({
        let (service, request) = (Arc::clone(&service), upload(&run, "k", body));
        async move { service.send(request).await }
    });
    for _ in 0..4 {
        clock.advance(Duration::from_secs(50));
        pieces.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
        // It was taken when there is room for the next.
        drop(pieces.reserve().await.unwrap());
        tokio::task::yield_now().await;
        let second = service.send(upload(&run, "k", "xxxx")).await;
        assert_eq!(second.json()["code"], "idempotency_in_flight", "{}", second.text);
    }
    drop(pieces);
    let first = slow.await.unwrap();
    assert_eq!((first.status.as_u16(), &first.json()["size"]), (201, &json!(4)), "{}", first.text);
    let again = service.send(upload(&run, "k", "xxxx")).await;
    assert_eq!((again.status.as_u16(), again.text), (201, first.text));
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let service = idle();
    for uri in ["/runs", "/projects"] {
        for key in ["", &"k".repeat(256)] {
            let answer = service.send(keyed(uri, key, &json!({"goal": "g"}))).await;
            assert_eq!(answer.status, 422, "{uri}");
            assert_eq!(answer.json()["errors"][0]["pointer"], "/idempotency_key");
        }
    }
}
