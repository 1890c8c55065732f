//! Code workflows: functions of the program as runs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_runner_core::{
    code::{CallError, CallErrorKind, Ctx, StepCx, StepFailure},
    directive::Resolution,
    engine::{Engine, EngineBuilder, EngineErrorKind, EngineHandle, NewMessage, NewRun},
    id::{RunId, StepKey},
    run::{FailureReason, ParkReason, RunStatus},
    step::{EffectPolicy, StepStatus},
    store::Store,
    testing::{Fault, FaultyStore, Gate, StoreCall},
};
use serde_json::{Value, json};

use super::fixture::*;

/// What was done outside, in order: it survives the death of every worker.
#[derive(Debug, Clone, Default)]
pub(super) struct Outside(Arc<Mutex<Vec<(String, StepCx)>>>);

impl Outside {
    /// A step that leaves a trace and returns its input plus one.
    pub(super) fn step(
        &self,
    ) -> impl Fn(u64, StepCx) -> std::future::Ready<Result<u64, StepFailure>> + Send + Sync + 'static
    {
        let outside = self.clone();
        move |input, cx| {
            outside.note(&cx);
            std::future::ready(Ok(input + 1))
        }
    }

    fn note(&self, cx: &StepCx) {
        self.0.lock().unwrap().push((cx.step.to_string(), cx.clone()));
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(key, _)| key.clone()).collect()
    }

    fn last(&self) -> StepCx {
        self.0.lock().unwrap().last().unwrap().1.clone()
    }
}

/// Three steps, each with what the one before it made.
fn three(
    outside: &Outside,
    policy: EffectPolicy,
) -> impl Fn(EngineBuilder) -> EngineBuilder + use<> {
    let outside = outside.clone();
    move |builder| {
        let outside = outside.clone();
        builder.workflow("three", 1, move |ctx: Ctx, input: u64| {
            let outside = outside.clone();
            async move {
                let a = ctx.step("a", policy, input, outside.step()).await?;
                let b = ctx.step("b", policy, a, outside.step()).await?;
                ctx.step("c", policy, b, outside.step()).await
            }
        })
    }
}

pub(super) async fn kill(handle: EngineHandle) {
    drop(handle);
    tokio::task::yield_now().await;
}

pub(super) async fn parked(engine: &Engine, id: RunId) -> ParkReason {
    wait_for(engine, id, "run.parked").await;
    engine.run(id).await.unwrap().park.unwrap().reason
}

pub(super) fn workflow(name: &str, input: impl Into<Value>) -> NewRun {
    NewRun::workflow(name, input)
}

on_every_store!(three_steps_run_one_after_the_other_and_once);
async fn three_steps_run_one_after_the_other_and_once() {
    let outside = Outside::default();
    let world = World::new([]).with_code(three(&outside, EffectPolicy::AtMostOnce));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, workflow("three", 1)).await;
    let run = ended(&engine, id).await;
    assert_eq!((run.status, run.output), (RunStatus::Completed, Some(json!(4))));
    assert_eq!(run.spec.goal, "three");
    assert_eq!(outside.keys(), ["a", "b", "c"]);
    let kinds: Vec<String> = kinds(&engine, id).await;
    let one = ["code.called", "step.started", "code.returned", "step.succeeded"];
    let mut expected = vec!["run.queued", "run.claimed"];
    expected.extend(one.iter().chain(&one).chain(&one));
    expected.extend(["code.finished", "run.completed"]);
    assert_eq!(kinds, expected);
    let step = engine.step(id, &StepKey::new("b")).await.unwrap();
    assert_eq!((step.input, step.output), (Some(json!(2)), Some(json!(3))));
    let replayed = engine.replay(id).await.unwrap();
    // Three calls and the end of the code; three functions and the end of the run.
    assert_eq!((replayed.decisions, replayed.differs), (8, None));
    // A program without the code says so.
    let stranger = Engine::builder(world.store().await).build().unwrap();
    let replayed = stranger.replay(id).await.unwrap();
    assert_eq!(replayed.without_code.as_deref(), Some("`three` version 1"));
}

