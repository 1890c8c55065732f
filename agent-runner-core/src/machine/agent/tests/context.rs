//! Conversations that outgrow their model.

use super::*;

fn long_run() -> Vec<EventBody> {
    let mut events = vec![EventBody::RunQueued { spec: Box::new(spec(50)) }];
    for turn in 1..=6 {
        let step = format!("turn.{turn}.model");
        events.push(started(&step, 0));
        let mut done = completed(&step, Reply::ToolCalls { calls: vec![call("t")] });
        if let EventBody::LlmCompleted { reply_message, .. } = &mut done {
            reply_message.parts = vec![Part::ToolCall(call("t"))];
        }
        events.push(done);
        events.push(EventBody::ToolCompleted {
            step: StepKey::new(format!("turn.{turn}.tool.1")),
            call_id: "c".into(),
            tool: "t".into(),
            output: json!("x".repeat(4_000)),
            model_bytes_max: 10_000,
            elapsed_ms: 1,
            untrusted: None,
        });
    }
    events
}

fn full(limit: u64) -> EventBody {
    let replaced = compact::replaced(machine(&long_run()).conversation(), limit).unwrap();
    EventBody::ContextFull {
        step: StepKey::new("turn.7.model"),
        tokens: 6_000,
        limit,
        compaction: StepKey::new("turn.7.compact"),
        replaced: replaced as u64,
    }
}

#[test]
fn a_full_context_is_summarised_by_a_step_of_its_own() {
    let mut events = long_run();
    let plan = machine(&events).plan_compaction(3_000).unwrap();
    assert_eq!(plan.step, StepKey::new("turn.7.compact"));
    assert_eq!(plan.context_full(&StepKey::new("turn.7.model"), 6_000, 3_000), full(3_000));
    events.push(full(3_000));
    let next = machine(&events).next();
    let [MachineCommand::Compact { compaction }] = &next[..] else { panic!("{next:?}") };
    assert_eq!(compaction.step, StepKey::new("turn.7.compact"));
    // The summarising call is no turn and reads no message.
    events.push(started("turn.7.compact", 0));
    events.push(completed("turn.7.compact", Reply::Summary { text: "short".into() }));
    assert_eq!(machine(&events).next(), next, "not before the summary is taken");
    let replaced = compaction.replaced as u64;
    let step = compaction.step.clone();
    events.push(EventBody::ContextCompacted { step, replaced, summary: "short".into() });
    let after = machine(&events);
    assert_eq!(after.next(), model("turn.7.model"));
    assert_eq!(after.conversation()[0].plain_text(), "goal");
    assert!(after.conversation()[1].plain_text().contains("short"));
    assert!(after.conversation().len() < machine(&long_run()).conversation().len());
}

#[test]
fn a_context_that_stays_full_fails_the_run_in_the_end() {
    let mut events = long_run();
    for _ in 0..limits::COMPACTIONS_MAX {
        events.push(full(3_000));
        // Nothing became shorter.
        events.push(EventBody::ContextCompacted {
            step: StepKey::new("turn.7.compact"),
            replaced: 0,
            summary: String::new(),
        });
    }
    assert_eq!(machine(&events).plan_compaction(3_000), None);
}

#[test]
fn a_model_that_ran_out_of_context_fails_the_run_unless_it_is_compacted() {
    let mut events = long_run();
    events.push(started("turn.7.model", 0));
    events.push(completed("turn.7.model", Reply::ContextFull {}));
    assert!(matches!(machine(&events).next()[..], [MachineCommand::Fail { .. }]));
    events.push(full(3_000));
    assert!(matches!(machine(&events).next()[..], [MachineCommand::Compact { .. }]));
    let said = machine(&events).conversation().last().unwrap().role;
    assert_eq!(said, Role::Tool, "the reply that was cut is not part of the conversation");
}

#[test]
fn estimates_follow_what_the_service_counted() {
    let mut begun = started("turn.1.model", 0);
    if let EventBody::LlmStarted { estimated_tokens, .. } = &mut begun {
        *estimated_tokens = 100;
    }
    let mut done = completed("turn.1.model", Reply::Continue {});
    if let EventBody::LlmCompleted { usage, .. } = &mut done {
        usage.input = Some(150);
        usage.cache_read = Some(50);
    }
    let machine = machine(&[EventBody::RunQueued { spec: Box::new(spec(5)) }, begun, done]);
    assert_eq!(machine.corrected(100), 200);
}

#[test]
fn of_what_people_said_the_newest_is_kept() {
    let mut machine = machine(&[EventBody::RunQueued { spec: Box::new(spec(50)) }]);
    let words = |n: usize| format!("{n}{}", "x".repeat(limits::TOLD_BYTES_MAX / 4));
    for n in 1..=6 {
        let seq = n as u64 + 1;
        machine.apply(
            seq,
            &EventBody::DirectiveReceived {
                id: n.to_string(),
                mode: DirectiveMode::NextStep,
                text: words(n),
            },
        );
        machine.apply(0, &started(&format!("turn.{n}.model"), seq));
    }
    assert_eq!(machine.told, [words(4), words(5), words(6)]);
    assert_eq!(machine.conversation().len(), 7, "the conversation has all of it");
}
