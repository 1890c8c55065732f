//! How soon the runs of a process that is gone go on.

use std::time::{Duration, Instant};

use crate::{
    model,
    served::Served,
    server::{Server, Site},
};

/// Unfinished runs, each with three tool calls behind it.
const RUNS: usize = 1_000;
const LEASE: Duration = Duration::from_secs(3);

/// A server with runs that all ask the model for the fourth time.
async fn busy(site: &Site, model: &Served, runs: usize) -> Server {
    let server = site.start().await;
    server.create("bench-work", runs).await;
    model::asked(&model.address, runs * 4).await;
    server
}

/// A process is killed and started again.
pub(crate) async fn restart() {
    for (what, runs) in [("one run", 1), ("1,000 unfinished runs", RUNS)] {
        let (directory, model) = (tempfile::tempdir().unwrap(), model::start());
        let site = Site::new(directory.path(), &model.address);
        let site = site.set("AGENT_RUNNER_CONCURRENCY", "1000");
        busy(&site, &model, runs).await.kill();
        let began = Instant::now();
        let mut server = site.spawn();
        server.ready().await;
        let ready = began.elapsed();
        model::asked(&model.address, runs * 5).await;
        let resumed = began.elapsed();
        println!(
            "kill -9 and restart: {what:<24} ready after {ready:>8.1?}, all ask the model again after {resumed:>8.1?}"
        );
    }
}

/// Another process takes over from one that is killed, and from one that is frozen.
pub(crate) async fn takeover() {
    for (what, name) in [("killed", "KILL"), ("frozen", "STOP")] {
        let (directory, model) = (tempfile::tempdir().unwrap(), model::start());
        let site = Site::new(directory.path(), &model.address)
            .set("AGENT_RUNNER_LEASE_TTL", &format!("{}ms", LEASE.as_millis()));
        let runs = 64;
        let first = busy(&site, &model, runs).await;
        let second = site.beside().start().await;
        let began = Instant::now();
        first.signal(name);
        model::asked(&model.address, runs * 5).await;
        let taken = began.elapsed();
        println!(
            "takeover of {runs} runs of a process that is {what}: {taken:>8.1?} (lease {LEASE:?})"
        );
        drop(second);
    }
}
