//! How much a program may use.

use agent_runner_core::tool::ToolErrorKind;
use agent_runner_tools::{
    fs::{FsLimits, RelPath},
    shell::{Launcher, Shell, ShellLimits},
};
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};

use crate::world::World;

#[tokio::test]
async fn processor_time_is_bounded() {
    let mut world = World::confined();
    world.limits.cpu = Duration::from_secs(1);
    let ran = world.sh("while :; do :; done").await;
    assert_eq!(ran["signal"], "SIGXCPU", "{ran}");
    assert!(ran["note"].as_str().unwrap().contains("processor time"));
    assert_eq!(ran.get("exit_code"), None);
}

#[tokio::test]
async fn memory_is_bounded() {
    let mut world = World::confined();
    world.limits.memory_bytes_max = 256 * 1024 * 1024;
    let ran = world.run(["perl", "-e", "my $x = 'x' x (512 * 1024 * 1024); print 'got it'"]).await;
    assert_ne!(ran["exit_code"], 0, "{ran}");
    assert_eq!(ran["stdout"], "");
    let ran = world.run(["perl", "-e", "my $x = 'x' x (32 * 1024 * 1024); print 'got it'"]).await;
    assert_eq!(ran["stdout"], "got it");
}

#[tokio::test]
async fn the_size_of_a_file_is_bounded() {
    let mut world = World::confined();
    world.limits.file_bytes_max = 1024 * 1024;
    let ran = world.run(["dd", "if=/dev/zero", "of=large", "bs=65536", "count=64"]).await;
    assert_eq!(ran["signal"], "SIGXFSZ", "{ran}");
    assert_eq!(fs::metadata(world.project().join("large")).unwrap().len(), 1024 * 1024);
}

#[tokio::test]
async fn open_files_processes_and_core_dumps_are_bounded() {
    let mut world = World::confined();
    (world.limits.open_files_max, world.limits.processes_max) = (64, 512);
    let ran = world.run(["bash", "-c", "ulimit -n; ulimit -u; ulimit -c; ulimit -Hc"]).await;
    assert_eq!(ran["stdout"], "64\n512\n0\n0\n");
    let open = "my @h; for (1..100) { open(my $h, '<', '/dev/null') or last; push @h, $h } \
                print scalar @h";
    let ran = world.run(["perl", "-e", open]).await;
    let opened: usize = ran["stdout"].as_str().unwrap().parse().unwrap();
    assert!((50..64).contains(&opened), "{opened}");
}

#[tokio::test]
async fn what_a_program_wrote_counts_for_the_quota() {
    let mut files = FsLimits::default();
    files.project_files_max = 10;
    let world = World::with_files(files);
    let write = async |path: &str| {
        let path = RelPath::parse(path).unwrap();
        let cx = world.cx();
        let work = world
            .workspace
            .call(&cx, move |project, stop| project.write(&path, b"text", stop).map(|_| ()));
        work.await
    };
    write("first").await.unwrap();
    let ran = world.sh("for n in 1 2 3 4 5 6 7 8 9; do echo > $n; done").await;
    assert_eq!(ran["exit_code"], 0);
    let error = write("second").await.unwrap_err();
    assert!(error.to_string().contains("10 files"), "{error}");
    // A project that is full has no room for what programs write.
    let error = world.call(json!({"argv": ["true"]})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::NoSpace);
    fs::remove_file(world.project().join("9")).unwrap();
}

#[tokio::test]
async fn calls_wait_for_each_other_above_their_number() {
    let mut world = World::confined();
    world.limits.calls_max = 1;
    let tool = world.tool();
    let cx = world.cx();
    // Each finds the mark of the other, if they run side by side.
    let script = "[ -e mark ] && exit 7; echo > mark; sleep 0.2; rm mark";
    let call = || tool.call(json!({"argv": ["sh", "-c", script]}), &cx);
    let (one, other) = tokio::join!(call(), call());
    assert_eq!(one.unwrap().value["exit_code"], 0);
    assert_eq!(other.unwrap().value["exit_code"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_for_ever_for_others() {
    let mut world = World::new();
    world.limits.calls_max = 0;
    let error = world.call(json!({"argv": ["true"]})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::RateLimited);
    assert!(!error.effect_possible());
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let world = World::new();
    let refused = |change: fn(&mut ShellLimits)| {
        let mut limits = ShellLimits::default();
        change(&mut limits);
        let launcher = Launcher::this_program();
        Shell::new(world.workspace.clone(), limits, launcher).unwrap_err().to_string()
    };
    let relative = refused(|limits| limits.path = vec![PathBuf::from("bin")]);
    assert!(relative.contains("absolute"), "{relative}");
    let everywhere = refused(|limits| limits.writable = vec![PathBuf::from("/")]);
    assert!(everywhere.contains("everywhere"), "{everywhere}");
    for name in ["PATH", "HOME", "A=B", ""] {
        let mut limits = ShellLimits::default();
        limits.environment.insert(name.to_owned(), String::new());
        let shell = Shell::new(world.workspace.clone(), limits, Launcher::this_program());
        assert!(shell.is_err(), "{name:?}");
    }
}
