//! Bundles that were cut, damaged or made up: whatever is wrong, nothing is taken in.

use agent_runner_core::{
    engine::{Engine, EngineErrorKind, NewRun},
    event::Event,
    limits,
    step::EffectPolicy,
    store::RunQuery,
    testing::{LedgerTool, Turn},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{bundles::exported, fixture::*};

/// A bundle as values that a test changes.
#[derive(Clone)]
struct Lines(Vec<Value>);

impl Lines {
    fn of(bundle: &str) -> Self {
        Self(bundle.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn written(&self) -> String {
        self.0.iter().map(|line| format!("{line}\n")).collect()
    }

    /// With the hashes that an honest writer would give it.
    fn sealed(mut self) -> String {
        let last = self.0.len() - 1;
        let (mut journal, mut events) = (Sha256::new(), 0);
        for line in self.0.iter().filter_map(|line| line.get("event")) {
            // The order of the fields is that of the format.
            let step = line.get("step").map(|step| format!(r#""step":{step},"#));
            let step = step.unwrap_or_default();
            let (id, kind, at) = (&line["id"], &line["type"], &line["at"]);
            let payload = &line["payload"];
            let text = format!(
                r#"{{"event":{{"id":{id},"type":{kind},{step}"at":{at},"payload":{payload}}}}}"#
            );
            journal.update(format!("{text}\n"));
            events += 1;
        }
        let before: String = self.0[..last].iter().map(|line| format!("{line}\n")).collect();
        self.0[last] = json!({"end": {
            "events": events,
            "journal_sha256": hex(journal),
            "sha256": hex(Sha256::new_with_prefix(before)),
        }});
        self.written()
    }
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What nobody wrote, where, and what is said of it.
type Forgery = (fn(&mut Lines), usize, &'static str);

/// Changes whose hashes were made to fit.
const FORGERIES: &[Forgery] = &[
    (|b| b.0[0]["run"]["format"] = json!("tar"), 1, "`format` is `tar`, not `agent-runner.run`"),
    (|b| b.0[0]["run"]["version"] = json!(2), 1, "this one reads version 1"),
    (|b| b.0[0]["run"]["more"] = json!(1), 1, "unknown field `more`"),
    (|b| drop(b.0[0]["run"].as_object_mut().unwrap().remove("id")), 1, "missing field `id`"),
    (|b| b.0[0]["run"]["status"] = json!("RUNNING"), 1, "has not ended"),
    (|b| b.0[0]["run"]["finished_at"] = Value::Null, 1, "has not ended"),
    (|b| b.0[0]["run"]["priority"] = json!(5_000), 1, "between -1000 and 1000"),
    (|b| b.0[0]["run"]["tags"] = json!([""]), 1, "/tags"),
    (|b| b.0[0]["run"]["metadata"] = json!({"a\u{0}": 1}), 1, "U+0000"),
    (|b| b.0[0]["run"]["metadata"] = json!({"a": "x".repeat(70_000)}), 1, "/metadata"),
    (|b| b.0[0]["run"]["spec"]["goal"] = json!("another"), 2, "another `spec`"),
    (|b| drop(b.0.remove(0)), 1, "a bundle begins with"),
    (|b| b.0.swap(0, 1), 1, "a bundle begins with"),
    (|b| b.0.insert(1, b.0[0].clone()), 2, "`run` is the first line only"),
    (|b| drop(b.0.remove(3)), 4, "event 4 stands where event 3 should"),
    (|b| b.0.swap(3, 4), 4, "event 4 stands where event 3 should"),
    (|b| b.0.insert(3, b.0[3].clone()), 5, "event 3 stands where event 4 should"),
    (|b| b.0[2]["event"]["type"] = json!("run.teleported"), 3, "`run.teleported` are not known"),
    (|b| b.0[2]["event"]["payload"] = json!({"worker": 1}), 3, "cannot read"),
    (|b| b.0[2]["event"]["payload"] = json!("text"), 3, "cannot read"),
    (|b| b.0[2]["event"]["step"] = json!("turn.9"), 3, "another one than the payload's"),
    (|b| b.0[2]["event"]["at"] = json!("2026-01-01T00:00:00.0000001Z"), 3, "finer"),
    (|b| b.0[2]["event"]["at"] = json!("yesterday"), 3, "not one of a bundle"),
    (|b| b.0[2]["event"]["payload"]["extra"] = deep(130), 3, "recursion limit"),
    (|b| b.0[2]["event"]["payload"]["extra"] = deep(120), 3, "deeper than 120"),
    (|b| b.0[2] = json!({"note": 1}), 3, "unknown variant `note`"),
    (|b| b.0[1]["event"]["type"] = json!("run.paused"), 2, "not `run.queued`"),
    (|b| b.0[2]["event"] = with_id(&b.0[1]["event"], 2), 3, "only the first event"),
    (
        |b| b.0[1]["event"]["payload"]["spec"]["imported_from"] = imported(),
        2,
        "which no journal has",
    ),
    // Steps that end before they begin, a run that ends twice, or goes on after its end.
    (|b| b.0[3]["event"]["type"] = json!("step.succeeded"), 4, "cannot happen here"),
    (follow_the_end, 9, "follows the end of the run"),
    (|b| b.0[0]["run"]["status"] = json!("FAILED"), 9, "says FAILED, and the events come to"),
    (|b| b.0[0]["run"]["usage"]["input"] = json!(7_777), 9, "add up to"),
    (|b| b.0[0]["run"]["spend"]["requests"] = json!(7_777), 9, "add up to"),
    (|b| drop(b.0.remove(7)), 8, "says COMPLETED, and the events come to RUNNING"),
    (|b| b.0.insert(8, artifact()), 9, "no event tells of artifact"),
    (|b| b.0.insert(9, json!({"end": {}})), 9, "damaged"),
];

fn deep(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |value, _| json!([value]))
}

fn with_id(event: &Value, id: u64) -> Value {
    let mut event = event.clone();
    event["id"] = json!(id);
    event
}

fn imported() -> Value {
    json!({"run": "01930000-0000-7000-8000-000000000000", "sha256": ""})
}

fn follow_the_end(bundle: &mut Lines) {
    let paused =
        json!({"id": 8, "type": "run.paused", "at": bundle.0[7]["event"]["at"], "payload": {}});
    bundle.0.insert(8, json!({"event": paused}));
}

fn artifact() -> Value {
    json!({"artifact": {
        "id": "01930000-0000-7000-8000-000000000000", "step": null, "name": "a", "version": 1,
        "kind": "log", "media_type": "text/plain", "size": 1, "sha256": "", "created_at":
        "2026-01-01T00:00:00Z",
    }})
}

/// A bundle of nine lines: the first, seven events, the last.
async fn short_bundle(engine: &Engine) -> String {
    let id = create(engine, NewRun::new("x")).await;
    ended(engine, id).await;
    let bundle = exported(engine, id).await;
    engine.delete_run(id).await.unwrap();
    assert_eq!(bundle.lines().count(), 9, "{bundle}");
    bundle
}

async fn refusal(engine: &Engine, bundle: &[u8]) -> String {
    let error = engine.import(bundle, None).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Validation, "{error}");
    let [field] = error.fields() else { panic!("{error}") };
    assert_eq!(engine.runs(&RunQuery::default()).await.unwrap(), [], "{error}");
    field.detail.clone()
}

on_every_store!(a_bundle_that_nobody_wrote_is_refused_and_the_line_is_named);
async fn a_bundle_that_nobody_wrote_is_refused_and_the_line_is_named() {
    let world = World::new([Turn::text("done")]);
    let (engine, _handle) = world.start().await;
    let bundle = short_bundle(&engine).await;
    let good = Lines::of(&bundle);
    let own = Lines::of(&good.clone().sealed());
    let hash = |lines: &Lines| lines.0.last().unwrap()["end"]["journal_sha256"].clone();
    assert_eq!(hash(&own), hash(&good), "the test makes the hashes that the engine makes");
    for (n, (change, line, words)) in FORGERIES.iter().enumerate() {
        let mut lines = good.clone();
        change(&mut lines);
        let said = refusal(&engine, lines.sealed().as_bytes()).await;
        assert!(said.starts_with(&format!("line {line}: ")), "{n}, line {line}: {said}");
        assert!(said.contains(words), "{n}, `{words}`: {said}");
    }
    // The same changes without the hashes: all are noticed, at the latest by those.
    for (n, (change, ..)) in FORGERIES.iter().enumerate() {
        let mut lines = good.clone();
        change(&mut lines);
        let said = refusal(&engine, lines.written().as_bytes()).await;
        assert!(said.starts_with("line "), "{n}: {said}");
    }
    assert!(!engine.import(bundle.as_bytes(), None).await.unwrap().existing);
}

on_every_store!(a_bundle_that_was_cut_or_damaged_is_refused);
async fn a_bundle_that_was_cut_or_damaged_is_refused() {
    let world = World::new([Turn::text("done")]);
    let (engine, _handle) = world.start().await;
    let bundle = short_bundle(&engine).await;
    let bytes = bundle.as_bytes();
    for cut in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        let said = refusal(&engine, &bytes[..cut]).await;
        let lines = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(
            said,
            match bytes[..cut].last() {
                Some(b'\n') | None =>
                    format!("line {}: the bundle breaks off here: it has no line `end`", lines + 1),
                Some(_) =>
                    format!("line {}: the bundle breaks off here: the line has no end", lines + 1),
            }
        );
    }
    // One bit anywhere.
    for place in (0..bytes.len() - 1).step_by(3) {
        let mut damaged = bytes.to_vec();
        damaged[place] ^= 1 << (place % 8);
        refusal(&engine, &damaged).await;
    }
    for (more, words) in [("\n", "something follows"), (bundle.as_str(), "something follows")] {
        let said = refusal(&engine, format!("{bundle}{more}").as_bytes()).await;
        assert!(said.starts_with("line 10: ") && said.contains(words), "{said}");
    }
    let said = refusal(&engine, b"{\"run\": 1}\n").await;
    assert!(said.starts_with("line 1: a bundle begins with"), "{said}");
    let said = refusal(&engine, b"\xff\n").await;
    assert!(said.starts_with("line 1: the line is no JSON"), "{said}");
    // Larger than allowed, a line and the whole.
    let mut long = bundle.lines().next().unwrap().to_owned().into_bytes();
    long.extend(b"\n{\"event\": \"");
    long.resize(long.len() + limits::BUNDLE_LINE_BYTES_MAX, b'x');
    let said = refusal(&engine, &long).await;
    assert!(said.starts_with("line 2: ") && said.contains("at most 33554432"), "{said}");
    long.resize(limits::BUNDLE_BYTES_MAX + 1, b'x');
    let error = engine.import(&long, None).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::TooLarge);
    assert!(!engine.import(bytes, None).await.unwrap().existing);
}

/// Every number, text and field at which a forger could turn.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                places(
                    value,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{n}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

on_every_store!(whatever_a_forger_turns_the_run_is_whole_or_not_there);
async fn whatever_a_forger_turns_the_run_is_whole_or_not_there() {
    let turns = [Turn::tool("ledger", json!({"n": 1})), Turn::text("done")];
    let world = World::new(turns).with_tool(LedgerTool::new("ledger", EffectPolicy::Pure));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::new("x")).await;
    ended(&engine, id).await;
    let good = Lines::of(&exported(&engine, id).await);
    engine.delete_run(id).await.unwrap();
    let turned =
        [json!(u64::MAX), json!(-1), json!(""), json!("turn.1.model"), Value::Null, json!([])];
    let (mut taken, mut refused) = (0, 0);
    for line in 0..good.0.len() - 1 {
        let mut all = Vec::new();
        places(&good.0[line], "", &mut all);
        for place in all {
            for value in &turned {
                let mut lines = good.clone();
                *lines.0[line].pointer_mut(&place).unwrap() = value.clone();
                match engine.import(lines.sealed().as_bytes(), None).await {
                    Ok(created) => {
                        taken += 1;
                        let id = created.run.id;
                        let state = engine.fold(id).await.unwrap();
                        assert_eq!(state.status(), created.run.status, "{place}");
                        let events: Vec<Event> = events(&engine, id).await;
                        assert_eq!(events.len() as u64, created.run.last_seq);
                        exported(&engine, id).await;
                        engine.replay(id).await.unwrap();
                        engine.delete_run(id).await.unwrap();
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), EngineErrorKind::Validation, "{place}: {error}");
                        let said = &error.fields()[0].detail;
                        assert!(said.starts_with("line "), "{place} {value}: {said}");
                        let none = engine.runs(&RunQuery::default()).await.unwrap();
                        assert_eq!(none, [], "{place}");
                    }
                }
            }
        }
    }
    assert!(taken > 50 && refused > 500, "{taken} {refused}");
}
