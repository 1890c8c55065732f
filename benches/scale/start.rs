//! What a server takes that has nothing to do, and how soon it has something done, with few runs and
//! with many in its file.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    fill, model, percentile,
    process::{cpu, mb, resident},
    server::{Server, Site},
};

/// Runs in the file.
const MANY: usize = 100_000;
/// For how long a server at rest is watched.
const REST: Duration = Duration::from_secs(10);

fn moment(run: &Value, field: &str) -> Timestamp {
    run[field].as_str().unwrap().parse().unwrap()
}

/// From the acceptance of runs to their start, one after the other.
async fn waits(server: &Server) -> Vec<Duration> {
    let mut waits = Vec::new();
    for _ in 0..200 {
        let run = server.one().await;
        let waited = moment(&run, "started_at").duration_since(moment(&run, "created_at"));
        waits.push(waited.unsigned_abs());
    }
    waits
}

pub(crate) async fn claim() {
    let (directory, model) = (tempfile::tempdir().unwrap(), model::start());
    let server = Site::new(directory.path(), &model.address).start().await;
    let mut waits = waits(&server).await;
    println!(
        "from acceptance to start, one at a time: median {:.1?}, 99 % {:.1?}",
        percentile(&mut waits, 50),
        percentile(&mut waits, 99)
    );
}

/// The middle time from start to ready, and the memory at rest.
async fn starts(site: &Site) -> (Duration, u64) {
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        let began = Instant::now();
        let server = site.start().await;
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        memory.push(resident(server.pid()));
        server.signal("TERM");
        server.ended();
    }
    memory.sort_unstable();
    (percentile(&mut times, 50), memory[memory.len() / 2])
}

pub(crate) async fn cold() {
    let (directory, model) = (tempfile::tempdir().unwrap(), model::start());
    let site = Site::new(directory.path(), &model.address);
    let server = site.start().await;
    let run = server.one().await;
    drop(server);
    for runs in [1, MANY] {
        if runs > 1 {
            fill::copies(&site.database(), run["id"].as_str().unwrap(), 1, runs).await;
        }
        let (ready, memory) = starts(&site).await;
        println!(
            "{runs:>7} runs that are over in the file: ready after {ready:>7.1?}, {:>5.1} MB at rest",
            mb(memory)
        );
    }
}

/// What a server does that waits with its runs.
pub(crate) async fn parked() {
    let (directory, model) = (tempfile::tempdir().unwrap(), model::start());
    let site = Site::new(directory.path(), &model.address);
    let server = site.start().await;
    let id = server.create("bench-park", 1).await.remove(0);
    while server.get(&format!("/runs/{id}")).await["phase"] != "parked" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(server);
    for runs in [1, MANY] {
        if runs > 1 {
            fill::copies(&site.database(), &id, 1, runs).await;
        }
        let server = site.start().await;
        server.one().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = cpu(server.pid());
        tokio::time::sleep(REST).await;
        let (spent, memory) = (cpu(server.pid()) - before, resident(server.pid()));
        let mut waits = waits(&server).await;
        println!(
            "{runs:>7} parked runs: {:>5.1} MB, {:>4.1} % of a core at rest, a new run starts after {:.1?} (median)",
            mb(memory),
            spent.as_secs_f64() / REST.as_secs_f64() * 100.0,
            percentile(&mut waits, 50)
        );
    }
}
