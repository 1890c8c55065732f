//! Who may be reached, and what nobody gets to see.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};

use super::{
    super::relay::{Relay, Service, Upstream},
    *,
};
use crate::net::GuardedClient;

fn with_credential(url: &str, credential: &str) -> GitRemote {
    GitRemote { credential: Some(credential.to_owned()), ..writable(url) }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_remotes_of_the_settings_are_reached() {
    let world = World::new();
    let none = world.refuse("git.clone", json!({})).await;
    assert_eq!((none.kind(), none.code()), (ToolErrorKind::Denied, "remote_not_allowed"));
    world.origin();
    let url = world.server.url("tool.git");
    world.remote("readable", GitRemote { push: false, ..writable(&url) });
    for (arguments, code) in [
        (json!({"remote": "other"}), "remote_not_allowed"),
        (json!({"url": "https://evil.example/x.git"}), "remote_not_allowed"),
        (json!({"url": "file:///etc"}), "remote_not_allowed"),
        (json!({"url": "ext::sh -c id"}), "remote_not_allowed"),
        (json!({"url": "--upload-pack=id"}), "remote_not_allowed"),
        (json!({"remote": "origin", "url": url}), "invalid_args"),
    ] {
        assert_eq!(world.refuse("git.clone", arguments.clone()).await.code(), code, "{arguments}");
    }
    world.call("git.clone", json!({"remote": "readable", "dir": "t"})).await;
    let push = world.refuse("git.push", json!({"remote": "readable"})).await;
    assert_eq!(push.code(), "remote_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_decides_where_a_remote_may_be() {
    let world = World::new();
    let port = world.server.address.port();
    for (url, code) in [
        (format!("http://127.0.0.2:{port}/tool.git"), "blocked_target"),
        (format!("http://localhost:{port}/tool.git"), "blocked_target"),
        (format!("https://[::1]:{port}/tool.git"), "blocked_target"),
        ("https://169.254.169.254/latest.git".into(), "blocked_target"),
        ("https://10.0.0.1/tool.git".into(), "blocked_target"),
        ("https://intranet/tool.git".into(), "blocked_target"),
        ("http://example.com/tool.git".into(), "remote_not_allowed"),
        ("file:///etc/passwd".into(), "blocked_target"),
        ("ssh://git@example.com/x".into(), "blocked_target"),
        ("https://user:pw@example.com/x".into(), "blocked_target"),
        (format!("http://127.0.0.1:{port}/x?y=z"), "remote_not_allowed"),
        (format!("http://127.0.0.1:{port}"), "remote_not_allowed"),
        ("git@example.com:x/y.git".into(), "invalid_args"),
    ] {
        world.remote("origin", writable(&url));
        let error = world.refuse("git.clone", json!({"dir": "t"})).await;
        assert_eq!(error.code(), code, "{url}: {error}");
    }
    assert_eq!(world.server.requests(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_reaches_its_host_and_nothing_else() {
    let world = World::new();
    let bare = world.origin();
    world.server.require("Basic YWdlbnQ6aHVudGVyMi1jYW5hcnk=");
    let url = world.server.url("tool.git");
    let without = world.refuse("git.clone", json!({"dir": "t"})).await;
    assert_eq!(without.kind(), ToolErrorKind::Denied, "{without}");
    assert_eq!(world.server.requests().len(), 1, "nobody asks twice");
    world.remote("origin", with_credential(&url, "elsewhere"));
    assert_eq!(world.refuse("git.clone", json!({"dir": "t"})).await.code(), "remote_not_allowed");
    world.remote("origin", with_credential(&url, "unknown"));
    let unknown = world.refuse("git.clone", json!({"dir": "t"})).await;
    assert!(unknown.for_model().contains("tell the operator"), "{unknown}");
    assert_eq!(world.server.requests().len(), 1);
    world.remote("origin", with_credential(&url, "forge"));
    let host = Arc::new(Remembers::default());
    let cx = world.cx("1").with_host(host.clone());
    let mut told = String::new();
    for (tool, arguments) in [
        ("git.clone", json!({"dir": "t"})),
        ("git.commit", json!({"message": "a", "paths": ["."]})),
        ("git.push", json!({})),
        ("git.pull", json!({})),
        ("git.log", json!({})),
        ("git.status", json!({})),
    ] {
        world.write("t2", "x");
        if tool == "git.commit" {
            world.write("t/a", "a");
        }
        let output = world.call_in(&cx, tool, arguments).await.unwrap();
        told.push_str(&format!("{output:?}"));
    }
    world.server.intercept(|_| {
        let mut answer = Response::new(Full::new(Bytes::from_static(b"broken")));
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        Some(answer)
    });
    let broken = world.refuse("git.pull", json!({})).await;
    told.push_str(&format!("{broken:?} {} {host:?} {:?}", broken.for_model(), world.tools));
    for (path, content) in everything(world.temp.path()) {
        if !path.starts_with("seed") {
            told.push_str(&content);
        }
    }
    let encoded = ["aHVudGVyMi1jYW5hcnk", "YWdlbnQ6aHVudGVy"];
    assert!(!told.contains(SECRET) && !encoded.iter().any(|secret| told.contains(secret)));
    assert!(git(&bare, &["log", "--format=%s", "main"]).starts_with('a'));
    assert!(
        world.server.seen.lock().unwrap().iter().skip(1).all(|seen| seen.authorization.is_some())
    );
}

/// All files below a directory, as text.
fn everything(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                found.push((path.strip_prefix(root).unwrap().display().to_string(), content));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remotes_answers_become_errors_that_help() {
    let world = World::new();
    world.remote("origin", writable(&world.server.url("none.git")));
    assert_eq!(world.refuse("git.clone", json!({})).await.kind(), ToolErrorKind::NotFound);
    world.origin();
    let answer = |status: u16, kind: &'static str, extra: (&'static str, String)| {
        move |_: &server::Seen| {
            let mut answer = Response::new(Full::new(Bytes::from_static(b"<html>")));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer.headers_mut().insert("content-type", kind.parse().unwrap());
            answer.headers_mut().insert(extra.0, extra.1.parse().unwrap());
            Some(answer)
        }
    };
    let plain = || ("x-nothing", "1".to_owned());
    let moved = ("location", world.server.url("other.git/info/refs"));
    let advertisement = "application/x-git-upload-pack-advertisement";
    for (status, kind, extra, want) in [
        (500, "text/html", plain(), ToolErrorKind::Network),
        (401, "text/html", plain(), ToolErrorKind::Denied),
        (403, "text/html", plain(), ToolErrorKind::Denied),
        (302, "text/html", moved.clone(), ToolErrorKind::Denied),
        (307, "text/html", moved, ToolErrorKind::Denied),
        (429, "text/html", ("retry-after", "7".to_owned()), ToolErrorKind::RateLimited),
        (200, "text/html", plain(), ToolErrorKind::Network),
        (200, advertisement, ("content-encoding", "gzip".to_owned()), ToolErrorKind::Network),
        (200, advertisement, plain(), ToolErrorKind::Network),
    ] {
        world.server.intercept(answer(status, kind, extra));
        let before = world.server.requests().len();
        let error = world.refuse("git.clone", json!({"dir": "t"})).await;
        assert_eq!(error.kind(), want, "{status} {kind}: {error}");
        assert_eq!(
            world.server.requests().len(),
            before + 1,
            "nothing is asked twice, and no redirect followed"
        );
        let told = error.for_model();
        assert!(!told.contains("127.0.0.1") && !told.contains("html"), "{told}");
    }
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_and_of_configurations_play_no_part() {
    let world = World::new();
    world.origin();
    let hits = Server::start();
    world.call("git.clone", json!({"dir": "t"})).await;
    let proxy = format!("http://{}", hits.address);
    for (key, value) in [
        ("http.proxy", proxy.as_str()),
        ("remote.origin.proxy", &proxy),
        (&format!("url.{proxy}/.insteadOf"), "http://127.0.0.1"),
    ] {
        world.git("t", &["config", key, value]);
    }
    world.call("git.pull", json!({})).await;
    assert_eq!(hits.requests(), [""; 0]);
    assert!(!world.read("t/.git/config").contains("proxy"));
}

/// A way to the repository `tool.git` of the world's server.
async fn relay(world: &World, authorization: Option<&str>) -> Relay {
    let allow = HttpAllow::parse(&world.server.address.to_string()).unwrap();
    let limits = GitLimits::default();
    let client = GuardedClient::patient(Reach::Open(allow), "test", limits.transfer).unwrap();
    let upstream = Upstream {
        client,
        url: world.server.url("tool.git"),
        authorization: authorization.map(|text| text.parse().unwrap()),
        service: Service::Fetch,
        limits,
    };
    Relay::open(upstream).await.unwrap()
}

fn browser() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_answers_to_nobody_else() {
    let world = World::new();
    world.origin();
    let (relay, other) = (relay(&world, None).await, relay(&world, None).await);
    let url = relay.url();
    let (base, root) = url.rsplit_once('/').unwrap();
    assert_ne!(other.url().rsplit('/').next(), Some(root), "each has a path of its own");
    let ask = async {
        let refs = "info/refs?service=git-upload-pack";
        for path in [
            format!("{base}/"),
            format!("{base}/{refs}"),
            format!("{base}/0000000000000000/{refs}"),
            format!("{base}//{root}/{refs}"),
            format!("{url}/info/refs"),
            format!("{url}/info/refs?service=git-receive-pack"),
            format!("{url}/{refs}&x=1"),
            format!("{url}/HEAD"),
            format!("{url}/objects/info/packs"),
            format!("{url}/git-upload-pack"),
            format!("{url}/%2e%2e/x"),
            format!("{url}x/{refs}"),
            format!("{url}/x/{refs}"),
        ] {
            assert_eq!(browser().get(&path).send().await.unwrap().status(), 404, "{path}");
        }
        let push = browser().post(format!("{url}/git-receive-pack")).send().await;
        assert_eq!(push.unwrap().status(), 404);
    };
    tokio::select! {
        () = relay.serve() => unreachable!(),
        () = ask => {}
    }
    assert!(world.server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_sends_what_is_configured_and_ends_with_its_call() {
    let world = World::new();
    world.origin();
    let relay = relay(&world, Some("Basic eA==")).await;
    let url = format!("{}/info/refs?service=git-upload-pack", relay.url());
    let ask = browser().get(&url).header("authorization", "Bearer mine").header("cookie", "a=b");
    tokio::select! {
        () = relay.serve() => unreachable!(),
        answer = ask.send() => assert_eq!(answer.unwrap().status(), 200),
    }
    let seen = world.server.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].authorization.as_deref(), Some("Basic eA=="));
    assert!(!seen[0].all_headers.contains("cookie"));
    drop(relay);
    assert!(browser().get(&url).send().await.is_err());
}
