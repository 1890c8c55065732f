//! What a run changed is shown, and what it touches is known.

use agent_runner_core::{id::RunId, tool::ToolCx};

use super::*;

fn of_run(n: u128) -> ToolCx {
    cx("1").of_run(RunId::from_uuid(uuid::Uuid::from_u128(n)), 1)
}

async fn call(cx: &ToolCx, tool: impl TypedTool, arguments: Value) -> Value {
    Typed::new(tool).call(arguments, cx).await.unwrap().value
}

#[tokio::test]
async fn a_run_sees_what_it_changed_and_nothing_else() {
    let world = World::new();
    let w = || world.workspace.clone();
    world.write("kept", "same\n").await.unwrap();
    world.write("old", "one\ntwo\n").await.unwrap();
    world.write("gone", "x\n").await.unwrap();
    world.write("dir/inside", "y\n").await.unwrap();
    let (run, other) = (of_run(7), of_run(8));
    let none = call(&run, FilesDiff::new(w()), json!({})).await;
    assert_eq!(none["files"], json!([]));
    call(&other, FilesWrite::new(w()), json!({"path": "others", "text": "o"})).await;
    call(&run, FilesWrite::new(w()), json!({"path": "new", "text": "n\n"})).await;
    call(&run, FilesEdit::new(w()), json!({"path": "old", "old": "two", "new": "2"})).await;
    call(&run, FilesAppend::new(w()), json!({"path": "old", "text": "three\n"})).await;
    call(&run, FilesDelete::new(w()), json!({"path": "gone"})).await;
    call(&run, FilesMove::new(w()), json!({"from": "dir", "to": "moved"})).await;
    call(&run, FilesWrite::new(w()), json!({"path": "kept", "text": "other\n"})).await;
    call(&run, FilesWrite::new(w()), json!({"path": "kept", "text": "same\n"})).await;
    let diff = call(&run, FilesDiff::new(w()), json!({})).await;
    assert_eq!(
        diff["files"],
        json!([
            {"path": "dir/inside", "change": "deleted"},
            {"path": "gone", "change": "deleted"},
            {"path": "moved/inside", "change": "created"},
            {"path": "new", "change": "created"},
            {"path": "old", "change": "modified"},
        ])
    );
    let text = diff["diff"].as_str().unwrap();
    assert!(
        text.contains("--- a/old\n+++ b/old\n@@ -1,2 +1,3 @@\n one\n-two\n+2\n+three\n"),
        "{text}"
    );
    assert!(text.contains("--- /dev/null\n+++ b/new\n"), "{text}");
    let one = call(&run, FilesDiff::new(w()), json!({"path": "old"})).await;
    assert_eq!(one["files"].as_array().unwrap().len(), 1);
    let asked = json!({"run": run.run_id.unwrap().to_string()});
    assert_eq!(call(&other, FilesDiff::new(w()), asked).await, diff, "others may look");
    let names = contents(&world.project());
    assert!(!names.keys().any(|name| name.contains(".runs")), "kept beside the project");
}

#[tokio::test]
async fn what_changed_is_a_fact_of_the_call() {
    let world = World::new();
    let tool = Typed::new(FilesWrite::new(world.workspace.clone()));
    let output = tool.call(json!({"path": "a", "text": "hi"}), &of_run(1)).await.unwrap();
    let facts = serde_json::to_value(&output.facts).unwrap();
    assert_eq!(facts[0]["fact"], "file_written");
    assert_eq!((&facts[0]["path"], &facts[0]["bytes"]), (&json!("a"), &json!(2)));
    assert_eq!(facts[0]["sha256"], output.value["sha256"]);
}

#[test]
fn calls_that_touch_the_same_path_meet() {
    let world = World::new();
    let w = || world.workspace.clone();
    let write = Typed::new(FilesWrite::new(w()));
    let read = Typed::new(FilesRead::new(w()));
    let moves = Typed::new(FilesMove::new(w()));
    let search = Typed::new(FilesSearch::new(w()));
    let of_a = write.footprint(&json!({"path": "d/a", "text": ""}));
    assert!(of_a.meets(&read.footprint(&json!({"path": "d/a"}))));
    assert!(!of_a.meets(&read.footprint(&json!({"path": "d/b"}))));
    assert!(of_a.meets(&moves.footprint(&json!({"from": "d", "to": "e"}))));
    assert!(of_a.meets(&search.footprint(&json!({"pattern": "x"}))));
    assert!(!of_a.meets(&search.footprint(&json!({"pattern": "x", "path": "src"}))));
}
