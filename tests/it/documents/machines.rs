//! `docs/STATE_MACHINES.md` out of the functions that change states and decide.

use std::{fmt::Write as _, sync::Arc};

use agent_runner_core::{
    agent::{AgentSpec, ModelName},
    approval::{ApprovalDecision, ApprovalStatus},
    engine::{Engine, NewRun},
    event::{EventBody, Reply},
    id::WorkerId,
    machine::{MachineCommand, RunState},
    run::{Park, ParkReason, Run, RunSpec, RunStatus, RunTransition, WorkflowSpec},
    step::{EffectPolicy, StepStatus, StepTransition},
    store::InMemoryStore,
    testing::{ScriptedModel, Turn},
};
use serde_json::{Value, json};

use super::shape;

const BEGINNING: &str = "# State machines

Generated from the code by a test (`UPDATE_GOLDEN=1 make test` writes it): every table and diagram is what the functions \
answer. In a table of statuses a column is a transition, a cell the status it leads to; `-` is a typed error that writes \
nothing. The database refuses the same with triggers.
";

/// One machine of statuses: all of them, all transitions, and where each leads.
struct Statuses {
    names: Vec<String>,
    transitions: Vec<String>,
    to: Vec<Vec<Option<String>>>,
}

impl Statuses {
    fn new<S: Copy + ToString, T: Copy + std::fmt::Debug, E>(
        statuses: &[S],
        transitions: &[T],
        apply: impl Fn(S, T) -> Result<S, E>,
    ) -> Self {
        let row = |from: &S| {
            let to = transitions.iter().map(|t| apply(*from, *t).ok().map(|to| to.to_string()));
            to.collect()
        };
        Self {
            names: statuses.iter().map(ToString::to_string).collect(),
            transitions: transitions.iter().map(|t| format!("{t:?}")).collect(),
            to: statuses.iter().map(row).collect(),
        }
    }

    fn table(&self) -> String {
        let cells = self
            .to
            .iter()
            .map(|row| row.iter().map(|to| to.clone().unwrap_or_else(|| "-".to_owned())).collect());
        let columns: Vec<&str> = self.transitions.iter().map(String::as_str).collect();
        table("from", &columns, self.names.iter().cloned().zip(cells))
    }

    fn diagram(&self) -> String {
        let mut arrows = vec![("[*]".to_owned(), self.names[0].clone(), None)];
        for (name, row) in self.names.iter().zip(&self.to) {
            for (transition, to) in self.transitions.iter().zip(row) {
                if let Some(to) = to {
                    arrows.push((name.clone(), to.clone(), Some(transition.clone())));
                }
            }
            if row.iter().all(Option::is_none) {
                arrows.push((name.clone(), "[*]".to_owned(), None));
            }
        }
        diagram(&arrows)
    }
}

fn diagram(arrows: &[(String, String, Option<String>)]) -> String {
    let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
    for (from, to, label) in arrows {
        let label = label.as_ref().map(|label| format!(": {label}")).unwrap_or_default();
        writeln!(text, "    {from} --> {to}{label}").unwrap();
    }
    text + "```\n"
}

