mod context;
mod kept;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    agent::{AgentSpec, ModelName, ToolMode},
    budget::{BudgetResource, BudgetScope},
    directive::DirectiveMode,
    llm::{Capabilities, LlmFinished, StopReason, ToolSpec},
    machine::RunState,
    schema::Schema,
    step::{EffectPolicy, StepKind},
};

fn spec(max_steps: u32) -> RunSpec {
    let mut agent = AgentSpec::new(ModelName::new("test", "model"));
    agent.max_steps = max_steps;
    RunSpec::new("goal", agent)
}

fn started(step: &str, upto: u64) -> EventBody {
    EventBody::LlmStarted {
        step: StepKey::new(step),
        attempt: 1,
        model: ModelName::new("test", "model"),
        tool_mode: ToolMode::Native,
        directives_upto: upto,
        estimated_tokens: 0,
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
        cost: None,
        answered_by: None,
        request_id: None,
        notices: Vec::new(),
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
        untrusted: None,
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
    let mut events = vec![EventBody::RunQueued { spec: Box::new(spec(5)) }];
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
        untrusted: None,
    });
    assert_eq!(machine(&events).next(), model("turn.2.model"));
    events.push(started("turn.2.model", 0));
    events.push(completed("turn.2.model", Reply::Answer { output: json!("x") }));
    assert_eq!(machine(&events).next(), [MachineCommand::Complete { output: json!("x") }]);
}

#[test]
fn a_message_is_read_by_the_call_that_says_so_whatever_the_order_in_the_journal() {
    let queued = EventBody::RunQueued { spec: Box::new(spec(5)) };
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
            EventBody::RunQueued { spec: Box::new(spec(turns)) },
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
        final_tool: None,
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
    let native = build_request(conversation.to_vec(), &rules);
    assert_eq!((native.tools.len(), native.output_schema), (1, None));
    rules.mode = ToolMode::Constrained;
    let constrained = build_request(conversation.to_vec(), &rules);
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
        let request = build_request(conversation.to_vec(), &rules);
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

/// An agent whose answer has a schema, on a model that cannot have both tools and a schema.
fn answering_by_tool() -> RunSpec {
    let mut spec = spec(5);
    spec.agent.output_schema = Some(
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
    );
    spec
}

#[test]
fn an_answer_with_a_schema_beside_tools_comes_as_one_more_tool() {
    let spec = answering_by_tool();
    let tools = tools();
    let mut rules = RequestRules {
        spec: &spec,
        tools: &tools,
        mode: ToolMode::Native,
        capabilities: Capabilities { json_schema: Some(true), ..Capabilities::default() },
    };
    let conversation = [Message::text(Role::User, "goal")];
    let names = |rules: &RequestRules<'_>| {
        let request = build_request(conversation.to_vec(), rules);
        let names: Vec<String> = request.tools.into_iter().map(|tool| tool.name).collect();
        (names, request.output_schema.is_some())
    };
    let both = vec!["files.write".to_owned(), final_tool::FINAL_TOOL.to_owned()];
    assert_eq!(names(&rules), (both, false));
    rules.capabilities.schema_with_tools = Some(true);
    assert_eq!(names(&rules), (vec!["files.write".to_owned()], true));
    rules.tools = &[];
    rules.capabilities.schema_with_tools = None;
    assert_eq!(names(&rules), (Vec::new(), true));
}

fn read_final(calls: Vec<ToolCall>) -> Reply {
    let spec = answering_by_tool();
    let schema = spec.agent.output_schema.as_ref().unwrap();
    let compiled = Schema::compile(schema).unwrap();
    let step = StepKey::new("turn.1.model");
    let rules = ReplyRules {
        mode: ToolMode::Native,
        step: &step,
        output_schema: Some(&compiled),
        has_tools: true,
        final_tool: Some(schema),
    };
    let mut finished = finished("");
    finished.message.parts = calls.into_iter().map(Part::ToolCall).collect();
    interpret(&finished, &rules)
}

#[test]
fn the_call_of_the_final_tool_is_the_answer_if_it_fits_and_comes_alone() {
    let answer = |arguments| ToolCall { arguments, ..call(final_tool::FINAL_TOOL) };
    let good = answer(json!({"n": 3}));
    assert_eq!(read_final(vec![good.clone()]), Reply::Answer { output: json!({"n": 3}) });
    assert!(matches!(read_final(vec![answer(json!({"n": "x"}))]), Reply::Invalid { .. }));
    assert!(matches!(read_final(vec![answer(json!("{\"n"))]), Reply::Invalid { .. }));
    assert!(matches!(read_final(vec![good, call("files.write")]), Reply::ToolCalls { .. }));
}

#[test]
fn every_call_of_a_reply_is_answered_before_the_model_is_asked_again() {
    let said = Message { role: Role::Assistant, parts: vec![Part::ToolCall(call("x"))] };
    for reply in [Reply::Invalid { problem: "no".into() }, Reply::Answer { output: json!(1) }] {
        let mut events =
            vec![EventBody::RunQueued { spec: Box::new(spec(5)) }, started("turn.1.model", 0)];
        let mut done = completed("turn.1.model", reply);
        if let EventBody::LlmCompleted { reply_message, .. } = &mut done {
            *reply_message = said.clone();
        }
        events.push(done);
        let machine = machine(&events);
        let last = machine.conversation().last().unwrap();
        assert_eq!(last.role, Role::Tool);
        assert!(matches!(&last.parts[0], Part::ToolResult { call_id, .. } if call_id == "c"));
    }
}

