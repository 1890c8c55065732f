//! `docs/EVENTS.md` out of the list of events in the code.

use std::{collections::BTreeMap, fmt::Write as _};

use agent_runner_core::{
    agent::{ModelName, ToolMode},
    approval::{ApprovalDecision, ApprovalKind},
    budget::{Budget, BudgetResource, BudgetScope, OnExceeded, Spend},
    code::{CallError, CallKind, Difference, RecordKind},
    directive::{DirectiveMode, Resolution},
    engine::LiveFrame,
    event::{
        ChildEnd, EventBody, EventField, EventInfo, EventWriter, FieldPresence, LlmPhase, Reply,
    },
    id::{ApprovalId, ArtifactId, RunId, StepKey, WorkerId},
    llm::{Cost, StopReason, Usage},
    message::Message,
    run::{ParkReason, RunError, RunSpec},
    step::{EffectPolicy, StepError, StepKind},
    tool::{Risk, ToolErrorKind},
};
use jiff::Timestamp;
use serde_json::Value;

use super::shape;

/// A part of the document: its title, how the types in it begin, and what is said before and after
/// them.
type Section = (&'static str, &'static [&'static str], &'static str, &'static str);

const SECTIONS: [Section; 9] = [
    ("The run", &["run"], "", "See [FORKS.md](FORKS.md) for `run.forked`."),
    (
        "Steps",
        &["step"],
        "A step has a stable key: `turn.2.model` is the second call of the model, `turn.2.tool.1` the \
         first tool that its reply asked for.",
        "",
    ),
    (
        "Models",
        &["llm", "context", "budget"],
        "",
        "The text of a reply as it is written is not an event: see *Live frames*.",
    ),
    ("Tools", &["tool", "file", "git"], "", ""),
    ("Child runs", &["child"], "See [CHILD_RUNS.md](CHILD_RUNS.md).", ""),
    ("Artifacts", &["artifact"], "See [ARTIFACTS.md](ARTIFACTS.md).", ""),
    (
        "Code workflows",
        &["code"],
        "What the code of a workflow decides stands in the journal in the order in which it decides it, \
         apart from the attempts of its steps (`step.*`, `tool.*`). A worker that takes the run over \
         runs the code again and compares ([CODE_WORKFLOWS.md](CODE_WORKFLOWS.md)).",
        "",
    ),
    ("Approvals", &["approval"], "", ""),
    ("From outside", &["directive", "signal", "timer"], "", ""),
];

const BEGINNING: &str = r#"# Events

Generated from the code by a test (`UPDATE_GOLDEN=1 make test` writes it): the list of events is in
`agent-runner-core/src/event.rs`.

Everything that happened in a run is an event in its journal. Events of a run are numbered 1, 2, 3 … without gaps, in the
order in which they were committed. They are never changed, and deleted only together with their run.

`GET /runs/{id}/events` lists them; `GET /runs/{id}/events/stream` sends them as they come. Each has the shape

```json
{"id": 7, "run_id": "0199…", "type": "tool.completed", "step": "turn.1.tool.1",
 "payload": {"message": "Tool files.write is done (3 ms).", "…": "…"}, "created_at": "2026-11-22T20:00:00.123456Z"}
```

`payload.message` is one sentence for people. A payload of more than 256 KiB is stored once by its SHA-256 and the event
carries `{"blob": {"sha256", "size"}}` and its small fields; `GET /runs/{id}/events/{n}` returns it whole.

A reader must skip types that it does not know: later versions add types and fields, and never change the meaning of one.

All types below are durable: each is committed in the transaction of the change that it reports. What is live only is listed
at the end.

A `?` after a field means that it is left out where there is nothing to say, a `°` that journals of before may lack it.
*Written by* says in whose batch an event is committed:

- `worker`: the worker that has the run, behind its fence: the run's owner and epoch must still hold.
- `command`: any engine on the store, without having the run: on a caller's command, or because the run's time is up and
  nobody has it. The run's control number must still hold.
- `family`: the batch of a related run, its parent or its child.
"#;

const LIVE: &str = "\n## Live frames\n
A watcher that asks for them also gets the output of models and tools as it comes. That is never stored: what was said in the \
end is in `llm.completed` and `tool.completed`. A frame comes over the stream without `id`, as `event: llm.delta`; its data is an ";

/// The JSON of every type that a field has, by its name in the code.
fn shapes() -> BTreeMap<&'static str, String> {
    macro_rules! shapes {
        ($($ty:ty),* $(,)?) => { BTreeMap::from([$((stringify!($ty), shape::of::<$ty>())),*]) };
    }
    shapes![
        ApprovalDecision,
        ApprovalId,
        ApprovalKind,
        ArtifactId,
        Budget,
        BudgetResource,
        BudgetScope,
        CallError,
        CallKind,
        ChildEnd,
        Cost,
        Difference,
        DirectiveMode,
        EffectPolicy,
        LlmPhase,
        Message,
        ModelName,
        OnExceeded,
        ParkReason,
        RecordKind,
        Reply,
        Resolution,
        Risk,
        RunError,
        RunId,
        RunSpec,
        Spend,
        StepError,
        StepKey,
        StepKind,
        StopReason,
        String,
        Timestamp,
        ToolErrorKind,
        ToolMode,
        Usage,
        Value,
        Vec<String>,
        WorkerId,
        bool,
        u32,
        u64,
        usize,
    ]
}

/// A type without the wrappers that JSON does not show.
fn bare(rust_type: &str) -> String {
    let mut name: String = rust_type.chars().filter(|c| !c.is_whitespace()).collect();
    for wrapper in ["Option<", "Box<"] {
        let inside = name.strip_prefix(wrapper).and_then(|rest| rest.strip_suffix('>'));
        name = inside.map(str::to_owned).unwrap_or(name);
    }
    name
}

/// How a field is called and what it is, in a table.
fn field(field: &EventField, shapes: &BTreeMap<&str, String>) -> String {
    let name = bare(field.rust_type);
    let shape = shapes.get(&*name).unwrap_or_else(|| {
        panic!("tests/it/documents/events.rs does not know the type {name} of {}", field.name)
    });
    let mark = match field.presence {
        FieldPresence::Optional => "?",
        FieldPresence::SinceLater => "°",
        _ => "",
    };
    let kind = match shape.as_str() {
        "" => "any JSON".to_owned(),
        plain if !plain.contains(' ') && !named(&name, plain) => plain.to_owned(),
        _ => format!("[{name}](#{})", name.to_lowercase()),
    };
    let meaning = field.meaning.trim_end_matches('.');
    match field.presence {
        FieldPresence::Flattened => format!("the fields of {kind}: {meaning}"),
        _ => format!("`{}`{mark} {kind}: {meaning}", field.name),
    }
}

/// Whether a type has a name that people should know, although its JSON is plain.
fn named(name: &str, shape: &str) -> bool {
    shape == "string" && !["String", "ParkReason"].contains(&name)
}

fn row(info: &EventInfo, shapes: &BTreeMap<&str, String>) -> String {
    let fields: Vec<_> = info.fields.iter().map(|one| field(one, shapes)).collect();
    let writers: Vec<_> = info.written_by.iter().map(|who| who.as_str()).collect();
    format!(
        "| `{}` | {} | {} | {} |\n",
        info.kind,
        info.meaning,
        fields.join("<br>"),
        writers.join(", ")
    )
}

/// What is said of the strings that have a type of their own.
fn note(name: &str) -> &'static str {
    match name {
        "RunId" | "WorkerId" | "ArtifactId" | "ApprovalId" => ", a UUID",
        "Timestamp" => ", a moment in UTC (RFC 3339, microseconds)",
        "StepKey" => ", a stable name within the run such as `turn.1.model`",
        _ => "",
    }
}

