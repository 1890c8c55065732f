//! Runs per second and what each takes, beside the same HTTP calls alone.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agent_runner::tool::EffectPolicy;

use crate::{
    disk, engine,
    floor::{self, Bodies},
    machine::{cpu, spread},
    model,
    served::Served,
};

const RUNS: usize = 4_000;
const AT_ONCE: usize = 32;
const ALONE: usize = 300;

/// What many runs took.
struct Taken {
    per_second: f64,
    cpu_each: Duration,
}

/// `RUNS` of them, 32 at once.
async fn many<F>(one: impl Fn() -> F + Clone + Send + 'static) -> Taken
where
    F: Future<Output = ()> + Send,
{
    let left = Arc::new(AtomicUsize::new(RUNS));
    let (began, cpu_before) = (Instant::now(), cpu());
    let callers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (one, left) = (one.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    one().await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    Taken {
        per_second: RUNS as f64 / began.elapsed().as_secs_f64(),
        cpu_each: (cpu() - cpu_before) / RUNS as u32,
    }
}

/// The middle time of one after the other.
async fn alone<F: Future<Output = ()>>(one: impl Fn() -> F) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ALONE {
        let began = Instant::now();
        one().await;
        times.push(began.elapsed());
    }
    spread(times).0
}

/// One alone, and what many took.
struct Floor {
    alone: Duration,
    many: Taken,
}

/// The calls of a run and nothing else, with whole replies and with streamed ones.
async fn floors(url: &str) -> Vec<Floor> {
    let calls = format!("{url}/chat/completions");
    let mut floors = Vec::new();
    for (streamed, name) in [(false, "not streamed"), (true, "streamed")] {
        let (bodies, client) = (Arc::new(Bodies::new(streamed)), floor::client());
        let calls = calls.clone();
        let one = move || {
            let (client, calls, bodies) = (client.clone(), calls.clone(), Arc::clone(&bodies));
            async move { floor::calls(&client, &calls, &bodies).await }
        };
        let alone = alone(&one).await;
        let many = many(one).await;
        println!(
            "floor, {name:<12}: one alone {alone:>8.1?}, 32 at once {:>6.0} runs/s, {:>7.1?} of CPU each",
            many.per_second, many.cpu_each
        );
        floors.push(Floor { alone, many });
    }
    floors
}

/// Durable runs, beside the floors.
async fn durable(
    url: &str,
    policy: EffectPolicy,
    floors: &[Floor],
    commit: Duration,
    group_commit: f64,
) {
    let directory = tempfile::tempdir().unwrap();
    let store = engine::store(directory.path()).await;
    let engine = engine::engine(&store, url, 64, policy);
    let handle = engine.start();
    let lives = Arc::new(Mutex::new((Vec::new(), Vec::new(), 0)));
    let of = Arc::clone(&lives);
    let one = move || {
        let (engine, of) = (engine.clone(), Arc::clone(&of));
        async move {
            let run = engine::one(&engine).await;
            let (started, ended) = (run.started_at.unwrap(), run.finished_at.unwrap());
            let mut of = of.lock().unwrap();
            of.0.push(started.duration_since(run.created_at).unsigned_abs());
            of.1.push(ended.duration_since(started).unsigned_abs());
            of.2 += run.last_seq;
        }
    };
    let alone = alone(&one).await;
    let before = store.stats();
    let many = many(one).await;
    let after = store.stats();
    let group =
        (after.operations - before.operations) as f64 / (after.commits - before.commits) as f64;
    println!(
        "{policy:?} tool: one alone {alone:>8.1?}, 32 at once {:>6.0} runs/s, {:>7.1?} of CPU each, {group:.1} writes a commit",
        many.per_second, many.cpu_each
    );
    let (waited, worked, events) = std::mem::take(&mut *lives.lock().unwrap());
    let events = events as f64 / waited.len() as f64 * many.per_second;
    println!(
        "    {events:.0} durable events/s, {:.2} x those of a bare group commit",
        events / group_commit
    );
    println!(
        "    until it starts {:?}, from there to its end {:?} (median, 99 %)",
        spread(waited),
        spread(worked)
    );
    for (floor, mode) in floors.iter().zip(["not streamed", "streamed"]) {
        println!(
            "    of the floor {mode:<12}: {:>5.2} x runs/s, {:>5.2} x CPU, alone + {:>4.2} commits",
            many.per_second / floor.many.per_second,
            many.cpu_each.as_secs_f64() / floor.many.cpu_each.as_secs_f64(),
            alone.saturating_sub(floor.alone).as_secs_f64() / commit.as_secs_f64(),
        );
    }
    handle.shutdown(Duration::from_secs(5)).await;
    store.close().await.unwrap();
}

pub(crate) async fn run() {
    let directory = tempfile::tempdir().unwrap();
    engine::log(directory.path());
    let server = Served::start(model::ARGUMENT);
    let url = format!("{}/v1", server.address);
    let commit = disk::commit(directory.path()).await;
    println!("a commit of the disk (SQLite alone, FULL)             {commit:>10.1?}");
    let floors = floors(&url).await;
    let group = disk::group_commit(directory.path()).await;
    println!("floor: bare group commit, 32 writers, an event each   {group:>10.0} events/s");
    for policy in [EffectPolicy::Pure, EffectPolicy::Idempotent] {
        durable(&url, policy, &floors, commit, group).await;
    }
    let commit = disk::commit(tempfile::tempdir().unwrap().path()).await;
    println!("a commit of the disk at the end                       {commit:>10.1?}");
}
