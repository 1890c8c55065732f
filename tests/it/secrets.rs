//! Keys appear nowhere, whatever a service does with them.

use std::{fmt::Write as _, fs, path::Path, process::Output};

use futures::{StreamExt as _, future::join_all, stream};
use serde_json::{Value, json};

use crate::support::{
    events::follow,
    server::{Site, client, create, join},
    upstream::{Upstream, Wire},
};

/// What a service does with the key that it was given.
const WAYS: [&str; 5] = ["refuses", "proxy", "document", "breaks", "cut"];

/// A provider with a key that must appear nowhere.
struct Planted {
    name: String,
    canary: String,
}

fn canary(n: usize) -> String {
    format!("sk-canary-{n:02}-0123456789abcdef")
}

/// Plants a key for each wire and each way, in settings, in variables and in files.
fn plant(site: &mut Site, upstream: &Upstream) -> Vec<Planted> {
    let mut planted = Vec::new();
    let mut toml = String::new();
    for wire in Wire::ALL.into_iter().filter(|wire| *wire != Wire::Responses) {
        let canary = canary(planted.len());
        let upper = wire.name().to_uppercase();
        let address = if wire == Wire::Ollama { "HOST" } else { "BASE_URL" };
        site.set(&format!("{upper}_API_KEY"), &canary);
        site.set(&format!("{upper}_{address}"), &upstream.base_url(wire, "echoes"));
        planted.push(Planted { name: wire.name().to_owned(), canary });
    }
    let tables = Wire::ALL.into_iter().flat_map(|wire| WAYS.map(|way| (wire, way)));
    // Chosen by a setting of a table alone.
    for (wire, way) in tables.chain([(Wire::Responses, "echoes")]) {
        let (n, name) = (planted.len(), format!("{way}-{}", wire.name()));
        let canary = canary(n);
        toml += &wire.table(&name, &upstream.base_url(wire, way));
        if n % 2 == 0 {
            let variable = format!("KEY_{n}");
            writeln!(toml, "api_key_env = \"{variable}\"").unwrap();
            site.set(&variable, &canary);
        } else {
            let file = site.directory().join(format!("{n}.key"));
            fs::write(&file, format!("{canary}\n")).unwrap();
            writeln!(toml, "api_key_file = \"{}\"", file.display()).unwrap();
        }
        planted.push(Planted { name, canary });
    }
    fs::write(site.directory().join("agent-runner.toml"), toml).unwrap();
    planted
}

