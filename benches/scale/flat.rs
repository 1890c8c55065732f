//! Whether anything costs more when the file has more: the middle time of what a store does, in the
//! midst of more and more events.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    engine::NewRun,
    event::NewEvent,
    id::{IdSource as _, RunId, SystemIds, WorkerId},
    providers::SqliteStore,
    run::{Run, RunStatus},
    store::{Batch, Beginning, EventQuery, Expect, Order, Ready, RunQuery, Store as _, Worker},
};
use tokio::sync::Notify;

use crate::{
    fill, percentile,
    resume::{Caller, engine, store},
};

/// Events in the file. The last one takes 4 GB and some minutes, and is left out unless this part is
/// asked for by its name.
const SIZES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// What one thing costs, over and over.
async fn cost<F: Future<Output = ()>>(times: usize, mut one: impl FnMut(usize) -> F) -> Duration {
    let mut costs = Vec::new();
    for n in 0..times {
        let began = Instant::now();
        one(n).await;
        costs.push(began.elapsed());
    }
    percentile(&mut costs, 50)
}

/// A run that waits for a worker, and is otherwise like this one.
fn queued(like: &Run) -> Run {
    let id = RunId::from_uuid(SystemIds.next());
    Run {
        id,
        root_id: id,
        status: RunStatus::Queued,
        output: None,
        started_at: None,
        finished_at: None,
        last_seq: 0,
        ..like.clone()
    }
}

/// Measures with what is in the file now; `old` are some of the runs in it.
async fn costs(store: &SqliteStore, old: &[RunId]) -> Vec<(&'static str, Duration)> {
    let like = &store.run(old[0]).await.unwrap();
    let first = store.events(old[0], &EventQuery::after(0)).await.unwrap().remove(0);
    let note = &NewEvent {
        kind: first.kind,
        step: None,
        payload: first.payload.into(),
        blob: None,
        at: first.at,
    };
    let create = cost(300, |_| async {
        let first = Beginning::new(vec![note.clone()], Ready::At(note.at));
        drop(store.create(queued(like), first).await.unwrap());
    })
    .await;
    let worker = WorkerId::from_uuid(SystemIds.next());
    let alive = Worker {
        id: worker,
        host: "bench".to_owned(),
        pid: 1,
        draining: false,
        started_at: note.at,
        expires_at: note.at,
        runs: 0,
    };
    store.beat(&alive, Duration::from_secs(3_600)).await.unwrap();
    let (mut runs, mut claims) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let began = Instant::now();
        runs.extend(store.claim(worker, 1).await.unwrap());
        claims.push(began.elapsed());
    }
    let mut batches = runs.iter().map(|run| {
        let expect = Expect::Owner { worker, epoch: run.epoch, control: None };
        Batch { events: vec![note.clone()], ..Batch::new(run.id, expect) }
    });
    let append = cost(300, |_| {
        let batch = batches.next().unwrap();
        async {
            store.append(batch).await.unwrap();
        }
    })
    .await;
    let newest = RunQuery::default();
    let oldest = RunQuery { order: Order::Ascending, ..RunQuery::default() };
    let unfinished =
        RunQuery { statuses: vec![RunStatus::Queued, RunStatus::Running], ..RunQuery::default() };
    let failed = RunQuery { statuses: vec![RunStatus::Failed], ..RunQuery::default() };
    let mut all =
        vec![("create", create), ("claim", percentile(&mut claims, 50)), ("append", append)];
    for (name, query) in [
        ("list newest", newest),
        ("list oldest", oldest),
        ("list unfinished", unfinished),
        ("list failed", failed),
    ] {
        let list = cost(31, |_| async { drop(store.runs(&query).await.unwrap()) }).await;
        all.push((name, list));
    }
    let tail = cost(300, |n| async move {
        drop(store.events(old[n % old.len()], &EventQuery::after(5)).await.unwrap());
    })
    .await;
    let sweep = cost(50, |_| async { drop(store.sweep(50).await.unwrap()) }).await;
    all.extend([("tail", tail), ("sweep", sweep)]);
    end(store, runs, note).await;
    store.leave(worker).await.unwrap();
    all
}

/// Ends the runs of one size, so that they are not in the way of the next one.
async fn end(store: &SqliteStore, runs: Vec<Run>, note: &NewEvent) {
    for run in runs {
        let expect = Expect::Owner { worker: run.owner.unwrap(), epoch: run.epoch, control: None };
        let mut batch = Batch::new(run.id, expect);
        batch.patch.status = Some(RunStatus::Completed);
        batch.patch.finished_at = Some(note.at);
        batch.events = vec![NewEvent { kind: "run.completed".to_owned(), ..note.clone() }];
        store.append(batch).await.unwrap();
    }
}

pub(crate) async fn run(sizes: usize) {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let caller = Caller { turns: 3, calls: 1, ends: true, asked: Arc::new(Notify::new()) };
    let engine = engine(&store, caller);
    let handle = engine.start();
    let id = engine.create_run(NewRun::new("add up")).await.unwrap().run.id;
    let run = engine.join(id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    handle.shutdown(Duration::from_secs(5)).await;
    let each = usize::try_from(run.last_seq).unwrap();
    let (mut copies, mut first) = (1, Vec::new());
    for events in SIZES.into_iter().take(sizes) {
        let wanted = events / each;
        fill::copies(store.path(), &id.to_string(), copies, wanted).await;
        copies = wanted;
        let some = RunQuery { order: Order::Ascending, limit: 500, ..RunQuery::default() };
        let mut old: Vec<RunId> =
            store.runs(&some).await.unwrap().into_iter().map(|run| run.id).collect();
        old.truncate(copies);
        let costs = costs(&store, &old).await;
        if first.is_empty() {
            first.clone_from(&costs);
        }
        print!("{events:>9} events in {copies:>6} runs:");
        for ((name, cost), (_, before)) in costs.iter().zip(&first) {
            let ratio = cost.as_secs_f64() / before.as_secs_f64();
            print!("  {name} {cost:.0?} ({ratio:.2} x)");
        }
        println!();
    }
    store.close().await.unwrap();
}
