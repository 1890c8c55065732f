//! Snapshots: what they save, what they cost, and that nothing depends on them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    engine::NewRun,
    machine::RunState,
    run::{Run, RunStatus},
    step::EffectPolicy,
    store::{Batch, Expect, Snapshot},
    testing::{FaultyStore, Gate, LedgerTool, Turn},
    tool::ToolOutput,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::fixture::*;

/// A model that calls a tool so many times, and then is done.
fn turns(count: usize) -> Vec<Turn> {
    let calls = (0..count).map(|n| Turn::tool("read", json!({ "n": n })));
    calls.chain([Turn::text("done")]).collect()
}

/// A tool whose every output is another text of that length.
fn reader(length: usize) -> LedgerTool {
    LedgerTool::new("read", EffectPolicy::Idempotent).answering(move |arguments, _| {
        let n = arguments["n"].as_u64().unwrap_or_default();
        Ok(ToolOutput::new(json!(format!("{n:06}").repeat(length / 6))))
    })
}

/// A run of so many turns.
fn long(count: u32) -> NewRun {
    NewRun { max_steps: Some(count + 1), ..NewRun::new("read everything") }
}

/// What a store was asked to keep of a run.
#[derive(Debug, Clone, Default)]
struct Written {
    /// Payloads of events, those in blobs included.
    journal: usize,
    /// Snapshots, in order: last event and bytes.
    snapshots: Vec<(u64, usize)>,
    /// How often each payload came, and its bytes.
    blobs: BTreeMap<String, (usize, usize)>,
}

impl Written {
    fn take(&mut self, batch: &Batch) {
        self.journal += batch.events.iter().map(|e| e.payload.as_str().len()).sum::<usize>();
        for blob in &batch.blobs {
            let (times, bytes) = self.blobs.entry(blob.sha256.clone()).or_default();
            *times += 1;
            *bytes = blob.bytes.len();
            let of_event = |e: &&_| {
                let event: &agent_runner_core::event::NewEvent = e;
                event.blob.as_ref() == Some(&blob.sha256)
            };
            self.journal += batch.events.iter().find(of_event).map_or(0, |_| blob.bytes.len());
        }
        let snapshot = batch.snapshot.as_ref();
        self.snapshots.extend(snapshot.map(|snapshot| (snapshot.seq, snapshot.state.len())));
    }

    /// Bytes of the snapshots that a later one replaced.
    fn replaced_bytes(&self) -> usize {
        self.snapshots.iter().rev().skip(1).map(|(_, bytes)| bytes).sum()
    }
}

/// Lets the world's store tell what it is asked to keep.
async fn witnessed(world: &mut World) -> Arc<Mutex<Written>> {
    let written = Arc::<Mutex<Written>>::default();
    let witness = Arc::clone(&written);
    let store = FaultyStore::new(world.store().await)
        .witnessed(move |batch| witness.lock().unwrap().take(batch));
    world.replace_store(Arc::new(store));
    written
}

on_every_store!(a_long_run_gets_snapshots_and_leads_to_the_same_from_them);
async fn a_long_run_gets_snapshots_and_leads_to_the_same_from_them() {
    let mut world = World::new(turns(40)).with_tool(reader(30));
    let written = witnessed(&mut world).await;
    let (engine, _handle) = world.start().await;
    let id = create(&engine, long(40)).await;
    // The fold of its journal from the beginning is compared with the fold from its snapshot there.
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    let kept = world.store().await.snapshot(id).await.unwrap().unwrap();
    assert_eq!(kept.version, RunState::VERSION);
    let written = written.lock().unwrap().clone();
    assert!(written.snapshots.len() > 3, "{written:?}");
    assert!(written.snapshots.is_sorted(), "{written:?}");
    assert_eq!(written.snapshots.last().unwrap().0, kept.seq);
    assert!(kept.seq > run.last_seq / 3, "{} of {}", kept.seq, run.last_seq);
}

on_every_store!(a_short_run_gets_none);
async fn a_short_run_gets_none() {
    let mut world = World::new(turns(3)).with_tool(reader(30));
    world.options.snapshot_interval = agent_runner_core::limits::SNAPSHOT_INTERVAL;
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    ended(&engine, id).await;
    assert_eq!(world.store().await.snapshot(id).await.unwrap(), None);
}

on_every_store!(a_run_that_waits_leaves_no_long_tail);
async fn a_run_that_waits_leaves_no_long_tail() {
    let mut script = turns(5);
    script.insert(5, Turn::tool("run.wait", json!({"signal": "go"})));
    let mut world = World::new(script).with_tool(reader(30));
    world.options.snapshot_interval = 100;
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, id, "run.parked").await;
    let run = engine.run(id).await.unwrap();
    assert!((30..100).contains(&run.last_seq), "{}", run.last_seq);
    let kept = world.store().await.snapshot(id).await.unwrap().unwrap();
    assert!(run.last_seq - kept.seq < 12, "{} of {}", kept.seq, run.last_seq);
    engine.signal(id, "go", json!(1), None).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
}

