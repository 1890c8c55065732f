//! Branches of code, what is the same whenever it runs again, and forks of it.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use agent_runner_core::{
    code::{CallError, Ctx, StepCx},
    engine::{EngineErrorKind, NewFork},
    id::StepKey,
    run::RunStatus,
    step::{EffectPolicy, StepStatus},
    testing::Gate,
};
use serde_json::{Value, json};

use super::{
    code::{Outside, kill, parked, workflow},
    fixture::*,
};

on_every_store!(branches_run_side_by_side_and_join_in_any_order_they_end);
async fn branches_run_side_by_side_and_join_in_any_order_they_end() {
    let gates = [Gate::new(), Gate::new()];
    let shared = gates.clone();
    let world = World::new([]).with_code(move |builder| {
        let gates = shared.clone();
        builder.workflow("joins", 1, move |ctx: Ctx, (): ()| {
            let gates = gates.clone();
            async move {
                let branch = |n: usize| {
                    let (ctx, gate) = (ctx.clone(), gates[n].clone());
                    async move {
                        let held = move |n: usize, _: StepCx| {
                            let gate = gate.clone();
                            async move {
                                gate.pass().await;
                                Ok(n)
                            }
                        };
                        let first = ctx.step(&format!("b{n}"), EffectPolicy::Pure, n, held).await?;
                        let next = |n: usize, _: StepCx| async move { Ok(n * 10) };
                        ctx.step("next", EffectPolicy::Pure, first + 1, next).await
                    }
                };
                let (one, two) = futures::join!(branch(0), branch(1));
                let many = (0..40_usize).map(|n| {
                    let double = |n: usize, _: StepCx| async move { Ok(n * 2) };
                    ctx.step("many", EffectPolicy::Pure, n, double)
                });
                let many = futures::future::try_join_all(many).await?;
                Ok::<_, CallError>((one?, two?, many.iter().sum::<usize>()))
            }
        })
    });
    let (engine, handle) = world.start().await;
    let id = create(&engine, workflow("joins", Value::Null)).await;
    gates[0].wait_for_arrival().await;
    gates[1].wait_for_arrival().await;
    // The second branch ends first: the order of its calls is the journal's from then on.
    gates[1].open();
    wait_for_nth(&engine, id, "step.succeeded", 2).await;
    handle.shutdown(Duration::ZERO).await;
    let (engine, _handle) = world.start().await;
    gates[0].open();
    let run = ended(&engine, id).await;
    assert_eq!(run.output, Some(json!([10, 20, 1560])), "{:?}", run.error);
    let input = |key: &str| {
        let (engine, key) = (engine.clone(), StepKey::new(key));
        async move { engine.step(id, &key).await.unwrap().input.unwrap() }
    };
    assert_eq!((input("next").await, input("next.2").await), (json!(2), json!(1)));
}

on_every_store!(what_loses_a_race_is_stopped_and_stays_so);
async fn what_loses_a_race_is_stopped_and_stays_so() {
    use futures::future::{Either, select};
    for policy in [EffectPolicy::Pure, EffectPolicy::AtMostOnce] {
        let gate = Gate::new();
        let shared = gate.clone();
        let world = World::new([]).with_code(move |builder| {
            let gate = shared.clone();
            builder.workflow("races", 1, move |ctx: Ctx, (): ()| {
                let gate = gate.clone();
                async move {
                    let slow = move |(): (), _: StepCx| {
                        let gate = gate.clone();
                        async move {
                            gate.pass().await;
                            Ok(())
                        }
                    };
                    let slow = ctx.step("slow", policy, (), slow);
                    let question = ctx.ask_human("question", "Well?");
                    let rest = futures::future::join(slow, question);
                    let first = match select(ctx.wait_for::<u64>("go", "go"), rest).await {
                        Either::Left((signal, _)) => signal?,
                        Either::Right(_) => 0,
                    };
                    ctx.sleep("after", Duration::from_millis(1)).await?;
                    Ok::<_, CallError>(first)
                }
            })
        });
        let (engine, _handle) = world.start().await;
        let id = create(&engine, workflow("races", Value::Null)).await;
        gate.wait_for_arrival().await;
        engine.signal(id, "go", json!(5), None).await.unwrap();
        wait_for(&engine, id, "code.dropped").await;
        gate.open();
        let run = ended(&engine, id).await;
        assert_eq!(run.output, Some(json!(5)));
        let kinds = kinds(&engine, id).await;
        assert_eq!(count(&kinds, "code.dropped"), 2);
        assert_eq!(count(&kinds, "approval.expired"), 1);
        let slow = engine.step(id, &StepKey::new("slow")).await.unwrap().step.status;
        // What must not be repeated ends by itself, so that its outcome is known.
        let expected = match policy {
            EffectPolicy::Pure => StepStatus::Canceled,
            _ => StepStatus::Succeeded,
        };
        assert_eq!(slow, expected);
    }
}

