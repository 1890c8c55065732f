//! Event streams of real servers: one that dies, and a client that does not read.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    events::{Sse, follow, follow_to_the_end},
    ledger::Ledger,
    model::Model,
    server::{PATIENCE, Site, all, client, create, join},
};

fn site(directory: &tempfile::TempDir, model: &Model, ledger: &Ledger) -> Site {
    let mut site = Site::new(directory.path());
    site.set("AGENT_RUNNER_HTTP_ALLOW", &ledger.host());
    site.set("OPENAI_BASE_URL", &model.base_url());
    site.set("OPENAI_API_KEY", "none");
    site.set("AGENT_RUNNER_DEFAULT_MODEL", "openai/fake");
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s16_a_client_whose_server_dies_goes_on_at_another_and_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, model) = (Ledger::start().await, Model::start().await);
    let mut one = site(&directory, &model, &ledger);
    one.set("AGENT_RUNNER_HTTP_POST_POLICY", "idempotent");
    let sites = [one.clone(), one.beside()];
    let mut servers = [Some(sites[0].start().await), Some(sites[1].start().await)];
    let client = client();
    let goal = format!("effects=8 id=s16 url={}", ledger.url());
    let body = json!({"goal": goal, "tools": ["http.post"]});
    let id = create(&client, &sites[0], &body).await.unwrap();
    let mut seen: Vec<Sse> = Vec::new();
    let (mut ended, mut deaths) = (false, 0);
    for n in [0, 1].into_iter().cycle() {
        let url = sites[n].url(&format!("/runs/{id}/events/stream"));
        let (last, mut new) = (seen.iter().rev().find_map(|frame| frame.id), 0);
        let stopped = follow(&client, &url, last, |frame| {
            assert_ne!(frame.event, "reset", "an id was given that is not durable");
            ended |= frame.event == "stream.end";
            new += usize::from(frame.id.is_some());
            seen.push(frame);
            ended || new == 7
        })
        .await;
        assert!(stopped, "the stream broke off by itself:\n{}", sites[n].log());
        if ended {
            break;
        }
        servers[n].take().unwrap().kill().await;
        deaths += 1;
        servers[n] = Some(sites[n].start().await);
    }
    assert!(deaths >= 4, "{deaths} servers died under the client");
    let union: Vec<(u64, &str)> =
        seen.iter().filter_map(|frame| Some((frame.id?, frame.event.as_str()))).collect();
    let journal = all(&client, &sites[0], &format!("/runs/{id}/events?limit=500")).await;
    let told: Vec<(u64, &str)> = journal
        .iter()
        .map(|event| (event["id"].as_u64().unwrap(), event["type"].as_str().unwrap()))
        .collect();
    assert_eq!(union, told, "no gap and nothing twice");
    assert_eq!(join(&client, &sites[0], &id).await["status"], "COMPLETED");
    for server in servers.into_iter().flatten() {
        server.kill().await;
    }
}

/// A client of a run's stream that has asked for it and reads nothing yet.
async fn silent_reader(site: &Site, id: &str) -> TcpStream {
    let url = site.url("");
    let address = url.strip_prefix("http://").unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    // What the kernel takes in for it is little.
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /runs/{id}/events/stream HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Bytes of each signal's payload; together they are more than the kernel takes in for a client.
const SIGNAL: usize = 200_000;
const SIGNALS: usize = 80;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_a_client_that_does_not_read_holds_up_neither_the_run_nor_other_clients() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, model) = (Ledger::start().await, Model::start().await);
    let mut site = site(&directory, &model, &ledger);
    // Nobody dies here; on a busy machine a short lease would run out by itself.
    site.set("AGENT_RUNNER_LEASE_TTL", "10s");
    let server = site.start().await;
    let client = client();
    let id = create(&client, &site, &json!({"goal": "hold", "tools": []})).await.unwrap();
    let mut slow = silent_reader(&site, &id).await;
    let fast = tokio::spawn(follow_to_the_end(site.clone(), client.clone(), id.clone()));
    let url = site.url(&format!("/runs/{id}/signals/word"));
    for n in 0..SIGNALS {
        let body = json!({"payload": {"n": n, "text": "x".repeat(SIGNAL)}});
        let answer = client.post(&url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{n}: {}", answer.status());
    }
    let url = site.url(&format!("/runs/{id}/cancel"));
    assert!(client.post(&url).json(&json!({})).send().await.unwrap().status().is_success());
    let run = join(&client, &site, &id).await;
    assert_eq!(run["status"], "CANCELED");
    let last = run["last_event_id"].as_u64().unwrap();
    let whole: Vec<u64> = (1..=last).collect();
    let seen = tokio::time::timeout(PATIENCE, fast).await.expect("it was held up").unwrap();
    assert_eq!(seen, whole);
    // Only now the slow one reads, and gets everything from the journal.
    let mut text = Vec::new();
    let read = slow.read_to_end(&mut text);
    let read = tokio::time::timeout(PATIENCE, read).await.expect("its stream ends").unwrap();
    assert!(read > SIGNALS * SIGNAL, "{read} bytes");
    let text = String::from_utf8(text).unwrap();
    let ids: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix("id:")?.trim().parse().ok()).collect();
    assert_eq!(ids, whole, "each event once and in order");
    assert!(text.contains("stream.end"));
    server.kill().await;
}
