//! What a program cannot do.

use std::{
    fs, io,
    net::{TcpListener, UdpSocket},
    os::{fd::AsRawFd as _, unix::fs::symlink},
};

use agent_runner_core::tool::ToolErrorKind;
use agent_runner_tools::shell::Confinement;
use serde_json::{Value, json};

use crate::world::{World, without_landlock};

fn failed(ran: &Value) -> bool {
    ran["exit_code"] != 0
}

#[tokio::test]
async fn the_environment_is_what_is_listed_and_nothing_of_the_server() {
    let mut world = World::confined();
    world.limits.environment.insert("CARGO_TERM_COLOR".to_owned(), "never".to_owned());
    let ran = world.run(["env"]).await;
    let told = ran["stdout"].as_str().unwrap();
    let mut names: Vec<_> = told.lines().filter_map(|line| line.split_once('=')).collect();
    names.sort_unstable();
    let names_only: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    assert_eq!(names_only, ["CARGO_TERM_COLOR", "HOME", "LANG", "PATH", "TERM", "TMPDIR"]);
    assert_eq!(names[3].1, "/usr/local/bin:/usr/bin:/bin");
    let scratch = world.limits.scratch.to_str().unwrap();
    assert!(names[1].1.starts_with(scratch) && names[5].1.starts_with(scratch), "{names:?}");
}

#[tokio::test]
async fn a_program_may_change_the_project_and_its_private_directory() {
    let world = World::confined();
    let script = "mkdir -p a/b && echo 1 > a/b/f && mv a/b/f g && ln g h && rm h && ln -s g l && \
                  echo 2 > $HOME/x && cp $HOME/x $TMPDIR/y && mv $TMPDIR/y from-tmp && \
                  mkfifo p && chmod 600 g && cat g from-tmp > /dev/null && cat g";
    let ran = world.sh(script).await;
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&json!(0), &json!("1\n")), "{ran}");
    assert_eq!(fs::read_to_string(world.project().join("from-tmp")).unwrap(), "2\n");
    assert_eq!(fs::read_dir(&world.limits.scratch).unwrap().count(), 0, "it is removed");
}

#[tokio::test]
async fn nothing_outside_the_project_is_read_or_changed() {
    let world = World::confined();
    let outside = world.outside();
    let other = world.temp.path().join("data/projects/other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("secret"), "SECRET").unwrap();
    fs::write(world.project().join("mine"), "mine").unwrap();
    symlink(outside.join("secret"), world.project().join("link")).unwrap();
    symlink(&outside, world.project().join("dir")).unwrap();
    let (out, others) = (outside.display(), other.display());
    for attempt in [
        format!("cat {out}/secret"),
        format!("ls {out}"),
        format!("cat {others}/secret"),
        format!("ls {others}/.."),
        "cat link".to_owned(),
        "ls dir/".to_owned(),
        "cat ../other/secret".to_owned(),
        "cat /etc/shadow".to_owned(),
        "ls /root /home".to_owned(),
        "cat /proc/$PPID/environ".to_owned(),
        format!("echo x > {out}/new"),
        format!("echo x >> {out}/secret"),
        format!(": > {out}/secret"),
        "echo x > link".to_owned(),
        "echo x > dir/new".to_owned(),
        format!("mkdir {out}/new"),
        format!("rm {out}/secret"),
        format!("mv {out}/secret stolen"),
        format!("ln {out}/secret stolen"),
        format!("mv mine {out}/mine"),
        format!("ln -s /etc {out}/new"),
        format!("perl -e 'truncate(\"{out}/secret\", 0) or die $!'"),
        "mknod device c 1 3".to_owned(),
        "echo x > /tmp/agent-runner-was-here".to_owned(),
    ] {
        let ran = world.sh(&attempt).await;
        assert!(failed(&ran), "`{attempt}` worked: {ran}");
        assert!(!ran["stdout"].as_str().unwrap().contains("SECRET"), "`{attempt}`: {ran}");
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "SECRET");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(world.project().join("mine")).unwrap(), "mine");
    assert!(!world.project().join("stolen").exists());
}

/// Opens a socket of each kind and says which it got.
const SOCKETS: &str = "for my $s (@ARGV) { my ($f, $t) = split /,/, $s; \
                       print socket(my $h, $f, $t, 0) ? \"$s open\\n\" : \"$s $!\\n\"; }";