pub(super) fn document() -> String {
    let shapes = shapes();
    let mut text = BEGINNING.to_owned();
    for (title, prefixes, before, after) in SECTIONS {
        write!(text, "\n## {title}\n\n").unwrap();
        if !before.is_empty() {
            write!(text, "{before}\n\n").unwrap();
        }
        text.push_str("| type | what happened | payload | written by |\n|---|---|---|---|\n");
        let of = |info: &&EventInfo| prefixes.contains(&info.kind.split('.').next().unwrap());
        EventBody::CATALOG.iter().filter(of).for_each(|info| text.push_str(&row(info, &shapes)));
        if !after.is_empty() {
            write!(text, "\n{after}\n").unwrap();
        }
    }
    text.push_str(LIVE);
    writeln!(text, "{}.", shape::of::<LiveFrame>()).unwrap();
    text.push_str("A new `attempt` makes the frames of the attempt before void.\n\n## Types\n");
    for (name, shape) in &shapes {
        if shape.contains(' ') || named(name, shape) {
            write!(text, "\n### {name}\n\n{shape}{}\n", note(name)).unwrap();
        }
    }
    text
}

#[test]
fn every_type_of_event_has_its_place_and_its_words() {
    for info in EventBody::CATALOG {
        let prefix = info.kind.split('.').next().unwrap();
        let places = SECTIONS.iter().filter(|section| section.1.contains(&prefix)).count();
        assert_eq!(places, 1, "{}: sections with it", info.kind);
        assert!(!info.written_by.is_empty(), "{}", info.kind);
        let of = |what: &str, text: &str| {
            assert!(text.ends_with('.'), "{}: {what} says nothing: `{text}`", info.kind);
            assert!(!text.contains('|'), "{}: {what} breaks the table", info.kind);
        };
        of("its meaning", info.meaning);
        info.fields.iter().for_each(|field| of(field.name, field.meaning));
    }
    let kinds: Vec<_> = EventBody::CATALOG.iter().map(|info| info.kind).collect();
    assert_eq!(kinds, EventBody::KINDS);
    for writer in EventWriter::ALL {
        assert!(BEGINNING.contains(&format!("- `{}`:", writer.as_str())));
    }
}