on_every_store!(time_and_chance_are_the_same_after_a_recovery);
async fn time_and_chance_are_the_same_after_a_recovery() {
    let world = World::new([]).with_code(|builder| {
        builder.workflow("chance", 1, |ctx: Ctx, (): ()| async move {
            let before = (ctx.now(), ctx.random(), ctx.uuid(), ctx.random());
            let () = ctx.wait_for("go", "go").await?;
            Ok::<_, CallError>(before)
        })
    });
    let (engine, handle) = world.start().await;
    let id = create(&engine, workflow("chance", Value::Null)).await;
    parked(&engine, id).await;
    let recorded: Vec<Value> = events(&engine, id)
        .await
        .into_iter()
        .filter(|event| event.kind == "code.recorded")
        .map(|event| event.payload["value"].clone())
        .collect();
    kill(handle).await;
    let (engine, _handle) = world.start().await;
    engine.signal(id, "go", Value::Null, None).await.unwrap();
    let output = ended(&engine, id).await.output.unwrap();
    assert_eq!(output, Value::Array(recorded));
    assert_ne!(output[1], output[3]);
}

on_every_store!(s31_every_moment_of_a_code_run_can_be_forked);
async fn s31_every_moment_of_a_code_run_can_be_forked() {
    let outside = Outside::default();
    let seen = outside.clone();
    let world = World::new([]).with_code(move |builder| {
        let seen = seen.clone();
        builder.workflow("mixed", 1, move |ctx: Ctx, input: u64| {
            let seen = seen.clone();
            async move {
                let policy = EffectPolicy::AtMostOnce;
                let a = ctx.step("a", policy, input, seen.step()).await?;
                let lucky = ctx.random() % 2;
                let (b, c) = futures::join!(
                    ctx.step("b", policy, a + lucky, seen.step()),
                    ctx.wait_for::<u64>("go", "go"),
                );
                drop(ctx.sleep("never", Duration::from_secs(3_600)));
                let d = ctx.step("d", policy, b? + c?, seen.step()).await?;
                Ok::<_, CallError>(d - lucky)
            }
        })
    });
    let (engine, _handle) = world.start().await;
    let source = create(&engine, workflow("mixed", 1)).await;
    parked(&engine, source).await;
    engine.signal(source, "go", json!(10), None).await.unwrap();
    let run = ended(&engine, source).await;
    assert_eq!(run.output, Some(json!(14)));
    let before = (engine.run(source).await.unwrap(), events(&engine, source).await);
    let open = before.1.iter().find(|event| event.kind == "code.finished").unwrap().seq - 1;
    for event in 1..=open {
        let done: Vec<String> = before.1[..event as usize]
            .iter()
            .filter(|event| event.kind == "step.succeeded")
            .map(|event| event.step.clone().unwrap().to_string())
            .collect();
        let already = outside.keys().len();
        let fork = NewFork { event: Some(event), ..NewFork::default() };
        let id = engine.fork(source, fork).await.unwrap().run.id;
        let waits = events(&engine, id).await.iter().all(|event| event.kind != "signal.received");
        if waits {
            engine.signal(id, "go", json!(10), None).await.unwrap();
        }
        let run = ended(&engine, id).await;
        assert_eq!(run.output, Some(json!(14)), "after event {event}: {:?}", run.error);
        let again = outside.keys().split_off(already);
        assert!(again.iter().all(|key| !done.contains(key)), "after event {event}: {again:?}");
        assert_eq!(again.len() + done.iter().filter(|key| key.len() == 1).count(), 3);
    }
    // From its beginning it may get something else; an agent gets no inputs.
    let anew = NewFork { event: Some(1), inputs: Some(json!(5)), ..NewFork::default() };
    let anew = engine.fork(source, anew).await.unwrap().run.id;
    engine.signal(anew, "go", json!(10), None).await.unwrap();
    assert_eq!(ended(&engine, anew).await.output, Some(json!(18)));
    let late = NewFork { event: Some(open + 1), ..NewFork::default() };
    assert_eq!(engine.fork(source, late).await.unwrap_err().kind(), EngineErrorKind::Validation);
    assert_eq!((engine.run(source).await.unwrap(), events(&engine, source).await), before);
}

on_every_store!(what_a_step_captured_is_let_go_with_its_run);
async fn what_a_step_captured_is_let_go_with_its_run() {
    let seen: Arc<Mutex<Option<Weak<()>>>> = Arc::default();
    let shared = Arc::clone(&seen);
    let world = World::new([]).with_code(move |builder| {
        let shared = Arc::clone(&shared);
        builder.workflow("captures", 1, move |ctx: Ctx, (): ()| {
            let captured = Arc::new(());
            *shared.lock().unwrap() = Some(Arc::downgrade(&captured));
            async move {
                let inner = ctx.clone();
                let step = move |(): (), _: StepCx| {
                    let _captured = (&captured, &inner);
                    std::future::pending()
                };
                ctx.step::<_, (), _, _>("held", EffectPolicy::Pure, (), step).await
            }
        })
    });
    let (engine, handle) = world.start().await;
    let id = create(&engine, workflow("captures", Value::Null)).await;
    wait_for(&engine, id, "step.started").await;
    engine.cancel(id, None).await.unwrap();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Canceled);
    handle.shutdown(Duration::from_secs(5)).await;
    let captured = seen.lock().unwrap().take().unwrap();
    assert!(captured.upgrade().is_none(), "the step is still held");
}
