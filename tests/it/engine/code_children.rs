//! Runs that code starts: agents, and other workflows.

use std::time::Duration;

use agent_runner_core::{
    code::{AgentTask, CallError, CallErrorKind, Ctx},
    engine::{Engine, NewFork, NewRun},
    id::RunId,
    run::{FailureReason, ParkReason, Run, RunStatus},
    step::StepKind,
    store::RunQuery,
    testing::{Gate, Turn},
};
use serde_json::{Value, json};

use super::{code::kill, fixture::*};

fn run(name: &str) -> NewRun {
    NewRun::workflow(name, Value::Null)
}

async fn children(engine: &Engine, id: RunId) -> Vec<Run> {
    let query = RunQuery { parent_id: Some(id), ..RunQuery::default() };
    let mut children = engine.runs(&query).await.unwrap();
    children.reverse();
    children
}

/// An agent and a workflow side by side, which both wait for something.
fn family(gate: &Gate) -> World {
    let held = Turn::Held("4".into(), gate.clone(), Box::new(Turn::text("2")));
    World::new([held]).with_code(|builder| {
        builder
            .workflow("parent", 1, |ctx: Ctx, (): ()| async move {
                let task = AgentTask::new("think").with_instructions("hard").with_max_steps(3);
                let thought = ctx.agent::<String>("think", task);
                let double = ctx.child::<u64>("double", "double", 21);
                let (thought, double) = futures::join!(thought, double);
                Ok::<_, CallError>((thought?, double?))
            })
            .workflow("double", 1, |_: Ctx, _: u64| async { Ok::<_, CallError>(0) })
            .workflow("double", 2, |ctx: Ctx, n: u64| async move {
                let () = ctx.wait_for("go", "go").await?;
                Ok::<_, CallError>(n * 2)
            })
    })
}

on_every_store!(agents_and_workflows_are_runs_of_their_own_and_one_each);
async fn agents_and_workflows_are_runs_of_their_own_and_one_each() {
    let gate = Gate::new();
    let mut world = family(&gate);
    world.options.lease_ttl = Duration::from_millis(300);
    let (engine, handle) = world.start().await;
    let id = create(&engine, run("parent")).await;
    wait_for(&engine, id, "run.parked").await;
    let parked = engine.run(id).await.unwrap();
    assert_eq!(parked.park.unwrap().reason, ParkReason::Child);
    assert!(parked.owner.is_none(), "it holds no worker");
    gate.wait_for_arrival().await;
    let started = children(&engine, id).await;
    let [agent, workflow] = started.as_slice() else { panic!("{started:#?}") };
    assert_eq!((agent.spec.goal.as_str(), agent.spec.agent.max_steps), ("think", 3));
    assert_eq!(agent.spec.agent.instructions, "hard");
    assert_eq!(workflow.spec.workflow.as_ref().unwrap().version, 2);
    wait_for(&engine, workflow.id, "run.parked").await;
    kill(handle).await;
    gate.open();
    world.options.lease_ttl = Duration::from_secs(5);
    let (engine, _handle) = world.start().await;
    engine.signal(workflow.id, "go", Value::Null, None).await.unwrap();
    let ended_run = ended(&engine, id).await;
    assert_eq!(ended_run.output, Some(json!(["42", 42])), "{:?}", ended_run.error);
    assert_eq!(children(&engine, id).await.len(), 2, "one run for each call");
    for child in [agent, workflow] {
        ended(&engine, child.id).await;
    }
    let steps = engine.steps(id).await.unwrap();
    assert!(steps.iter().all(|step| step.kind == StepKind::Child));

    // A fork keeps what finished children said and starts the others anew.
    let events = events(&engine, id).await;
    let ends: Vec<u64> = events
        .iter()
        .filter(|event| event.kind == "step.succeeded")
        .map(|event| event.seq)
        .collect();
    for (event, anew) in [(ends[0], 1), (2, 2)] {
        let fork = NewFork { event: Some(event), ..NewFork::default() };
        let fork = engine.fork(id, fork).await.unwrap().run.id;
        wait_for(&engine, fork, "child.started").await;
        if anew == 2 {
            wait_for_nth(&engine, fork, "child.started", 2).await;
        }
        for child in children(&engine, fork).await {
            if child.spec.workflow.is_some() {
                engine.signal(child.id, "go", Value::Null, None).await.unwrap();
            }
        }
        assert_eq!(ended(&engine, fork).await.output, Some(json!(["42", 42])));
        assert_eq!(children(&engine, fork).await.len(), anew);
    }
}

