//! What is done with the journal of a run that ended: replays, exports and imports.

use std::{fs, io::Write as _, process::Stdio, sync::Arc, time::Duration};

use agent_runner_core::{
    code::{CallError, Ctx},
    engine::{Engine, NewRun},
};
use agent_runner_providers::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};

use super::{Place, stderr, stdout};

#[test]
fn a_replay_finds_the_same_decisions_or_names_the_first_that_differs() {
    let place = Place::new();
    let run = place.run(&["run", "Say hello", "--model", "scripted/echo", "--json"]);
    let first: Value = serde_json::from_str(stdout(&run).lines().next().unwrap()).unwrap();
    let id = first["run_id"].as_str().unwrap();
    let replayed = place.json(&["replay", id, "--json"]);
    assert_eq!((&replayed["status"], &replayed["differs"]), (&json!("COMPLETED"), &Value::Null));
    assert_eq!((&replayed["events"], &replayed["decisions"]), (&json!(7), &json!(2)));

    // Somebody changes how the run ended, behind the database's back.
    let database = place.path().join("data/agent-runner.db");
    let mut bytes = fs::read(&database).unwrap();
    let end = br#"{"output":"Say hello"}"#;
    let at = memchr::memmem::find(&bytes, end).expect("the last event is in the file");
    bytes[at + end.len() - 3] = b'p';
    fs::write(&database, bytes).unwrap();
    let output = place.run(&["replay", id]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "the same until there: events 6, decisions 1\n");
    let told = stderr(&output);
    assert!(told.contains("event 7 (`run.completed`)"), "{told}");
    assert!(told.contains(r#"ended with "Say hellp""#), "{told}");
    assert!(told.contains(r#"this program ends with "Say hello""#), "{told}");
    let nothing = place.run(&["replay", "01930000-0000-7000-8000-000000000000"]);
    assert_eq!(nothing.status.code(), Some(1));
}

#[tokio::test]
async fn a_replay_says_when_it_does_not_have_the_code_of_a_workflow() {
    let place = Place::new();
    let file = place.path().join("data/agent-runner.db");
    let store = SqliteStore::open(SqliteOptions::new(file)).await.unwrap();
    let engine = Engine::builder(Arc::new(store.clone()))
        .workflow("half", 1, |_: Ctx, n: u64| async move { Ok::<_, CallError>(n / 2) })
        .build()
        .unwrap();
    let handle = engine.start();
    let run = engine.create_run(NewRun::workflow("half", 8)).await.unwrap().run;
    engine.join(run.id, Duration::from_secs(20)).await.unwrap();
    handle.shutdown(Duration::from_secs(5)).await;
    store.close().await.unwrap();
    let id = run.id.to_string();
    let output = tokio::task::spawn_blocking(move || {
        let json = place.json(&["replay", &id, "--json"]);
        assert_eq!(json["without_code"], "`half` version 1");
        place.run(&["replay", &id])
    });
    let output = output.await.unwrap();
    assert!(output.status.success());
    let told = stderr(&output);
    assert!(told.contains("does not have the code of workflow `half` version 1"), "{told}");
}

#[test]
fn a_run_is_exported_to_a_file_and_imported_elsewhere() {
    let here = Place::new();
    let run = here.run(&["run", "Say hello", "--model", "scripted/echo", "--json"]);
    let first: Value = serde_json::from_str(stdout(&run).lines().next().unwrap()).unwrap();
    let id = first["run_id"].as_str().unwrap();
    let printed = here.run(&["export", id]);
    assert!(printed.status.success(), "{}", stderr(&printed));
    let bundle = stdout(&printed);
    assert_eq!(bundle.lines().count(), 9);

    let there = Place::new();
    let file = there.path().join("run.ndjson");
    let path = file.to_str().unwrap();
    let kept = here.run(&["export", id, "--output", path]);
    assert_eq!((kept.status.code(), stdout(&kept).as_str()), (Some(0), ""));
    assert!(stderr(&kept).contains(&format!("run {id}, {} bytes", bundle.len())));
    assert_eq!(fs::read_to_string(&file).unwrap(), bundle);

    let imported = there.json(&["import", path, "--json"]);
    assert_eq!(imported["imported_from"]["run_id"], id);
    assert_eq!(
        (&imported["status"], &imported["output"]),
        (&json!("COMPLETED"), &json!("Say hello"))
    );
    let new = imported["id"].as_str().unwrap();
    let again = there.run(&["import", path]);
    assert_eq!(stdout(&again), format!("{new}  COMPLETED  it was imported before\n"));
    assert!(stdout(&there.run(&["runs", "show", new])).contains(&format!("was {id}")));
    let replayed = there.json(&["replay", new, "--json"]);
    assert_eq!((&replayed["events"], &replayed["differs"]), (&json!(7), &Value::Null));
    let events = |text: &str| {
        let kept = text.lines().filter(|line| line.starts_with("{\"event\""));
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(events(&stdout(&there.run(&["export", new]))), events(&bundle));

    // From standard input, into a project.
    let mut child = there.command(&["import", "-", "--project", "other"]);
    let child = child.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_ref().unwrap().write_all(bundle.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no project called other"));
}

#[test]
fn what_cannot_be_exported_or_imported_says_why_and_leaves_no_file() {
    let place = Place::new();
    let file = place.path().join("run.ndjson");
    let path = file.to_str().unwrap();
    let nothing = place.run(&["export", "01930000-0000-7000-8000-000000000000", "--output", path]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("there is no run"), "{}", stderr(&nothing));
    let left = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("ndjson")).collect();
    assert!(left.is_empty(), "{left:?}");

    let missing = place.run(&["import", path]);
    assert!(stderr(&missing).contains("cannot read"), "{}", stderr(&missing));
    fs::write(&file, "{\"run\": {\"format\": \"tar\", \"version\": 1}}\n").unwrap();
    let refused = place.run(&["import", path]);
    assert_eq!(refused.status.code(), Some(1));
    let said = format!("error: {path}: line 1: `format` is `tar`, not `agent-runner.run`\n");
    assert_eq!(stderr(&refused), said);
    assert_eq!(place.json(&["runs", "list", "--json"])["items"], json!([]));
}
