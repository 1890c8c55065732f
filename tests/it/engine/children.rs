//! Runs that runs start. A parent asks for agents by `agent.run`; its model is a function of the
//! goal, so that the calls of a whole family can come in any order.

use std::{sync::Arc, time::Duration};

use agent_runner_core::{
    engine::{AGENT_TOOL, Engine, EngineErrorKind, EngineHandle, NewFork, NewRun},
    id::{RunId, StepKey},
    llm::LlmRequest,
    message::{Part, Role},
    run::{ChildOf, FailureReason, Lineage, ParkReason, Run, RunStatus},
    step::{EffectPolicy, StepStatus},
    store::{Beginning, Ready, RunQuery, Store},
    testing::{Fault, FaultyStore, Gate, LedgerTool, StoreCall},
};
use serde_json::{Value, json};

use super::{
    answering::{Answering, calls, says, tokens},
    fixture::*,
};

pub(super) fn goal(request: &LlmRequest) -> String {
    let goal = request.messages.iter().find(|message| message.role == Role::User).unwrap();
    goal.parts
        .iter()
        .find_map(|part| if let Part::Text { text, .. } = part { Some(text.clone()) } else { None })
        .unwrap()
}

/// What tools said to the model last.
pub(super) fn results(request: &LlmRequest) -> Vec<String> {
    let last = request.messages.iter().rev().find(|message| message.role == Role::Tool);
    let parts = last.into_iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| match part {
            Part::ToolResult { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect()
}

/// Does what its goal says: `ask GOAL; GOAL` hands goals on, `call TOOL` calls a tool, anything else
/// is answered as it is. An agent that has results answers with them.
fn family() -> Answering {
    Answering::new(|request, _| {
        let (goal, results) = (goal(request), results(request));
        let mut wanted = Vec::new();
        if results.is_empty() {
            for part in goal.split("; ") {
                if let Some(goal) = part.strip_prefix("ask ") {
                    let tools = ["agent.run", "ledger"];
                    wanted.push((AGENT_TOOL, json!({"goal": goal, "tools": tools})));
                } else if let Some(tool) = part.strip_prefix("call ") {
                    wanted.push((tool, json!({})));
                }
            }
        }
        Ok(match wanted.as_slice() {
            [] if results.is_empty() => says(&goal, tokens(9, 1)),
            [] => says(&results.join("+"), tokens(9, 1)),
            wanted => {
                let ids: Vec<String> = (0..wanted.len()).map(|n| format!("c{n}")).collect();
                let wanted: Vec<(&str, &str, Value)> = ids
                    .iter()
                    .zip(wanted)
                    .map(|(id, (tool, arguments))| (id.as_str(), *tool, arguments.clone()))
                    .collect();
                calls(&wanted, tokens(9, 1))
            }
        })
    })
}

pub(super) fn parent(goal: &str) -> NewRun {
    NewRun { tools: Some(vec![AGENT_TOOL.into(), "ledger".into()]), ..NewRun::new(goal) }
}

pub(super) struct Family {
    pub(super) world: World,
    pub(super) model: Answering,
    pub(super) tool: LedgerTool,
    /// Holds every call of the tool.
    pub(super) gate: Gate,
}

pub(super) fn a_family() -> Family {
    let (model, gate) = (family(), Gate::new());
    let tool = LedgerTool::new("ledger", EffectPolicy::Idempotent).held_by(gate.clone());
    let mut world = World::new([]).with_provider(model.clone()).with_tool(tool.clone());
    world.options.lease_ttl = Duration::from_millis(300);
    Family { world, model, tool, gate }
}

async fn kill(handle: EngineHandle) {
    drop(handle);
    tokio::task::yield_now().await;
}

pub(super) async fn children(engine: &Engine, parent: RunId) -> Vec<Run> {
    let query = RunQuery { parent_id: Some(parent), ..RunQuery::default() };
    engine.runs(&query).await.unwrap()
}

pub(super) async fn only_child(engine: &Engine, parent: RunId) -> Run {
    let mut all = children(engine, parent).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// Waits until the run is parked for its children.
async fn parked(engine: &Engine, id: RunId) -> Run {
    wait_for(engine, id, "run.parked").await;
    let run = engine.run(id).await.unwrap();
    assert_eq!(run.park.as_ref().unwrap().reason, ParkReason::Child);
    run
}

/// The parent learned of its only child's end once, and did nothing twice.
async fn check_family(engine: &Engine, id: RunId) -> Run {
    let child = only_child(engine, id).await;
    check_journal(engine, child.id).await;
    check_journal(engine, id).await;
    let kinds = kinds(engine, id).await;
    for kind in ["child.started", "child.finished", "tool.completed"] {
        assert_eq!(count(&kinds, kind), 1, "{kind} of {kinds:?}");
    }
    child
}

on_every_store!(a_child_is_a_run_of_its_own_and_its_answer_comes_back);
async fn a_child_is_a_run_of_its_own_and_its_answer_comes_back() {
    let Family { world, gate, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let id = create(&engine, NewRun { priority: 3, ..parent("ask call ledger") }).await;
    // The child works until its parent waits for it.
    parked(&engine, id).await;
    gate.open();
    let run = ended(&engine, id).await;
    let child = check_family(&engine, id).await;
    assert!(child.output.as_ref().is_some_and(|output| output != &json!("")));
    assert_eq!((run.status, run.output), (RunStatus::Completed, child.output.clone()));
    assert_eq!((child.parent_id, child.root_id), (Some(id), id));
    assert_eq!((child.status, child.priority), (RunStatus::Completed, 3));
    assert_eq!(child.spec.goal, "call ledger");
    assert_eq!(
        (child.spec.depth(), child.spec.awaited_by()),
        (1, Some(&StepKey::new("turn.1.tool.1")))
    );
    let kinds = kinds(&engine, id).await;
    let about: Vec<&str> = kinds
        .iter()
        .map(String::as_str)
        .filter(|kind| kind.starts_with("child.") || *kind == "run.parked")
        .collect();
    assert_eq!(about, ["child.started", "run.parked", "child.finished"]);
    assert_eq!(count(&kinds, "run.claimed"), 2, "it was woken once");
}

on_every_store!(several_children_work_at_once_and_one_wakes_its_parent_for_itself);
async fn several_children_work_at_once_and_one_wakes_its_parent_for_itself() {
    let Family { world, gate, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let id = create(&engine, parent("ask one; ask call ledger; ask three")).await;
    gate.wait_for_arrival().await;
    wait_for_n(&engine, id, "tool.completed", 2).await;
    gate.open();
    let run = ended(&engine, id).await;
    let said = run.output.unwrap();
    let said: Vec<&str> = said.as_str().unwrap().split('+').collect();
    assert_eq!((said[0], said[2], said.len()), ("one", "three", 3), "in the order of the calls");
    assert_eq!(children(&engine, id).await.len(), 3);
    assert_eq!(count(&kinds(&engine, id).await, "child.finished"), 3);
}

async fn wait_for_n(engine: &Engine, id: RunId, kind: &str, n: usize) {
    let enough = async {
        while count(&kinds(engine, id).await, kind) < n {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.unwrap_or_else(|_| panic!("no {n} `{kind}`"));
}

on_every_store!(s40_a_child_that_ends_while_its_parents_worker_is_dead_wakes_the_parent_once);
async fn s40_a_child_that_ends_while_its_parents_worker_is_dead_wakes_the_parent_once() {
    let Family { mut world, model, tool, gate } = a_family();
    // The first worker has room for the parent only, and is busy with its other call.
    world.options.concurrency = 1;
    let (engine, first) = world.start().await;
    let id = create(&engine, parent("ask 42; call ledger")).await;
    gate.wait_for_arrival().await;
    kill(first).await;
    let (engine, _second) = world.start().await;
    let child = only_child(&engine, id).await.id;
    assert_eq!(ended(&engine, child).await.status, RunStatus::Completed);
    gate.open();
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    let kinds = kinds(&engine, id).await;
    assert_eq!((count(&kinds, "child.finished"), count(&kinds, "tool.completed")), (1, 2));
    assert_eq!(tool.effects().iter().map(|effect| effect.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(model.requests().iter().filter(|request| goal(request) == "42").count(), 1);
}

on_every_store!(s40_a_parent_that_waits_is_woken_by_a_child_that_outlived_all_workers);
async fn s40_a_parent_that_waits_is_woken_by_a_child_that_outlived_all_workers() {
    let Family { world, gate, .. } = a_family();
    let (engine, first) = world.start().await;
    let id = create(&engine, parent("ask call ledger")).await;
    parked(&engine, id).await;
    gate.wait_for_arrival().await;
    kill(first).await;
    gate.open();
    let (engine, _second) = world.start().await;
    assert_eq!(ended(&engine, id).await.status, RunStatus::Completed);
    check_family(&engine, id).await;
    assert_eq!(count(&kinds(&engine, id).await, "run.claimed"), 2, "it was woken once");
}

on_every_store!(s48_whichever_write_their_worker_dies_at_the_parent_wakes_once);
async fn s48_whichever_write_their_worker_dies_at_the_parent_wakes_once() {
    for place in [Fault::BeforeCommit, Fault::AfterCommit] {
        for n in 1.. {
            let Family { mut world, .. } = a_family();
            world.options.lease_ttl = Duration::from_millis(150);
            let plain = world.engine().await;
            let id = create(&plain, parent("ask 42")).await;
            let writes = [StoreCall::Append, StoreCall::Claim];
            let faulty = Arc::new(FaultyStore::new(world.store().await).counting(&writes));
            let write = faulty.pause_nth(n, place);
            world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
            let (engine, handle) = world.start().await;
            tokio::select! {
                biased;
                () = write.reached() => {}
                run = ended(&engine, id) => {
                    assert_eq!(run.status, RunStatus::Completed);
                    assert!(n > 6, "a family has more writes");
                    break;
                }
            }
            kill(handle).await;
            drop(write);
            world.replace_store(Arc::clone(plain.store()));
            let (engine, _second) = world.start().await;
            let run = ended(&engine, id).await;
            assert_eq!(run.output, Some(json!("42")), "{place:?} {n}");
            check_family(&engine, id).await;
        }
    }
}

on_every_store!(s24_a_family_is_not_disturbed_by_answers_that_are_lost);
async fn s24_a_family_is_not_disturbed_by_answers_that_are_lost() {
    for fault in [Fault::BeforeCommit, Fault::AfterCommit] {
        for n in 1.. {
            let Family { mut world, .. } = a_family();
            world.options.lease_ttl = Duration::from_secs(10);
            let id = create(&world.engine().await, parent("ask 42")).await;
            let faulty = FaultyStore::new(world.store().await).counting(&[StoreCall::Append]);
            let faulty = Arc::new(faulty);
            faulty.fail_nth(n, fault);
            world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
            let (engine, _handle) = world.start().await;
            assert_eq!(ended(&engine, id).await.output, Some(json!("42")), "{fault:?} {n}");
            check_family(&engine, id).await;
            if faulty.calls() < n {
                break;
            }
        }
    }
}

/// A parent, its child and its grandchild, which calls a tool that is held.
async fn three_levels(engine: &Engine, gate: &Gate) -> [RunId; 3] {
    let id = create(engine, parent("ask ask call ledger")).await;
    gate.wait_for_arrival().await;
    parked(engine, id).await;
    let child = only_child(engine, id).await.id;
    parked(engine, child).await;
    [id, child, only_child(engine, child).await.id]
}

async fn all_canceled(engine: &Engine, family: [RunId; 3]) {
    for (level, id) in family.into_iter().enumerate() {
        assert_eq!(ended(engine, id).await.status, RunStatus::Canceled, "level {level}");
        let kinds = kinds(engine, id).await;
        assert_eq!(count(&kinds, "run.cancel_requested"), 1, "level {level}: {kinds:?}");
    }
}

on_every_store!(s15_a_cancellation_reaches_every_level);
async fn s15_a_cancellation_reaches_every_level() {
    let Family { world, gate, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let family = three_levels(&engine, &gate).await;
    engine.cancel(family[0], Some("enough".into())).await.unwrap();
    all_canceled(&engine, family).await;
    let child = engine.run(family[1]).await.unwrap();
    assert!(child.cancel_reason.unwrap().contains(&family[0].to_string()));
}

on_every_store!(s15_a_cancellation_reaches_a_family_whose_workers_are_dead);
async fn s15_a_cancellation_reaches_a_family_whose_workers_are_dead() {
    let Family { world, gate, .. } = a_family();
    let (engine, handle) = world.start().await;
    let family = three_levels(&engine, &gate).await;
    kill(handle).await;
    let engine = world.engine().await;
    engine.cancel(family[0], None).await.unwrap();
    let _handle = engine.start();
    all_canceled(&engine, family).await;
}

on_every_store!(s15_a_cancellation_that_breaks_off_is_finished_by_the_sweep);
async fn s15_a_cancellation_that_breaks_off_is_finished_by_the_sweep() {
    for place in [Fault::BeforeCommit, Fault::AfterCommit] {
        let Family { mut world, gate, .. } = a_family();
        let (engine, handle) = world.start().await;
        let family = three_levels(&engine, &gate).await;
        kill(handle).await;
        let plain = world.store().await;
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&plain)).counting(&[StoreCall::Append]));
        // The first write ends the parent, the second one its child.
        let second = faulty.pause_nth(2, place);
        world.replace_store(faulty);
        let dying = world.engine().await;
        tokio::select! {
            biased;
            () = second.reached() => {}
            canceled = dying.cancel(family[0], None) => panic!("it had a second write: {canceled:?}"),
        }
        world.replace_store(plain);
        let (engine, _handle) = world.start().await;
        all_canceled(&engine, family).await;
    }
}

on_every_store!(s15_a_detached_child_survives_its_parent);
async fn s15_a_detached_child_survives_its_parent() {
    let Family { world, gate, .. } = a_family();
    let engine = world.engine().await;
    let id = create(&engine, NewRun::new("never starts")).await;
    let mut family = Vec::new();
    for detached in [true, false] {
        let other = create(&engine, NewRun::new("a child")).await;
        let mut run = engine.run(other).await.unwrap();
        run.id = RunId::from_uuid(engine.ids().next());
        (run.parent_id, run.root_id, run.last_seq) = (Some(id), id, 0);
        let mut lineage = Lineage::default();
        lineage.depth = 1;
        lineage.child_of = Some(ChildOf { step: StepKey::new("spawn"), detached });
        run.spec.lineage = Some(Box::new(lineage));
        let queued =
            agent_runner_core::event::EventBody::RunQueued { spec: Box::new(run.spec.clone()) };
        let first = vec![queued.to_new(run.created_at)];
        let ready = Ready::At(run.created_at);
        let run = engine.store().create(run, Beginning::new(first, ready)).await.unwrap().run;
        family.push(run.id);
    }
    engine.cancel(id, None).await.unwrap();
    let attached = engine.run(family[1]).await.unwrap();
    assert_eq!(attached.status, RunStatus::Canceled, "it ends with its parent, at once");
    let refused = engine.delete_run(id).await.unwrap_err();
    assert_eq!(refused.kind(), EngineErrorKind::Conflict);
    assert!(refused.to_string().contains(&family[0].to_string()), "{refused}");
    gate.open();
    let _handle = engine.start();
    assert_eq!(ended(&engine, family[0]).await.output, Some(json!("a child")));
    engine.delete_run(id).await.unwrap();
}

on_every_store!(s52_a_cancellation_that_meets_the_childs_end_ends_both_once);
async fn s52_a_cancellation_that_meets_the_childs_end_ends_both_once() {
    // Whichever write of the child is held while its parent is canceled.
    for n in 1.. {
        let Family { mut world, .. } = a_family();
        let plain = world.engine().await;
        let id = create(&plain, parent("ask 42")).await;
        let faulty = Arc::new(FaultyStore::new(world.store().await).counting(&[StoreCall::Append]));
        let write = faulty.pause_nth(n, Fault::BeforeCommit);
        world.replace_store(Arc::clone(&faulty) as Arc<dyn Store>);
        let (engine, _handle) = world.start().await;
        tokio::select! {
            biased;
            () = write.reached() => {}
            run = ended(&engine, id) => {
                assert_eq!(run.status, RunStatus::Completed);
                assert!(n > 4, "a family has more writes");
                break;
            }
        }
        plain.cancel(id, None).await.unwrap();
        write.release();
        assert_eq!(ended(&engine, id).await.status, RunStatus::Canceled, "{n}");
        for child in children(&engine, id).await {
            let child = ended(&engine, child.id).await;
            let completed = kinds(&engine, id).await.contains(&"child.finished".to_owned());
            assert!(completed || child.status == RunStatus::Canceled, "{n}: {child:#?}");
        }
    }
}

on_every_store!(a_parent_whose_time_is_up_takes_its_children_along);
async fn a_parent_whose_time_is_up_takes_its_children_along() {
    let Family { world, gate, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let timeout = Some(Duration::from_millis(400));
    let id = create(&engine, NewRun { timeout, ..parent("ask call ledger") }).await;
    gate.wait_for_arrival().await;
    let child = only_child(&engine, id).await;
    let deadline = engine.run(id).await.unwrap().deadline_at;
    assert_eq!(child.deadline_at, deadline, "a child has no more time than its parent");
    let run = ended(&engine, id).await;
    assert_eq!(run.error.unwrap().reason, FailureReason::Deadline);
    let child = ended(&engine, child.id).await;
    assert!(matches!(child.status, RunStatus::Failed | RunStatus::Canceled));
}

on_every_store!(a_fork_keeps_what_children_said_and_begins_open_ones_anew);
async fn a_fork_keeps_what_children_said_and_begins_open_ones_anew() {
    let Family { world, model, gate, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let id = create(&engine, parent("ask 42; ask call ledger")).await;
    wait_for(&engine, id, "tool.completed").await;
    gate.wait_for_arrival().await;
    let fork = engine.fork(id, NewFork::default()).await.unwrap().run;
    assert_eq!((fork.parent_id, fork.root_id), (None, fork.id));
    gate.open();
    for run in [id, fork.id] {
        assert_eq!(ended(&engine, run).await.status, RunStatus::Completed);
    }
    let again = only_child(&engine, fork.id).await;
    assert_eq!(again.spec.goal, "call ledger");
    assert_eq!(model.requests().iter().filter(|request| goal(request) == "42").count(), 1);
    let child = children(&engine, id).await.into_iter().find(|run| run.spec.goal == "42").unwrap();
    let alone =
        engine.fork(child.id, NewFork { event: Some(1), ..NewFork::default() }).await.unwrap();
    let alone = ended(&engine, alone.run.id).await;
    assert_eq!((alone.status, alone.spec.depth()), (RunStatus::Completed, 1));
    assert_eq!((alone.parent_id, alone.spec.awaited_by()), (None, None), "a fork is no child");
    let step = engine.step(id, &StepKey::new("turn.1.tool.2")).await.unwrap();
    assert_eq!(step.step.status, StepStatus::Succeeded);
}
