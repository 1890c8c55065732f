//! Git over the real service: an agent clones from a server that asks who it is, commits and
//! pushes; a person approves the push; the remote has the work, and nobody saw the password.

use std::path::PathBuf;

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{
    git_server::{self, git},
    server::{Server, Site, client},
};

const SECRET: &str = "canary-2f6d0c1b";
/// `agent:` and the secret, as HTTP carries them.
const BASIC: &str = "YWdlbnQ6Y2FuYXJ5LTJmNmQwYzFi";

struct Place {
    directory: tempfile::TempDir,
    remote: git_server::Server,
    bare: PathBuf,
    server: Server,
    site: Site,
    client: Client,
    project: String,
}

impl Place {
    /// A server, its scripted agent, and a project with one remote that has one commit.
    async fn new(turns: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let remote = git_server::Server::start();
        let bare = remote.bare("tool.git");
        let seed = directory.path().join("seed");
        std::fs::create_dir(&seed).unwrap();
        git(&seed, &["init", "-q", "-b", "main"]);
        std::fs::write(seed.join("README.md"), "A tool.\n").unwrap();
        git(&seed, &["add", "."]);
        git(&seed, &["commit", "-qm", "Begin"]);
        git(&seed, &["push", "-q", bare.to_str().unwrap(), "main"]);
        remote.require(&format!("Basic {BASIC}"));

        let scripts = directory.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        // Any JSON is YAML.
        let script = json!({"models": {"coder": {"turns": turns}}}).to_string();
        std::fs::write(scripts.join("coder.yaml"), script).unwrap();
        let host = remote.address.to_string();
        let config = directory.path().join("agent-runner.toml");
        let credential = format!(
            "[[git_credentials]]\nname = \"forge\"\nhost = \"{host}\"\nusername = \"agent\"\n\
             password_env = \"FORGE_TOKEN\"\n"
        );
        std::fs::write(&config, credential).unwrap();
        let mut site = Site::new(directory.path());
        site.set("AGENT_RUNNER_SCRIPTS_DIR", scripts.to_str().unwrap());
        site.set("AGENT_RUNNER_GIT_ALLOW", &host);
        site.set("FORGE_TOKEN", SECRET);
        let server = site.start().await;
        let origin = json!({"url": remote.url("tool.git"), "credential": "forge",
            "push": true, "push_prefix": "agents/"});
        let new = json!({"name": "tool", "settings": {"git": {"remotes": {"origin": origin}}}});
        let mut place = Self {
            directory,
            remote,
            bare,
            server,
            site,
            client: client(),
            project: String::new(),
        };
        let (status, made) = place.post("/projects", new).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().clone_into(&mut place.project);
        place
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(self.site.url(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.client.post(self.site.url(path)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    fn git(&self, verb: &str) -> String {
        format!("/projects/{}/git/{verb}", self.project)
    }
}

fn turn(name: &str, arguments: &Value) -> Value {
    json!({"tool_calls": [{"name": name, "arguments": arguments}]})
}

#[tokio::test]
async fn an_agent_clones_commits_and_pushes_once_somebody_agrees() {
    let place = Place::new(json!([
        turn("git.clone", &json!({})),
        turn("git.checkout", &json!({"branch": "hello", "create": true})),
        turn("files.write", &json!({"path": "tool/hello.txt", "text": "hello\n"})),
        turn("git.add", &json!({"paths": ["hello.txt"]})),
        turn("git.commit", &json!({"message": "Say hello"})),
        turn("git.push", &json!({})),
        {"text": "pushed"},
    ]))
    .await;
    let new = json!({"goal": "say hello", "model": "scripted/coder", "project_id": place.project});
    let (status, run) = place.post("/runs", new).await;
    assert_eq!(status, 201, "{run}");
    let id = run["id"].as_str().unwrap();

    // A clone is what strangers wrote; after it nothing leaves without a person's word.
    let approval = loop {
        let (_, page) = place.get("/approvals?status=pending").await;
        if let Some(approval) = page["items"].get(0) {
            break approval.clone();
        }
        let (_, now) = place.get(&format!("/runs/{id}")).await;
        assert!(!["COMPLETED", "FAILED"].contains(&now["status"].as_str().unwrap()), "{now}");
    };
    assert_eq!(approval["tool"], "git.push", "{approval}");
    let branches = || git(&place.bare, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(branches(), "refs/heads/main");
    let approve = format!("/approvals/{}/resolve", approval["id"].as_str().unwrap());
    let (status, said) = place.post(&approve, json!({"decision": "approve"})).await;
    assert_eq!(status, 200, "{said}");
    let (_, done) = place.get(&format!("/runs/{id}/join?timeout=30")).await;
    assert_eq!(done["status"], "COMPLETED", "{done}");

    assert_eq!(branches(), "refs/heads/agents/hello\nrefs/heads/main");
    assert_eq!(git(&place.bare, &["show", "agents/hello:hello.txt"]), "hello");
    let message = git(&place.bare, &["log", "-1", "--format=%an%n%B", "agents/hello"]);
    assert!(message.starts_with("agent-runner\nSay hello\n") && message.contains(id), "{message}");

    // The commit is an artifact of the run, and the journal tells what was done.
    let short = git(&place.bare, &["rev-parse", "--short=12", "agents/hello"]);
    let (_, artifacts) = place.get(&format!("/runs/{id}/artifacts")).await;
    let kept = &artifacts["items"][0];
    assert_eq!(kept["name"], format!("commit-{short}.patch"), "{kept}");
    assert_eq!(kept["kind"], "commit");
    let (_, events) = place.get(&format!("/runs/{id}/events?limit=500")).await;
    let events = events["items"].to_string();
    for action in ["clone", "checkout", "commit", "push"] {
        assert!(events.contains(&format!("\"action\":\"{action}\"")), "{action}: {events}");
    }
    nobody_saw_the_password(place).await;
}

async fn nobody_saw_the_password(place: Place) {
    assert!(place.remote.requests().len() > 3);
    place.server.terminate();
    assert!(place.server.wait().await.success());
    let mut left = vec![place.directory.path().to_owned()];
    let mut read = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in [SECRET, BASIC] {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "{}", path.display());
        }
        read += 1;
    }
    assert!(read > 20, "the database, the log, the project and its repository: {read}");
}

#[tokio::test]
async fn people_use_the_same_repository() {
    let place = Place::new(json!([{"text": "hi"}])).await;
    let url = place.remote.url("tool.git");
    let (status, made) = place.post(&place.git("clone"), json!({"url": url})).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(
        (&made["output"]["dir"], &made["output"]["branch"]),
        (&json!("tool"), &json!("main"))
    );
    let host = place.remote.address.ip();
    assert_eq!(made["untrusted"], format!("git:{host}"), "{made}");
    let file = place.site.url(&format!("/projects/{}/files/tool/README.md", place.project));
    place
        .client
        .put(file)
        .body("A better tool.\n")
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let (_, changed) = place.get(&place.git("status")).await;
    assert!(changed["output"].to_string().contains("README.md"), "{changed}");
    let (_, diff) = place.get(&place.git("diff?context_lines=0")).await;
    assert!(diff["output"].to_string().contains("+A better tool."), "{diff}");
    let commit = json!({"message": "Better", "paths": ["."]});
    let (status, made) = place.post(&place.git("commit"), commit).await;
    assert_eq!(status, 200, "{made}");
    let (_, log) = place.get(&place.git("log?limit=1")).await;
    assert_eq!(log["output"]["commits"][0]["id"], made["output"]["commit"], "{log}");
    let (_, shown) = place.get(&place.git("show?rev=HEAD&path=README.md")).await;
    assert!(shown["output"].to_string().contains("A better tool."), "{shown}");
    let (status, pushed) = place.post(&place.git("push"), json!({})).await;
    assert_eq!(status, 200, "{pushed}");
    assert_eq!(git(&place.bare, &["show", "agents/main:README.md"]), "A better tool.");
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let place = Place::new(json!([{"text": "hi"}])).await;
    let (status, made) = place.post(&place.git("init"), json!({})).await;
    assert_eq!(status, 200, "{made}");
    let listed = place.remote.url("other.git");
    for (verb, body, status, code) in [
        ("clone", json!({"url": listed}), 403, "remote_not_allowed"),
        ("clone", json!({"url": "ext::sh -c id"}), 403, "remote_not_allowed"),
        ("clone", json!({"remote": "upstream"}), 403, "remote_not_allowed"),
        ("push", json!({"remote": "upstream"}), 403, "remote_not_allowed"),
        ("checkout", json!({"branch": "a..b"}), 422, "validation"),
        ("commit", json!({}), 422, "validation"),
        ("commit", json!({"message": "x", "force": true}), 422, "validation"),
        ("commit", json!({"message": "nothing to commit"}), 409, "conflict"),
        ("rebase", json!({}), 404, "not_found"),
    ] {
        let (got, problem) = place.post(&place.git(verb), body.clone()).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{verb} {body}: {problem}");
    }
    for (view, status) in [
        ("log", 404),
        ("log?limit=many", 422),
        ("status?rev=main", 422),
        ("log?dir=../x", 403),
        ("blame", 404),
    ] {
        let (got, problem) = place.get(&place.git(view)).await;
        assert_eq!(got, status, "{view}: {problem}");
    }
    assert_eq!(place.remote.requests(), Vec::<String>::new(), "nobody was asked");
}
