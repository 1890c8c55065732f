//! The `agent-runner` command as people and scripts meet it, and the examples.

mod journals;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::server::client;

/// A directory with a database of its own, and nothing of this process's environment.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn program(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("TMPDIR", self.path())
            // A closed port: no test finds an Ollama server of this machine.
            .env("OLLAMA_HOST", "127.0.0.1:1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_agent-runner"), arguments)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The JSON that a command prints, which must succeed.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn serve(&self, flags: &[&str]) -> Serving {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(flags);
        let mut child = self.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        while !printed.last().is_some_and(|line: &String| line.contains("curl ")) {
            printed.push(lines.next().expect("the server ended at once").unwrap());
        }
        let url = printed[0].split_once(" listens on ").unwrap().1.to_owned();
        let curl = printed.pop().unwrap();
        Serving { child, url, curl }
    }
}

/// A server that dies with this value.
struct Serving {
    child: Child,
    url: String,
    curl: String,
}

impl Serving {
    fn interrupt(&self) {
        signal(&self.child, "-TERM");
    }

    fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The first line of a child's standard error that contains `text`, and everything after it.
fn until(child: &mut Child, text: &str) -> BufReader<std::process::ChildStderr> {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "no `{text}` in: {seen}");
        if line.contains(text) {
            return reader;
        }
        seen.push_str(&line);
    }
}

#[test]
fn a_run_prints_its_answer_on_standard_output_and_its_steps_on_standard_error() {
    let place = Place::new();
    let output = place.run(&["run", "Say hello"]);
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.starts_with("This answer comes from a script"), "{out}");
    assert!(out.contains("> Say hello") && !out.contains("files.write"), "{out}");
    assert!(err.contains("→ files.write {") && err.contains("✓ files.read"), "{err}");
    assert!(err.contains("COMPLETED") && err.contains("an offline script"), "{err}");
    assert!(!err.contains('\u{1b}'), "no colours for a pipe: {err:?}");
}