#[test]
fn a_pause_asks_again_with_the_reply_as_it_is_and_not_for_ever() {
    let mut events = vec![EventBody::RunQueued { spec: Box::new(spec(100)) }];
    for turn in 1..=limits::PAUSES_MAX + 1 {
        assert!(matches!(machine(&events).next()[..], [MachineCommand::CallModel { .. }]));
        events.push(started(&format!("turn.{turn}.model"), 0));
        events.push(completed(&format!("turn.{turn}.model"), Reply::Continue {}));
    }
    let machine = machine(&events);
    assert_eq!(machine.conversation().len(), 1 + events.len() / 2);
    assert!(matches!(&machine.next()[..], [MachineCommand::Fail { error }]
        if error.reason == FailureReason::InvalidOutput));
}

/// A run that has read much.
#[test]
fn a_spent_budget_ends_the_run_or_keeps_it_waiting() {
    let exceeded = |on_exceeded| EventBody::BudgetExceeded {
        scope: BudgetScope::Run,
        resource: BudgetResource::Tokens,
        limit: 5,
        spent: 6,
        message: "spent".into(),
        on_exceeded,
        renews_at: None,
    };
    let queued = EventBody::RunQueued { spec: Box::new(spec(5)) };
    let failed = machine(&[queued.clone(), exceeded(OnExceeded::Fail)]);
    assert!(matches!(&failed.next()[..], [MachineCommand::Fail { error }]
        if error.reason == FailureReason::Budget && error.message == "spent"));
    let parked = machine(&[queued, exceeded(OnExceeded::Park)]);
    assert_eq!(parked.next(), model("turn.1.model"));
}

proptest! {
    #[test]
    fn no_reply_text_panics_or_is_lost(text in any::<String>(), native in any::<bool>()) {
        let step = StepKey::new("turn.1.model");
        let mode = if native { ToolMode::Native } else { ToolMode::Constrained };
        let rules = ReplyRules {
            mode,
            step: &step,
            output_schema: None,
            has_tools: true,
            final_tool: None,
        };
        match interpret(&finished(&text), &rules) {
            Reply::Answer { output } if native => prop_assert_eq!(output, Value::String(text)),
            Reply::Answer { .. } | Reply::ToolCalls { .. } => {
                let object = text.contains('{');
                prop_assert!(object);
            }
            Reply::Invalid { problem } => prop_assert!(!problem.is_empty()),
            Reply::Failure { .. }
            | Reply::Continue {}
            | Reply::ContextFull {}
            | Reply::Summary { .. } => prop_assert!(false, "text alone means none of this"),
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
                match state.step(&key) {
                    Some(step) => assert!(step.status.rank() >= status.rank()),
                    None => assert!(status.is_terminal(), "{key} was forgotten before its end"),
                }
            }
        };
        emit(&mut state, &mut journal, EventBody::RunQueued { spec: Box::new(spec(6)) });
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
                payload: body.to_new(Timestamp::UNIX_EPOCH).payload.to_value().unwrap(), blob: None,
                at: Timestamp::UNIX_EPOCH,
            };
            replayed.apply(event.seq, &EventBody::from_event(&event).unwrap().unwrap()).unwrap();
        }
        prop_assert_eq!(&replayed, &state);
        let kept = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(&serde_json::from_str::<RunState>(&kept).unwrap(), &state);
        prop_assert!(state.steps().count() <= 5, "steps of turns that are over are forgotten");
    }
}

/// An attempt of a step begins.
fn begins(state: &RunState, step: &StepKey, step_kind: StepKind) -> EventBody {
    EventBody::StepStarted {
        step: step.clone(),
        step_kind,
        name: "m".into(),
        policy: EffectPolicy::Idempotent,
        attempt: state.step(step).map_or(0, |step| step.attempts) + 1,
    }
}

/// Some outcome of a command, by choice.
fn perform(state: &RunState, command: &MachineCommand, choice: u8) -> Vec<EventBody> {
    match command {
        MachineCommand::CallModel { step } => ask(state, step, choice),
        MachineCommand::CallTool { step, .. } => {
            let mut bodies = vec![begins(state, step, StepKind::Tool)];
            if choice > 0 {
                bodies.push(tool_done(step.as_str()));
                bodies.push(EventBody::StepSucceeded { step: step.clone() });
            }
            bodies
        }
        MachineCommand::Compact { compaction } => {
            let step = compaction.step.clone();
            vec![
                begins(state, &step, StepKind::Model),
                EventBody::ContextCompacted {
                    step: step.clone(),
                    replaced: compaction.replaced as u64,
                    summary: "s".into(),
                },
                EventBody::StepSucceeded { step },
            ]
        }
        MachineCommand::GoOn
        | MachineCommand::CallFunction { .. }
        | MachineCommand::Abandon { .. } => panic!("an agent has no code"),
        MachineCommand::Complete { output } => {
            vec![EventBody::RunCompleted { output: output.clone() }]
        }
        MachineCommand::Fail { error } => vec![EventBody::RunFailed { error: error.clone() }],
    }
}

/// Some outcome of a model call, by choice.
fn ask(state: &RunState, step: &StepKey, choice: u8) -> Vec<EventBody> {
    let mut begun = started(step.as_str(), state.machine().unread_upto());
    if let EventBody::LlmStarted { attempt, estimated_tokens, .. } = &mut begun {
        *attempt = state.step(step).map_or(0, |step| step.attempts) + 1;
        *estimated_tokens = 10;
    }
    let mut bodies = vec![begins(state, step, StepKind::Model), begun];
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
