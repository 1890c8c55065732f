//! Code that changed while its runs were under way, and code that breaks the rules.

use std::time::Duration;

use agent_runner_core::{
    code::{CallError, Ctx, StepCx, StepFailure},
    engine::{Engine, EngineBuilder, NewRun},
    id::RunId,
    run::{ParkReason, Run},
    step::EffectPolicy,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{code::Outside, fixture::*};

type Body = fn(Ctx, Outside) -> BoxFuture<'static, Result<Value, CallError>>;

/// The workflow `order` with this body.
fn order(outside: &Outside, body: Body) -> impl Fn(EngineBuilder) -> EngineBuilder + use<> {
    let outside = outside.clone();
    move |builder| {
        let outside = outside.clone();
        builder.workflow("order", 1, move |ctx: Ctx, (): ()| body(ctx, outside.clone()))
    }
}

/// Waits until the run has parked so many times.
async fn parked(engine: &Engine, id: RunId, times: usize) -> Run {
    wait_for_nth(engine, id, "run.parked", times).await;
    engine.run(id).await.unwrap()
}

fn differs(run: &Run) -> (ParkReason, String, String) {
    let park = run.park.clone().unwrap();
    let text = |field: &str| park.waiting_on[field].as_str().unwrap_or_default().to_owned();
    (park.reason, text("journal"), text("code"))
}

const ONCE: EffectPolicy = EffectPolicy::AtMostOnce;

fn original(ctx: Ctx, outside: Outside) -> BoxFuture<'static, Result<Value, CallError>> {
    Box::pin(async move {
        let a = ctx.step("a", ONCE, 1, outside.step()).await?;
        let b = ctx.step("b", ONCE, a, outside.step()).await?;
        let () = ctx.wait_for("go", "go").await?;
        Ok(json!(ctx.step("c", ONCE, b, outside.step()).await?))
    })
}

/// Changes of the code, what the journal says, and what the code says.
fn changes() -> Vec<(Body, &'static str, &'static str)> {
    let other_key: Body = |ctx, outside| {
        Box::pin(async move { Ok(json!(ctx.step("first", ONCE, 1, outside.step()).await?)) })
    };
    let other_input: Body = |ctx, outside| {
        Box::pin(async move {
            ctx.step("a", ONCE, 1, outside.step()).await?;
            Ok(json!(ctx.step("b", ONCE, 7, outside.step()).await?))
        })
    };
    let other_order: Body = |ctx, outside| {
        Box::pin(async move {
            let b = ctx.step("b", ONCE, 1, outside.step()).await?;
            Ok(json!(ctx.step("a", ONCE, b, outside.step()).await?))
        })
    };
    let other_kind: Body = |ctx, outside| {
        Box::pin(async move {
            let a = ctx.step("a", ONCE, 1, outside.step()).await?;
            ctx.tool("b", "b", a).await
        })
    };
    let other_policy: Body = |ctx, outside| {
        Box::pin(
            async move { Ok(json!(ctx.step("a", EffectPolicy::Pure, 1, outside.step()).await?)) },
        )
    };
    let an_end: Body = |ctx, outside| {
        Box::pin(async move { Ok(json!(ctx.step("a", ONCE, 1, outside.step()).await?)) })
    };
    let nothing: Body = |ctx, outside| {
        Box::pin(async move {
            let a = ctx.step("a", ONCE, 1, outside.step());
            let b = futures::future::pending::<()>();
            futures::join!(a, b).0.map(|a| json!(a))
        })
    };
    let more: Body = |ctx, outside| {
        Box::pin(async move {
            let _ = ctx.now();
            Ok(json!(ctx.step("a", ONCE, 1, outside.step()).await?))
        })
    };
    vec![
        (other_key, "step `a`: function `a` (at_most_once) with 1", "step `first`"),
        (other_input, "step `b`: function `b` (at_most_once) with 2", "with 7"),
        (other_order, "step `a`", "step `b`"),
        (other_kind, "step `b`: function", "step `b`: tool `b` with 2"),
        (other_policy, "(at_most_once)", "(pure)"),
        (an_end, "step `b`", "the end, with 2"),
        (nothing, "step `b`", "nothing more"),
        (more, "step `a`", "now()"),
    ]
}

