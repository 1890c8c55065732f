//! States that are kept.

use super::*;

/// A snapshot of another form, or of another fold, must have another version: raise
/// [`RunState::VERSION`] with every difference here, then accept it with `INSTA_UPDATE=always`.
#[test]
fn the_form_of_a_kept_state_has_its_version() {
    let step = StepKey::new("turn.1.model");
    let begins = |step: &StepKey, step_kind, attempt| EventBody::StepStarted {
        step: step.clone(),
        step_kind,
        name: "m".into(),
        policy: EffectPolicy::Idempotent,
        attempt,
    };
    let tool = StepKey::new("turn.1.tool.1");
    let error = crate::step::StepError { code: "c".into(), message: "m".into() };
    let journal = [
        EventBody::RunQueued { spec: Box::new(spec(6)) },
        message("hello"),
        begins(&step, StepKind::Model, 1),
        started("turn.1.model", 2),
        completed("turn.1.model", Reply::ToolCalls { calls: vec![call("a"), call("b")] }),
        EventBody::StepSucceeded { step },
        message("unread"),
        EventBody::SignalReceived { id: "s".into(), name: "go".into(), data: json!({"n": 1.5}) },
        begins(&tool, StepKind::Tool, 1),
        EventBody::StepRetrying { step: tool, attempt: 1, error, delay_ms: 5, retry_at: None },
        tool_done("turn.1.tool.2"),
    ];
    let mut state = RunState::default();
    for (seq, body) in (1..).zip(&journal) {
        state.apply(seq, body).unwrap();
    }
    let kept = json!({"version": RunState::VERSION, "state": state});
    insta::assert_snapshot!(serde_json::to_string_pretty(&kept).unwrap());
}
