//! One agent, every wire: the same run body does the same on each provider, as the server runs it.

use std::fs;

use agent_runner_core::limits::REPAIRS_MAX;
use serde_json::{Value, json};

use crate::support::{
    events::follow,
    server::{PATIENCE, Server, Site, all, client, create, get, join},
    upstream::{ANSWER, FINAL_TOOL, Said, Upstream, Wire},
};

/// A model of each wire that the providers know by its name.
fn model(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAi | Wire::Responses => "gpt-5",
        Wire::Anthropic => "claude-sonnet-4-5",
        Wire::Gemini => "gemini-3-flash",
        Wire::Ollama => "qwen3:4b",
    }
}

/// Whether models of the wire can be held to a schema while they have tools.
fn is_native(wire: Wire) -> bool {
    match wire {
        Wire::OpenAi | Wire::Responses | Wire::Anthropic => true,
        Wire::Gemini | Wire::Ollama => false,
    }
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["n"], "additionalProperties": false,
        "properties": {"n": {"type": "integer"}},
    })
}

/// A server whose providers speak each wire to a service with that way.
struct Place {
    _directory: tempfile::TempDir,
    site: Site,
    upstream: Upstream,
    client: reqwest::Client,
    server: Server,
    way: &'static str,
}

impl Place {
    async fn start(way: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let upstream = Upstream::start().await;
        let mut site = Site::new(directory.path());
        let table = |wire: Wire| wire.table(&named(wire), &upstream.base_url(wire, way));
        fs::write(site.directory().join("agent-runner.toml"), Wire::ALL.map(table).concat())
            .unwrap();
        // A closed port: no test finds an Ollama server of this machine.
        site.set("OLLAMA_HOST", "127.0.0.1:1");
        let server = site.start().await;
        Self { _directory: directory, site, upstream, client: client(), server, way }
    }