on_every_store!(s29_changed_code_parks_with_a_difference_and_the_old_code_resumes);
async fn s29_changed_code_parks_with_a_difference_and_the_old_code_resumes() {
    for (changed, journal, code) in changes() {
        let outside = Outside::default();
        let mut world = World::new([]).with_code(order(&outside, original));
        let (engine, handle) = world.start().await;
        let id = create(&engine, NewRun::workflow("order", Value::Null)).await;
        parked(&engine, id, 1).await;
        handle.shutdown(Duration::from_secs(5)).await;

        world.change_code(order(&outside, changed));
        let (engine, handle) = world.start().await;
        engine.signal(id, "go", Value::Null, None).await.unwrap();
        let run = parked(&engine, id, 2).await;
        let (reason, told, now) = differs(&run);
        assert_eq!(reason, ParkReason::Nondet);
        assert!(told.contains(journal), "{told} is not {journal}");
        assert!(now.contains(code), "{now} is not {code}");
        // The event says it too, and so does a replay.
        let parks = events(&engine, id).await;
        let park = parks.iter().rfind(|event| event.kind == "run.parked").unwrap();
        assert_eq!(park.payload["differs"]["journal"], told);
        let replayed = engine.replay(id).await.unwrap().differs.unwrap();
        assert_eq!(replayed.journal, told);
        assert!(replayed.machine.contains(code), "{replayed}");
        // Asking again does not help as long as the code is what it is.
        engine.resume(id).await.unwrap();
        parked(&engine, id, 3).await;
        handle.shutdown(Duration::from_secs(5)).await;
        assert_eq!(outside.keys(), ["a", "b"], "nothing was done meanwhile");

        // The old code is back: the run goes on by itself.
        world.change_code(order(&outside, original));
        let (engine, _handle) = world.start().await;
        assert_eq!(ended(&engine, id).await.output, Some(json!(4)));
        assert_eq!(outside.keys(), ["a", "b", "c"]);
    }
}

fn patched(ctx: Ctx, outside: Outside) -> BoxFuture<'static, Result<Value, CallError>> {
    Box::pin(async move {
        let a = ctx.step("a", ONCE, 1, outside.step()).await?;
        let b = if ctx.patched("tax") {
            let taxed = ctx.step("tax", ONCE, a * 10, outside.step()).await?;
            ctx.step("b", ONCE, taxed, outside.step()).await?
        } else {
            ctx.step("b", ONCE, a, outside.step()).await?
        };
        let () = ctx.wait_for("go", "go").await?;
        Ok(json!(ctx.step("c", ONCE, b, outside.step()).await?))
    })
}

/// The patch when no run from before it is left.
fn settled(ctx: Ctx, outside: Outside) -> BoxFuture<'static, Result<Value, CallError>> {
    Box::pin(async move {
        let a = ctx.step("a", ONCE, 1, outside.step()).await?;
        let taxed = ctx.step("tax", ONCE, a * 10, outside.step()).await?;
        let b = ctx.step("b", ONCE, taxed, outside.step()).await?;
        let () = ctx.wait_for("go", "go").await?;
        Ok(json!(ctx.step("c", ONCE, b, outside.step()).await?))
    })
}

on_every_store!(s30_a_patch_lets_old_and_new_runs_end_with_one_program);
async fn s30_a_patch_lets_old_and_new_runs_end_with_one_program() {
    let outside = Outside::default();
    let mut world = World::new([]).with_code(order(&outside, original));
    let (engine, handle) = world.start().await;
    let old = create(&engine, NewRun::workflow("order", Value::Null)).await;
    parked(&engine, old, 1).await;
    handle.shutdown(Duration::from_secs(5)).await;

    world.change_code(order(&outside, patched));
    let (engine, handle) = world.start().await;
    let new = create(&engine, NewRun::workflow("order", Value::Null)).await;
    let newer = create(&engine, NewRun::workflow("order", Value::Null)).await;
    parked(&engine, new, 1).await;
    parked(&engine, newer, 1).await;
    engine.signal(old, "go", Value::Null, None).await.unwrap();
    engine.signal(new, "go", Value::Null, None).await.unwrap();
    assert_eq!(ended(&engine, old).await.output, Some(json!(4)));
    assert_eq!(ended(&engine, new).await.output, Some(json!(23)));
    handle.shutdown(Duration::from_secs(5)).await;

    // The marks that runs have of a patch do no harm when it is not asked for any more.
    world.change_code(order(&outside, settled));
    let (engine, _handle) = world.start().await;
    engine.signal(newer, "go", Value::Null, None).await.unwrap();
    assert_eq!(ended(&engine, newer).await.output, Some(json!(23)));
    assert_eq!(engine.replay(new).await.unwrap().differs, None);
    assert!(engine.replay(old).await.unwrap().differs.is_some(), "it went the old path");
}