/// Runs until a call near its end, then kills the worker; the run as it was left.
async fn left_behind(world: &mut World, gate: &Gate) -> Run {
    world.options.lease_ttl = Duration::from_millis(300);
    let (engine, handle) = world.start().await;
    let id = create(&engine, long(40)).await;
    gate.wait_for_arrival().await;
    drop(handle);
    tokio::task::yield_now().await;
    world.options.lease_ttl = Duration::from_secs(5);
    engine.run(id).await.unwrap()
}

/// A state with the hash that goes with it.
fn hashed(json: &[u8]) -> Vec<u8> {
    let sha256: String = Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect();
    [sha256.as_bytes(), b"\n", json].concat()
}

on_every_store!(a_snapshot_that_is_no_good_is_left_aside);
async fn a_snapshot_that_is_no_good_is_left_aside() {
    let damages: [fn(&mut Snapshot); 7] = [
        |kept| kept.version += 1,
        |kept| kept.state.clear(),
        |kept| kept.state.truncate(kept.state.len() - 1),
        |kept| {
            let middle = kept.state.len() / 2;
            kept.state[middle] ^= 1;
        },
        |kept| kept.state = hashed(b"{\"state\": {}, \"texts\": {}}"),
        // A text that is not there.
        |kept| {
            let mut document: Value = serde_json::from_slice(&kept.state[65..]).unwrap();
            for sha256 in document["texts"].as_object_mut().unwrap().values_mut() {
                *sha256 = json!("0".repeat(64));
            }
            kept.state = hashed(document.to_string().as_bytes());
        },
        // A state after which the journal makes no sense.
        |kept| kept.seq -= 3,
    ];
    for damage in damages {
        let gate = Gate::new();
        let held = Turn::Held("half".into(), gate.clone(), Box::new(Turn::text(" whole")));
        let mut script = turns(25);
        script.insert(25, held);
        let mut world = World::new(script).with_tool(reader(5_000));
        let run = left_behind(&mut world, &gate).await;
        let store = world.store().await;
        let mut snapshot = store.snapshot(run.id).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&snapshot.state).contains("\"texts\":{\"/"));
        damage(&mut snapshot);
        let mut batch = Batch::new(run.id, Expect::Control(run.control));
        batch.snapshot = Some(snapshot);
        store.append(batch).await.unwrap();
        gate.open();
        let (engine, _handle) = world.start().await;
        let run = ended(&engine, run.id).await;
        assert_eq!(run.output, Some(json!("half whole")));
    }
}

on_every_store!(a_long_text_is_kept_once_beside_all_snapshots);
async fn a_long_text_is_kept_once_beside_all_snapshots() {
    let mut world = World::new(turns(40)).with_tool(reader(6_000));
    let written = witnessed(&mut world).await;
    let (engine, _handle) = world.start().await;
    let id = create(&engine, long(40)).await;
    ended(&engine, id).await;
    let written = written.lock().unwrap().clone();
    assert!(written.snapshots.len() > 2, "{written:?}");
    assert!(written.blobs.len() > 10, "{written:?}");
    let twice: Vec<_> = written.blobs.iter().filter(|(_, (times, _))| *times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let largest = written.snapshots.iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!(largest < 40 * 1_000, "the texts are not in it: {largest}");
    let kept = world.store().await.snapshot(id).await.unwrap().unwrap();
    let document: Value = serde_json::from_slice(&kept.state[65..]).unwrap();
    for sha256 in document["texts"].as_object().unwrap().values() {
        let text = world.store().await.blob(sha256.as_str().unwrap()).await.unwrap();
        assert_eq!(text.len(), 6_000);
    }
}

/// Lives through a run of so many turns; what was written, and how large the database file is.
async fn size_of(count: u32, length: usize) -> (Written, Option<u64>) {
    let mut world = World::new(turns(count as usize)).with_tool(reader(length));
    world.options.snapshot_interval = 64;
    let written = witnessed(&mut world).await;
    let (engine, handle) = world.start().await;
    let id = create(&engine, long(count)).await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    handle.shutdown(Duration::from_secs(5)).await;
    let written = written.lock().unwrap().clone();
    (written, world.database_bytes().await)
}

on_every_store!(what_a_run_takes_grows_no_faster_than_the_run);
async fn what_a_run_takes_grows_no_faster_than_the_run() {
    for length in [600, 6_000] {
        let (once, file) = size_of(100, length).await;
        let (twice, larger_file) = size_of(200, length).await;
        let kept = |written: &Written| {
            let blobs: usize = written.blobs.values().map(|(_, bytes)| bytes).sum();
            let last = written.snapshots.last().map_or(0, |(_, bytes)| *bytes);
            written.journal + blobs + last
        };
        let ratio = kept(&twice) as f64 / kept(&once) as f64;
        assert!(ratio <= 2.2, "{ratio}: {} and {}", kept(&once), kept(&twice));
        for written in [&once, &twice] {
            assert!(written.snapshots.len() > 2, "{written:?}");
            let (replaced, journal) = (written.replaced_bytes(), written.journal);
            assert!(replaced <= journal, "{replaced} bytes were replaced, for {journal}");
        }
        if let (Some(file), Some(larger_file)) = (file, larger_file) {
            let ratio = larger_file as f64 / file as f64;
            assert!(ratio <= 2.2, "{ratio}: {file} and {larger_file}");
        }
    }
}
