//! A server whose disk fails a write.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    crash::{EFFECTS, check_run},
    support::{
        events::follow_to_the_end,
        ledger::Ledger,
        model::Model,
        server::{Site, client, get, join},
    },
};

/// Most bytes of a file of the server, until it is started anew: the log of its database gets there
/// after a few runs. A write beyond fails with `EFBIG`, which SQLite reports as `SQLITE_IOERR_WRITE`.
const FILE_BYTES: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_a_server_whose_disk_fails_acknowledges_nothing_more_and_a_restart_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, model) = (Ledger::start().await, Model::start().await);
    let mut site = Site::new(directory.path());
    site.set("AGENT_RUNNER_HTTP_ALLOW", &ledger.host());
    site.set("AGENT_RUNNER_HTTP_POST_POLICY", "at_most_once");
    site.set("OPENAI_BASE_URL", &model.base_url());
    site.set("OPENAI_API_KEY", "none");
    site.set("AGENT_RUNNER_DEFAULT_MODEL", "openai/fake");
    let mut server = site.spawn_with_small_files(FILE_BYTES);
    server.wait_ready().await;
    let client = client();
    let (mut accepted, mut followers) = (Vec::new(), Vec::new());
    let new = |n: usize| {
        let goal = format!("effects={EFFECTS} id={n} url={}", ledger.url());
        client.post(site.url("/runs")).json(&json!({"goal": goal, "tools": ["http.post"]})).send()
    };
    loop {
        let n = accepted.len();
        let answer = new(n).await.unwrap();
        let status = answer.status();
        let run: Value = answer.json().await.unwrap();
        if status != 201 {
            assert_eq!(status, 503, "{run:#}");
            break;
        }
        let id = run["id"].as_str().unwrap().to_owned();
        let follower = follow_to_the_end(site.clone(), client.clone(), id.clone());
        followers.push(tokio::spawn(follower));
        accepted.push(id);
        assert!(n < 500, "the disk never fails");
    }
    assert!(accepted.len() > 2, "{} runs were accepted", accepted.len());
    // It reads, and writes nothing any more: nobody knows what a disk kept that failed once.
    get(&client, &site, &format!("/runs/{}", accepted[0])).await;
    assert_eq!(new(0).await.unwrap().status(), 503);
    let ready = client.get(site.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(site.log().contains("restart this program"), "{}", site.log());
    server.kill().await;

    let server = site.start().await;
    let mut outcomes = BTreeMap::new();
    for (id, follower) in accepted.iter().zip(followers) {
        let run = join(&client, &site, id).await;
        assert_eq!(run["status"], "COMPLETED", "{run:#}");
        check_run(&client, &site, &run, &ledger, &mut outcomes).await;
        let last = run["last_event_id"].as_u64().unwrap();
        assert_eq!(follower.await.unwrap(), (1..=last).collect::<Vec<_>>());
    }
    println!("{} runs, steps: {outcomes:?}", accepted.len());
    server.terminate();
    assert!(server.wait().await.success());
    let doctor = site.command(&["doctor"]).output().await.unwrap();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
}