on_every_store!(a_program_without_the_workflow_parks_and_one_with_it_goes_on);
async fn a_program_without_the_workflow_parks_and_one_with_it_goes_on() {
    let outside = Outside::default();
    let mut world = World::new([]).with_code(order(&outside, original));
    let id = create(&world.engine().await, NewRun::workflow("order", Value::Null)).await;
    world.change_code(|builder| {
        builder.workflow("order", 2, |_: Ctx, (): ()| async { Ok::<_, CallError>(0) })
    });
    let (engine, handle) = world.start().await;
    let run = parked(&engine, id, 1).await;
    let (reason, journal, code) = differs(&run);
    assert_eq!(reason, ParkReason::Nondet);
    assert_eq!(journal, "workflow `order` version 1");
    assert_eq!(code, "this program has `order` version 2");
    handle.shutdown(Duration::from_secs(5)).await;
    world.change_code(order(&outside, original));
    let (engine, _handle) = world.start().await;
    engine.signal(id, "go", Value::Null, None).await.unwrap();
    assert_eq!(ended(&engine, id).await.output, Some(json!(4)));
}

on_every_store!(code_that_waits_for_something_else_than_its_calls_parks);
async fn code_that_waits_for_something_else_than_its_calls_parks() {
    let sleeps: Body = |_, _| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Value::Null)
        })
    };
    let woken: Body = |ctx, _| {
        Box::pin(async move {
            let signal = ctx.wait_for::<()>("go", "go");
            let timer = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
            let step = |(): (), _: StepCx| async {
                std::future::pending::<()>().await;
                Ok(())
            };
            // Something of its own keeps the run with its worker.
            let step = ctx.step("held", EffectPolicy::Pure, (), step);
            futures::future::select(futures::future::join(signal, step), timer).await;
            Ok(Value::Null)
        })
    };
    let spawns: Body = |ctx, _| {
        Box::pin(async move {
            let shared = ctx.clone();
            let step = move |(): (), _: StepCx| {
                let ctx = shared.clone();
                async move {
                    let (): () = ctx.wait_for("inner", "go").await.map_err(StepFailure::from)?;
                    Ok(())
                }
            };
            ctx.step("outer", EffectPolicy::Pure, (), step).await?;
            Ok(Value::Null)
        })
    };
    for (body, said) in [
        (sleeps, "waits for something else"),
        (woken, "waits for something else"),
        (spawns, "used it outside of itself"),
    ] {
        let world = World::new([]).with_code(order(&Outside::default(), body));
        let (engine, _handle) = world.start().await;
        let id = create(&engine, NewRun::workflow("order", Value::Null)).await;
        let run = parked(&engine, id, 1).await;
        let (reason, _, code) = differs(&run);
        assert_eq!(reason, ParkReason::Nondet);
        assert!(code.contains(said), "{code}");
        let advice = run.park.unwrap().waiting_on["advice"].to_string();
        assert!(advice.contains("ctx.step") || advice.contains("within a step"), "{advice}");
    }
}

#[tokio::test]
async fn a_run_that_is_parked_for_its_code_can_be_canceled() {
    use_store(StoreKind::InMemory);
    let world = World::new([])
        .with_code(order(&Outside::default(), |_, _| Box::pin(futures::future::pending())));
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun::workflow("order", Value::Null)).await;
    parked(&engine, id, 1).await;
    engine.cancel(id, None).await.unwrap();
    let run = engine.join(id, PATIENCE).await.unwrap();
    assert!(run.status.is_terminal() && run.park.is_none());
}
