//! Cancel, pause, resume, messages, signals, resolutions.

use agent_runner_core::testing::{Gate, Turn};
use serde_json::json;

use crate::support::{Setup, answering, idle, request, with_header};

#[tokio::test]
async fn cancel_is_202_then_200_and_409_after_another_end() {
    let service = idle();
    let id = service.create(&json!({"goal": "g"})).await;
    let first = service.post(&format!("/runs/{id}/cancel"), &json!({"reason": "enough"})).await;
    assert_eq!((first.status.as_u16(), &first.json()["status"]), (202, &json!("CANCELED")));
    assert_eq!(first.json()["status_reason"], "enough");
    let again = service.send(request("POST", &format!("/runs/{id}/stop"), None)).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &json!(id)));
    let done = answering("done");
    let id = done.create(&json!({"goal": "g"})).await;
    done.join(&id).await;
    let late = done.post(&format!("/runs/{id}/cancel"), &json!({})).await;
    assert_eq!((late.status.as_u16(), &late.json()["code"]), (409, &json!("invalid_transition")));
}

#[tokio::test]
async fn a_paused_run_stands_still_and_goes_on_when_resumed() {
    let gate = Gate::new();
    let held = Turn::Held("thinking".into(), gate.clone(), Box::new(Turn::tool("note", json!({}))));
    let service = Setup::new([held, Turn::text("done")]).start();
    let id = service.create(&json!({"goal": "g"})).await;
    gate.wait_for_arrival().await;
    let pausing = service.send(request("POST", &format!("/runs/{id}/pause"), None)).await;
    assert_eq!((pausing.status.as_u16(), &pausing.json()["phase"]), (200, &json!("pausing")));
    assert_eq!(pausing.json()["status"], "RUNNING");
    let stream = format!("/runs/{id}/events/stream?types=run.paused&include_deltas=false");
    let mut frames = service.open(request("GET", &stream, None)).await;
    gate.open();
    assert_eq!(frames.next().await.unwrap().event, "run.paused");
    let run = service.get(&format!("/runs/{id}")).await.json();
    assert_eq!((&run["phase"], &run["status_reason"]), (&json!("paused"), &json!("paused")));
    let resumed = service.post(&format!("/runs/{id}/resume"), &json!({})).await;
    assert_eq!(resumed.status, 200);
    assert_eq!(service.join(&id).await["status"], "COMPLETED");
    for verb in ["pause", "resume"] {
        let late = service.send(request("POST", &format!("/runs/{id}/{verb}"), None)).await;
        assert_eq!(
            (late.status.as_u16(), &late.json()["code"]),
            (409, &json!("invalid_transition"))
        );
    }
}

#[tokio::test]
async fn a_message_is_recorded_once_per_id_and_answers_its_event() {
    let service = idle();
    let id = service.create(&json!({"goal": "g"})).await;
    let uri = format!("/runs/{id}/directive");
    let body = json!({"text": "hurry", "mode": "interrupt", "id": "m1"});
    let first = service.post(&uri, &body).await;
    assert_eq!(first.status, 201);
    let event = first.json();
    assert_eq!(event["type"], "directive.received");
    assert_eq!(
        (&event["payload"]["text"], &event["payload"]["mode"]),
        (&json!("hurry"), &json!("interrupt"))
    );
    assert_eq!(service.post(&uri, &body).await.json(), event, "the same message again");
    let keyed = |text: &str| {
        with_header(request("POST", &uri, Some(&json!({"text": text}))), "idempotency-key", "k")
    };
    let one = service.send(keyed("a")).await;
    let two = service.send(keyed("a")).await;
    assert_eq!((one.status.as_u16(), one.json()), (201, two.json()));
    assert_eq!(two.header("idempotency-replayed"), "true");
    let run = service.get(&format!("/runs/{id}")).await.json();
    assert_eq!(run["last_event_id"], 3, "queued and two messages");
}

#[tokio::test]
async fn a_signal_is_kept_until_the_run_waits_for_it() {
    let turns = [Turn::tool("run.wait", json!({"signal": "go"})), Turn::text("went")];
    let service = Setup::new(turns).start();
    let id = service.create(&json!({"goal": "g"})).await;
    let uri = format!("/runs/{id}/signals/go");
    let sent = service.post(&uri, &json!({"payload": {"n": 1}})).await;
    assert_eq!((sent.status.as_u16(), &sent.json()["type"]), (202, &json!("signal.received")));
    assert_eq!(sent.json()["payload"]["data"], json!({"n": 1}));
    assert_eq!(service.join(&id).await["output"], "went");
    let late = service.send(request("POST", &uri, None)).await;
    assert_eq!((late.status.as_u16(), &late.json()["code"]), (409, &json!("invalid_transition")));
}

#[tokio::test]
async fn a_step_in_doubt_parks_the_run_until_somebody_says_what_happened() {
    let turns = [Turn::tool("doubt", json!({})), Turn::text("went on")];
    let service = Setup::new(turns).start();
    let id = service.create(&json!({"goal": "g"})).await;
    let stream = format!("/runs/{id}/events/stream?types=run.parked");
    let parked = service.open(request("GET", &stream, None)).await.next().await.unwrap();
    let run = service.get(&format!("/runs/{id}")).await.json();
    assert_eq!((&run["status"], &run["phase"]), (&json!("RUNNING"), &json!("parked")));
    assert_eq!(
        (&run["status_reason"], &run["waiting_on"]["reason"]),
        (&json!("ask"), &json!("ask"))
    );
    let key = parked.data["step"].as_str().unwrap();
    let uri = format!("/runs/{id}/steps/{key}/resolve");
    let wrong = service.post(&uri, &json!({"decision": "maybe"})).await;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.json()["errors"][0]["pointer"]),
        (422, &json!("/decision"))
    );
    let other = format!("/runs/{id}/steps/turn.1.model/resolve");
    let other = service.post(&other, &json!({"decision": "retry"})).await;
    assert_eq!((other.status.as_u16(), &other.json()["code"]), (409, &json!("invalid_transition")));
    let missing = format!("/runs/{id}/steps/nowhere/resolve");
    assert_eq!(service.post(&missing, &json!({"decision": "retry"})).await.status, 404);
    let resolved = service.post(&uri, &json!({"decision": "succeeded", "output": {"x": 1}})).await;
    assert_eq!(resolved.status, 200, "{resolved:?}");
    assert_eq!(service.join(&id).await["output"], "went on");
    let step = service.get(&format!("/runs/{id}/steps/{key}")).await.json();
    assert_eq!((&step["status"], &step["output"]), (&json!("SUCCEEDED"), &json!({"x": 1})));
}
