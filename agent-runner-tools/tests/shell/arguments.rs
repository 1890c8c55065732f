//! What a call may ask for.

use std::{fs, os::unix::fs::symlink};

use agent_runner_core::{
    project::{ProjectSettings, ShellSettings},
    tool::{EffectPolicy, Footprint, Risk, ToolErrorKind},
};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_project_that_allows_no_programs_has_no_tool_and_no_call() {
    let mut world = World::new();
    let tool = world.tool();
    assert!(tool.available(&world.settings));
    assert!(!tool.available(&ProjectSettings::default()));
    let mut none = ProjectSettings::default();
    none.shell = Some(ShellSettings::default());
    assert!(!tool.available(&none));
    world.settings.shell = None;
    let error = world.call(json!({"argv": ["true"]})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Denied);
    assert!(!error.effect_possible());
}

#[tokio::test]
async fn a_program_that_is_not_listed_is_denied_and_the_answer_names_what_is() {
    let world = World::new();
    let error = world.call(json!({"argv": ["curl", "http://example.com"]})).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ToolErrorKind::Denied, "program_not_allowed"));
    assert!(error.for_model().contains("`perl`, `pwd`"), "{error}");
}

#[tokio::test]
async fn a_program_is_a_name_that_the_operators_path_has() {
    let world = World::confined();
    // What the project brings along is not looked at.
    fs::copy("/bin/true", world.project().join("not-installed")).unwrap();
    let error = world.call(json!({"argv": ["not-installed"]})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::NotFound);
    for name in ["/bin/true", "./true", "bin/true", "..", ".", "true\n", "true "] {
        let error = world.call(json!({"argv": [name]})).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs, "{name:?}");
    }
}

#[tokio::test]
async fn no_shell_reads_the_arguments() {
    let world = World::confined();
    let ran = world.run(["echo", "$HOME", "*", "`id`", "a b", "; echo", "-"]).await;
    assert_eq!(ran["stdout"], "$HOME * `id` a b ; echo -\n");
}

#[tokio::test]
async fn a_program_runs_where_the_call_says() {
    let world = World::confined();
    fs::create_dir_all(world.project().join("deep/er")).unwrap();
    for (cwd, want) in
        [(json!("deep/er"), "./deep/er\n"), (json!("."), ".\n"), (json!(null), ".\n")]
    {
        let ran = world.call(json!({"argv": ["pwd"], "cwd": cwd})).await.unwrap().value;
        // Where the project is on the host, nobody is told.
        assert_eq!(ran["stdout"], want);
    }
}

#[tokio::test]
async fn a_directory_that_leads_out_is_refused() {
    let world = World::new();
    fs::create_dir(world.project().join("dir")).unwrap();
    fs::write(world.project().join("file"), "").unwrap();
    symlink(world.outside(), world.project().join("link")).unwrap();
    symlink("dir", world.project().join("inner")).unwrap();
    for (cwd, kind) in [
        ("..", ToolErrorKind::Denied),
        ("dir/../..", ToolErrorKind::Denied),
        ("/etc", ToolErrorKind::Denied),
        ("link", ToolErrorKind::Denied),
        ("inner", ToolErrorKind::Denied),
        (".git", ToolErrorKind::Denied),
        ("gone", ToolErrorKind::NotFound),
        ("file", ToolErrorKind::Conflict),
        ("a\0b", ToolErrorKind::InvalidArgs),
    ] {
        let error = world.call(json!({"argv": ["true"], "cwd": cwd})).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{cwd:?}: {error}");
        assert!(!error.effect_possible());
    }
}

#[tokio::test]
async fn times_are_bounded_by_the_project_and_by_the_operator() {
    let mut world = World::confined();
    world.settings.shell.as_mut().unwrap().timeout_seconds = Some(7);
    let error = world.call(json!({"argv": ["true"], "timeout_seconds": 8})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::InvalidArgs);
    assert!(error.for_model().contains("from 1 to 7"), "{error}");
    world.call(json!({"argv": ["true"], "timeout_seconds": 7})).await.unwrap();
    world.settings.shell.as_mut().unwrap().timeout_seconds = Some(100_000);
    let error = world.call(json!({"argv": ["true"], "timeout_seconds": 601})).await.unwrap_err();
    assert!(error.for_model().contains("from 1 to 600"), "{error}");
}

#[tokio::test]
async fn the_tool_says_what_it_can_do() {
    let mut world = World::new();
    let arguments = json!({"argv": ["true"]});
    let tool = world.tool();
    assert_eq!(tool.info().policy, EffectPolicy::AtMostOnce);
    assert_eq!((tool.info().risk, tool.risk(&arguments)), (Risk::Destructive, Risk::Destructive));
    assert_eq!(tool.footprint(&arguments), Footprint::none().writes("files"));
    world.allow_network();
    assert_eq!(world.tool().risk(&arguments), Risk::Outward);
}
