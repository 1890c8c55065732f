//! What the tools do to files, one by one.

use super::*;

async fn ok(world: &World, tool: impl TypedTool, arguments: Value) -> Value {
    world.call(tool, arguments.clone()).await.unwrap_or_else(|e| panic!("{arguments}: {e}"))
}

async fn refused(world: &World, tool: impl TypedTool, arguments: Value) -> ToolError {
    world.call(tool, arguments).await.unwrap_err()
}

fn on_disk(world: &World, path: &str) -> String {
    fs::read_to_string(world.project().join(path)).unwrap()
}

#[tokio::test]
async fn lines_are_numbered_when_asked_for() {
    let world = World::new();
    world.write("f", "one\ntwo\nthree").await.unwrap();
    let w = || FilesRead::new(world.workspace.clone());
    let arguments = json!({"path": "f", "line_numbers": true, "offset_line": 2});
    assert_eq!(ok(&world, w(), arguments).await, "2\ttwo\n3\tthree");
    let arguments = json!({"path": "f", "offset_line": 1, "limit_lines": 1});
    assert_eq!(ok(&world, w(), arguments).await, "one\n");
}

#[tokio::test]
async fn a_text_is_added_edited_and_patched() {
    let world = World::new();
    let w = || world.workspace.clone();
    ok(&world, FilesAppend::new(w()), json!({"path": "d/log", "text": "one\n"})).await;
    let written =
        ok(&world, FilesAppend::new(w()), json!({"path": "d/log", "text": "two\n"})).await;
    assert_eq!((&written["bytes"], &written["created"]), (&json!(8), &json!(false)));
    ok(&world, FilesEdit::new(w()), json!({"path": "d/log", "old": "two", "new": "2"})).await;
    let patch = "--- a/log\n+++ b/log\n@@ -1,2 +1,3 @@\n one\n+one and a half\n 2\n";
    ok(&world, FilesPatch::new(w()), json!({"path": "d/log", "patch": patch})).await;
    assert_eq!(on_disk(&world, "d/log"), "one\none and a half\n2\n");
    let error =
        refused(&world, FilesPatch::new(w()), json!({"path": "d/log", "patch": patch})).await;
    assert_eq!(error.kind(), ToolErrorKind::Conflict);
    assert_eq!(on_disk(&world, "d/log"), "one\none and a half\n2\n", "all or nothing");
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_read_is_left_alone() {
    let world = World::new();
    let sha256 = world.write("f", "one").await.unwrap().sha256;
    let w = || world.workspace.clone();
    let write =
        |text: &str, sha256: &str| json!({"path": "f", "text": text, "expected_sha256": sha256});
    ok(&world, FilesWrite::new(w()), write("two", &sha256)).await;
    let error = refused(&world, FilesWrite::new(w()), write("three", &sha256)).await;
    assert_eq!((error.kind(), error.code()), (ToolErrorKind::Conflict, "etag_mismatch"));
    ok(&world, FilesWrite::new(w()), write("two", &sha256)).await;
    for (tool, arguments) in [
        (0, json!({"path": "f", "old": "two", "new": "x", "expected_sha256": sha256})),
        (1, json!({"path": "f", "expected_sha256": sha256})),
    ] {
        let error = match tool {
            0 => refused(&world, FilesEdit::new(w()), arguments).await,
            _ => refused(&world, FilesDelete::new(w()), arguments).await,
        };
        assert_eq!(error.code(), "etag_mismatch");
    }
    assert_eq!(on_disk(&world, "f"), "two");
}

#[tokio::test]
async fn of_concurrent_edits_of_a_file_none_is_lost() {
    let world = std::sync::Arc::new(World::new());
    world.write("f", "").await.unwrap();
    let adding = (0..20).map(|n| {
        let world = std::sync::Arc::clone(&world);
        async move {
            let tool = FilesAppend::new(world.workspace.clone());
            ok(&world, tool, json!({"path": "f", "text": format!("{n}\n")})).await;
        }
    });
    futures::future::join_all(adding).await;
    let mut lines: Vec<usize> =
        on_disk(&world, "f").lines().map(|line| line.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn files_are_found_by_pattern_and_by_content() {
    let world = World::new();
    for (path, text) in [
        ("src/main.rs", "fn main() {\n    Hello();\n}\n"),
        ("src/deep/er/mod.rs", "// hello\n"),
        ("README.md", "# Hello\n"),
        ("bin", "\0hello"),
    ] {
        world.write(path, text).await.unwrap();
    }
    std::os::unix::fs::symlink(world.outside(), world.project().join("out")).unwrap();
    let w = || world.workspace.clone();
    let glob = async |pattern: &str| {
        ok(&world, FilesGlob::new(w()), json!({"pattern": pattern})).await["paths"].clone()
    };
    assert_eq!(glob("src/**/*.rs").await, json!(["src/deep/er/mod.rs", "src/main.rs"]));
    assert_eq!(glob("*.rs").await, json!([]), "`*` stays within a directory");
    assert_eq!(glob("**/*").await.as_array().unwrap().len(), 4, "links are not followed");
    let one = ok(&world, FilesGlob::new(w()), json!({"pattern": "**/*", "limit": 1})).await;
    assert_eq!((one["paths"].as_array().unwrap().len(), &one["truncated"]), (1, &json!(true)));
    let arguments = json!({"pattern": "hel+o", "ignore_case": true, "glob": "**/*.rs"});
    let found = ok(&world, FilesSearch::new(w()), arguments).await;
    let hits: Vec<(&str, u64)> = found["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| (hit["path"].as_str().unwrap(), hit["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(hits, [("src/deep/er/mod.rs", 1), ("src/main.rs", 2)]);
    let below = json!({"pattern": "hello", "path": "src/deep"});
    let below = ok(&world, FilesSearch::new(w()), below).await;
    assert_eq!((&below["files_searched"], &below["truncated"]), (&json!(1), &json!(false)));
    let all = ok(&world, FilesSearch::new(w()), json!({"pattern": "hello"})).await;
    assert_eq!(all["files_skipped"], 1, "what is not text is not searched");
    let few = ok(&world, FilesSearch::new(w()), json!({"pattern": ".", "limit": 1})).await;
    assert_eq!((few["hits"].as_array().unwrap().len(), &few["truncated"]), (1, &json!(true)));
}

#[tokio::test]
async fn things_are_moved_copied_and_deleted() {
    let world = World::new();
    let w = || world.workspace.clone();
    world.write("a", "A").await.unwrap();
    world.write("b", "B").await.unwrap();
    let onto = json!({"from": "a", "to": "b"});
    for error in [
        refused(&world, FilesMove::new(w()), onto.clone()).await,
        refused(&world, FilesCopy::new(w()), onto).await,
    ] {
        assert_eq!(error.kind(), ToolErrorKind::Conflict);
    }
    let copy = json!({"from": "a", "to": "d/c"});
    assert_eq!(ok(&world, FilesCopy::new(w()), copy.clone()).await["created"], true);
    assert_eq!(ok(&world, FilesCopy::new(w()), copy).await["created"], false, "again is fine");
    ok(&world, FilesMove::new(w()), json!({"from": "a", "to": "b", "overwrite": true})).await;
    ok(&world, FilesMove::new(w()), json!({"from": "d", "to": "e/f"})).await;
    ok(&world, FilesMkdir::new(w()), json!({"path": "e/g/h"})).await;
    let before = contents(&world.project());
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    assert_eq!(names, ["b", "e", "e/f", "e/f/c", "e/g", "e/g/h"]);
    assert_eq!(before["b"], "A");
    let full = refused(&world, FilesDelete::new(w()), json!({"path": "e"})).await;
    assert_eq!(full.kind(), ToolErrorKind::Conflict);
    assert_eq!(contents(&world.project()), before);
    let gone = json!({"path": "e", "recursive": true});
    assert_eq!(ok(&world, FilesDelete::new(w()), gone).await["entries"], 5);
    ok(&world, FilesDelete::new(w()), json!({"path": "b"})).await;
    assert!(contents(&world.project()).is_empty());
}

#[tokio::test]
async fn deleting_removes_links_and_never_what_they_lead_to() {
    let world = World::new();
    let w = || world.workspace.clone();
    fs::create_dir(world.project().join("d")).unwrap();
    std::os::unix::fs::symlink(world.outside(), world.project().join("d/out")).unwrap();
    std::os::unix::fs::symlink(world.outside().join("secret"), world.project().join("l")).unwrap();
    let before = contents(&world.outside());
    ok(&world, FilesDelete::new(w()), json!({"path": "l"})).await;
    ok(&world, FilesDelete::new(w()), json!({"path": "d", "recursive": true})).await;
    assert!(contents(&world.project()).is_empty());
    assert_eq!(contents(&world.outside()), before);
}

#[tokio::test]
async fn a_project_holds_no_more_than_its_quota() {
    let mut limits = FsLimits::default();
    (limits.project_bytes_max, limits.project_files_max) = (100, 4);
    let world = World::with_limits(limits);
    world.write("a", vec![b'x'; 60]).await.unwrap();
    let full = world.write("b", vec![b'x'; 60]).await.unwrap_err();
    assert_eq!(full.kind(), FileErrorKind::NoSpace);
    assert_eq!(ToolError::from(full).kind(), ToolErrorKind::NoSpace);
    assert!(!world.project().join("b").exists(), "nothing is left of it");
    world.write("a", vec![b'x'; 90]).await.expect("what is replaced does not count");
    world.write("a", vec![b'x'; 10]).await.unwrap();
    world.write("d/b", vec![b'x'; 60]).await.unwrap();
    world.write("c", "").await.unwrap();
    let many = world.write("e", "").await.unwrap_err();
    assert_eq!(many.kind(), FileErrorKind::NoSpace);
    let w = || world.workspace.clone();
    ok(&world, FilesDelete::new(w()), json!({"path": "d", "recursive": true})).await;
    world.write("e", "").await.expect("there is room again");
}

#[test]
fn writing_what_makes_others_act_is_riskier_than_writing() {
    use agent_runner_core::tool::Risk;
    let tool = Typed::new(FilesWrite::new(World::new().workspace));
    for (path, risk) in [
        ("src/main.rs", Risk::Write),
        (".gitattributes", Risk::Destructive),
        ("sub/.GitModules", Risk::Destructive),
        (".github/workflows/ci.yml", Risk::Destructive),
        (".forgejo/workflows/ci.yml", Risk::Destructive),
        (".gitlab-ci.yml", Risk::Destructive),
        (".gitignore", Risk::Write),
    ] {
        assert_eq!(tool.risk(&json!({"path": path, "text": ""})), risk, "{path}");
    }
}
