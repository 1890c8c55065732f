//! Runs on their way from one database to another, as bundles.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    blob::InMemoryBlobs,
    engine::{Engine, EngineErrorKind, NewFork, NewMessage, NewProject, NewRun},
    id::RunId,
    limits,
    run::{Run, RunStatus},
    step::{EffectPolicy, Step, StepStatus},
    store::{InMemoryStore, SpendQuery, Store},
    testing::{Fault, FaultyStore, Gate, LedgerTool, StoreCall, Turn},
    tool::{NewArtifact, Tool, ToolCx, ToolOutput, tool_fn},
};
use agent_runner_providers::{SqliteOptions, SqliteStore};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::fixture::*;

pub(crate) async fn exported(engine: &Engine, id: RunId) -> String {
    let pieces: Vec<Vec<u8>> = engine.export(id).await.unwrap().try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

/// Every run that ends can go elsewhere, and is the same there.
pub(crate) async fn check_travels(engine: &Engine, id: RunId) {
    let there = Engine::builder(Arc::new(InMemoryStore::new())).build().unwrap();
    travels(engine, id, &there).await;
}

/// Takes a run to another database; its id there.
async fn travels(here: &Engine, id: RunId, there: &Engine) -> RunId {
    let bundle = exported(here, id).await;
    let created = there.import(bundle.as_bytes(), None).await.unwrap();
    assert!(!created.existing);
    let new = created.run.id;
    let (before, after) = (here.run(id).await.unwrap(), there.run(new).await.unwrap());
    assert_eq!(created.run, after);
    let from = after.spec.imported_from.as_ref().unwrap();
    assert_eq!((from.run, &after.request_hash), (id, &Some(from.sha256.clone())));
    assert_eq!(row(&after), row(&before));
    assert_eq!(after.parent_id, None);
    let (steps, same) = (here.steps(id).await.unwrap(), there.steps(new).await.unwrap());
    let moved = |step: Step| Step { run_id: new, ..micros(step) };
    assert_eq!(same, steps.into_iter().map(moved).collect::<Vec<_>>());
    check_journal(there, new).await;

    // From there it goes on as it came: only what names the run is new.
    let again = exported(there, new).await;
    let without_first = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let (lines, back) = (without_first(&bundle), without_first(&again));
    let is_event = |line: &&String| line.starts_with(r#"{"event":"#);
    assert!(lines.iter().filter(is_event).eq(back.iter().filter(is_event)));
    let hash = |lines: &[String]| end(lines)["journal_sha256"].clone();
    assert_eq!(hash(&lines), hash(&back));
    let head: Value = serde_json::from_str(again.lines().next().unwrap()).unwrap();
    assert_eq!(head["run"]["imported_from"], json!({"run": id, "sha256": from.sha256}));
    new
}

fn end(lines: &[String]) -> Value {
    serde_json::from_str::<Value>(lines.last().unwrap()).unwrap()["end"].clone()
}

/// What a run is in every database.
fn row(run: &Run) -> Run {
    let mut row = run.clone();
    row.spec.imported_from = None;
    let moments = [&mut row.started_at, &mut row.finished_at, &mut row.deadline_at];
    moments.into_iter().flatten().for_each(cut);
    cut(&mut row.created_at);
    let id = RunId::from_uuid(uuid::Uuid::nil());
    Run {
        id,
        root_id: id,
        parent_id: None,
        project_id: "00000000-0000-0000-0000-000000000000".parse().unwrap(),
        idempotency_key: None,
        request_hash: None,
        epoch: 0,
        control: 0,
        recoveries: 0,
        pause_requested: false,
        park: None,
        ..row
    }
}

fn micros(mut step: Step) -> Step {
    [&mut step.started_at, &mut step.finished_at].into_iter().flatten().for_each(cut);
    step
}

fn cut(at: &mut jiff::Timestamp) {
    *at = jiff::Timestamp::from_microsecond(at.as_microsecond()).unwrap();
}

/// An engine on the other kind of store, with the model and tools of `world`.
struct Elsewhere {
    world: World,
    _directory: tempfile::TempDir,
}

async fn elsewhere(mut world: World) -> Elsewhere {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = world.database_bytes().await.is_some();
    let store: Arc<dyn Store> = if sqlite {
        Arc::new(InMemoryStore::new())
    } else {
        let options = SqliteOptions::new(directory.path().join("runs.db"));
        Arc::new(SqliteStore::open(options).await.unwrap())
    };
    world.replace_store(store);
    Elsewhere { world, _directory: directory }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Keeps a file.
fn keep() -> impl Tool {
    tool_fn("keep", "Keeps a file.", EffectPolicy::Pure, |_: Nothing, cx: ToolCx| async move {
        let new = NewArtifact {
            name: "a.txt".into(),
            kind: "document".into(),
            media_type: "text/plain".into(),
        };
        let kept = cx.host.keep(new, stream::iter([Ok("abc".to_owned().into())]).boxed()).await?;
        Ok(ToolOutput::new("kept").with_artifact(kept))
    })
}

/// More than an event can hold.
fn much() -> String {
    "long \"long\" \u{1F980}\n".repeat(limits::EVENT_INLINE_BYTES_MAX / 10)
}

fn keeping_world() -> World {
    let turns = [
        Turn::tool("keep", json!({})),
        Turn::tool("run.wait", json!({"signal": "go"})),
        Turn::text(&much()),
    ];
    let mut world = World::new(turns).with_tool(keep());
    world.blobs = Some(Arc::new(InMemoryBlobs::new()));
    world
}

/// A run with a payload beside its event, an artifact, a message, a signal and numbers of all kinds.
async fn eventful(engine: &Engine) -> RunId {
    let mut new =
        NewRun { name: Some("Ä \"1\"".into()), tags: vec!["t".into()], ..NewRun::new("x") };
    new.timeout = Some(Duration::from_secs(600));
    new.metadata.insert("n".into(), json!([0.1, 1e-7, u64::MAX, i64::MIN, "\u{2028}"]));
    let id = create(engine, new).await;
    let message = NewMessage { text: "hurry".into(), ..NewMessage::default() };
    engine.send_message(id, message).await.unwrap();
    wait_for(engine, id, "run.parked").await;
    engine.signal(id, "go", json!({"f": 0.30000000000000004}), Some("s".into())).await.unwrap();
    assert_eq!(ended(engine, id).await.status, RunStatus::Completed);
    id
}

on_every_store!(a_run_goes_to_another_database_and_is_the_same_there);
async fn a_run_goes_to_another_database_and_is_the_same_there() {
    let world = keeping_world();
    let (engine, handle) = world.start().await;
    let id = eventful(&engine).await;
    let bundle = exported(&engine, id).await;
    assert!(bundle.len() > limits::EVENT_INLINE_BYTES_MAX, "payloads are whole");
    let artifacts: Vec<&str> =
        bundle.lines().filter(|line| line.starts_with(r#"{"artifact":"#)).collect();
    assert_eq!(artifacts.len(), 1);
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(artifacts[0].contains(hash) && artifacts[0].contains(r#""size":3"#), "{artifacts:?}");
    handle.shutdown(PATIENCE).await;

    let other = elsewhere(keeping_world()).await;
    let there = other.world.engine().await;
    let new = travels(&engine, id, &there).await;
    // It is looked at like any other run.
    let (told, same) = (engine.transcript(id).await.unwrap(), there.transcript(new).await.unwrap());
    assert_eq!(told, same);
    let usage = (engine.usage(id).await.unwrap(), there.usage(new).await.unwrap());
    assert_eq!(usage.0, usage.1);
    assert_eq!(there.run(new).await.unwrap().output, Some(json!(much())));
    assert_eq!(there.artifacts(new, None, None, 10).await.unwrap(), [], "their bytes stay behind");
    // Nobody pays for it a second time.
    let spent = there.store().spent(&SpendQuery::default()).await.unwrap();
    assert_eq!(format!("{spent:?}"), format!("{:?}", agent_runner_core::store::Spent::default()));
    // And back again, beside the run that it was.
    let back = travels(&there, new, &engine).await;
    let diff = engine.diff(id, back).await.unwrap();
    assert_eq!((diff.parting, diff.steps.len()), (None, 0));
    let pointers: Vec<_> = diff.spec.iter().map(|field| field.pointer.as_str()).collect();
    assert_eq!(pointers, ["/imported_from"]);
    engine.delete_run(id).await.unwrap();
    assert_eq!(engine.transcript(back).await.unwrap(), told, "its payloads are its own");
}

on_every_store!(an_imported_run_is_forked_where_it_is);
async fn an_imported_run_is_forked_where_it_is() {
    let world = keeping_world();
    let (engine, handle) = world.start().await;
    let id = eventful(&engine).await;
    handle.shutdown(PATIENCE).await;
    let other = elsewhere(World::new([Turn::text("otherwise")]).with_tool(keep())).await;
    let (there, _handle) = other.world.start().await;
    let new = travels(&engine, id, &there).await;
    // Its past is what the other database did; the last answer is this one's.
    let fork = there.fork(new, NewFork::default()).await.unwrap().run;
    assert_eq!(fork.spec.imported_from, None);
    let run = ended(&there, fork.id).await;
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!("otherwise"))));
    assert_eq!(run.spec.forked_from.unwrap().run, new);
    let steps = there.steps(run.id).await.unwrap();
    assert!(steps.len() == 5 && steps.iter().all(|step| step.status == StepStatus::Succeeded));
    let asked = other.world.model.requests();
    assert_eq!(asked.len(), 1, "nothing is asked or called again");
    let asked = serde_json::to_string(&asked[0].messages).unwrap();
    assert!(asked.contains("hurry") && asked.contains("0.30000000000000004"), "{asked}");
    // A run that is imported is never worked on.
    let after = there.run(new).await.unwrap();
    assert_eq!(
        (after.epoch, after.owner, after.last_seq),
        (0, None, { engine.run(id).await.unwrap().last_seq })
    );
}

on_every_store!(i13_the_same_bundle_is_the_same_run);
async fn i13_the_same_bundle_is_the_same_run() {
    let world = World::new([Turn::text("a"), Turn::text("b")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    ended(&engine, id).await;
    let bundle = exported(&engine, id).await;
    let imports = (0..8).map(|_| engine.import(bundle.as_bytes(), None));
    let made: Vec<_> = futures::future::join_all(imports).await;
    let made: Vec<_> = made.into_iter().map(|made| made.unwrap()).collect();
    assert_eq!(made.iter().filter(|created| !created.existing).count(), 1);
    assert!(made.iter().all(|created| created.run == made[0].run && created.run.id != id));

    let new = NewProject { name: "other".into(), ..NewProject::default() };
    let project = engine.create_project(new).await.unwrap().project.id;
    let elsewhere = engine.import(bundle.as_bytes(), Some(project)).await.unwrap();
    assert!(!elsewhere.existing && elsewhere.run.project_id == project);
    engine.delete_run(made[0].run.id).await.unwrap();
    let anew = engine.import(bundle.as_bytes(), None).await.unwrap();
    assert!(!anew.existing && anew.run.id != made[0].run.id);

    // Somebody took the key for another run.
    engine.delete_run(anew.run.id).await.unwrap();
    let taken = NewRun { idempotency_key: anew.run.idempotency_key, ..NewRun::new("y") };
    ended(&engine, create(&engine, taken).await).await;
    let error = engine.import(bundle.as_bytes(), None).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::IdempotencyMismatch);
    let nowhere = "01930000-0000-7000-8000-000000000000".parse().unwrap();
    let error = engine.import(bundle.as_bytes(), Some(nowhere)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::NotFound);
}

on_every_store!(an_import_whose_answer_was_lost_is_there_once);
async fn an_import_whose_answer_was_lost_is_there_once() {
    let mut world = World::new([Turn::text("a")]);
    let inner = world.store().await;
    let (engine, handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    ended(&engine, id).await;
    let bundle = exported(&engine, id).await;
    handle.shutdown(PATIENCE).await;
    for (fault, existing) in [(Fault::BeforeCommit, false), (Fault::AfterCommit, true)] {
        let store = Arc::new(FaultyStore::new(Arc::clone(&inner)).counting(&[StoreCall::Create]));
        store.fail_nth(1, fault);
        world.replace_store(store);
        let engine = world.engine().await;
        let error = engine.import(bundle.as_bytes(), None).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::StoreUnavailable);
        let created = engine.import(bundle.as_bytes(), None).await.unwrap();
        assert_eq!(created.existing, existing);
        check_journal(&engine, created.run.id).await;
        engine.delete_run(created.run.id).await.unwrap();
    }
}

on_every_store!(only_a_run_that_ended_is_exported_and_only_as_long_as_it_is_there);
async fn only_a_run_that_ended_is_exported_and_only_as_long_as_it_is_there() {
    let gate = Gate::new();
    let mut turns: Vec<Turn> = (0..12).map(|n| Turn::tool("ledger", json!({"n": n}))).collect();
    turns.push(Turn::Held("a".into(), gate.clone(), Box::new(Turn::text("b"))));
    let world = World::new(turns).with_tool(LedgerTool::new("ledger", EffectPolicy::Pure));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    gate.wait_for_arrival().await;
    wait_for(&engine, id, "run.claimed").await;
    let error = engine.export(id).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::InvalidTransition);
    assert!(error.to_string().contains("RUNNING"), "{error}");
    gate.open();
    let run = ended(&engine, id).await;
    assert!(run.last_seq > limits::BUNDLE_PAGE as u64, "more than a page");

    let mut pieces = engine.export(id).await.unwrap();
    pieces.next().await.unwrap().unwrap();
    engine.delete_run(id).await.unwrap();
    let error = pieces.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Gone);
    assert!(pieces.next().await.is_none());
    let error = engine.export(id).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::NotFound);
}
