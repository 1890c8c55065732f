//! The bundled server as its users meet it: cancellation, heartbeats, two processes, shutdown.

use std::time::{Duration, Instant};

use agent_runner_core::{
    limits::RECOVERIES_MAX,
    store::{PutRecord, RecordExpect, RecordStore as _},
};
use agent_runner_providers::{SqliteOptions, SqliteStore};
use axum::{Router, routing::post};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{
    Background,
    events::{follow, follow_to_the_end},
    ledger::Ledger,
    model::Model,
    server::{PATIENCE, Server, Site, all, client, create, get, join},
};

struct Place {
    _directory: tempfile::TempDir,
    site: Site,
    model: Model,
    ledger: Ledger,
}

async fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, model) = (Ledger::start().await, Model::start().await);
    let mut site = Site::new(directory.path());
    site.set("AGENT_RUNNER_HTTP_ALLOW", &ledger.host());
    site.set("OPENAI_BASE_URL", &model.base_url());
    site.set("OPENAI_API_KEY", "none");
    site.set("AGENT_RUNNER_DEFAULT_MODEL", "openai/fake");
    Place { _directory: directory, site, model, ledger }
}

/// Waits until the condition holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn types(client: &reqwest::Client, site: &Site, id: &str) -> Vec<String> {
    let events = all(client, site, &format!("/runs/{id}/events?limit=500")).await;
    events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_cancel_closes_the_models_stream_and_the_run_ends_within_two_seconds() {
    let place = place().await;
    let server = place.site.start().await;
    let client = client();
    let id = create(&client, &place.site, &json!({"goal": "hold", "tools": []})).await.unwrap();
    eventually("the model begins", async || place.model.requests() == 1).await;
    let begun = Instant::now();
    let url = place.site.url(&format!("/runs/{id}/cancel"));
    let answer = client.post(&url).json(&json!({"reason": "enough"})).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let run = join(&client, &place.site, &id).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(run["status"], "CANCELED");
    eventually("the stream closes", async || place.model.hung_up() == 1).await;
    let types = types(&client, &place.site, &id).await;
    assert_eq!(types.last().unwrap(), "run.canceled", "nothing follows the end");
    let again = client.post(&url).json(&json!({})).send().await.unwrap();
    assert_eq!(again.status(), 200, "canceled already");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_come_over_the_stream_while_the_model_is_silent_and_deltas_have_no_id() {
    let mut place = place().await;
    place.site.set("AGENT_RUNNER_HEARTBEAT_INTERVAL", "100ms");
    let server = place.site.start().await;
    let client = client();
    let body = json!({"goal": "silent=900", "tools": []});
    let id = create(&client, &place.site, &body).await.unwrap();
    let url = place.site.url(&format!("/runs/{id}/events/stream?include_deltas=true"));
    let mut frames = Vec::new();
    let ended = follow(&client, &url, None, |frame| {
        frames.push(frame);
        frames.last().unwrap().event == "stream.end"
    })
    .await;
    assert!(ended);
    let beats: Vec<Value> = frames
        .iter()
        .filter(|f| f.event == "llm.heartbeat")
        .map(|f| f.json()["payload"].clone())
        .collect();
    assert!(beats.len() >= 5, "{} heartbeats in 900 ms", beats.len());
    assert!(beats.iter().all(|b| b["stalled"] == true && b["phase"] == "waiting"), "{beats:?}");
    assert!(beats.is_sorted_by_key(|b| b["elapsed_ms"].as_u64().unwrap()));
    let deltas: Vec<_> = frames.iter().filter(|f| f.event == "llm.delta").collect();
    assert!(!deltas.is_empty() && deltas.iter().all(|f| f.id.is_none()));
    let ids: Vec<u64> = frames.iter().filter_map(|f| f.id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_two_servers_share_one_file_and_no_step_runs_twice() {
    let mut place = place().await;
    place.site.set("AGENT_RUNNER_HTTP_POST_POLICY", "at_most_once");
    place.site.set("AGENT_RUNNER_CONCURRENCY", "4");
    // Nobody dies here; on a busy machine a short lease would run out by itself.
    place.site.set("AGENT_RUNNER_LEASE_TTL", "10s");
    let other = place.site.beside();
    let servers = [place.site.start().await, other.start().await];
    let client = client();
    let mut ids = Vec::new();
    for n in 0..40 {
        let goal = format!("effects=3 id={n} url={}", place.ledger.url());
        let site = if n % 2 == 0 { &place.site } else { &other };
        let body = json!({"goal": goal, "tools": ["http.post"]});
        ids.push(create(&client, site, &body).await.unwrap());
    }
    let mut workers = std::collections::BTreeSet::new();
    for (n, id) in ids.iter().enumerate() {
        // Watched through the server that did not accept it.
        let site = if n % 2 == 0 { &other } else { &place.site };
        let seen = follow_to_the_end(site.clone(), client.clone(), id.clone()).await;
        assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
        let run = join(&client, site, id).await;
        assert_eq!(run["status"], "COMPLETED", "{run:#}");
        let claims = all(&client, site, &format!("/runs/{id}/events?types=run.claimed")).await;
        assert_eq!(claims.len(), 1, "two claimed it, or one gave it up: {claims:#?}");
        workers.insert(claims[0]["payload"]["worker"].as_str().unwrap().to_owned());
    }
    assert_eq!(workers.len(), 2, "both worked");
    assert_eq!(place.ledger.entries().len(), 120, "every effect once");
    for server in servers {
        server.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s45_a_server_that_is_told_to_stop_loses_nothing_and_hands_its_runs_over() {
    let mut place = place().await;
    place.site.set("AGENT_RUNNER_HTTP_POST_POLICY", "at_most_once");
    place.site.set("AGENT_RUNNER_DRAIN_GRACE", "5s");
    let client = client();
    let mut ids = Vec::new();
    for life in 0..5 {
        let server = place.site.start().await;
        for n in 0..8 {
            let goal = format!("effects=6 id={life}.{n} url={}", place.ledger.url());
            let body = json!({"goal": goal, "tools": ["http.post"]});
            ids.push(create(&client, &place.site, &body).await.unwrap());
        }
        server.terminate();
        assert!(server.wait().await.success(), "{}", place.site.log());
    }
    let server = place.site.start().await;
    for id in &ids {
        assert_eq!(join(&client, &place.site, id).await["status"], "COMPLETED");
        let types = types(&client, &place.site, id).await;
        assert!(!types.iter().any(|t| t == "step.indeterminate"), "a drain interrupts no step");
    }
    assert_eq!(place.ledger.entries().len(), ids.len() * 6, "every effect once");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_model_call_is_handed_over_when_the_grace_is_over() {
    let mut place = place().await;
    place.site.set("AGENT_RUNNER_DRAIN_GRACE", "300ms");
    let server = place.site.start().await;
    let client = client();
    let body = json!({"goal": "silent=1500", "tools": []});
    let id = create(&client, &place.site, &body).await.unwrap();
    eventually("the model is asked", async || place.model.requests() == 1).await;
    server.terminate();
    assert!(server.wait().await.success());
    assert_eq!(place.model.hung_up(), 1, "the call was dropped");
    let server = place.site.start().await;
    let run = join(&client, &place.site, &id).await;
    assert_eq!(run["status"], "COMPLETED");
    let types = types(&client, &place.site, &id).await;
    assert!(types.contains(&"run.released".to_owned()), "{types:?}");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directive_during_a_model_call_is_read_by_the_next_one() {
    let place = place().await;
    let server = place.site.start().await;
    let client = client();
    let body = json!({"goal": "silent=600", "tools": []});
    let id = create(&client, &place.site, &body).await.unwrap();
    eventually("the model is asked", async || place.model.requests() == 1).await;
    let url = place.site.url(&format!("/runs/{id}/directive"));
    let answer = client.post(&url).json(&json!({"text": "and be brief"})).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(join(&client, &place.site, &id).await["status"], "COMPLETED");
    assert_eq!(place.model.requests(), 2, "asked again, with the directive");
    let transcript = get(&client, &place.site, &format!("/runs/{id}/transcript")).await;
    assert!(transcript.to_string().contains("and be brief"), "{transcript:#}");
    server.kill().await;
}

/// An outside party whose every request ends the process that made it; it tells of each.
async fn deadly() -> (Background, mpsc::UnboundedReceiver<()>) {
    let (told, hear) = mpsc::unbounded_channel();
    let effect = move || {
        let told = told.clone();
        async move {
            told.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    (Background::serve(Router::new().route("/effect", post(effect))).await, hear)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s38_a_run_whose_tool_kills_the_process_each_time_is_parked_and_the_server_lives() {
    let mut place = place().await;
    let (outside, mut calls) = deadly().await;
    place.site.set("AGENT_RUNNER_HTTP_ALLOW", &outside.address.to_string());
    place.site.set("AGENT_RUNNER_HTTP_POST_POLICY", "idempotent");
    let mut server = place.site.start().await;
    let client = client();
    let goal = format!("effects=1 id=poison url=http://{}/effect", outside.address);
    let body = json!({"goal": goal, "tools": ["http.post"]});
    let id = create(&client, &place.site, &body).await.unwrap();
    let path = format!("/runs/{id}");
    let mut deaths = 0;
    loop {
        let parked = eventually("the run is parked", async || {
            get(&client, &place.site, &path).await["phase"] == "parked"
        });
        tokio::select! {
            () = parked => break,
            call = calls.recv() => call.unwrap(),
        }
        server.kill().await;
        deaths += 1;
        server = place.site.start().await;
    }
    assert_eq!(deaths, RECOVERIES_MAX + 1, "it was tried as often as is allowed");
    let run = get(&client, &place.site, &path).await;
    assert_eq!(run["status_reason"], "poison", "{run:#}");
    assert!(run.to_string().contains("resume the run, or cancel it"), "{run:#}");
    let other = create(&client, &place.site, &json!({"goal": "x", "tools": []})).await.unwrap();
    assert_eq!(join(&client, &place.site, &other).await["status"], "COMPLETED");
    let url = place.site.url(&format!("/runs/{id}/cancel"));
    assert!(client.post(&url).json(&json!({})).send().await.unwrap().status().is_success());
    assert_eq!(join(&client, &place.site, &id).await["status"], "CANCELED");
    assert!(calls.is_empty(), "nobody called it again");
    server.kill().await;
}

/// Stops a process while it does not hold the lock of its database: a process that is frozen inside
/// a transaction keeps everybody out of an SQLite file, whatever its neighbours do.
async fn freeze_outside_a_transaction(server: &Server, site: &Site) {
    let options = SqliteOptions::new(site.database()).busy_timeout(Duration::from_millis(50));
    for _ in 0..100 {
        server.signal("STOP");
        let store = SqliteStore::open(options.clone()).await.unwrap();
        let probe = PutRecord {
            collection: "probe".into(),
            key: "probe".into(),
            value: json!(1),
            expect: RecordExpect::Any,
            expires_at: None,
        };
        if store.put_record(probe).await.is_ok() {
            return;
        }
        server.signal("CONT");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    panic!("it was inside a transaction each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_a_worker_that_was_frozen_past_its_lease_writes_nothing_when_it_wakes() {
    let mut place = place().await;
    place.site.set("AGENT_RUNNER_HTTP_POST_POLICY", "at_most_once");
    let zombie = place.site.start().await;
    let client = client();
    let mut ids = Vec::new();
    for n in 0..10 {
        let goal = format!("effects=20 id={n} url={}", place.ledger.url());
        let body = json!({"goal": goal, "tools": ["http.post"]});
        ids.push(create(&client, &place.site, &body).await.unwrap());
    }
    eventually("effects happen", async || place.ledger.entries().len() > 5).await;
    freeze_outside_a_transaction(&zombie, &place.site).await;
    let other = place.site.beside();
    let server = other.start().await;
    for id in &ids {
        assert_eq!(join(&client, &other, id).await["status"], "COMPLETED");
    }
    let mut before = Vec::new();
    for id in &ids {
        before.push(all(&client, &other, &format!("/runs/{id}/events?limit=500")).await);
    }
    zombie.signal("CONT");
    let fresh = create(&client, &place.site, &json!({"goal": "x", "tools": []})).await.unwrap();
    assert_eq!(join(&client, &place.site, &fresh).await["status"], "COMPLETED", "it works again");
    for (id, before) in ids.iter().zip(before) {
        let after = all(&client, &other, &format!("/runs/{id}/events?limit=500")).await;
        assert_eq!(after, before, "nothing of the ended run changed");
        let ends = after.iter().filter(|event| event["type"] == "run.completed").count();
        assert_eq!(ends, 1);
    }
    let keys: std::collections::BTreeSet<_> =
        place.ledger.entries().into_iter().map(|entry| entry.key).collect();
    assert_eq!(place.ledger.entries().len(), keys.len(), "no effect happened twice");
    zombie.kill().await;
    server.kill().await;
}

/// Waits far less than the lease, which is an hour, so only the death of the process can be why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_the_death_of_a_process_is_noticed_at_once_by_a_restart_and_by_a_neighbour() {
    let mut place = place().await;
    place.site.set("AGENT_RUNNER_LEASE_TTL", "1h");
    let first = place.site.start().await;
    let client = client();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let body = json!({"goal": "hold", "tools": []});
        ids.push(create(&client, &place.site, &body).await.unwrap());
    }
    eventually("all ask the model", async || place.model.requests() == 3).await;
    first.kill().await;
    let second = place.site.start().await;
    eventually("a restart asks again", async || place.model.requests() == 6).await;
    let other = place.site.beside();
    let neighbour = other.start().await;
    second.kill().await;
    eventually("the neighbour asks again", async || place.model.requests() == 9).await;
    for id in &ids {
        let run = get(&client, &other, &format!("/runs/{id}")).await;
        assert_eq!(run["status"], "RUNNING", "{run:#}");
    }
    neighbour.kill().await;
}