on_every_store!(s1_code_killed_at_any_write_does_no_finished_step_again);
async fn s1_code_killed_at_any_write_does_no_finished_step_again() {
    for place in [Fault::BeforeCommit, Fault::AfterCommit] {
        for n in 1.. {
            let outside = Outside::default();
            let mut world = World::new([]).with_code(three(&outside, EffectPolicy::Idempotent));
            world.options.lease_ttl = Duration::from_millis(200);
            let id = create(&world.engine().await, workflow("three", 1)).await;
            let whole = world.store().await;
            let faulty = FaultyStore::new(Arc::clone(&whole)).counting(&[StoreCall::Append]);
            let faulty = Arc::new(faulty);
            let held = faulty.pause_nth(n, place);
            world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
            let (engine, handle) = world.start().await;
            let over = tokio::select! {
                () = held.reached() => false,
                run = engine.join(id, PATIENCE) => run.unwrap().status.is_terminal(),
            };
            let done = done(&engine, id).await;
            kill(handle).await;
            drop(held);
            world.replace_store(whole);
            world.options.lease_ttl = Duration::from_secs(5);
            let before = outside.keys().len();
            let (engine, _handle) = world.start().await;
            let run = ended(&engine, id).await;
            assert_eq!(run.output, Some(json!(4)), "{place:?} {n}");
            let after: Vec<String> = outside.keys().split_off(before);
            assert!(after.iter().all(|key| !done.contains(key)), "{place:?} {n}: {after:?}");
            if over {
                assert!(n > 3, "a run has more than {n} writes");
                break;
            }
        }
    }
}

/// Keys of the steps that ended well.
async fn done(engine: &Engine, id: RunId) -> Vec<String> {
    let steps = engine.steps(id).await.unwrap();
    let done = steps.into_iter().filter(|step| step.status == StepStatus::Succeeded);
    done.map(|step| step.key.to_string()).collect()
}

/// One step that stands at the gate once it had its effect; the code says what it hears of it.
fn held(
    outside: &Outside,
    gate: &Gate,
    policy: EffectPolicy,
) -> impl Fn(EngineBuilder) -> EngineBuilder + use<> {
    let (outside, gate) = (outside.clone(), gate.clone());
    move |builder| {
        let (outside, gate) = (outside.clone(), gate.clone());
        builder.workflow("held", 1, move |ctx: Ctx, (): ()| {
            let (outside, gate) = (outside.clone(), gate.clone());
            async move {
                let charge = move |(): (), cx: StepCx| {
                    outside.note(&cx);
                    let gate = gate.clone();
                    async move {
                        gate.pass().await;
                        Ok("done".to_owned())
                    }
                };
                match ctx.step("charge", policy, (), charge).await {
                    Err(error) if error.kind() == CallErrorKind::OutcomeUnknown => {
                        Ok(format!("unknown: {}", error.code()))
                    }
                    other => other,
                }
            }
        })
    }
}

/// Kills the worker of a run whose only step has had its effect.
async fn killed_in_the_step(policy: EffectPolicy) -> (World, Outside, RunId, StepCx) {
    let (outside, gate) = (Outside::default(), Gate::new());
    let mut world = World::new([]).with_code(held(&outside, &gate, policy));
    world.options.lease_ttl = Duration::from_millis(300);
    let (engine, handle) = world.start().await;
    let id = create(&engine, workflow("held", Value::Null)).await;
    gate.wait_for_arrival().await;
    kill(handle).await;
    gate.open();
    world.options.lease_ttl = Duration::from_secs(5);
    let first = outside.last();
    (world, outside, id, first)
}

on_every_store!(s2_a_step_that_may_be_repeated_is_with_the_same_key);
async fn s2_a_step_that_may_be_repeated_is_with_the_same_key() {
    for policy in [EffectPolicy::Pure, EffectPolicy::Idempotent] {
        let (world, outside, id, first) = killed_in_the_step(policy).await;
        let (engine, _handle) = world.start().await;
        assert_eq!(ended(&engine, id).await.output, Some(json!("done")));
        let again = outside.last();
        assert_eq!((first.attempt, again.attempt), (1, 2));
        assert_eq!(first.idempotency_key, again.idempotency_key);
        assert_eq!(outside.keys().len(), 2);
    }
}

on_every_store!(s2_a_step_at_most_once_is_not_repeated_and_the_code_is_told);
async fn s2_a_step_at_most_once_is_not_repeated_and_the_code_is_told() {
    let (world, outside, id, _) = killed_in_the_step(EffectPolicy::AtMostOnce).await;
    let (engine, _handle) = world.start().await;
    assert_eq!(ended(&engine, id).await.output, Some(json!("unknown: indeterminate")));
    assert_eq!(outside.keys().len(), 1);
    let step = engine.step(id, &StepKey::new("charge")).await.unwrap();
    assert_eq!(step.step.status, StepStatus::Indeterminate);
}

