use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    agent::{AgentSpec, ModelName, ToolMode},
    directive::DirectiveMode,
    llm::{Capabilities, LlmFinished, StopReason, ToolSpec, Usage},
    machine::RunState,
    schema::Schema,
    step::{EffectPolicy, StepKind},
    tool::ToolErrorKind,
};

fn spec(max_steps: u32) -> RunSpec {
    let mut agent = AgentSpec::new(ModelName::new("test", "model"));
    agent.max_steps = max_steps;
    RunSpec { goal: "goal".into(), agent, notices: Vec::new(), start_at: None }
}

fn started(step: &str, upto: u64) -> EventBody {
    EventBody::LlmStarted {
        step: StepKey::new(step),
        attempt: 1,
        model: ModelName::new("test", "model"),
        tool_mode: ToolMode::Native,
        directives_upto: upto,
    }
}

fn completed(step: &str, reply: Reply) -> EventBody {
    EventBody::LlmCompleted {
        step: StepKey::new(step),
        reply_message: Message::text(Role::Assistant, "said"),
        reply,
        stop: StopReason::EndTurn,
        usage: Usage::default(),
        elapsed_ms: 1,
    }
}

fn call(name: &str) -> ToolCall {
    ToolCall { id: "c".into(), name: name.into(), arguments: json!({}), provider_state: None }
}

fn tool_done(step: &str) -> EventBody {
    EventBody::ToolCompleted {
        step: StepKey::new(step),
        call_id: "c".into(),
        tool: "t".into(),
        output: json!("out"),
        model_bytes_max: 100,
        elapsed_ms: 1,
    }
}

fn message(text: &str) -> EventBody {
    let id = text.to_owned();
    EventBody::DirectiveReceived { id, text: text.to_owned(), mode: DirectiveMode::NextStep }
}

fn machine(events: &[EventBody]) -> AgentMachine {
    let mut machine = AgentMachine::default();
    for (n, event) in events.iter().enumerate() {
        machine.apply(n as u64 + 1, event);
    }
    machine
}

fn model(step: &str) -> Vec<MachineCommand> {
    vec![MachineCommand::CallModel { step: StepKey::new(step) }]
}

#[test]
fn the_loop_is_ask_tools_ask_answer() {
    let mut events = vec![EventBody::RunQueued { spec: spec(5) }];
    assert_eq!(machine(&events).next(), model("turn.1.model"));
    events.push(started("turn.1.model", 0));
    assert_eq!(machine(&events).next(), model("turn.1.model"), "not before it is done");
    let calls = vec![call("a"), call("b")];
    events.push(completed("turn.1.model", Reply::ToolCalls { calls }));
    let next = machine(&events).next();
    assert_eq!(next.len(), 2);
    assert!(matches!(&next[1], MachineCommand::CallTool { step, call }
        if step.as_str() == "turn.1.tool.2" && call.name == "b"));
    events.push(tool_done("turn.1.tool.2"));
    assert_eq!(machine(&events).next().len(), 1);
    events.push(EventBody::ToolFailed {
        step: StepKey::new("turn.1.tool.1"),
        call_id: "c".into(),
        tool: "a".into(),
        error: ToolErrorKind::NotFound,
        for_model: "no".into(),
    });
    assert_eq!(machine(&events).next(), model("turn.2.model"));
    events.push(started("turn.2.model", 0));
    events.push(completed("turn.2.model", Reply::Answer { output: json!("x") }));
    assert_eq!(machine(&events).next(), [MachineCommand::Complete { output: json!("x") }]);
}

#[test]
fn a_message_is_read_by_the_call_that_says_so_whatever_the_order_in_the_journal() {
    let queued = EventBody::RunQueued { spec: spec(5) };
    // The call was decided before the message came and journalled after it: not read by it.
    let late = machine(&[queued.clone(), message("m"), started("turn.1.model", 1)]);
    assert_eq!(late.conversation().len(), 1);
    assert_eq!(late.unread_upto(), 2);
    let read = machine(&[queued, message("m"), started("turn.1.model", 2)]);
    assert_eq!(read.conversation().len(), 2);
    assert_eq!(read.unread_upto(), 0);
}

#[test]
fn an_unread_message_keeps_an_answered_run_going_while_there_are_turns() {
    let events = |turns| {
        vec![
            EventBody::RunQueued { spec: spec(turns) },
            started("turn.1.model", 0),
            message("wait"),
            completed("turn.1.model", Reply::Answer { output: json!("x") }),
        ]
    };
    assert_eq!(machine(&events(5)).next(), model("turn.2.model"));
    assert_eq!(machine(&events(1)).next(), [MachineCommand::Complete { output: json!("x") }]);
}

