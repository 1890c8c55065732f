//! What a family of runs shares, what a child never has, and how a family is shown.

use agent_runner_core::{
    budget::Budget,
    engine::{AGENT_TOOL, NewFork, NewRun},
    id::RunId,
    limits,
    message::Role,
    policy::ToolPolicy,
    run::{FailureReason, Run, RunStatus},
    step::EffectPolicy,
    store::{Beginning, Ready},
    testing::LedgerTool,
};
use serde_json::{Value, json};

use super::{
    answering::{Answering, calls, says, tokens},
    approvals::page,
    children::{Family, a_family, children, goal, only_child, parent, results},
    fixture::*,
};

on_every_store!(a_family_stays_within_the_budget_of_its_tree);
async fn a_family_stays_within_the_budget_of_its_tree() {
    // The parent asks twice, its child once.
    for (requests, expected) in [(3, Ok("42")), (2, Err("parent")), (1, Err("child"))] {
        let Family { world, model, .. } = a_family();
        let (engine, _handle) = world.start().await;
        let tree_budget = Some(Budget { requests: Some(requests), ..Budget::default() });
        let id = create(&engine, NewRun { tree_budget, ..parent("ask 42") }).await;
        let run = ended(&engine, id).await;
        let child = only_child(&engine, id).await;
        assert_eq!(u64::try_from(model.requests().len()).unwrap(), requests);
        match expected {
            Ok(output) => assert_eq!(run.output, Some(json!(output))),
            Err("child") => {
                assert_eq!(child.error.unwrap().reason, FailureReason::Budget);
                assert_eq!(run.error.unwrap().reason, FailureReason::Budget);
            }
            Err(_) => {
                assert_eq!(child.status, RunStatus::Completed);
                assert_eq!(run.error.unwrap().reason, FailureReason::Budget);
            }
        }
    }
}

