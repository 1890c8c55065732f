use serde_json::json;

use super::*;
use crate::{
    agent::{AgentSpec, ModelName},
    machine::RunState,
    run::WorkflowSpec,
    step::{StepError, StepKind},
};

fn key(step: &str) -> StepKey {
    StepKey::new(step)
}

fn queued() -> EventBody {
    let agent = AgentSpec::new(ModelName::new("test", "model"));
    let mut spec = RunSpec::new("order", agent);
    spec.workflow = Some(Box::new(WorkflowSpec::new("order", 1, json!(1))));
    EventBody::RunQueued { spec: spec.into() }
}

fn called(step: &str, call: CallKind) -> EventBody {
    EventBody::CodeCalled {
        step: key(step),
        call,
        name: step.to_owned(),
        policy: Some(EffectPolicy::Pure),
        input: json!({"of": step}),
        input_sha256: "00".to_owned(),
    }
}

fn started(step: &str, step_kind: StepKind) -> EventBody {
    EventBody::StepStarted {
        step: key(step),
        step_kind,
        name: step.to_owned(),
        policy: EffectPolicy::Pure,
        attempt: 1,
    }
}

fn returned(step: &str, output: Value) -> EventBody {
    EventBody::CodeReturned { step: key(step), output: Some(output), error: None, elapsed_ms: 0 }
}

fn succeeded(step: &str) -> EventBody {
    EventBody::StepSucceeded { step: key(step) }
}

fn dropped(step: &str) -> EventBody {
    EventBody::CodeDropped { step: key(step) }
}

fn finished() -> EventBody {
    EventBody::CodeFinished { output: Some(json!("done")), error: None }
}

/// The machine after these events, which survives being kept in between.
fn fold(events: &[EventBody]) -> CodeMachine {
    let mut state = RunState::default();
    for (seq, event) in (1..).zip(std::iter::once(&queued()).chain(events)) {
        state.apply(seq, event).unwrap();
        let kept = serde_json::to_string(&state).unwrap();
        let again: RunState = serde_json::from_str(&kept).unwrap();
        assert_eq!(again, state, "after {}", event.kind());
        state = again;
    }
    state.machine().code().unwrap().clone()
}

/// What it wants, in short.
fn wants(machine: &CodeMachine) -> Vec<String> {
    let short = |command: MachineCommand| match command {
        MachineCommand::GoOn => "go on".to_owned(),
        MachineCommand::CallFunction { step, .. } => format!("run {step}"),
        MachineCommand::CallTool { step, call } => format!("{} {step}", call.name),
        MachineCommand::CallModel { step } => format!("ask {step}"),
        MachineCommand::Abandon { step } => format!("stop {step}"),
        MachineCommand::Complete { .. } => "complete".to_owned(),
        MachineCommand::Fail { .. } => "fail".to_owned(),
        MachineCommand::Compact { .. } => "compact".to_owned(),
    };
    machine.next().into_iter().map(short).collect()
}

#[test]
fn calls_are_open_from_the_call_to_the_answer_in_the_order_of_the_calls() {
    use CallKind as C;
    let calls = [
        called("b", C::Function),
        called("a", C::Tool),
        called("m", C::Model),
        called("s", C::Sleep),
        called("q", C::Question),
    ];
    assert_eq!(wants(&fold(&calls)), ["go on", "run b", "a a", "ask m", "run.wait s", "run.ask q"]);
    let mut answered = calls.to_vec();
    answered.extend([started("b", StepKind::Function), returned("b", json!(2)), succeeded("b")]);
    let machine = fold(&answered);
    assert_eq!(wants(&machine), ["go on", "a a", "ask m", "run.wait s", "run.ask q"]);
    let answer = Answer { step: key("b"), outcome: Ok(json!(2)) };
    assert_eq!((machine.answers(), machine.decisions().len()), (&[answer][..], 5));
}

#[test]
fn what_is_dropped_is_stopped_if_it_began_and_forgotten_if_not() {
    let call = || called("a", CallKind::Function);
    let began = || started("a", StepKind::Function);
    let cases: [(&[EventBody], &[&str]); 5] = [
        (&[call(), dropped("a")], &["go on"]),
        (&[call(), began(), dropped("a")], &["go on", "stop a"]),
        (&[call(), began(), dropped("a"), succeeded("a")], &["go on"]),
        (&[call(), began(), dropped("a"), returned("a", json!(1))], &["go on", "stop a"]),
        (&[call(), began(), returned("a", json!(1)), succeeded("a"), dropped("a")], &["go on"]),
    ];
    for (events, expected) in cases {
        assert_eq!(wants(&fold(events)), expected, "{events:?}");
    }
}

#[test]
fn a_run_ends_when_what_its_code_left_is_stopped() {
    let mut events = vec![called("a", CallKind::Sleep), called("b", CallKind::Sleep)];
    events.extend([started("a", StepKind::Wait), finished()]);
    assert_eq!(wants(&fold(&events)), ["stop a"], "b never began");
    events.push(EventBody::StepCanceled { step: key("a"), partial: None });
    assert_eq!(wants(&fold(&events)), ["complete"]);
}

#[test]
fn a_model_call_that_fails_is_answered_by_the_end_of_its_step() {
    let error = StepError { code: "auth".to_owned(), message: "who are you".to_owned() };
    let events = [
        called("m", CallKind::Model),
        started("m", StepKind::Model),
        EventBody::StepFailed { step: key("m"), error },
    ];
    let machine = fold(&events);
    let outcome = machine.answers()[0].outcome.clone().unwrap_err();
    assert_eq!((outcome.kind(), outcome.code()), (CallErrorKind::Failed, "auth"));
    assert_eq!(wants(&machine), ["go on"]);
}

#[test]
fn an_event_of_a_decision_is_that_decision() {
    for body in [called("a", CallKind::Agent), dropped("a"), finished()] {
        let told = decision(&body).unwrap();
        let input = match &body {
            EventBody::CodeCalled { input, .. } => input.clone(),
            _ => Value::Null,
        };
        assert_eq!(event(told, input), body);
    }
}
