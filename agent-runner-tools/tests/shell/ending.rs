//! How a program ends, and everything that it started.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use agent_runner_core::tool::ToolErrorKind;
use agent_runner_tools::shell::Confinement;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, test_kill_process},
};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::world::{World, without_landlock};

/// Everything that the script starts keeps `alive` open: three generations, of which two leave
/// the process group and the session, and none hears SIGTERM.
const STUBBORN: &str = "exec 3> alive; trap '' TERM HUP INT; \
    setsid sh -c 'trap \"\" TERM HUP INT; \
        setsid sh -c \"trap \\\"\\\" TERM HUP INT; echo \\$\\$ > pid; echo up >&3; \
            while :; do sleep 100; done\" & \
        while :; do sleep 100; done' & \
    while :; do sleep 100; done";

/// Two ends of a pipe with a name: who has it open, lives.
struct Alive {
    path: PathBuf,
    pipe: Option<File>,
}

impl Alive {
    fn new(project: &Path) -> Self {
        let path = project.join("alive");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        // Open for both, so that it opens at once.
        let pipe = File::options().read(true).write(true).open(&path).unwrap();
        Self { path, pipe: Some(pipe) }
    }

    /// That of a project of another process.
    fn of(path: PathBuf) -> Self {
        let pipe = File::options().read(true).write(true).open(&path).unwrap();
        Self { path, pipe: Some(pipe) }
    }

    /// Waits until somebody says that he lives.
    async fn up(&mut self) {
        let mut pipe = self.pipe.take().unwrap();
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut said = [0; 3];
            pipe.read_exact(&mut said).unwrap();
            // From here on the end of all writers is an end.
            File::options().read(true).open(path).unwrap()
        });
        let reader =
            tokio::time::timeout(Duration::from_secs(20), read).await.expect("nobody came");
        self.pipe = Some(reader.unwrap());
    }

    /// Waits until nobody lives.
    async fn gone(&mut self) {
        let mut pipe = self.pipe.take().unwrap();
        let read = tokio::task::spawn_blocking(move || pipe.read_to_end(&mut Vec::new()));
        let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
        ended.expect("something lives on").unwrap().unwrap();
    }
}

fn pid(world: &World) -> Pid {
    let pid = fs::read_to_string(world.project().join("pid")).unwrap();
    Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn cancelling_ends_stubborn_grandchildren_too() {
    let world = World::confined();
    let mut alive = Alive::new(&world.project());
    let cancel = CancellationToken::new();
    let (tool, cx) = (world.tool(), world.cx().with_cancel(cancel.clone()));
    let call = tool.call(json!({"argv": ["sh", "-c", STUBBORN]}), &cx);
    let cancelling = async {
        alive.up().await;
        let at = Instant::now();
        cancel.cancel();
        at
    };
    let (ended, at) = tokio::join!(call, cancelling);
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Cancelled, "{error}");
    assert!(error.effect_possible());
    assert!(!error.for_model().contains("may still run"), "{error}");
    assert!(at.elapsed() < Duration::from_secs(3), "{:?}", at.elapsed());
    // Gone, and no zombie either, when the call returns.
    assert!(test_kill_process(pid(&world)).is_err());
    alive.gone().await;
}

#[tokio::test]
async fn a_timeout_ends_stubborn_grandchildren_too() {
    let world = World::confined();
    let mut alive = Alive::new(&world.project());
    let arguments = json!({"argv": ["sh", "-c", STUBBORN], "timeout_seconds": 2});
    let (ended, ()) = tokio::join!(world.call(arguments), alive.up());
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout, "{error}");
    assert!(error.effect_possible());
    assert!(test_kill_process(pid(&world)).is_err());
    alive.gone().await;
}

#[tokio::test]
async fn a_kernel_without_landlock_ends_them_too() {
    let mut world = World::new();
    world.limits.confinement = Confinement::BestEffort;
    let project = world.project();
    let mut alive = Alive::new(&project);
    let arguments = json!({"argv": ["sh", "-c", STUBBORN], "timeout_seconds": 2});
    let call = tokio::task::spawn_blocking(move || without_landlock(world, arguments));
    let (ended, ()) = tokio::join!(call, alive.up());
    let error = ended.unwrap().unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout, "{error}");
    alive.gone().await;
}