on_every_store!(s2_a_step_to_ask_about_parks_until_a_person_says_what_became_of_it);
async fn s2_a_step_to_ask_about_parks_until_a_person_says_what_became_of_it() {
    let cases = [
        (Resolution::Succeeded { output: json!("by hand") }, 1, RunStatus::Completed, "by hand"),
        (Resolution::Retry, 2, RunStatus::Completed, "done"),
        (Resolution::Failed { message: None }, 1, RunStatus::Failed, ""),
    ];
    for (resolution, calls, status, output) in cases {
        let (world, outside, id, _) = killed_in_the_step(EffectPolicy::Ask).await;
        let (engine, _handle) = world.start().await;
        assert_eq!(parked(&engine, id).await, ParkReason::Ask);
        engine.resolve(id, &StepKey::new("charge"), resolution).await.unwrap();
        let run = ended(&engine, id).await;
        assert_eq!(run.status, status);
        assert_eq!(run.output.unwrap_or(json!("")), output);
        assert_eq!(outside.keys().len(), calls);
    }
}

on_every_store!(s35_a_step_that_fails_for_now_is_tried_again_and_one_that_fails_is_not);
async fn s35_a_step_that_fails_for_now_is_tried_again_and_one_that_fails_is_not() {
    let outside = Outside::default();
    let seen = outside.clone();
    let world = World::new([]).with_code(move |builder| {
        let seen = seen.clone();
        builder.workflow("tries", 1, move |ctx: Ctx, (): ()| {
            let seen = seen.clone();
            async move {
                let fickle = move |(): (), cx: StepCx| {
                    seen.note(&cx);
                    let fails = cx.attempt < 3;
                    async move {
                        if fails {
                            Err(StepFailure::new("busy").transient())
                        } else {
                            Ok(cx.attempt)
                        }
                    }
                };
                let attempts = ctx.step("fickle", EffectPolicy::AtMostOnce, (), fickle).await?;
                let broken = |(): (), _: StepCx| async {
                    Err::<(), _>(
                        StepFailure::from("x".parse::<u64>().unwrap_err()).with_code("nan"),
                    )
                };
                let error = ctx.step("broken", EffectPolicy::Pure, (), broken).await.unwrap_err();
                Ok::<_, CallError>((attempts, error))
            }
        })
    });
    let (engine, _handle) = world.start().await;
    let id = create(&engine, workflow("tries", Value::Null)).await;
    let output = ended(&engine, id).await.output.unwrap();
    assert_eq!(output[0], 3);
    assert_eq!(output[1]["kind"], "failed");
    assert_eq!(output[1]["code"], "nan");
    assert!(output[1]["message"].as_str().unwrap().contains("invalid digit"), "{output}");
    assert_eq!(outside.keys(), ["fickle", "fickle", "fickle"]);
    assert_eq!(count(&kinds(&engine, id).await, "step.retrying"), 2);
}

on_every_store!(a_panic_fails_a_step_or_the_run_and_nothing_else);
async fn a_panic_fails_a_step_or_the_run_and_nothing_else() {
    let world = World::new([]).with_code(|builder| {
        builder.workflow("panics", 1, |ctx: Ctx, in_step: bool| async move {
            let step = |(): (), _: StepCx| async { panic!("step {}", 1) };
            if in_step {
                let error = ctx.step::<_, (), _, _>("s", EffectPolicy::Pure, (), step).await;
                return Err(error.unwrap_err().to_string());
            }
            let zero: Option<u64> = Some(0).filter(|_| in_step);
            Ok(zero.expect("a number"))
        })
    });
    let (engine, _handle) = world.start().await;
    for (in_step, said) in
        [(true, "the step panicked: step 1"), (false, "the code panicked: a number")]
    {
        let id = create(&engine, workflow("panics", in_step)).await;
        let run = ended(&engine, id).await;
        let error = run.error.unwrap();
        assert_eq!((error.reason, error.message.as_str()), (FailureReason::Workflow, said));
    }
}

