//! What models are offered.

use std::{collections::BTreeMap, sync::Arc};

use agent_runner_core::{
    project::ProjectSettings,
    tool::{EffectPolicy, Risk, ToolRegistry, ToolSource as _},
};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{Ear, PATIENCE, World, server};

#[tokio::test(flavor = "multi_thread")]
async fn names_descriptions_and_schemas_that_nobody_should_take_are_not_taken() {
    let world = World::stdio("evil").await;
    world.connected(1).await;
    let report = world.source.report();
    let names = ["hidden", "one_two", "silent", "twice", "verbose"];
    let names: Vec<String> = names.iter().map(|name| format!("strange.{name}")).collect();
    assert_eq!(report.tools, names);
    let dropped: BTreeMap<&str, &str> =
        report.dropped.iter().map(|dropped| (&*dropped.name, &*dropped.why)).collect();
    let long = "long".repeat(20);
    for (name, why) in [
        ("remote", "another document"),
        ("array", "not one of an object"),
        ("one/two", "the same name"),
        ("twice", "the same name"),
        ("zerowidth", "other characters"),
        (&*long, "longer than 64"),
    ] {
        assert!(dropped[name].contains(why), "{name}: {dropped:?}");
    }
    assert_eq!(dropped.len(), 6, "{dropped:?}");
    assert_eq!(world.tool("hidden").info().spec.description, "Reads a page.[2J");
    assert_eq!(world.tool("one_two").info().spec.description, "Is.");
    assert_eq!(world.tool("twice").info().spec.description, "The first.");
    assert_eq!(world.tool("verbose").info().spec.description.len(), 8_192);
    assert!(!world.tool("silent").info().spec.description.is_empty());
    let mut registry = ToolRegistry::default();
    registry.add_source(world.source.clone());
    assert_eq!(registry.all().len(), names.len(), "the registry takes each of them");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_end_ends() {
    let world = World::stdio("endless").await;
    world.connected(1).await;
    let report = world.source.report();
    assert_eq!(report.tools.len(), 256);
    assert!(report.dropped[0].why.contains("more than 256"), "{:?}", report.dropped);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_chooses_tools() {
    let ear = Ear::open().await;
    let mut server = server(&ear, "plain");
    server.allow = Some(vec!["e*".to_owned(), "add".to_owned(), "die".to_owned()]);
    server.deny = vec!["env".to_owned(), "di*".to_owned()];
    let world = World::of(ear, server);
    world.connected(1).await;
    let report = world.source.report();
    assert_eq!(report.tools, ["strange.add", "strange.echo"]);
    assert!(report.dropped.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_are_believed_only_when_the_operator_says_so() {
    use EffectPolicy::{AtMostOnce, Idempotent, Pure};
    use Risk::{Outward, Read};
    let careful = [
        ("add", AtMostOnce, Outward),
        ("look", AtMostOnce, Outward),
        ("echo", AtMostOnce, Outward),
        ("fail", AtMostOnce, Outward),
    ];
    let trusting = [
        ("add", Pure, Read),
        ("look", Pure, Outward),
        ("echo", Idempotent, Outward),
        ("fail", AtMostOnce, Outward),
    ];
    for (trust, expected) in [(false, careful), (true, trusting)] {
        let ear = Ear::open().await;
        let mut server = server(&ear, "plain");
        server.trust_annotations = trust;
        let world = World::of(ear, server);
        world.connected(1).await;
        for (name, policy, risk) in expected {
            let tool = world.tool(name);
            assert_eq!((tool.info().policy, tool.info().risk), (policy, risk), "{name} {trust}");
            let (mine, other) =
                (tool.footprint(&json!({})), world.tool("fail").footprint(&json!({})));
            assert!(mine.meets(&other), "{name}: what acts on one server keeps its order");
            assert_eq!(mine.meets(&mine), policy != Pure, "{name}: reading does not");
        }
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_is_read_again() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let before = world.source.tools();
    world.call("grow", json!({})).await.unwrap();
    let grown = |report: &agent_runner_tools::mcp::McpReport| {
        report.tools.contains(&"strange.grown".to_owned())
    };
    timeout(PATIENCE, world.source.wait_until(grown)).await.expect("it was not read again");
    world.call("grown", json!({})).await.unwrap();
    let after = world.source.tools();
    assert_eq!(after.len(), before.len() + 1);
    let kept = before.iter().filter(|old| after.iter().any(|new| Arc::ptr_eq(old, new)));
    assert_eq!(kept.count(), before.len(), "the others are the same values");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_says_whose_tools_it_has() {
    let world = World::stdio("plain").await;
    world.connected(1).await;
    let mut registry = ToolRegistry::default();
    registry.add_source(world.source.clone());
    let mut settings = ProjectSettings::default();
    let echo = world.tool("echo");
    assert!(!echo.available(&settings));
    assert_eq!(registry.select(&["*".to_owned()], &settings).unwrap(), Vec::<String>::new());
    settings.tool_sources = vec!["another".to_owned()];
    assert!(!echo.available(&settings));
    settings.tool_sources.push("strange".to_owned());
    assert!(echo.available(&settings));
    let all = registry.select(&["strange.*".to_owned()], &settings).unwrap();
    assert_eq!(all, world.source.report().tools);
    world.end().await;
}