#[tokio::test]
async fn dropping_the_call_ends_stubborn_grandchildren_too() {
    let world = World::confined();
    let mut alive = Alive::new(&world.project());
    let call = world.call(json!({"argv": ["sh", "-c", STUBBORN]}));
    tokio::select! {
        ended = call => panic!("it ended by itself: {ended:?}"),
        () = alive.up() => {}
    }
    alive.gone().await;
}

/// Not a test: a server that is going to be killed.
#[tokio::test]
#[ignore = "`killing_the_server_ends_them_too` starts it"]
async fn victim() {
    let world = World::confined();
    let _alive = Alive::new(&world.project());
    println!("\nPROJECT {}", world.project().display());
    world.sh(STUBBORN).await;
}

#[tokio::test]
async fn killing_the_server_ends_them_too() {
    let temp = TempDir::new().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ending::victim", "--ignored", "--nocapture"])
        .env("TMPDIR", temp.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(server.stdout.take().unwrap()).lines();
    let project = told.find_map(|line| Some(line.unwrap().strip_prefix("PROJECT ")?.to_owned()));
    let mut alive = Alive::of(PathBuf::from(project.unwrap()).join("alive"));
    alive.up().await;
    server.kill().unwrap();
    server.wait().unwrap();
    alive.gone().await;
}

#[tokio::test]
async fn nothing_runs_on_after_the_program() {
    let world = World::confined();
    let mut alive = Alive::new(&world.project());
    let script = "exec 3> alive; setsid sh -c 'trap \"\" TERM; echo $$ > pid; echo up >&3; \
                  while :; do sleep 100; done' > /dev/null 2>&1 & \
                  while ! [ -s pid ]; do sleep 0.01; done; echo done";
    let (ran, ()) = tokio::join!(world.sh(script), alive.up());
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&json!(0), &json!("done\n")), "{ran}");
    assert!(test_kill_process(pid(&world)).is_err());
    alive.gone().await;
}

#[tokio::test]
async fn processes_that_hop_from_one_to_the_next_are_caught() {
    let world = World::confined();
    let mut alive = Alive::new(&world.project());
    // Each one starts the next in a session of its own and ends.
    let hop = "open(my $a, '>', 'alive'); $SIG{TERM} = 'IGNORE'; use POSIX; \
               syswrite($a, \"up\\n\"); $| = 1; close STDOUT; close STDERR; \
               while (1) { my $p = fork; die unless defined $p; exit 0 if $p; POSIX::setsid(); }";
    let script = format!("perl -e '{}' & sleep 300", hop.replace('\'', "'\\''"));
    let arguments = json!({"argv": ["sh", "-c", script], "timeout_seconds": 2});
    let (ended, ()) = tokio::join!(world.call(arguments), alive.up());
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout, "{error}");
    assert!(!error.for_model().contains("may still run"), "{error}");
    alive.gone().await;
}

#[tokio::test]
async fn a_program_that_listens_gets_time_to_tidy_up() {
    let world = World::confined();
    let arguments = json!({
        "argv": ["sh", "-c", "trap 'echo tidy > tidied; exit 0' TERM; while :; do sleep 0.05; done"],
        "timeout_seconds": 1,
    });
    world.call(arguments).await.unwrap_err();
    assert_eq!(fs::read_to_string(world.project().join("tidied")).unwrap(), "tidy\n");
}

#[tokio::test]
async fn the_private_directory_goes_also_when_it_is_locked() {
    let world = World::confined();
    let script = "mkdir -p $HOME/a/b && touch $HOME/a/b/c && chmod 0 $HOME/a/b $HOME/a $HOME";
    assert_eq!(world.sh(script).await["exit_code"], 0);
    assert_eq!(fs::read_dir(&world.limits.scratch).unwrap().count(), 0);
}

#[tokio::test]
async fn no_zombie_is_left() {
    let world = World::confined();
    for _ in 0..3 {
        world.run(["true"]).await;
    }
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children.trim(), "");
}
