//! I7. The rows of a run and of its steps say what its journal says, and a snapshot leads to the same as
//! the journal from its beginning.

use std::collections::BTreeMap;

use agent_runner_core::{
    engine::Engine,
    event::{Event, EventBody},
    machine::RunState,
    run::Run,
};

pub(crate) async fn check(engine: &Engine, run: &Run, events: &[Event]) {
    let (mut state, mut steps) = (RunState::default(), BTreeMap::new());
    for event in events {
        let whole = match event.blob {
            Some(_) => engine.event(run.id, event.seq).await.unwrap(),
            None => event.clone(),
        };
        let Some(body) = EventBody::from_event(&whole).unwrap() else { continue };
        state.apply(event.seq, &body).unwrap();
        // Those included that the fold forgets.
        if let Some((key, step)) = body.step().and_then(|key| Some((key, state.step(key)?))) {
            steps.insert(key.clone(), (step.status, step.attempts));
        }
    }
    assert_eq!(state, engine.fold(run.id).await.unwrap(), "a snapshot leads somewhere else");
    assert_eq!(state.status(), run.status, "the row is the fold of the journal");
    assert_eq!(state.usage(), run.usage);
    assert_eq!(state.spend(), run.spend);
    for step in engine.steps(run.id).await.unwrap() {
        assert_eq!(steps.get(&step.key), Some(&(step.status, step.attempts)), "{}", step.key);
        assert!(step.started_at.is_some() && step.started_seq.is_some(), "{}", step.key);
        if run.status.is_terminal() {
            assert!(step.status.is_terminal(), "step {} is still {}", step.key, step.status);
        }
        for seq in [step.started_seq, step.done_seq].into_iter().flatten() {
            let body = EventBody::from_event(&events[seq as usize - 1]).unwrap().unwrap();
            assert_eq!(body.step(), Some(&step.key), "the row points at its own events");
        }
    }
}