/// Everything that can be seen of a server.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn command(&mut self, name: &str, output: Output) {
        self.add(format!("stdout of {name}"), output.stdout);
        self.add(format!("stderr of {name}"), output.stderr);
    }

    /// Every file but those that were planted.
    fn files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(&path);
            } else if path.extension().is_none_or(|extension| extension != "key") {
                self.add(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    fn count(&self, what: &str) -> usize {
        self.0.iter().map(|(_, bytes)| finds(bytes, what)).sum()
    }

    fn assert_without(&self, canary: &str) {
        for (place, bytes) in &self.0 {
            assert_eq!(finds(bytes, canary), 0, "a key is in {place}");
        }
    }
}

fn finds(bytes: &[u8], what: &str) -> usize {
    bytes.windows(what.len()).filter(|window| *window == what.as_bytes()).count()
}

async fn fetch(client: &reqwest::Client, site: &Site, path: &str, body: Option<&Value>) -> Vec<u8> {
    let request = match body {
        Some(body) => client.post(site.url(path)).json(body),
        None => client.get(site.url(path)),
    };
    let answer = request.send().await.unwrap();
    let head = format!("{:?}\n{:?}\n", answer.status(), answer.headers());
    [head.into_bytes(), answer.bytes().await.unwrap().to_vec()].concat()
}

/// Asks a provider in every way there is, and looks at what a run of it leaves behind.
async fn exercise(client: &reqwest::Client, site: &Site, name: &str) -> Vec<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    for (path, body) in [
        ("generate", json!({"prompt": "p", "model": "good"})),
        ("generate", json!({"prompt": "p", "model": "good", "stream": true})),
        ("count_tokens", json!({"prompt": "p", "model": "good"})),
        ("check", json!({})),
    ] {
        let path = format!("/providers/{name}/{path}");
        seen.push((path.clone(), fetch(client, site, &path, Some(&body)).await));
    }
    let body = json!({"goal": "g", "model": format!("{name}/good"), "tools": []});
    let id = create(client, site, &body).await.unwrap();
    let run = join(client, site, &id).await;
    assert!(run["status"] == "COMPLETED" || run["error"]["message"].is_string(), "{run}");
    for path in ["", "/events?limit=500", "/steps", "/usage", "/transcript"] {
        let path = format!("/runs/{id}{path}");
        seen.push((path.clone(), fetch(client, site, &path, None).await));
    }
    let url = site.url(&format!("/runs/{id}/events/stream?include_deltas=true"));
    let mut frames = Vec::new();
    follow(client, &url, None, |frame| {
        frames.extend_from_slice(frame.data.as_bytes());
        frame.event == "stream.end"
    })
    .await;
    assert!(finds(&frames, "run.queued") > 0, "the stream of {name} shows the run");
    seen.push((format!("the stream of {name}"), frames));
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_nowhere_although_every_service_echoes_it_wherever_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let mut site = Site::new(directory.path());
    site.set("AGENT_RUNNER_LOG", "trace");
    let planted = plant(&mut site, &upstream);
    assert!(planted.len() >= 20);
    let server = site.start().await;
    let client = client();
    let mut seen = Seen::default();
    for list in join_all(planted.iter().map(|it| exercise(&client, &site, &it.name))).await {
        list.into_iter().for_each(|(place, bytes)| seen.add(place, bytes));
    }
    for path in ["/providers?limit=500", "/models?limit=500", "/openapi.json", "/workers", "/runs"]
    {
        seen.add(path, fetch(&client, &site, path, None).await);
    }
    for arguments in [
        &["doctor"][..],
        &["doctor", "--json"],
        &["config"],
        &["config", "--json"],
        &["runs", "list"],
    ] {
        let output = site.command(arguments).output().await.unwrap();
        seen.command(&arguments.join(" "), output);
    }
    for model in ["refuses-openai/good", "echoes-responses/good", "breaks-anthropic/good"] {
        let output =
            site.command(&["run", "g", "--model", model, "--json"]).output().await.unwrap();
        seen.command(&format!("run on {model}"), output);
    }
    server.terminate();
    assert!(server.wait().await.success());
    seen.files(directory.path());
    assert!(finds(site.log().as_bytes(), "TRACE") > 100, "the log is as detailed as can be");
    assert!(seen.count("[redacted]") > 100, "the services did echo their keys");
    for Planted { name, canary } in &planted {
        assert!(upstream.keys().contains(canary), "{name} was not given its key");
        seen.assert_without(canary);
    }
}

#[tokio::test]
async fn a_key_in_the_wrong_place_is_refused_and_not_quoted() {
    let canary = canary(99);
    let table = |kind: &str, line: &str| {
        format!("[[providers]]\nname = \"x\"\nkind = \"{kind}\"\n{line}\n")
    };
    let mut cases: Vec<(String, Option<(String, String)>)> = vec![
        (format!("openai_api_key = \"{canary}\""), None),
        (format!("openai_api_key = {canary}"), None),
    ];
    for line in ["api_key", "api_key_env", "authorization"] {
        cases.push((table("openai", &format!("{line} = \"{canary}\"")), None));
    }
    for url in [
        format!("http://user:{canary}@h"),
        format!("http://h/?key={canary}"),
        format!("http://h/#{canary}"),
        canary.clone(),
    ] {
        for wire in Wire::ALL {
            if wire == Wire::Responses || (wire == Wire::Ollama && url == canary) {
                continue;
            }
            cases.push((table(wire.name(), &format!("base_url = \"{url}\"")), None));
            let address = if wire == Wire::Ollama { "HOST" } else { "BASE_URL" };
            let variable = format!("{}_{address}", wire.name().to_uppercase());
            cases.push((String::new(), Some((variable, url.clone()))));
        }
    }
    let outputs = cases.into_iter().map(async |(file, variable)| {
        let directory = tempfile::tempdir().unwrap();
        let mut site = Site::new(directory.path());
        fs::write(directory.path().join("agent-runner.toml"), &file).unwrap();
        if let Some((variable, value)) = &variable {
            site.set(variable, value);
        }
        let output = site.command(&["serve"]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{file} {variable:?}: {said}");
        let mut seen = Seen::default();
        seen.command("serve", output);
        for arguments in [&["doctor"][..], &["config", "--json"]] {
            seen.command(&arguments.join(" "), site.command(arguments).output().await.unwrap());
        }
        assert_eq!(seen.count(&canary), 0, "{file} {variable:?}: {said}");
    });
    let () = stream::iter(outputs).buffer_unordered(4).collect().await;
}