fn finished(text: &str) -> LlmFinished {
    LlmFinished::new(Message::text(Role::Assistant, text), StopReason::EndTurn, Usage::default())
}

fn tools() -> Vec<ToolSpec> {
    vec![ToolSpec {
        name: "files.write".into(),
        description: "Writes.".into(),
        input_schema: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
    }]
}

#[test]
fn a_reply_that_fits_the_constrained_schema_is_always_understood() {
    let schema = Schema::compile(&constrained::schema(&tools(), None)).unwrap();
    let step = StepKey::new("turn.1.model");
    let rules = ReplyRules {
        mode: ToolMode::Constrained,
        step: &step,
        output_schema: None,
        has_tools: true,
    };
    let cases = [
        (json!({"tool": "files.write", "with": {"path": "x"}}), true),
        (json!({"answer": "done"}), true),
        (json!({"tool": "other", "with": {}}), false),
        (json!({"answer": 5}), false),
        (json!({"tool": "files.write", "with": {}, "answer": "both"}), false),
    ];
    for (reply, fits) in cases {
        assert_eq!(schema.check(&reply).is_ok(), fits, "{reply}");
        let read = interpret(&finished(&reply.to_string()), &rules);
        if fits {
            assert!(!matches!(read, Reply::Invalid { .. }), "{reply}: {read:?}");
        }
    }
}

#[test]
fn the_request_offers_tools_as_the_mode_says() {
    let spec = spec(5);
    let tools = tools();
    let mut rules = RequestRules {
        spec: &spec,
        tools: &tools,
        mode: ToolMode::Native,
        capabilities: Capabilities::default(),
    };
    let conversation = [Message::text(Role::User, "goal")];
    let native = build_request(&conversation, &rules);
    assert_eq!((native.tools.len(), native.output_schema), (1, None));
    rules.mode = ToolMode::Constrained;
    let constrained = build_request(&conversation, &rules);
    assert!(constrained.tools.is_empty() && constrained.output_schema.is_some());
    assert_eq!(constrained.messages[0].role, Role::System);
    let with_tools = Capabilities { tools: Some(true), ..Capabilities::default() };
    assert_eq!(RequestRules::resolve(ToolMode::Auto, &with_tools), ToolMode::Native);
    let without = Capabilities::default();
    assert_eq!(RequestRules::resolve(ToolMode::Auto, &without), ToolMode::Constrained);
}

#[test]
fn a_model_that_repeats_a_call_without_news_is_left_only_the_answer() {
    let spec = spec(5);
    let tools = tools();
    let rules = RequestRules {
        spec: &spec,
        tools: &tools,
        mode: ToolMode::Constrained,
        capabilities: Capabilities::default(),
    };
    let called = |text: &str| Message::text(Role::Assistant, text);
    let told = |text: &str| Message {
        role: Role::Tool,
        parts: vec![Part::ToolResult {
            call_id: "c".into(),
            name: "files.write".into(),
            text: text.into(),
            is_error: false,
        }],
    };
    let choices = |second: &str, result: &str| {
        let goal = Message::text(Role::User, "goal");
        let conversation = [goal, called("a"), told("done"), called(second), told(result)];
        let request = build_request(&conversation, &rules);
        request.output_schema.unwrap()["anyOf"].as_array().unwrap().len()
    };
    assert_eq!(choices("a", "done"), 1);
    assert_eq!(choices("b", "done"), 2, "another call");
    assert_eq!(choices("a", "news"), 2, "another result");
}