on_every_store!(a_chain_of_agents_comes_to_an_end);
async fn a_chain_of_agents_comes_to_an_end() {
    let Family { world, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let id = create(&engine, parent(&format!("{}end", "ask ".repeat(9)))).await;
    let run = ended(&engine, id).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert!(run.output.unwrap().as_str().unwrap().contains("starts no runs"));
    let (mut deepest, mut depth) = (id, 0);
    while let Some(child) = children(&engine, deepest).await.into_iter().next() {
        (deepest, depth) = (child.id, depth + 1);
        assert_eq!((child.spec.depth(), child.root_id), (depth, id));
    }
    assert_eq!(depth, limits::CHILD_DEPTH_MAX);
}

/// A parent whose only call of `agent.run` has these arguments; what its model is told, and the child.
async fn told(arguments: Value) -> (String, Option<Run>) {
    let model = Answering::new(move |request, _| {
        Ok(match results(request) {
            _ if goal(request) != "parent" => says("done", tokens(1, 1)),
            said if !said.is_empty() => says(&said.join("+"), tokens(1, 1)),
            _ => calls(&[("c", AGENT_TOOL, arguments.clone())], tokens(1, 1)),
        })
    });
    let others = ["post", "ledger"].map(|name| LedgerTool::new(name, EffectPolicy::Pure));
    let [post, ledger] = others;
    let world = World::new([]).with_provider(model).with_tool(post).with_tool(ledger);
    let (engine, _handle) = world.start().await;
    let new = NewRun { instructions: Some("Be kind.".into()), ..parent("parent") };
    let id = create(&engine, new).await;
    let run = ended(&engine, id).await;
    let said = run.output.unwrap().as_str().unwrap().to_owned();
    (said, children(&engine, id).await.into_iter().next())
}

#[tokio::test]
async fn a_child_never_has_more_tools_than_its_parent() {
    let (said, child) = told(json!({"goal": "x", "tools": ["post"]})).await;
    assert!(said.contains("the parent has no tool `post`") && child.is_none(), "{said}");
    let (_, child) = told(json!({"goal": "x", "tools": ["*"]})).await;
    assert_eq!(child.unwrap().spec.agent.tools, ["agent.run", "ledger"]);
    let (_, child) = told(json!({"goal": "x"})).await;
    assert_eq!(child.unwrap().spec.agent.tools, ["ledger"], "it hands nothing on unless asked to");
}

#[tokio::test]
async fn an_agent_chooses_model_and_rules_of_its_child() {
    let (said, child) = told(json!({"goal": "x", "model": "nobody/7"})).await;
    assert!(said.contains("there is no provider `nobody`") && child.is_none(), "{said}");
    let (said, child) =
        told(json!({"goal": "x", "model": "answering/b", "instructions": "Be brief."})).await;
    let agent = child.unwrap().spec.agent;
    assert_eq!((said.as_str(), agent.model.to_string().as_str()), ("done", "answering/b"));
    assert_eq!(agent.instructions, "Be kind.\n\nBe brief.");
}

on_every_store!(a_family_is_shown_level_by_level_with_what_each_branch_used);
async fn a_family_is_shown_level_by_level_with_what_each_branch_used() {
    let Family { world, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let id = create(&engine, parent("ask ask 1; ask 2")).await;
    ended(&engine, id).await;
    let family = engine.family(id).await.unwrap();
    assert!(family.complete);
    let seen: Vec<(&str, u32, u64)> = family
        .members
        .iter()
        .map(|member| (member.run.spec.goal.as_str(), member.level, member.spend.requests))
        .collect();
    // An agent that hands something on asks its model twice, the others once.
    assert_eq!(seen, [("ask ask 1; ask 2", 0, 6), ("ask 1", 1, 3), ("2", 1, 1), ("1", 2, 1)]);
    assert_eq!(family.members[0].usage.total(), Some(60));
    let branch = engine.family(family.members[1].run.id).await.unwrap();
    let levels: Vec<u32> = branch.members.iter().map(|member| member.level).collect();
    assert_eq!((levels, branch.members[0].spend.requests), (vec![0, 1], 3));
}

#[tokio::test]
async fn what_a_policy_denies_a_run_it_denies_those_that_descend_from_it() {
    let Family { world, tool, gate, .. } = a_family();
    gate.open();
    let (engine, _handle) = world.start().await;
    let mut policy = ToolPolicy::default();
    policy.deny = vec!["ledger".to_owned()];
    let new = NewRun { tool_policy: Some(policy), ..parent("ask ask call ledger") };
    let id = create(&engine, new).await;
    ended(&engine, id).await;
    let family = engine.family(id).await.unwrap();
    let last = family.members.last().unwrap();
    assert_eq!((last.level, last.run.status), (2, RunStatus::Completed));
    assert!(last.run.output.as_ref().unwrap().to_string().contains("ledger"), "{last:?}");
    assert!(tool.effects().is_empty());
    let fork = engine.fork(last.run.id, NewFork { event: Some(1), ..NewFork::default() }).await;
    ended(&engine, fork.unwrap().run.id).await;
    assert!(tool.effects().is_empty(), "a fork of a descendant is held to it too");
}

#[tokio::test]
async fn what_strangers_wrote_stays_marked_on_its_way_through_a_family() {
    // The parent reads a stranger's words and asks an agent; what that one says is marked, too.
    let model = Answering::new(|request, _| {
        let read = request.messages.iter().filter(|message| message.role == Role::Tool).count();
        Ok(match (goal(request).as_str(), read) {
            ("parent", 0) => calls(&[("a", "page", json!({}))], tokens(1, 1)),
            ("parent", 1) => calls(&[("b", AGENT_TOOL, json!({"goal": "child"}))], tokens(1, 1)),
            _ => says("done", tokens(1, 1)),
        })
    });
    let world = World::new([]).with_provider(model).with_tool(page());
    let (engine, _handle) = world.start().await;
    let tools = Some(vec![AGENT_TOOL.to_owned(), "page".to_owned()]);
    let id = create(&engine, NewRun { tools, ..NewRun::new("parent") }).await;
    ended(&engine, id).await;
    let child = only_child(&engine, id).await;
    assert!(
        engine.fold(child.id).await.unwrap().hands().is_untrusted(),
        "it was asked by one that is"
    );
    let completed = events(&engine, id).await.into_iter().rfind(|e| e.kind == "tool.completed");
    assert_eq!(completed.unwrap().payload["untrusted"], json!(format!("run:{}", child.id)));
}

#[tokio::test]
async fn the_time_of_a_trees_budget_counts_from_its_beginning() {
    let Family { world, gate, .. } = a_family();
    let (engine, _handle) = world.start().await;
    let tree_budget = Some(Budget { seconds: Some(1_000), ..Budget::default() });
    let id = create(&engine, NewRun { tree_budget, ..parent("ask call ledger") }).await;
    gate.wait_for_arrival().await;
    let child = only_child(&engine, id).await;
    let begun = engine.run(id).await.unwrap().created_at;
    let seconds = child.spec.tree_budget.unwrap().seconds.unwrap();
    let ends =
        |run: jiff::Timestamp, seconds: u64| run.as_second() + i64::try_from(seconds).unwrap();
    assert!((ends(begun, 1_000) - ends(child.created_at, seconds)).abs() <= 1);
}

#[tokio::test]
async fn a_family_that_is_too_large_is_cut_and_says_so() {
    let Family { world, .. } = a_family();
    let engine = world.engine().await;
    let id = create(&engine, NewRun::new("the first")).await;
    let first = engine.run(id).await.unwrap();
    let child_of = async |parent: RunId| {
        let child = RunId::from_uuid(engine.ids().next());
        let run = Run { id: child, parent_id: Some(parent), last_seq: 0, ..first.clone() };
        let beginning = Beginning::new(Vec::new(), Ready::Never);
        engine.store().create(run, beginning).await.unwrap().run.id
    };
    let child = child_of(id).await;
    for _ in 0..limits::FAMILY_MAX - 2 {
        child_of(child).await;
    }
    let family = engine.family(id).await.unwrap();
    assert_eq!((family.members.len(), family.complete), (limits::FAMILY_MAX, true));
    let last = child_of(child).await;
    let family = engine.family(id).await.unwrap();
    assert_eq!((family.members.len(), family.complete), (limits::FAMILY_MAX, false));
    assert!(family.members.iter().all(|member| member.run.id != last), "the newest is left out");
}