fn table(
    corner: &str,
    columns: &[&str],
    rows: impl IntoIterator<Item = (String, Vec<String>)>,
) -> String {
    let mut text = format!("| {corner} | {} |\n|---|", columns.join(" | "));
    text.push_str(&"---|".repeat(columns.len()));
    text.push('\n');
    for (name, cells) in rows {
        assert_eq!(cells.len(), columns.len(), "{name}");
        writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

fn runs() -> String {
    let all = Statuses::new(&RunStatus::ALL, &RunTransition::ALL, RunStatus::apply);
    format!("\n## Runs\n\n{}\n{}", all.diagram(), all.table())
}

/// What a person sees, by what is asked (rows) and who has the run (columns).
fn phases(run: &Run) -> String {
    let park = Park { reason: ParkReason::Timer, wake_at: None, waiting_on: Value::Null };
    let row = |status: RunStatus, pause: bool, cancel: bool| {
        let mut name = status.to_string();
        if pause {
            name += ", pause asked for";
        }
        if cancel {
            name += ", cancellation asked for";
        }
        let cells = [(true, false), (false, false), (false, true)].map(|(owned, parked)| {
            let mut run = run.clone();
            (run.status, run.pause_requested, run.cancel_requested) = (status, pause, cancel);
            run.owner = owned.then(|| WorkerId::from_uuid(uuid::Uuid::nil()));
            run.park = parked.then(|| park.clone());
            format!("`{}`", run.phase().as_str())
        });
        (name, cells.to_vec())
    };
    let flags = [(false, false), (true, false), (false, true), (true, true)];
    let rows = RunStatus::ALL.into_iter().flat_map(|status| {
        let shown = if status.is_terminal() { 1 } else { flags.len() };
        flags.iter().take(shown).map(move |(pause, cancel)| (status, *pause, *cancel))
    });
    let columns = ["a worker has it", "no worker", "no worker, parked"];
    let table = table("status", &columns, rows.map(|(s, pause, cancel)| row(s, pause, cancel)));
    format!(
        "\n### What a run shows beside its status\n\nA pause, a wait and a cancellation that somebody asked for are no \
         statuses: they are flags beside it, and `phase` is what they come to.\n\n{table}"
    )
}

/// What a run may wait for, and who wakes it.
const WAITS: [(ParkReason, &str, &str); ParkReason::ALL.len()] = [
    (ParkReason::Paused, "somebody paused it", "resume"),
    (ParkReason::Timer, "it waits for a moment", "the moment"),
    (ParkReason::Signal, "it waits for a signal", "the signal, or the wait's moment"),
    (ParkReason::Ask, "a step's outcome is unknown", "a person's word (resolve)"),
    (ParkReason::Poison, "it lost its worker too often in a row", "resume"),
    (ParkReason::Budget, "a budget is spent", "another budget, or the day on which it begins anew"),
    (
        ParkReason::Approval,
        "a call or a question waits for a person",
        "the decision, or its expiry",
    ),
    (
        ParkReason::Nondet,
        "the code of its workflow differs from its journal",
        "resume, with other code",
    ),
    (ParkReason::Child, "it waits for runs that it started", "the end of one"),
];

fn waits() -> String {
    let rows = WAITS.map(|(reason, why, wakes)| {
        (format!("`{}`", reason.as_str()), vec![why.to_owned(), wakes.to_owned()])
    });
    let table = table("reason", &["why", "what wakes it"], rows);
    format!(
        "\n### Why a run is parked\n\nA parked run is RUNNING, has no worker and costs nothing. Cancellation and its \
         deadline end it in every case.\n\n{table}"
    )
}

fn steps() -> String {
    let all = Statuses::new(&StepStatus::ALL, &StepTransition::ALL, StepStatus::apply);
    format!(
        "\n## Steps\n\n{}\n{}\nA retry keeps a step STARTED, and so does a person who is asked what became of it.\n",
        all.diagram(),
        all.table()
    )
}

/// What becomes of a step whose outcome is unknown.
fn policies() -> String {
    let rows = EffectPolicy::ALL.map(|policy| {
        let then = match policy {
            EffectPolicy::Pure => "runs again",
            EffectPolicy::Idempotent => "runs again with the same idempotency key",
            EffectPolicy::AtMostOnce => "INDETERMINATE; the model, or the code, is told",
            EffectPolicy::Ask => {
                "stays STARTED; the run parks (`ask`) until a person says what happened"
            }
            EffectPolicy::Reconcile => {
                "the tool's own probe decides; where it cannot tell, as `ask`"
            }
        };
        let again = if policy.repeatable() { "yes" } else { "no" };
        (format!("`{}`", policy.as_str()), vec![again.to_owned(), then.to_owned()])
    });
    let table = table("policy", &["repeated unasked", "what happens"], rows);
    format!(
        "\n### When a step's outcome is unknown\n\nThe process died, or a connection broke, between the effect and its \
         record. The policy that was recorded before the effect decides.\n\n{table}"
    )
}

fn approvals() -> String {
    let name = |status: ApprovalStatus| status.as_str().to_owned();
    let pending = name(ApprovalStatus::Pending);
    let (tag, decisions) = shape::tagged::<ApprovalDecision>().unwrap();
    let mut arrows =
        vec![("[*]".to_owned(), pending.clone(), Some("approval.requested".to_owned()))];
    for decision in decisions {
        let said = json!({&tag: decision, "arguments": {}, "output": null});
        let said: ApprovalDecision = serde_json::from_value(said).unwrap();
        arrows.push((pending.clone(), name(said.status()), Some(decision)));
    }
    for (status, why) in [
        (ApprovalStatus::Expired, "nobody decided in time"),
        (ApprovalStatus::Withdrawn, "the run ended"),
    ] {
        arrows.push((pending.clone(), name(status), Some(why.to_owned())));
    }
    let ends = ApprovalStatus::ALL.into_iter().filter(|status| *status != ApprovalStatus::Pending);
    for end in ends {
        let reached = arrows.iter().any(|(_, to, _)| *to == name(end));
        assert!(reached, "nothing leads to {}", name(end));
        arrows.push((name(end), "[*]".to_owned(), None));
    }
    format!(
        "\n## Approvals\n\nAn approval leaves `pending` once and for good; the first word counts.\n\n{}",
        diagram(&arrows)
    )
}

fn event(kind: &str, payload: Value) -> EventBody {
    let mut tagged = json!({ "type": kind });
    tagged["payload"] = payload;
    serde_json::from_value(tagged).unwrap()
}

fn spec(max_steps: u32) -> RunSpec {
    let mut agent = AgentSpec::new(ModelName::new("test", "model"));
    agent.max_steps = max_steps;
    RunSpec::new("goal", agent)
}

/// What is to be done after these events.
fn next(spec: RunSpec, events: &[EventBody]) -> String {
    let mut state = RunState::default();
    let worker = json!({"worker": uuid::Uuid::nil(), "epoch": 1, "recovered": false});
    let first = [EventBody::RunQueued { spec: Box::new(spec) }, event("run.claimed", worker)];
    for (seq, event) in (1..).zip(first.iter().chain(events)) {
        state.apply(seq, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }
    let commands: Vec<String> = state.next().iter().map(command).collect();
    commands.join(", ")
}

fn command(command: &MachineCommand) -> String {
    match command {
        MachineCommand::CallModel { step } => format!("ask the model (`{step}`)"),
        MachineCommand::Compact { compaction } => {
            format!("shorten the conversation (`{}`)", compaction.step)
        }
        MachineCommand::CallTool { step, call } => {
            format!("call the tool `{}` (`{step}`)", call.name)
        }
        MachineCommand::GoOn => "let the code go on".to_owned(),
        MachineCommand::CallFunction { step, .. } => format!("run the function (`{step}`)"),
        MachineCommand::Abandon { step } => format!("stop `{step}`"),
        MachineCommand::Complete { .. } => "complete the run".to_owned(),
        MachineCommand::Fail { error } => {
            format!(
                "fail the run (`{}`)",
                serde_json::to_value(error.reason).unwrap().as_str().unwrap()
            )
        }
    }
}

fn begun(step: &str, kind: &str) -> EventBody {
    event(
        "step.started",
        json!({"step": step, "step_kind": kind, "name": "x", "policy": "idempotent", "attempt": 1}),
    )
}

/// The first model call, up to its reply.
fn replied(reply: &Value) -> Vec<EventBody> {
    let step = "turn.1.model";
    let message = json!({"role": "assistant", "parts": [{"type": "text", "text": "said"}]});
    vec![
        begun(step, "model"),
        event(
            "llm.started",
            json!({"step": step, "attempt": 1, "model": "test/model", "tool_mode": "native", "directives_upto": 0}),
        ),
        event(
            "llm.completed",
            json!({"step": step, "reply_message": message, "reply": reply, "stop": "end_turn",
                "usage": {}, "elapsed_ms": 1}),
        ),
        event("step.succeeded", json!({"step": step})),
    ]
}

const REPLIES: [(&str, &str); 7] = [
    (
        "tool_calls",
        r#"{"calls": [{"id": "a", "name": "x", "arguments": {}}, {"id": "b", "name": "y", "arguments": {}}]}"#,
    ),
    ("answer", r#"{"output": "done"}"#),
    ("continue", "{}"),
    ("context_full", "{}"),
    ("summary", r#"{"text": "in short"}"#),
    ("invalid", r#"{"problem": "no JSON"}"#),
    ("failure", r#"{"error": {"reason": "refused", "message": "no"}}"#),
];

fn reply(kind: &str) -> Value {
    let (_, rest) = REPLIES
        .iter()
        .find(|(known, _)| *known == kind)
        .unwrap_or_else(|| panic!("tests/it/documents/machines.rs does not know the reply {kind}"));
    let mut reply: Value = serde_json::from_str(rest).unwrap();
    reply["kind"] = json!(kind);
    reply
}

fn agents() -> String {
    let (_, kinds) = shape::tagged::<Reply>().unwrap();
    let mut rows = vec![("`run.queued`".to_owned(), next(spec(9), &[]))];
    for kind in &kinds {
        let name = format!("`llm.completed` with `{kind}`");
        rows.push((name, next(spec(9), &replied(&reply(kind)))));
    }
    let tool = |step: &str, end: EventBody| [begun(step, "tool"), end];
    let done = |step: &str| {
        event(
            "tool.completed",
            json!({"step": step, "call_id": "a", "tool": "x", "output": 1, "model_bytes_max": 9, "elapsed_ms": 1}),
        )
    };
    let failed = event(
        "tool.failed",
        json!({"step": "turn.1.tool.2", "call_id": "b", "tool": "y", "error": "denied", "for_model": "no"}),
    );
    let mut events = replied(&reply("tool_calls"));
    events.extend(tool("turn.1.tool.1", done("turn.1.tool.1")));
    rows.push(("`tool.completed`, another call is open".to_owned(), next(spec(9), &events)));
    events.extend(tool("turn.1.tool.2", failed));
    rows.push((
        "`tool.completed` or `tool.failed`, the last open call".to_owned(),
        next(spec(9), &events),
    ));
    rows.push(("the same, `max_steps` reached".to_owned(), next(spec(1), &events)));
    events.push(event(
        "context.full",
        json!({"step": "turn.2.model", "tokens": 9, "limit": 8, "compaction": "turn.2.compact", "replaced": 2}),
    ));
    rows.push(("`context.full`".to_owned(), next(spec(9), &events)));
    events.push(begun("turn.2.compact", "model"));
    events.push(event(
        "context.compacted",
        json!({"step": "turn.2.compact", "replaced": 2, "summary": "in short"}),
    ));
    rows.push(("`context.compacted`".to_owned(), next(spec(9), &events)));
    let gone = event(
        "step.failed",
        json!({"step": "turn.1.model", "error": {"code": "unavailable", "message": "gone"}}),
    );
    rows.push((
        "`step.failed` of a model call".to_owned(),
        next(spec(9), &[begun("turn.1.model", "model"), gone]),
    ));
    let rows = rows.into_iter().map(|(name, then)| (name, vec![then]));
    format!(
        "\n## The machine of an agent\n\nA machine is a fold of the journal: it has no clock, no randomness and no I/O. \
         Live work, recovery and replay are the same fold. What it wants done after an event (in the first turn, \
         unless the event says otherwise):\n\n{}",
        table("after", &["next"], rows)
    )
}

fn code() -> String {
    let workflow = || {
        let mut spec = spec(9);
        spec.workflow = Some(Box::new(WorkflowSpec::new("flow", 1, json!({}))));
        spec
    };
    let called = |kind: &str| {
        event(
            "code.called",
            json!({"step": "key", "call": kind, "name": "name", "input": {}, "input_sha256": ""}),
        )
    };
    let mut rows = vec![("`run.queued`".to_owned(), next(workflow(), &[]))];
    for kind in shape::variants::<agent_runner_core::code::CallKind>() {
        rows.push((format!("`code.called` for `{kind}`"), next(workflow(), &[called(kind)])));
    }
    let function = [called("function"), begun("key", "function")];
    let after = |more: EventBody| next(workflow(), &[&function[..], &[more]].concat());
    let returned = event("code.returned", json!({"step": "key", "output": 1, "elapsed_ms": 1}));
    rows.push(("`code.returned`".to_owned(), after(returned)));
    rows.push((
        "`code.dropped` while it runs".to_owned(),
        after(event("code.dropped", json!({"step": "key"}))),
    ));
    let finished = |payload: Value| event("code.finished", payload);
    rows.push((
        "`code.finished` while a call runs".to_owned(),
        after(finished(json!({"output": 1}))),
    ));
    rows.push(("`code.finished`".to_owned(), next(workflow(), &[finished(json!({"output": 1}))])));
    rows.push((
        "`code.finished` with an error".to_owned(),
        next(workflow(), &[finished(json!({"error": "broken"}))]),
    ));
    let rows = rows.into_iter().map(|(name, then)| (name, vec![then]));
    format!(
        "\n## The machine of code\n\nThe code itself decides; the machine knows which of its calls are open. A call that \
         the code does not want any more is stopped before the run ends.\n\n{}",
        table("after", &["next"], rows)
    )
}

const ENDING: &str = "\n## What has no states

A **signal** is accepted once for each id and is there until a wait of its name takes it; the oldest is taken first. A \
**message** (`directive.received`) is there until the next model call takes it into the conversation. A **timer** is a \
moment beside its step. An **artifact** is there or removed. A **worker** lives until its lease ends.
";

async fn any_run() -> Run {
    let engine = Engine::builder(Arc::new(InMemoryStore::new()))
        .provider(ScriptedModel::new([Turn::text("done")]))
        .default_model(ModelName::new("test", "model"))
        .build()
        .unwrap();
    engine.create_run(NewRun::new("goal")).await.unwrap().run
}

pub(super) async fn document() -> String {
    for reason in ParkReason::ALL {
        assert!(WAITS.iter().any(|wait| wait.0 == reason), "{}", reason.as_str());
    }
    let run = any_run().await;
    let parts = [
        BEGINNING.to_owned(),
        runs(),
        phases(&run),
        waits(),
        steps(),
        policies(),
        approvals(),
        agents(),
        code(),
        ENDING.to_owned(),
    ];
    parts.concat()
}