#[test]
fn a_cut_never_splits_a_character() {
    let shown = shown_to_model(&json!("aé".repeat(10)), 2);
    assert!(shown.starts_with("a\n[cut: 1 of 30 bytes"), "{shown}");
    assert_eq!(shown_to_model(&json!({"a": 1}), 100), r#"{"a":1}"#);
}

proptest! {
    #[test]
    fn no_reply_text_panics_or_is_lost(text in any::<String>(), native in any::<bool>()) {
        let step = StepKey::new("turn.1.model");
        let mode = if native { ToolMode::Native } else { ToolMode::Constrained };
        let rules = ReplyRules { mode, step: &step, output_schema: None, has_tools: true };
        match interpret(&finished(&text), &rules) {
            Reply::Answer { output } if native => prop_assert_eq!(output, Value::String(text)),
            Reply::Answer { .. } | Reply::ToolCalls { .. } => {
                let object = text.contains('{');
                prop_assert!(object);
            }
            Reply::Invalid { problem } => prop_assert!(!problem.is_empty()),
            Reply::Failure { .. } => prop_assert!(false, "text alone never fails a run"),
        }
    }

    /// Replaying any prefix twice gives the same decisions, and steps never go back.
    #[test]
    fn the_fold_is_deterministic_and_its_steps_are_monotonic(choices in prop::collection::vec(0_u8..6, 0..60)) {
        let mut state = RunState::default();
        let mut journal: Vec<EventBody> = Vec::new();
        let emit = |state: &mut RunState, journal: &mut Vec<EventBody>, body: EventBody| {
            let before: Vec<_> = state.steps().map(|(k, s)| (k.clone(), s.status)).collect();
            journal.push(body);
            let seq = journal.len() as u64;
            state.apply(seq, journal.last().unwrap()).unwrap();
            for (key, status) in before {
                assert!(state.step(&key).unwrap().status.rank() >= status.rank());
            }
        };
        emit(&mut state, &mut journal, EventBody::RunQueued { spec: spec(6) });
        let worker = crate::id::WorkerId::from_uuid(uuid::Uuid::nil());
        let claimed = EventBody::RunClaimed { worker, epoch: 1, recovered: false };
        emit(&mut state, &mut journal, claimed);
        for choice in choices {
            let Some(command) = state.next().into_iter().nth(usize::from(choice) % 2).or_else(|| state.next().into_iter().next()) else { break };
            for body in perform(&state, &command, choice) {
                emit(&mut state, &mut journal, body);
            }
        }
        let mut replayed = RunState::default();
        for (n, body) in journal.iter().enumerate() {
            let event = crate::event::Event {
                run_id: crate::id::RunId::from_uuid(uuid::Uuid::nil()),
                seq: n as u64 + 1, epoch: 1, kind: body.kind().to_owned(), step: None,
                payload: body.clone().into_new(Timestamp::UNIX_EPOCH).payload, blob: None,
                at: Timestamp::UNIX_EPOCH,
            };
            replayed.apply(event.seq, &EventBody::from_event(&event).unwrap().unwrap()).unwrap();
        }
        prop_assert_eq!(replayed.next(), state.next());
        prop_assert_eq!(replayed.machine().conversation(), state.machine().conversation());
    }
}

/// Some outcome of a command, by choice.
fn perform(state: &RunState, command: &MachineCommand, choice: u8) -> Vec<EventBody> {
    match command {
        MachineCommand::CallModel { step } => {
            let begun = state.step(step).map_or(0, |s| s.attempts);
            let mut bodies = vec![EventBody::StepStarted {
                step: step.clone(),
                step_kind: StepKind::Model,
                name: "m".into(),
                policy: EffectPolicy::Idempotent,
                attempt: begun + 1,
            }];
            bodies.push(EventBody::LlmStarted {
                step: step.clone(),
                attempt: begun + 1,
                model: ModelName::new("test", "model"),
                tool_mode: ToolMode::Native,
                directives_upto: state.machine().unread_upto(),
            });
            let reply = match choice {
                0 => return bodies,
                1 | 2 => Reply::ToolCalls { calls: vec![call("a"), call("b")] },
                3 => Reply::Invalid { problem: "no".into() },
                4 => Reply::Answer { output: json!("x") },
                _ => {
                    bodies.push(EventBody::StepCanceled { step: step.clone(), partial: None });
                    return bodies;
                }
            };
            bodies.push(completed(step.as_str(), reply));
            bodies.push(EventBody::StepSucceeded { step: step.clone() });
            bodies
        }
        MachineCommand::CallTool { step, call } => {
            let attempt = state.step(step).map_or(0, |s| s.attempts) + 1;
            let mut bodies = vec![EventBody::StepStarted {
                step: step.clone(),
                step_kind: StepKind::Tool,
                name: call.name.clone(),
                policy: EffectPolicy::Idempotent,
                attempt,
            }];
            if choice > 0 {
                bodies.push(tool_done(step.as_str()));
                bodies.push(EventBody::StepSucceeded { step: step.clone() });
            }
            bodies
        }
        MachineCommand::Complete { output } => {
            vec![EventBody::RunCompleted { output: output.clone() }]
        }
        MachineCommand::Fail { error } => vec![EventBody::RunFailed { error: error.clone() }],
    }
}
