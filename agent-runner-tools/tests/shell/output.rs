//! What comes back of a program.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner_core::tool::{
    ByteStream, Fact, KeptArtifact, NewArtifact, Tool as _, ToolError, ToolErrorKind, ToolHost,
    Typed,
};
use agent_runner_tools::shell::{Launcher, Shell};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{Witness, World};

impl World {
    async fn witnessed(&self, script: &str) -> (Value, Arc<Witness>, usize) {
        let witness = Arc::new(Witness::default());
        let cx = self.cx().with_host(witness.clone());
        let arguments = json!({"argv": ["sh", "-c", script]});
        let output = self.tool().call(arguments, &cx).await.unwrap();
        (output.value, witness, output.artifacts.len())
    }
}

#[tokio::test]
async fn an_exit_code_is_an_answer() {
    let world = World::confined();
    let ran = world.sh("echo out; echo err >&2; exit 3").await;
    assert_eq!(
        (&ran["exit_code"], &ran["stdout"], &ran["stderr"], &ran["truncated"]),
        (&json!(3), &json!("out\n"), &json!("err\n"), &json!(false))
    );
    assert_eq!(ran.get("signal"), None);
    assert!(ran["duration_ms"].as_u64().unwrap() < 30_000);
    assert_eq!(world.run(["false"]).await["exit_code"], 1);
}

#[tokio::test]
async fn a_signal_is_an_answer() {
    let world = World::confined();
    let ran = world.sh("kill -SEGV $$").await;
    assert_eq!((&ran["signal"], ran.get("exit_code")), (&json!("SIGSEGV"), None));
}

#[tokio::test]
async fn a_program_reads_what_the_call_gives_it() {
    let world = World::confined();
    let text = "line ä\n".repeat(100_000);
    let arguments = json!({"argv": ["sh", "-c", "cat > copy; cat copy | wc -c"], "stdin": text});
    let ran = world.call(arguments).await.unwrap().value;
    assert_eq!(ran["stdout"].as_str().unwrap().trim(), text.len().to_string());
    assert_eq!(fs::read_to_string(world.project().join("copy")).unwrap(), text);
    // A program that reads nothing hinders nobody, and without a text there is nothing to read.
    let ran = world.call(json!({"argv": ["true"], "stdin": text})).await.unwrap().value;
    assert_eq!(ran["exit_code"], 0);
    assert_eq!(world.run(["cat"]).await["stdout"], "");
}

#[tokio::test]
async fn output_is_shown_while_the_program_runs() {
    let world = World::confined();
    let witness = Arc::new(Witness::default());
    let cx = world.cx().with_host(witness.clone());
    let tool = world.tool();
    // It ends when somebody who has seen its first word makes a file.
    let script = "printf 'half \\303'; printf '\\244\\n'; while ! [ -e go ]; do sleep 0.01; done";
    let call = tool.call(json!({"argv": ["sh", "-c", script]}), &cx);
    let mut shown = witness.shown.subscribe();
    let go = async {
        shown.wait_for(|shown| shown == "half ä\n").await.unwrap();
        fs::write(world.project().join("go"), "").unwrap();
    };
    let (ended, ()) = tokio::join!(call, go);
    assert_eq!(ended.unwrap().value["stdout"], "half ä\n");
}

#[tokio::test]
async fn a_flood_is_bounded_and_kept_whole() {
    let mut world = World::confined();
    world.limits.shown_bytes_max = 2_000;
    let (ran, witness, artifacts) = world.witnessed("seq 1 20000; echo oops >&2").await;
    let told = ran["stdout"].as_str().unwrap();
    assert!(told.len() < 2_100, "{}", told.len());
    assert!(told.starts_with("1\n2\n3\n") && told.ends_with("19999\n20000\n"), "{told}");
    assert!(told.contains("bytes left out"), "{told}");
    assert_eq!((&ran["truncated"], &ran["log"]), (&json!(true), &json!("shell/1.log")));
    assert_eq!(artifacts, 1);
    let (new, content) = witness.kept().pop().unwrap();
    assert_eq!((&*new.kind, &*new.media_type), ("log", "text/plain; charset=utf-8"));
    let content = String::from_utf8(content).unwrap();
    assert_eq!(content.lines().filter(|line| *line != "oops").count(), 20_000);
    assert!(content.contains("oops\n"));
}

