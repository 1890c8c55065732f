//! What a run takes that waits for a slow model, beside a bare request that waits.

use std::{process::Command, time::Duration};

use crate::{
    model,
    process::{mb, resident},
    server::Site,
};

pub(crate) const ARGUMENT: &str = "wait-bare";
/// Calls that wait at once.
const CALLS: usize = 10_000;
/// What a model is sent, about as long as what the server sends it.
const BODY: &str = include_str!("body.json");

/// Bytes for each of many requests that wait, made with one client and nothing else.
pub(crate) async fn floor(address: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    model::asked(address, 0).await;
    let before = resident(std::process::id());
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let request = client.post(format!("http://{address}/v1/chat/completions"));
            tokio::spawn(request.header("content-type", "application/json").body(BODY).send())
        })
        .collect();
    model::asked(address, CALLS).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("{}", (resident(std::process::id()) - before) / CALLS as u64);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

pub(crate) async fn run() {
    let model = model::start();
    let bare = Command::new(std::env::current_exe().unwrap())
        .args([ARGUMENT, &model.address])
        .output()
        .unwrap();
    assert!(bare.status.success(), "{}", String::from_utf8_lossy(&bare.stderr));
    let bare: u64 = String::from_utf8(bare.stdout).unwrap().trim().parse().unwrap();
    drop(model);
    let (directory, model) = (tempfile::tempdir().unwrap(), model::start());
    let site = Site::new(directory.path(), &model.address);
    let server = site.set("AGENT_RUNNER_CONCURRENCY", &CALLS.to_string()).start().await;
    for _ in 0..50 {
        server.one().await;
    }
    let before = resident(server.pid());
    server.create("bench-hold", CALLS).await;
    model::asked(&model.address, CALLS + 50).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = resident(server.pid());
    let each = (after - before) / CALLS as u64;
    println!(
        "{CALLS} runs that wait for a model: {:.1} KB each, floor (a bare request) {:.1} KB, {:.2} x; {:.0} MB in all",
        each as f64 / 1e3,
        bare as f64 / 1e3,
        each as f64 / bare as f64,
        mb(after)
    );
}
