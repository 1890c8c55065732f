//! Events as they happen: nothing missing, nothing twice.

use std::time::Duration;

use agent_runner_core::testing::{Gate, Turn};
use agent_runner_http::ApiOptions;
use serde_json::json;

use crate::support::{Frame, Setup, answering, idle, request, with_header};

fn ids(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame.id).collect()
}

#[tokio::test]
async fn a_stream_tells_the_whole_run_and_ends() {
    let service = answering("hello");
    let id = service.create(&json!({"goal": "g"})).await;
    let uri = format!("/runs/{id}/events/stream?include_deltas=false");
    let mut frames = service.open(request("GET", &uri, None)).await;
    assert_eq!(frames.block().await.unwrap(), "retry: 2000");
    let frames = frames.all().await;
    let run = service.get(&format!("/runs/{id}")).await.json();
    let last = run["last_event_id"].as_u64().unwrap();
    assert_eq!(ids(&frames), (1..=last).collect::<Vec<_>>());
    let end = frames.last().unwrap();
    assert_eq!((end.id, end.event.as_str()), (None, "stream.end"));
    assert_eq!(
        (&end.data["status"], &end.data["last_event_id"]),
        (&json!("COMPLETED"), &json!(last))
    );
    let page = service.get(&format!("/runs/{id}/events?limit=500")).await.json();
    for (frame, event) in frames.iter().zip(page["items"].as_array().unwrap()) {
        assert_eq!((frame.event.as_str(), &frame.data), (event["type"].as_str().unwrap(), event));
    }
}

#[tokio::test]
async fn deltas_come_without_id_while_the_model_speaks() {
    let gate = Gate::new();
    let held = Turn::Held("so far ".into(), gate.clone(), Box::new(Turn::text("done")));
    let service = Setup::new([held]).start();
    let id = service.create(&json!({"goal": "g"})).await;
    gate.wait_for_arrival().await;
    // A client that comes late gets the text so far.
    let mut frames = service.open(request("GET", &format!("/runs/{id}/events/stream"), None)).await;
    let delta = loop {
        let frame = frames.next().await.unwrap();
        if frame.event == "llm.delta" {
            break frame;
        }
    };
    assert_eq!(delta.id, None);
    assert_eq!(
        delta.data["payload"],
        json!({"kind": "text", "attempt": 1, "offset": 0, "text": "so far "})
    );
    assert_eq!((&delta.data["type"], &delta.data["run_id"]), (&json!("llm.delta"), &json!(id)));
    gate.open();
    assert_eq!(frames.all().await.last().unwrap().event, "stream.end");
}

#[tokio::test]
async fn a_client_that_reconnects_anywhere_sees_each_event_once() {
    let service = Setup::new([Turn::tool("note", json!({})), Turn::text("done")]).start();
    let id = service.create(&json!({"goal": "g"})).await;
    let last = service.join(&id).await["last_event_id"].as_u64().unwrap();
    let uri = format!("/runs/{id}/events/stream?after=999");
    for cut in 0..last {
        let asked = with_header(request("GET", &uri, None), "last-event-id", &cut.to_string());
        let frames = service.open(asked).await.all().await;
        assert_eq!(ids(&frames), (cut + 1..=last).collect::<Vec<_>>(), "Last-Event-ID counts more");
    }
    let drained = with_header(request("GET", &uri, None), "last-event-id", &last.to_string());
    let answer = service.send(drained).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    let by_parameter = format!("/runs/{id}/events/stream?after={last}");
    assert_eq!(service.get(&by_parameter).await.status, 204);
}

#[tokio::test]
async fn a_client_from_another_history_is_reset() {
    let service = answering("done");
    let id = service.create(&json!({"goal": "g"})).await;
    let last = service.join(&id).await["last_event_id"].as_u64().unwrap();
    let uri = format!("/runs/{id}/events/stream");
    let asked = with_header(request("GET", &uri, None), "last-event-id", &(last + 5).to_string());
    let frames = service.open(asked).await.all().await;
    assert_eq!((frames[0].event.as_str(), frames[0].id), ("reset", None));
    assert_eq!(frames[0].data["last_event_id"], last);
    assert_eq!(ids(&frames), (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn types_are_filtered_and_the_end_still_comes() {
    let service = answering("done");
    let id = service.create(&json!({"goal": "g"})).await;
    let uri = format!("/runs/{id}/events/stream?types=run.queued,run.completed");
    let frames = service.open(request("GET", &uri, None)).await.all().await;
    let events: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(events, ["run.queued", "run.completed", "stream.end"]);
}

#[tokio::test]
async fn the_same_stream_comes_as_lines_of_json() {
    let service = answering("done");
    let id = service.create(&json!({"goal": "g"})).await;
    let last = service.join(&id).await["last_event_id"].as_u64().unwrap();
    let uri = format!("/runs/{id}/events/stream");
    let asked = with_header(request("GET", &uri, None), "accept", "application/x-ndjson");
    let answer = service.send(asked).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let lines: Vec<serde_json::Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<u64> = lines.iter().filter_map(|line| line["id"].as_u64()).collect();
    assert_eq!(ids, (1..=last).collect::<Vec<_>>());
    assert_eq!(lines.last().unwrap()["type"], "stream.end");
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives() {
    let mut setup = Setup::new([Turn::text("done")]);
    setup.options =
        ApiOptions { keep_alive_interval: Duration::from_millis(20), ..ApiOptions::default() };
    let service = setup.idle();
    let id = service.create(&json!({"goal": "g"})).await;
    let uri = format!("/runs/{id}/events/stream");
    let mut frames = service.open(request("GET", &uri, None)).await;
    assert_eq!(frames.block().await.unwrap(), "retry: 2000");
    assert!(frames.block().await.unwrap().contains("event: run.queued"));
    for _ in 0..3 {
        assert_eq!(frames.block().await.unwrap(), ": keep-alive");
    }
}

#[tokio::test]
async fn a_closing_service_ends_its_streams_so_that_clients_come_back() {
    let service = idle();
    let id = service.create(&json!({"goal": "g"})).await;
    let uri = format!("/runs/{id}/events/stream");
    let mut frames = service.open(request("GET", &uri, None)).await;
    assert_eq!(frames.next().await.unwrap().event, "run.queued");
    let join = format!("/runs/{id}/join?timeout=300");
    let waiting = service.get(&join);
    service.api.close_streams();
    let closing = frames.next().await.unwrap();
    assert_eq!((closing.event.as_str(), closing.id), ("stream.closing", None));
    assert_eq!(closing.data["last_event_id"], 1);
    assert_eq!(frames.next().await, None);
    assert_eq!(waiting.await.status, 202);
}

#[tokio::test]
async fn a_run_can_be_started_and_streamed_in_one_request() {
    let service = answering("done");
    let body = json!({"goal": "g"});
    let frames = service.open(request("POST", "/runs/stream", Some(&body))).await.all().await;
    assert_eq!(frames[0].event, "run.queued");
    assert_eq!(frames.last().unwrap().event, "stream.end");
    let unreadable = request("POST", "/runs/stream", Some(&body));
    let answer = service.send(with_header(unreadable, "accept", "image/png")).await;
    assert_eq!(answer.status, 406);
    let runs = service.get("/runs").await.json();
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "a refused request starts nothing");
}