on_every_store!(s33_sleeps_and_signals_cost_no_worker_and_survive_it);
async fn s33_sleeps_and_signals_cost_no_worker_and_survive_it() {
    let world = World::new([]).with_code(|builder| {
        builder.workflow("waits", 1, |ctx: Ctx, (): ()| async move {
            let before = ctx.now();
            ctx.sleep("nap", Duration::from_millis(1_200)).await?;
            let nap = ctx.now().duration_since(before);
            let paid: u64 = ctx.wait_for("payment", "paid").await?;
            let moment = Duration::from_millis(50);
            let late: Option<u64> = ctx.wait_for_within("more", "tip", moment).await?;
            let some: Option<u64> = ctx.wait_for_within("most", "thanks", moment).await?;
            Ok::<_, CallError>((nap >= jiff::SignedDuration::from_millis(1_200), paid, late, some))
        })
    });
    let engine = world.engine().await;
    let id = create(&engine, workflow("waits", Value::Null)).await;
    // Signals that come before they are waited for are kept.
    engine.signal(id, "paid", json!(20), None).await.unwrap();
    engine.signal(id, "thanks", json!(1), None).await.unwrap();
    let handle = engine.start();
    assert_eq!(parked(&engine, id).await, ParkReason::Timer);
    assert!(engine.run(id).await.unwrap().owner.is_none(), "it holds no worker");
    kill(handle).await;
    let (engine, _handle) = world.start().await;
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!([true, 20, null, 1])), "{:?}", run.error);
    assert_eq!(count(&kinds(&engine, id).await, "timer.fired"), 2);
}

on_every_store!(a_person_answers_the_code_or_does_not);
async fn a_person_answers_the_code_or_does_not() {
    use agent_runner_core::{approval::ApprovalDecision, engine::NewDecision};
    let world = World::new([]).with_code(|builder| {
        builder.workflow("asks", 1, |ctx: Ctx, (): ()| async move {
            let name = ctx.ask_human("name", "What is it called?").await?;
            let schema = json!({"type": "integer"});
            let age: u64 = ctx.ask_human_for("age", "How old is it?", &schema).await?;
            let more = ctx.ask_human("more", "Anything else?").await.unwrap_err();
            Ok::<_, CallError>((name, age, more.kind()))
        })
    });
    let (engine, _handle) = world.start().await;
    let id = create(&engine, workflow("asks", Value::Null)).await;
    let answers = [
        ("name", ApprovalDecision::Answer { output: json!("Rex") }),
        ("age", ApprovalDecision::Answer { output: json!(7) }),
        ("more", ApprovalDecision::Reject),
    ];
    for (n, (step, decision)) in answers.into_iter().enumerate() {
        let asked = wait_for_nth(&engine, id, "approval.requested", n + 1).await;
        assert_eq!(asked.step.unwrap().as_str(), step);
        let approval = serde_json::from_value(asked.payload["approval"].clone()).unwrap();
        let said = NewDecision { decision, comment: None, by: None, arguments_sha256: None };
        engine.resolve_approval(approval, said).await.unwrap();
    }
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!(["Rex", 7, "denied"])));
}

on_every_store!(s12_code_is_canceled_and_paused_like_any_run);
async fn s12_code_is_canceled_and_paused_like_any_run() {
    let (outside, gate) = (Outside::default(), Gate::new());
    let world = World::new([]).with_code(held(&outside, &gate, EffectPolicy::Pure));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, workflow("held", Value::Null)).await;
    gate.wait_for_arrival().await;
    engine.cancel(id, Some("enough".into())).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Canceled);

    let paused = create(&engine, workflow("held", Value::Null)).await;
    gate.wait_for_arrival().await;
    engine.pause(paused).await.unwrap();
    gate.open();
    wait_for(&engine, paused, "run.paused").await;
    assert_eq!(count(&kinds(&engine, paused).await, "code.finished"), 0);
    engine.resume(paused).await.unwrap();
    assert_eq!(ended(&engine, paused).await.output, Some(json!("done")));

    let message = NewMessage { text: "hurry".into(), ..NewMessage::default() };
    let error = engine.send_message(paused, message).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::InvalidTransition);
}

on_every_store!(what_cannot_be_started_is_refused_with_every_reason);
async fn what_cannot_be_started_is_refused_with_every_reason() {
    let world = World::new([]).with_code(three(&Outside::default(), EffectPolicy::Pure));
    let engine = world.engine().await;
    let error = engine.create_run(workflow("four", 1)).await.unwrap_err();
    assert_eq!(error.fields()[0].pointer, "/workflow");
    assert!(error.fields()[0].detail.contains("`three` version 1"), "{error:?}");
    let error = engine.create_run(workflow("three", "one")).await.unwrap_err();
    assert_eq!(error.fields()[0].pointer, "/inputs");
    assert!(error.fields()[0].detail.contains("u64"), "{error:?}");
    let twice = three(&Outside::default(), EffectPolicy::Pure);
    let builder = twice(twice(Engine::builder(world.store().await)));
    assert!(builder.build().unwrap_err().to_string().contains("two workflows `three`"));
}