#[test]
fn a_run_as_json_is_its_journal_without_gaps() {
    let place = Place::new();
    let output = place.run(&["run", "Say hello", "--model", "scripted/echo", "--json"]);
    let events: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(events[0]["type"], "run.queued");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["payload"]["output"]),
        (&json!("run.completed"), &json!("Say hello"))
    );
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_exit_code_of_a_failed_run_is_1_and_the_reason_is_said() {
    let place = Place::new();
    let output = place.run(&["run", "Say hello", "--max-steps", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("FAILED: "), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn ctrl_c_cancels_the_run_and_the_exit_code_is_130() {
    let place = Place::new();
    let mut child = place.command(&["run", "60s", "--model", "scripted/slow"]).spawn().unwrap();
    let mut rest = until(&mut child, "Asking scripted/slow");
    signal(&child, "-INT");
    let status = child.wait().unwrap();
    let mut err = String::new();
    rest.read_to_string(&mut err).unwrap();
    assert_eq!(status.code(), Some(130), "{err}");
    assert!(err.contains("press Ctrl-C again") && err.contains("CANCELED"), "{err}");
    let runs = place.json(&["runs", "list", "--json", "--status", "canceled"]);
    assert_eq!(runs["items"].as_array().unwrap().len(), 1);
    assert_eq!(runs["items"][0]["goal"], "60s");
}

#[test]
fn wrong_usage_and_configuration_end_with_2_before_anything_is_made() {
    let place = Place::new();
    let lines: [(&[&str], &str); 6] = [
        (&["runn"], "run"),
        (&["serve", "--lisen", "x"], "--listen"),
        (&["serve", "--lease-ttl", "15"], "--lease-ttl = \"15\": not a duration; write it as 15s"),
        (&["serve", "--listen", "0.0.0.0:0"], "--insecure-bind"),
        (&["serve", "--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (&["runs", "show", "12"], "12"),
    ];
    for (arguments, said) in lines {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
    let unknown = place.command(&["serve"]).env("AGENT_RUNNER_LISTN", "x").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("did you mean AGENT_RUNNER_LISTEN?"), "{}", stderr(&unknown));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "something was made");
}

#[test]
fn a_model_or_tool_that_does_not_exist_is_wrong_usage_and_makes_no_run() {
    let place = Place::new();
    for arguments in [["run", "x", "--model", "nobody/x"], ["run", "x", "--tools", "files.raed"]] {
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("there is no"), "{}", stderr(&output));
    }
    let broken = place.command(&["serve", "--default-model", "openai/x"]).output().unwrap();
    assert_eq!(broken.status.code(), Some(2), "{}", stderr(&broken));
    assert!(
        stderr(&broken).contains("set OPENAI_BASE_URL or OPENAI_API_KEY"),
        "{}",
        stderr(&broken)
    );
    let scripts = place.run(&["serve", "--scripts-dir", "nowhere"]);
    assert_eq!(scripts.status.code(), Some(2), "{}", stderr(&scripts));
    assert!(stderr(&scripts).contains("--scripts-dir: nowhere: "), "{}", stderr(&scripts));
    let url = place.command(&["serve"]).env("OPENAI_BASE_URL", "host:1").output().unwrap();
    assert_eq!(url.status.code(), Some(2), "{}", stderr(&url));
    assert!(stderr(&url).contains("OPENAI_BASE_URL (environment): "), "{}", stderr(&url));
    assert_eq!(place.json(&["runs", "list", "--json"]), json!({"items": []}));
}

#[test]
fn a_project_is_made_once_and_its_runs_are_listed() {
    let place = Place::new();
    for _ in 0..2 {
        let output = place.run(&["run", "hi", "--model", "scripted/echo", "--project", "letters"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output), "hi\n");
    }
    let listed = place.json(&["runs", "list", "--json", "--project", "letters"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let nowhere = place.run(&["runs", "list", "--project", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("no project called nowhere"), "{}", stderr(&nowhere));
}

/// What the command line prints of something, the service says in the same words.
fn same_shape(printed: &Value, served: &Value, except: &[&str]) {
    for (key, value) in printed.as_object().unwrap() {
        if !except.contains(&key.as_str()) {
            assert_eq!(served.get(key), Some(value), "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_controlled_on_the_database_of_a_working_server() {
    let place = Place::new();
    let server = place.serve(&[]);
    let client = client();
    let goal = json!({"goal": "60s", "model": "scripted/slow"});
    let made = client.post(format!("{}/runs", server.url)).json(&goal).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let run: Value = made.json().await.unwrap();
    let id = run["id"].as_str().unwrap();

    let mut tail = place.command(&["runs", "tail", id]).spawn().unwrap();
    assert_eq!(place.json(&["runs", "pause", id, "--json"])["id"], id);
    assert_eq!(place.json(&["runs", "resume", id, "--json"])["id"], id);
    let canceled = place.json(&["runs", "cancel", id, "--reason", "enough", "--json"]);
    assert_eq!(canceled["id"], id);

    assert!(tail.wait().unwrap().success());
    let mut journal = String::new();
    tail.stdout.take().unwrap().read_to_string(&mut journal).unwrap();
    assert!(journal.starts_with("    1  ") && journal.contains("run.queued"), "{journal}");
    assert!(journal.trim_end().lines().last().unwrap().contains("run.canceled"), "{journal}");

    let shown = place.json(&["runs", "show", id, "--json"]);
    assert_eq!(shown["status"], "CANCELED");
    let served = async |path: String| -> Value {
        client
            .get(format!("{}/runs/{id}{path}", server.url))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    same_shape(&shown, &served(String::new()).await, &["steps"]);
    same_shape(&shown["steps"][0], &served("/steps".to_owned()).await["items"][0], &[]);
    let events = place.run(&["runs", "tail", id, "--json"]);
    let first: Value = serde_json::from_str(stdout(&events).lines().next().unwrap()).unwrap();
    assert_eq!(first, served("/events".to_owned()).await["items"][0]);
    let again = place.run(&["runs", "pause", id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("is CANCELED and cannot be paused"), "{}", stderr(&again));
    assert_eq!(place.json(&["runs", "delete", id, "--json"])["deleted"], true);
    let gone = place.run(&["runs", "show", id]);
    assert_eq!(gone.status.code(), Some(1), "{}", stderr(&gone));
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_prints_starts_a_run_and_shows_it_to_its_end() {
    let place = Place::new();
    let server = place.serve(&["--drain-grace", "1s"]);
    let line = server.curl.trim();
    let (_, after_method) = line.split_once("curl -N ").unwrap();
    let (url, rest) = after_method.split_once(' ').unwrap();
    let body = rest.split_once("-d '").unwrap().1.strip_suffix('\'').unwrap();
    let client = client();
    let answer = client
        .post(url)
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let text = answer.text().await.unwrap();
    assert!(text.contains("event: run.completed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_is_not_ready_and_a_second_signal_ends_it_at_once() {
    let place = Place::new();
    let server = place.serve(&["--drain-grace", "1h"]);
    let client = client();
    let goal = json!({"goal": "10m", "model": "scripted/slow"});
    let made = client.post(format!("{}/runs", server.url)).json(&goal).send().await.unwrap();
    let run: Value = made.json().await.unwrap();
    let mut tail = place.command(&["runs", "tail", run["id"].as_str().unwrap()]).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("llm.started")));
    tail.kill().unwrap();
    tail.wait().unwrap();

    let ready = async || client.get(format!("{}/readyz", server.url)).send().await.unwrap();
    assert_eq!(ready().await.status(), 200);
    server.interrupt();
    while ready().await.status() == 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ready().await.status(), 503);
    server.interrupt();
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn the_doctor_finds_a_sound_place_healthy_and_a_broken_database_not() {
    let place = Place::new();
    let healthy = place.json(&["doctor", "--json"]);
    assert_eq!(healthy["healthy"], true, "{healthy}");
    let model = healthy["checks"].as_array().unwrap().iter().find(|c| c["what"] == "default model");
    assert_eq!(model.unwrap()["verdict"], "warn");
    fs::write(place.path().join("broken.db"), "not a database\n".repeat(500)).unwrap();
    let output = place.run(&["doctor", "--database-url", "sqlite://broken.db"]);
    assert_eq!(output.status.code(), Some(1));
    let out = stdout(&output);
    assert!(out.lines().any(|line| line.starts_with("FAIL") && line.contains("database")), "{out}");
    let output = place.run(&["doctor", "--log-format", "xml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("FAIL  configuration"), "{}", stdout(&output));
}

#[test]
fn the_configuration_is_printed_with_its_sources_and_without_its_secrets() {
    let place = Place::new();
    fs::write(place.path().join("agent-runner.toml"), "concurrency = 3\n").unwrap();
    let output = place
        .command(&["config", "--json", "--lease-ttl", "2s"])
        .env("OPENAI_API_KEY", "sk-secret")
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(!text.contains("sk-secret"), "{text}");
    let settings: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(settings["openai_api_key"], json!({"value": "[set]", "source": "environment"}));
    assert_eq!(settings["lease_ttl"], json!({"value": "2s", "source": "flag"}));
    assert_eq!(settings["concurrency"], json!({"value": "3", "source": "./agent-runner.toml:1"}));
    assert_eq!(settings["poll_interval"], json!({"value": "500ms", "source": "default"}));
}

#[test]
fn migrating_twice_is_migrating_once() {
    let place = Place::new();
    let first = place.json(&["migrate", "--json"]);
    assert_eq!((&first["changed"], first["schema"].as_u64() >= Some(1)), (&json!(true), true));
    let second = place.json(&["migrate", "--json"]);
    assert_eq!((&second["changed"], &second["schema"]), (&json!(false), &first["schema"]));
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.command(&["config"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

/// An example, which cargo builds beside the binaries.
fn example(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_BIN_EXE_agent-runner")).parent().unwrap();
    let path = directory.join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --all-features --examples", path.display());
    path
}

#[test]
fn every_example_runs_offline_and_ends_well() {
    let expected = [
        ("quickstart", "The run is complete"),
        ("custom_provider", "COMPLETED: \"desserts I ma stressed\""),
        ("custom_tool", "COMPLETED: \"Noted. There are 2 notes now.\""),
        ("code_workflow", "COMPLETED: \"on its way\""),
        ("crash_recovery", "6 pieces of work, each done once"),
    ];
    for (name, said) in expected {
        let place = Place::new();
        let output = place.program(example(name), &[]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(stdout(&output).contains(said), "{name}: {}", stdout(&output));
    }
}

fn project_file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_readme_shows_the_quickstart_as_it_is_and_the_curl_as_it_is_printed() {
    let readme = project_file("README.md");
    let quickstart = project_file("examples/quickstart.rs");
    let (_head, code) = quickstart.split_once("\n\nuse ").unwrap();
    assert!(readme.contains(code), "README.md does not show examples/quickstart.rs");
    let place = Place::new();
    let server = place.serve(&[]);
    let port = server.url.rsplit_once(':').unwrap().1;
    let printed = server.curl.trim().replace(port, "8000");
    assert!(readme.contains(&printed), "README.md does not show: {printed}");
}
