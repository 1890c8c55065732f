//! The guard in a network of its own, where loopback has public addresses too, so that nothing
//! has to be listed. The variables that name a proxy are set there, and are not looked at.

use std::{process::Command, sync::Mutex};

use super::*;

const INSIDE: &str = "AGENT_RUNNER_TEST_NAMESPACE";
const PUBLIC: &str = "11.0.0.1";

/// Runs the test below in a network namespace, where there is such a thing.
#[test]
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "says when it proves nothing")]
fn a_public_name_is_read_and_one_that_changes_its_mind_is_not() {
    let inside = "ip link set lo up && ip addr add 11.0.0.1/32 dev lo && exec \"$0\" \"$@\"";
    let probe = Command::new("unshare").args(["-rn", "sh", "-c", "ip link set lo up"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("NOT RUN: this system has no network namespaces for users, or no `ip`");
        return;
    }
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", inside])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "net::tests::namespace::inside", "--nocapture"])
        .env(INSIDE, "1")
        .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:9")))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("1 passed"),
        "{shown}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Answers one after the other; the last one for ever.
#[derive(Debug)]
struct Rebinds {
    answers: Mutex<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Lookup for Rebinds {
    fn lookup(&self, _name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
        Box::pin(async move { Ok(vec![SocketAddr::new(answer.parse().unwrap(), 0)]) })
    }
}

async fn serve(address: &str, answer: &'static str) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(address).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    asked
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";

fn rebinding(answers: Vec<&'static str>) -> (GuardedClient, Arc<Rebinds>) {
    let lookup = Arc::new(Rebinds { answers: Mutex::new(answers), asked: AtomicUsize::new(0) });
    let dynamic: Arc<dyn Lookup> = Arc::clone(&lookup) as _;
    let reach = Reach::Open(HttpAllow::default());
    let client = GuardedClient::with_lookup(reach, NetLimits::default(), "t/1", &dynamic).unwrap();
    (client, lookup)
}

#[tokio::test]
#[ignore = "runs in the network namespace that the test above makes"]
async fn inside() {
    assert!(std::env::var_os(INSIDE).is_some());
    let public = serve(&format!("{PUBLIC}:80"), HELLO).await;
    let private = serve("127.0.0.1:80", HELLO).await;

    // The ordinary case: a public name, read once, dialled where it was looked up.
    let (client, lookup) = rebinding(vec![PUBLIC, "127.0.0.1"]);
    let answer = get(&client, "http://rebind.example/").await.unwrap();
    assert_eq!(answer.body.as_ref(), b"hello");
    assert_eq!(answer.ip, Some(PUBLIC.parse().unwrap()));
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1);
    // The same name again, and now it means this machine.
    assert_blocked(get(&client, "http://rebind.example/").await, "a name that was rebound");

    // A literal, and one that is closed beside it.
    assert!(get(&client, &format!("http://{PUBLIC}/")).await.is_ok());
    assert_blocked(client.target("http://127.0.0.1/"), "loopback");
    assert_eq!(public.load(Ordering::SeqCst), 2);
    assert_eq!(private.load(Ordering::SeqCst), 0, "loopback was reached");
}
