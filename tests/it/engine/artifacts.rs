//! Artifacts of runs: made with the end of a call or not at all, and collected when nobody needs
//! their bytes.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    blob::{BlobStore as _, InMemoryBlobs},
    engine::{Engine, EngineErrorKind, NewRun},
    id::RunId,
    run::RunStatus,
    step::EffectPolicy,
    store::{InMemoryStore, Store},
    testing::{Fault, FaultyStore, LedgerTool, ManualClock, Turn},
    tool::{ByteStream, NewArtifact, Tool, ToolCx, ToolError, ToolErrorKind, ToolOutput, tool_fn},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::fixture::*;

fn bytes(text: &str) -> ByteStream {
    stream::iter([Ok(text.to_owned().into())]).boxed()
}

fn named(name: &str) -> NewArtifact {
    NewArtifact { name: name.into(), kind: "document".into(), media_type: "text/plain".into() }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keep {
    name: String,
    text: String,
    fail: bool,
}

/// Keeps a text, and fails afterwards if it is told to.
fn keep() -> impl Tool {
    tool_fn(
        "keep",
        "Keeps a text.",
        EffectPolicy::Idempotent,
        |args: Keep, cx: ToolCx| async move {
            let kept = cx.host.keep(named(&args.name), bytes(&args.text)).await?;
            if args.fail {
                return Err(ToolError::new(ToolErrorKind::Conflict, "told to fail"));
            }
            Ok(ToolOutput::new("kept").with_artifact(kept))
        },
    )
}

fn call(name: &str, text: &str, fail: bool) -> Turn {
    Turn::tool("keep", json!({"name": name, "text": text, "fail": fail}))
}

fn keeping(turns: Vec<Turn>) -> (World, Arc<InMemoryBlobs>) {
    let blobs = Arc::new(InMemoryBlobs::new());
    let mut world = World::new(turns).with_tool(keep());
    world.blobs = Some(Arc::clone(&blobs) as _);
    (world, blobs)
}

async fn text(engine: &Engine, run: RunId, name: &str) -> String {
    let found = engine.artifacts(run, Some(name.to_owned()), None, 10).await.unwrap();
    let content = engine.open_artifact(found.last().unwrap(), None).await.unwrap();
    let pieces: Vec<bytes::Bytes> = content.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

on_every_store!(what_a_call_kept_is_an_artifact_when_it_ends_well);
async fn what_a_call_kept_is_an_artifact_when_it_ends_well() {
    let (world, blobs) = keeping(vec![
        call("a.txt", "one", false),
        call("lost.txt", "two", true),
        call("a.txt", "three", false),
        Turn::text("done"),
    ]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let artifacts = engine.artifacts(id, None, None, 10).await.unwrap();
    let shown: Vec<_> = artifacts.iter().map(|a| (&*a.name, a.version, a.size)).collect();
    assert_eq!(shown, [("a.txt", 1, 3), ("a.txt", 2, 5)]);
    assert_eq!(text(&engine, id, "a.txt").await, "three");
    let events = events(&engine, id).await;
    let at = |kind: &str| events.iter().position(|event| event.kind == kind).unwrap();
    assert_eq!(at("artifact.created") + 1, at("tool.completed"), "in one breath");
    assert_eq!(events[at("artifact.created")].payload["sha256"], artifacts[0].sha256);
    // The bytes of the call that failed are there, and nobody needs them.
    assert_eq!(blobs.list().count().await, 3);
}

on_every_store!(an_output_that_is_too_large_to_show_becomes_an_artifact_with_a_summary);
async fn an_output_that_is_too_large_to_show_becomes_an_artifact_with_a_summary() {
    let large: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
    let whole = large.clone();
    let tool = LedgerTool::new("read", EffectPolicy::Pure)
        .answering(move |_, _| Ok(ToolOutput::new(large.clone())));
    let (world, _blobs) = keeping(vec![Turn::tool("read", json!({})), Turn::text("done")]);
    let world = world.with_tool(tool);
    let (engine, handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let name = "read-turn.1.tool.1.txt";
    assert!(text(&engine, id, name).await == whole, "all of it is in the artifact");
    let told = world.model.requests().last().unwrap().messages.last().unwrap().clone();
    let told = serde_json::to_string(&told).unwrap();
    assert!(told.len() < 8_000, "{} bytes", told.len());
    for word in [name, "line 0", "line 39999", "too large to show"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    // What the model was told stands in the journal, so whoever goes on tells it the same.
    handle.shutdown(PATIENCE).await;
    let other = world.engine().await;
    let again = other.fold(id).await.unwrap();
    let messages = again.machine().conversation().to_vec();
    assert!(serde_json::to_string(&messages).unwrap().contains("line 39999"));
}

on_every_store!(a_person_adds_artifacts_until_the_run_ends);
async fn a_person_adds_artifacts_until_the_run_ends() {
    let wait = Turn::tool("run.wait", json!({"signal": "go"}));
    let (world, _blobs) = keeping(vec![wait, Turn::text("done")]);
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    wait_for(&engine, id, "run.parked").await;
    let made = engine.add_artifact(id, named("in.txt"), bytes("given")).await.unwrap();
    assert_eq!((made.version, made.step.as_ref()), (1, None));
    let bad = engine.add_artifact(id, named("../x"), bytes("given")).await.unwrap_err();
    assert_eq!((bad.kind(), &*bad.fields()[0].pointer), (EngineErrorKind::Validation, "/name"));
    let broken = stream::iter([Err(std::io::Error::other("gone"))]).boxed();
    let broken = engine.add_artifact(id, named("b"), broken).await.unwrap_err();
    assert_eq!(broken.kind(), EngineErrorKind::BrokenOff);
    engine.signal(id, "go", Value::Null, None).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let late = engine.add_artifact(id, named("late"), bytes("x")).await.unwrap_err();
    assert_eq!(late.kind(), EngineErrorKind::InvalidTransition);
    engine.remove_artifact(id, made.id).await.unwrap();
    let gone = engine.artifact(id, made.id).await.unwrap_err();
    assert_eq!(gone.kind(), EngineErrorKind::NotFound);
}

#[tokio::test]
async fn without_a_place_for_them_there_are_no_artifacts_and_nothing_else_changes() {
    let world = World::new([call("a", "x", false), Turn::text("done")]).with_tool(keep());
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    assert!(kinds(&engine, id).await.contains(&"tool.failed".to_owned()));
    let none = engine.add_artifact(id, named("a"), bytes("x")).await.unwrap_err();
    assert_eq!(none.kind(), EngineErrorKind::InvalidTransition, "it ended");
}

#[tokio::test]
async fn bytes_that_nobody_needs_are_collected_when_they_are_old() {
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let blobs = Arc::new(InMemoryBlobs::with_clock(Arc::clone(&clock) as _));
    let store = Arc::new(InMemoryStore::with_clock(Arc::clone(&clock) as _));
    let engine =
        Engine::builder(store).clock(Arc::clone(&clock) as _).blobs(Arc::clone(&blobs) as _);
    let engine = engine.provider(World::new([Turn::text("x")]).model).build().unwrap();
    let new = NewRun { model: Some("test/model".into()), ..NewRun::new("x") };
    let id = create(&engine, new.clone()).await;
    let twin = create(&engine, new).await;
    let kept = engine.add_artifact(id, named("a"), bytes("needed")).await.unwrap();
    let shared = engine.add_artifact(twin, named("b"), bytes("needed")).await.unwrap();
    assert_eq!(kept.sha256, shared.sha256, "the same bytes are kept once");
    blobs.put(bytes("nobody's"), 100).await.unwrap();
    let hour = Duration::from_secs(3_600);
    assert_eq!(engine.collect_blobs(hour).await.unwrap().deleted, 0, "they are young");
    clock.advance(2 * hour);
    blobs.put(bytes("young"), 100).await.unwrap();
    let done = engine.collect_blobs(hour).await.unwrap();
    assert_eq!((done.seen, done.deleted), (3, 1));
    engine.remove_artifact(id, kept.id).await.unwrap();
    assert_eq!(engine.collect_blobs(hour).await.unwrap().deleted, 0, "another run needs them");
    engine.cancel(twin, None).await.unwrap();
    engine.delete_run(twin).await.unwrap();
    assert_eq!(engine.collect_blobs(hour).await.unwrap().deleted, 1);
}

#[tokio::test]
async fn a_crash_between_bytes_and_row_leaves_bytes_and_no_row() {
    let store = Arc::new(FaultyStore::new(Arc::new(InMemoryStore::new()) as Arc<dyn Store>));
    let blobs = Arc::new(InMemoryBlobs::new());
    let build = || {
        let builder = Engine::builder(Arc::clone(&store) as _).blobs(Arc::clone(&blobs) as _);
        builder.provider(World::new([Turn::text("x")]).model).build().unwrap()
    };
    let engine = build();
    let new = NewRun { model: Some("test/model".into()), ..NewRun::new("x") };
    let id = create(&engine, new).await;
    store.fail_nth(store.calls() + 1, Fault::BeforeCommit);
    engine.add_artifact(id, named("a"), bytes("half")).await.unwrap_err();
    let other = build();
    assert_eq!(other.artifacts(id, None, None, 10).await.unwrap(), []);
    assert_eq!(blobs.list().count().await, 1);
    // Again, as a client would do it: the bytes are found, and the row follows.
    other.add_artifact(id, named("a"), bytes("half")).await.unwrap();
    assert_eq!(text(&other, id, "a").await, "half");
    assert_eq!(blobs.list().count().await, 1);
}
