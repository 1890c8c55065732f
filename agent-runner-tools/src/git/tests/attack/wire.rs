//! What remotes say of themselves, and what an index says of the files.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

use super::*;

/// A line as the protocol has it.
fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

impl World {
    /// The server says from now on that it has these references, and suggests the first.
    fn advertise(&self, head: &str, names: &[&str]) {
        let first = names[0];
        let capabilities = format!("ofs-delta side-band-64k symref=HEAD:{first} agent=evil");
        let mut refs = line("# service=git-upload-pack\n") + "0000";
        refs += &line(&format!("{head} HEAD\0 {capabilities}\n"));
        for name in names {
            refs += &line(&format!("{head} {name}\n"));
        }
        refs += "0000";
        self.server.intercept(move |seen| {
            let mut answer = Response::new(Full::new(Bytes::from(refs.clone())));
            let kind = "application/x-git-upload-pack-advertisement".parse().unwrap();
            answer.headers_mut().insert("content-type", kind);
            seen.target.contains("/info/refs").then_some(answer)
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_references_that_lead_elsewhere_are_not_taken() {
    let world = World::new();
    let bare = world.origin();
    let head = git(&bare, &["rev-parse", "main"]);
    let names = [
        "refs/heads/../../../../outside/x",
        "refs/heads/../../config",
        "refs/heads/..",
        "refs/heads/a/../../../b",
        "refs/../config",
        "refs/heads/x.lock",
        "refs/heads/.hidden",
        "refs/heads/-f",
        "refs/heads/a b",
        "refs/heads/a:b",
        "refs/heads/\u{1b}[2J",
        "refs/heads//x",
        "refs/heads/x/",
        "refs/heads/@{1}",
        "refs/heads/HEAD",
        "refs/remotes/origin/evil",
        "config",
        "/etc/passwd",
        "refs/tags/../../x",
        "refs/heads/con^{}",
    ];
    for (n, name) in names.iter().enumerate() {
        let dir = format!("c{n}");
        world.advertise(&head, &["refs/heads/main", name]);
        world.call("git.clone", json!({"dir": dir})).await;
        let refs = world.git(&dir, &["for-each-ref", "--format=%(refname)"]);
        assert_eq!(refs, "refs/heads/main\nrefs/remotes/origin/main", "{name:?}");
        assert!(world.read(&format!("{dir}/.git/config")).starts_with("[core]"));
        world.assert_tidy();
        // The same where it is the branch that the remote suggests: one that is none is not there.
        world.advertise(&head, &[name]);
        let dir = format!("d{n}");
        match world.try_call("git.clone", json!({"dir": dir})).await {
            Ok(made) => {
                assert_eq!(made["commit"], Value::Null, "{name:?}");
                assert_eq!(world.git(&dir, &["for-each-ref"]), "", "{name:?}");
            }
            Err(error) => {
                assert!(!error.for_model().contains('\u{1b}'), "{error}");
                assert!(!world.project().join(&dir).exists(), "{name:?}");
            }
        }
        world.assert_tidy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_with_names_that_lead_elsewhere_writes_nothing_there() {
    let world = World::new();
    world.call("git.init", json!({"dir": "t"})).await;
    for (good, evil) in
        [("zz/pwned", "../pwned"), ("zgit/hook", ".git/hook"), ("zabs/pwned", "/tmp/pwned")]
    {
        world.write(&format!("t/{good}"), "evil");
        world.call("git.add", json!({"dir": "t", "paths": [good]})).await;
        let path = world.project().join("t/.git/index");
        let mut index = fs::read(&path).unwrap();
        let at = index.windows(good.len()).position(|part| part == good.as_bytes()).unwrap();
        index[at..at + good.len()].copy_from_slice(evil.as_bytes());
        let body = index.len() - 20;
        fs::write(world.temp.path().join("body"), &index[..body]).unwrap();
        let sum = std::process::Command::new("sha1sum")
            .arg(world.temp.path().join("body"))
            .output()
            .unwrap()
            .stdout;
        let sum = git2::Oid::from_str(std::str::from_utf8(&sum[..40]).unwrap()).unwrap();
        index[body..].copy_from_slice(sum.as_bytes());
        fs::write(&path, &index).unwrap();
        for (tool, arguments) in [
            ("git.status", json!({"dir": "t"})),
            ("git.restore", json!({"dir": "t", "paths": ["."]})),
            ("git.diff", json!({"dir": "t"})),
            ("git.commit", json!({"dir": "t", "message": "evil"})),
            ("git.checkout", json!({"dir": "t", "branch": "main", "force": true})),
        ] {
            let _ = world.try_call(tool, arguments).await;
        }
        assert!(
            !world.project().join("pwned").exists()
                && !world.project().join("t/.git/hook").exists()
        );
        assert!(!Path::new("/tmp/pwned").exists());
        fs::remove_file(&path).unwrap();
        fs::remove_dir_all(world.project().join("t").join(good.split('/').next().unwrap()))
            .unwrap();
    }
    world.assert_tidy();
}