    /// Starts the run that is the same on every wire but for its model.
    async fn run(&self, wire: Wire, more: &Value) -> String {
        let mut body = json!({
            "goal": "Find out what time it is.", "instructions": "Be exact.",
            "tools": ["time.now"], "model": format!("{}/{}", named(wire), model(wire)),
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        create(&self.client, &self.site, &body).await.unwrap()
    }

    /// Follows a run to its end; what its stream said that is not kept. The model goes on with its
    /// answer when its beginning is here.
    async fn watch(&self, id: &str) -> Vec<Value> {
        let url = self.site.url(&format!("/runs/{id}/events/stream?include_deltas=true"));
        let mut deltas = Vec::new();
        let watching = follow(&self.client, &url, None, |frame| {
            if frame.event == "llm.delta" {
                let delta = frame.json()["payload"].clone();
                if delta["kind"] == "text" && delta["offset"] == 0 {
                    self.upstream.go_on();
                }
                deltas.push(delta);
            }
            frame.event == "stream.end"
        });
        let ended = tokio::time::timeout(PATIENCE, watching).await;
        assert_eq!(ended, Ok(true), "{deltas:?}\n{}", self.site.log());
        deltas
    }

    fn asked(&self, wire: Wire) -> Vec<Value> {
        self.upstream.asked(wire, self.way)
    }
}

fn named(wire: Wire) -> String {
    format!("my-{}", wire.name())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_runs_unchanged_on_each_wire_streamed_and_with_tools() {
    let place = Place::start("agent").await;
    for wire in Wire::ALL {
        let id = place.run(wire, &json!({})).await;
        let deltas = place.watch(&id).await;
        let run = join(&place.client, &place.site, &id).await;
        assert_eq!(run["status"], "COMPLETED", "{wire:?}: {run:#}");
        assert_eq!(run["output"], ANSWER.concat(), "{wire:?}");

        let texts = deltas.iter().filter(|delta| delta["kind"] == "text");
        let texts: Vec<&str> = texts.map(|delta| delta["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ANSWER, "{wire:?}: the beginning came before the service went on");

        let events = format!("/runs/{id}/events?types=tool.completed");
        let completed = all(&place.client, &place.site, &events).await;
        let [completed] = completed.as_slice() else { panic!("{wire:?}: {completed:#?}") };
        let [called, output] = ["tool", "output"].map(|field| &completed["payload"][field]);
        assert_eq!(called, "time.now", "{wire:?}");

        let usage = get(&place.client, &place.site, &format!("/runs/{id}/usage")).await;
        for (kind, tokens) in [("input", 2), ("output", 4)] {
            assert_eq!(usage["total"][kind], tokens, "{wire:?}: {usage:#}");
        }

        let asked = place.asked(wire);
        let [first, second] = asked.as_slice() else { panic!("{wire:?}: {asked:#?}") };
        assert!(wire.called(first).is_empty() && wire.results(first).is_empty(), "{first:#}");
        let offered = &wire.offered(first)[0];
        let call = Said { id: "call_1".to_owned(), what: offered.0.clone() };
        assert_eq!(wire.called(second), [call], "{wire:?}: {second:#}");
        let results = wire.results(second);
        let [result] = results.as_slice() else { panic!("{wire:?}: {second:#}") };
        assert_eq!(result.id, "call_1", "{wire:?}: {second:#}");
        assert!(result.what.contains(output["utc"].as_str().unwrap()), "{wire:?}: {second:#}");
    }
    place.server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_structured_answer_beside_tools_is_held_to_its_schema_on_each_wire_and_mended() {
    let place = Place::start("mends").await;
    for wire in Wire::ALL {
        let id = place.run(wire, &json!({"output_schema": schema()})).await;
        let run = join(&place.client, &place.site, &id).await;
        assert_eq!(run["status"], "COMPLETED", "{wire:?}: {run:#}");
        assert_eq!(run["output"], json!({"n": 1}), "{wire:?}");

        let asked = place.asked(wire);
        assert_eq!(asked.len(), 3, "{wire:?}: a call, an answer that does not fit, one that does");
        for request in &asked {
            let offered = wire.offered(request);
            let last = offered.iter().find(|(name, _)| name == FINAL_TOOL);
            if is_native(wire) {
                assert_eq!((offered.len(), last), (1, None), "{wire:?}: {request:#}");
                assert_eq!(wire.schema(request), Some(&schema()), "{wire:?}: {request:#}");
            } else {
                assert_eq!(offered.len(), 2, "{wire:?}: {request:#}");
                assert_eq!(last.unwrap().1, schema(), "{wire:?}: {request:#}");
                assert_eq!(wire.schema(request), None, "{wire:?}: {request:#}");
            }
        }
        let last = &asked[2];
        let ids = |said: Vec<Said>| said.into_iter().map(|it| it.id).collect::<Vec<_>>();
        let calls = ids(wire.called(last));
        assert_eq!(calls.len(), if is_native(wire) { 1 } else { 2 }, "{wire:?}: {last:#}");
        assert_eq!(ids(wire.results(last)), calls, "{wire:?}: each call has its result");
        assert!(last.to_string().contains("Your answer does not fit the schema"), "{last:#}");
    }
    place.server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_never_fits_the_schema_is_asked_only_so_often_on_each_wire() {
    let place = Place::start("misfits").await;
    for wire in Wire::ALL {
        let id = place.run(wire, &json!({"output_schema": schema()})).await;
        let run = join(&place.client, &place.site, &id).await;
        assert_eq!(run["status"], "FAILED", "{wire:?}: {run:#}");
        assert_eq!(run["output"], Value::Null, "{wire:?}");
        assert_eq!(run["error"]["reason"], "invalid_output", "{wire:?}: {run:#}");
        let calls = 1 + 1 + REPAIRS_MAX as usize;
        assert_eq!(place.asked(wire).len(), calls, "{wire:?}: a call, an answer, the corrections");
    }
    place.server.kill().await;
}