#[tokio::test]
async fn the_network_is_out_of_reach() {
    let world = World::confined();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let ran = world.run(["bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]).await;
    assert!(failed(&ran), "{ran}");
    assert!(ran["stderr"].as_str().unwrap().contains("Permission denied"), "{ran}");
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);

    // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK.
    let kinds = ["1,1", "1,2", "2,1", "2,2", "2,3", "10,1", "16,3", "17,3", "38,5", "40,1"];
    let mut argv = vec!["perl", "-e", SOCKETS];
    argv.extend(kinds);
    let ran = world.call(json!({ "argv": argv })).await.unwrap().value;
    let want: String = kinds.iter().map(|kind| format!("{kind} Permission denied\n")).collect();
    assert_eq!(ran["stdout"], want, "{ran}");

    // A pair leads nowhere else, unless it can be connected again.
    let pairs = "use Socket; for my $t (SOCK_STREAM, SOCK_DGRAM) { \
                 print socketpair(my $a, my $b, AF_UNIX, $t, 0) ? \"open\\n\" : \"$!\\n\" }";
    assert_eq!(world.run(["perl", "-e", pairs]).await["stdout"], "open\nPermission denied\n");
}

#[tokio::test]
async fn a_project_with_the_network_reaches_it_and_no_service_of_the_machine() {
    let mut world = World::confined();
    world.allow_network();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3");
    let output = world.call(json!({"argv": ["bash", "-c", script]})).await.unwrap();
    assert_eq!(output.value["exit_code"], 0, "{output:?}");
    assert_eq!(output.untrusted.as_deref(), Some("program:bash"));
    let (mut stream, _) = listener.accept().unwrap();
    assert_eq!(io::read_to_string(&mut stream).unwrap(), "hello\n");
    let port = udp.local_addr().unwrap().port();
    let script = format!("echo hello > /dev/udp/127.0.0.1/{port}");
    assert!(!failed(&world.run(["bash", "-c", &script]).await));
    assert_eq!(udp.recv(&mut [0; 16]).unwrap(), 6);
    let ran = world.run(["perl", "-e", SOCKETS, "1,1", "17,3", "38,5"]).await;
    let want = "1,1 Permission denied\n17,3 Permission denied\n38,5 Permission denied\n";
    assert_eq!(ran["stdout"], want);
}

#[tokio::test]
async fn the_network_of_a_project_needs_the_operators_word() {
    let mut world = World::new();
    world.allow_network();
    world.limits.network = false;
    let error = world.call(json!({"argv": ["true"]})).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Denied);
    assert!(error.for_model().contains("network"), "{error}");
}

#[tokio::test]
async fn a_program_has_no_rights_over_the_machine_or_other_processes() {
    let mut world = World::confined();
    // Only here, so that it can be asked what it has.
    world.limits.readable.push("/proc".into());
    let ran = world.run(["cat", "/proc/self/status"]).await;
    let status = ran["stdout"].as_str().unwrap();
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.lines().any(|has| has == line), "`{line}` is not in {status}");
    }
    let server = std::process::id();
    for attempt in [
        format!("kill -0 {server}"),
        format!("kill -KILL {server}"),
        "kill -0 $PPID".to_owned(),
        format!("cat /proc/{server}/environ"),
        format!("cat /proc/{server}/mem"),
        "unshare -r true".to_owned(),
        "unshare -m true".to_owned(),
        "mount -t tmpfs none .".to_owned(),
        "chroot . /bin/true".to_owned(),
        "dmesg".to_owned(),
        "perl -e 'exit(syscall(101, 0, 0, 0, 0) < 0)'".to_owned(),
        // A call of the x32 convention, which the filter has no numbers for.
        "perl -e 'exit(syscall(0x40000000 + 41, 2, 1, 0) < 0)'".to_owned(),
        // io_uring_setup and clone3 are as if the kernel had none.
        "perl -e 'syscall(425, 1, 0); exit($! == 38)'".to_owned(),
        "perl -e 'syscall(435, 0, 0); exit($! == 38)'".to_owned(),
    ] {
        let ran = world.sh(&attempt).await;
        assert!(failed(&ran), "`{attempt}` worked: {ran}");
    }
}

#[tokio::test]
async fn what_the_server_has_open_is_closed_to_a_program() {
    let world = World::confined();
    // As if the server had it of its own parent: not closed when a program is started.
    let secret = fs::File::open(world.outside().join("secret")).unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let ran = world.run(["bash", "-c", &format!("cat <&{}", secret.as_raw_fd())]).await;
    assert!(failed(&ran) && ran["stdout"] == "", "{ran}");
    let ran =
        world.run(["bash", "-c", "for n in {3..250}; do [ -e /proc/self/fd/$n ] && echo $n; done"]);
    // The shell has its script open, if anything.
    let told = ran.await["stdout"].as_str().unwrap().to_owned();
    assert!(told.is_empty() || told == "255\n", "{told}");
}

#[tokio::test]
async fn programs_still_start_programs_and_threads() {
    let world = World::confined();
    let ran =
        world.sh("echo one | cat; (echo two); sleep 0 & wait; kill -0 $$ && echo three").await;
    assert_eq!(ran["stdout"], "one\ntwo\nthree\n", "{ran}");
}

#[test]
fn nothing_is_started_where_the_kernel_cannot_confine() {
    let error = without_landlock(World::new(), json!({"argv": ["true"]})).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ToolErrorKind::Denied, "cannot_confine"));
    assert!(error.for_model().contains("Landlock for files (Linux 6.2"), "{error}");
    assert!(error.for_model().contains("Landlock for signals (Linux 6.12"), "{error}");
    assert!(!error.effect_possible());
}

#[test]
fn an_operator_may_do_without_what_the_kernel_lacks() {
    let mut world = World::new();
    world.limits.confinement = Confinement::BestEffort;
    let script = "cat ../../../outside/secret; echo $?";
    let ran = without_landlock(world, json!({"argv": ["sh", "-c", script]})).unwrap().value;
    assert_eq!(ran["exit_code"], 0, "{ran}");
    // That this works is what the operator chose; the rest still holds.
    assert_eq!(ran["stdout"], "SECRET0\n", "{ran}");
}