on_every_store!(code_is_told_what_became_of_its_runs);
async fn code_is_told_what_became_of_its_runs() {
    let world = World::new([]).with_code(|builder| {
        builder
            .workflow("parent", 1, |ctx: Ctx, name: String| async move {
                let error = ctx.child::<u64>("child", &name, 1).await.unwrap_err();
                Ok::<_, CallError>((error.kind(), error.to_string()))
            })
            .workflow("fails", 1, |_: Ctx, _: u64| async { Err::<u64, _>("no luck") })
            .workflow("waits", 1, |ctx: Ctx, _: u64| async move {
                ctx.wait_for::<u64>("go", "go").await
            })
    });
    let (engine, _handle) = world.start().await;
    for (name, kind, said) in [
        ("fails", CallErrorKind::Failed, "The workflow failed: no luck"),
        ("waits", CallErrorKind::Canceled, "is CANCELED"),
        ("absent", CallErrorKind::Failed, "/workflow there is none of that name"),
    ] {
        let id = create(&engine, NewRun::workflow("parent", name)).await;
        if kind == CallErrorKind::Canceled {
            wait_for(&engine, id, "run.parked").await;
            let child = children(&engine, id).await.remove(0);
            engine.cancel(child.id, None).await.unwrap();
        }
        let output = ended(&engine, id).await.output.unwrap();
        assert_eq!(output[0], json!(kind));
        assert!(output[1].as_str().unwrap().contains(said), "{output}");
    }
}

on_every_store!(s15_who_ends_or_wants_it_no_more_takes_its_runs_along);
async fn s15_who_ends_or_wants_it_no_more_takes_its_runs_along() {
    let world = World::new([]).with_code(|builder| {
        builder
            .workflow("parent", 1, |ctx: Ctx, (): ()| async move {
                let child = ctx.child::<u64>("child", "waits", ());
                let stop = ctx.wait_for::<u64>("stop", "stop");
                match futures::future::select(stop, child).await {
                    futures::future::Either::Left((stop, child)) => {
                        drop(child);
                        ctx.sleep("after", Duration::from_millis(1)).await?;
                        stop
                    }
                    futures::future::Either::Right((child, _)) => child,
                }
            })
            .workflow("waits", 1, |ctx: Ctx, (): ()| async move {
                ctx.wait_for::<u64>("go", "go").await
            })
    });
    let (engine, _handle) = world.start().await;
    // The run is canceled.
    let canceled = create(&engine, run("parent")).await;
    wait_for(&engine, canceled, "run.parked").await;
    engine.cancel(canceled, None).await.unwrap();
    // The code drops its call.
    let dropping = create(&engine, run("parent")).await;
    wait_for(&engine, dropping, "child.started").await;
    engine.signal(dropping, "stop", json!(3), None).await.unwrap();
    assert_eq!(ended(&engine, dropping).await.output, Some(json!(3)));
    for parent in [canceled, dropping] {
        let child = children(&engine, parent).await.remove(0).id;
        assert_eq!(ended(&engine, child).await.status, RunStatus::Canceled);
    }
    assert_eq!(ended(&engine, canceled).await.status, RunStatus::Canceled);
    assert_eq!(count(&kinds(&engine, dropping).await, "code.dropped"), 1);
}

on_every_store!(an_agent_that_gives_up_is_an_error_of_the_code);
async fn an_agent_that_gives_up_is_an_error_of_the_code() {
    let world = World::new([Turn::tool("none", json!({}))]).with_code(|builder| {
        builder.workflow("parent", 1, |ctx: Ctx, (): ()| async move {
            ctx.agent::<String>("think", AgentTask::new("think").with_max_steps(1)).await
        })
    });
    let (engine, _handle) = world.start().await;
    let id = create(&engine, run("parent")).await;
    let error = ended(&engine, id).await.error.unwrap();
    assert_eq!(error.reason, FailureReason::Workflow);
    assert!(error.message.starts_with("The agent failed: "), "{}", error.message);
}