#[tokio::test]
async fn the_log_of_a_flood_is_bounded_too() {
    let mut world = World::confined();
    world.limits.log_bytes_max = 100_000;
    let (ran, witness, _) = world.witnessed("yes | head -c 50000000").await;
    assert_eq!(ran["exit_code"], 0, "{ran}");
    let (_, content) = witness.kept().pop().unwrap();
    assert!((100_000..100_100).contains(&content.len()), "{}", content.len());
    assert!(content.ends_with(b"the output went on]\n"));
}

/// The most memory that this process ever had, in KiB.
fn memory_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_flood_takes_no_more_memory_than_is_shown() {
    let world = World::confined();
    world.run(["true"]).await;
    let before = memory_peak();
    let ran = world.sh("yes | head -c 50000000").await;
    assert_eq!((&ran["exit_code"], &ran["truncated"]), (&json!(0), &json!(true)));
    let more = memory_peak() - before;
    assert!(more < 16 * 1024, "{more} KiB");
}

/// A host whose store hangs.
#[derive(Debug, Default)]
struct Stuck(Witness);

#[async_trait]
impl ToolHost for Stuck {
    fn show(&self, text: &str) {
        self.0.show(text);
    }

    async fn record(&self, fact: Fact) -> Result<(), ToolError> {
        self.0.record(fact).await
    }

    async fn keep(&self, _: NewArtifact, _: ByteStream) -> Result<KeptArtifact, ToolError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_store_that_hangs_holds_back_no_cancelling() {
    let world = World::confined();
    let host = Arc::new(Stuck::default());
    let cancel = CancellationToken::new();
    let cx = world.cx().with_host(host.clone()).with_cancel(cancel.clone());
    let tool = world.tool();
    let call = tool.call(json!({"argv": ["sh", "-c", "while :; do echo flood; done"]}), &cx);
    let mut shown = host.0.shown.subscribe();
    let cancelling = async {
        shown.wait_for(|shown| shown.len() > 100_000).await.unwrap();
        cancel.cancel();
        Instant::now()
    };
    let (ended, at) = tokio::join!(call, cancelling);
    assert_eq!(ended.unwrap_err().kind(), ToolErrorKind::Cancelled);
    assert!(at.elapsed() < Duration::from_secs(3), "{:?}", at.elapsed());
}

#[tokio::test]
async fn a_short_output_makes_no_artifact_and_a_host_that_keeps_none_no_error() {
    let mut world = World::confined();
    let (ran, witness, artifacts) = world.witnessed("echo short").await;
    assert_eq!((ran.get("log"), artifacts, witness.kept().len()), (None, 0, 0));
    world.limits.shown_bytes_max = 100;
    let ran = world.sh("seq 1 100000").await;
    assert_eq!((&ran["truncated"], ran.get("log")), (&json!(true), None));
    assert_eq!(ran["exit_code"], 0);
}

#[tokio::test]
async fn bytes_and_control_sequences_come_as_harmless_text() {
    let world = World::confined();
    let ran =
        world.sh("printf '\\033[31mred\\033[0m \\377\\000\\r\\n'; head -c 3000 /dev/urandom").await;
    let told = ran["stdout"].as_str().unwrap();
    assert!(told.starts_with("red \u{fffd}\n"), "{told:?}");
    assert!(!told.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{told:?}");
}

#[tokio::test]
async fn an_error_tells_the_last_of_the_output() {
    let world = World::confined();
    let arguments = json!({
        "argv": ["sh", "-c", "seq 1 5000; sleep 300"], "timeout_seconds": 1,
    });
    let error = world.call(arguments).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout);
    assert!(error.effect_possible());
    assert!(error.for_model().ends_with("\n4999\n5000"), "{error}");
    assert!(error.for_model().len() < 2_400, "{error}");
}

#[tokio::test]
async fn a_launcher_that_is_none_is_an_error_and_no_hang() {
    let world = World::new();
    for (program, sure) in [("/bin/true", false), ("/does/not/exist", true)] {
        let launcher = Launcher::program(program.into());
        let shell = Shell::new(world.workspace.clone(), world.limits.clone(), launcher).unwrap();
        let (tool, cx) = (Typed::new(shell), world.cx());
        let call = tool.call(json!({"argv": ["true"]}), &cx);
        let error = tokio::time::timeout(Duration::from_secs(20), call).await.unwrap().unwrap_err();
        assert!(error.for_model().contains("tell the operator"), "{error}");
        assert!(!(sure && error.effect_possible()), "{error}");
    }
}
