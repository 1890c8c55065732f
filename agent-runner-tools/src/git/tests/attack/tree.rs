//! Commits whose trees are made to harm whoever writes them.

use std::{os::unix::fs::symlink, time::Duration};

use super::*;

/// A tree as it is stored.
fn tree(entries: &[(&str, &[u8], &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(mode.bytes());
        bytes.push(b' ');
        bytes.extend(*name);
        bytes.push(0);
        bytes.extend(git2::Oid::from_str(id).unwrap().as_bytes());
    }
    bytes
}

/// Stores an object, whatever it holds.
fn store(bare: &Path, kind: &str, content: &[u8]) -> String {
    let file = bare.join("object");
    fs::write(&file, content).unwrap();
    git(bare, &["hash-object", "-w", "--literally", "-t", kind, "object"])
}

fn commit_of(bare: &Path, tree: &str, branch: &str) {
    let who = "Eve <eve@example.com> 1700000000 +0000";
    let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nevil\n");
    let commit = store(bare, "commit", text.as_bytes());
    git(bare, &["update-ref", &format!("refs/heads/{branch}"), &commit]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_with_names_that_lead_elsewhere_are_not_written() {
    let world = World::new();
    let bare = world.origin();
    let blob = store(&bare, "blob", b"evil\n");
    let below = store(&bare, "tree", &tree(&[("100755", b"config", &blob)]));
    let names: [&[u8]; 26] = [
        b".git",
        b".GIT",
        b".Git",
        b"git~1",
        b"GIT~1",
        b".git ",
        b".git.",
        b".git...",
        b".git::$INDEX_ALLOCATION",
        ".g\u{200c}it".as_bytes(),
        "\u{feff}.git".as_bytes(),
        b"..",
        b".",
        b"",
        b"...",
        b"../x",
        b"/etc/x",
        b"a/b",
        b"a\\b",
        b"..\\x",
        b"C:x",
        b"x\n",
        b"x\x1b[2J",
        b"\xff\xfe",
        "a\u{202e}b".as_bytes(),
        &[b'n'; 300],
    ];
    for (n, name) in names.iter().enumerate() {
        for (kind, id) in [("100644", &blob), ("40000", &below), ("120000", &blob)] {
            let root = store(&bare, "tree", &tree(&[(kind, name, id)]));
            // Below a directory too.
            let deep = store(&bare, "tree", &tree(&[("40000", b"dir", &root)]));
            for root in [root, deep] {
                commit_of(&bare, &root, "evil");
                let shown = String::from_utf8_lossy(name).into_owned();
                let dir = format!("c{n}");
                let error = world.refuse("git.clone", json!({"branch": "evil", "dir": dir})).await;
                // What has no name is not sent by git's own server.
                let want =
                    if name.is_empty() { ToolErrorKind::Network } else { ToolErrorKind::Denied };
                assert_eq!(error.kind(), want, "{shown:?}: {error}");
                assert!(error.for_model().len() < 500, "{error}");
                assert!(
                    !error.for_model().contains(['\n', '\u{1b}', '\u{202e}']),
                    "{shown:?}: {error}"
                );
                assert!(!world.project().join(&dir).exists(), "{shown:?}");
            }
        }
    }
    // Two entries of one name, the first a link, the second a directory behind it.
    let link = store(&bare, "blob", world.outside().to_str().unwrap().as_bytes());
    let twice = store(&bare, "tree", &tree(&[("120000", b"a", &link), ("40000", b"a", &below)]));
    commit_of(&bare, &twice, "evil");
    assert_eq!(
        world.refuse("git.clone", json!({"branch": "evil"})).await.kind(),
        ToolErrorKind::Denied
    );
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_trees_are_refused_by_pull_checkout_and_merge() {
    let world = World::new();
    let bare = world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    let blob = store(&bare, "blob", b"evil\n");
    let inner = store(&bare, "tree", &tree(&[("100755", b"pre-commit", &blob)]));
    let hooks = store(&bare, "tree", &tree(&[("40000", b"hooks", &inner)]));
    let root = store(&bare, "tree", &tree(&[("40000", b".git", &hooks)]));
    let parent = git(&bare, &["rev-parse", "main"]);
    let who = "Eve <eve@example.com> 1700000000 +0000";
    let text = format!("tree {root}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nevil\n");
    let commit = store(&bare, "commit", text.as_bytes());
    git(&bare, &["update-ref", "refs/heads/main", &commit]);
    for (tool, arguments) in [
        ("git.pull", json!({})),
        ("git.checkout", json!({"branch": "origin/main"})),
        ("git.checkout", json!({"branch": "origin/main", "force": true})),
        ("git.merge", json!({"branch": "origin/main"})),
        ("git.restore", json!({"paths": ["."], "from": "origin/main"})),
        ("git.worktree", json!({"action": "create", "name": "w", "start": "origin/main"})),
    ] {
        let error = world.refuse(tool, arguments.clone()).await;
        assert_eq!(error.kind(), ToolErrorKind::Denied, "{tool} {arguments}: {error}");
        assert!(!world.project().join("t/.git/hooks/pre-commit").exists());
        assert_eq!(
            world.git("t", &["status", "--porcelain", "--untracked-files=all"]),
            "",
            "{tool}"
        );
    }
    // It can be looked at.
    let shown = world.call("git.show", json!({"rev": "origin/main"})).await;
    assert_eq!(shown["files"][0]["path"], ".git/hooks/pre-commit");
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_files_that_hold_their_target() {
    let world = World::new();
    let bare = world.origin();
    let target = store(&bare, "blob", world.outside().join("secret").to_str().unwrap().as_bytes());
    let up = store(&bare, "blob", b"../../../../outside");
    let first = store(&bare, "tree", &tree(&[("120000", b"d", &up), ("120000", b"link", &target)]));
    commit_of(&bare, &first, "links");
    let blob = store(&bare, "blob", b"evil\n");
    let below = store(&bare, "tree", &tree(&[("100644", b"secret", &blob)]));
    let second =
        store(&bare, "tree", &tree(&[("40000", b"d", &below), ("100644", b"link", &blob)]));
    commit_of(&bare, &second, "behind");
    world.call("git.clone", json!({"branch": "links", "dir": "t"})).await;
    assert!(world.project().join("t/link").symlink_metadata().unwrap().is_file());
    assert_eq!(world.read("t/d"), "../../../../outside");
    assert_eq!(world.call("git.status", json!({})).await["clean"], true);
    // What was a link becomes a directory, and back.
    world.call("git.checkout", json!({"branch": "behind"})).await;
    assert_eq!(
        (world.read("t/d/secret"), world.read("t/link")),
        ("evil\n".into(), "evil\n".into())
    );
    world.call("git.checkout", json!({"branch": "links"})).await;
    assert_eq!(world.read("t/d"), "../../../../outside");
    // A link that a program made is not followed, neither to read nor to write.
    fs::remove_file(world.project().join("t/d")).unwrap();
    symlink(world.outside(), world.project().join("t/d")).unwrap();
    fs::remove_file(world.project().join("t/link")).unwrap();
    symlink(world.outside().join("secret"), world.project().join("t/link")).unwrap();
    for (tool, arguments) in [
        ("git.diff", json!({})),
        ("git.add", json!({"paths": ["."]})),
        ("git.add", json!({"paths": ["d/secret"]})),
        ("git.commit", json!({"message": "m", "paths": ["link"]})),
        ("git.checkout", json!({"branch": "behind"})),
        ("git.status", json!({})),
    ] {
        let told = match world.try_call(tool, arguments).await {
            Ok(output) => output.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(!told.contains("SECRET"), "{tool}: {told}");
    }
    assert!(!world.git("t", &["log", "--all", "-p"]).contains("SECRET"));
    world.call("git.checkout", json!({"branch": "behind", "force": true})).await;
    assert!(world.project().join("t/d").symlink_metadata().unwrap().is_dir());
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_are_data() {
    let world = World::new();
    let bare = world.origin();
    let marker = world.temp.path().join("pwned");
    let modules = format!(
        "[submodule \"../../x\"]\n\tpath = sub\n\turl = ext::sh -c touch% {}\n\tupdate = !touch {}\n[submodule \"y\\r\"]\n\tpath = \"y\\r\"\n\turl = -u./x\n",
        marker.display(),
        marker.display(),
    );
    let modules = store(&bare, "blob", modules.as_bytes());
    let entries = [
        ("100644", b".gitmodules".as_slice(), modules.as_str()),
        ("160000", b"sub", "0123456789012345678901234567890123456789"),
    ];
    let root = store(&bare, "tree", &tree(&entries));
    commit_of(&bare, &root, "modules");
    world.call("git.clone", json!({"branch": "modules", "dir": "t"})).await;
    let status = world.call("git.status", json!({})).await;
    assert_eq!(status["clean"], true, "{status}");
    assert!(!world.project().join("t/sub").exists() && !marker.exists());
    world.write("t/a", "a");
    world.call("git.commit", json!({"message": "a", "paths": ["."]})).await;
    assert!(
        world
            .git("t", &["ls-tree", "HEAD"])
            .contains("160000 commit 0123456789012345678901234567890123456789\tsub")
    );
    let shown = world.call("git.show", json!({"rev": "HEAD~1"})).await;
    assert!(shown["diff"].as_str().unwrap().contains("+Subproject commit 0123456789"), "{shown}");
    assert_eq!(
        world.server.requests().iter().filter(|request| !request.contains("/tool.git/")).count(),
        0
    );
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_of_trees_are_counted_before_they_are_written() {
    let world = World::new();
    let bare = world.origin();
    let blob = store(&bare, "blob", b"boom\n");
    let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
    let mut id = {
        let entries: Vec<_> =
            names.iter().map(|name| ("100644", name.as_bytes(), blob.as_str())).collect();
        store(&bare, "tree", &tree(&entries))
    };
    for _ in 0..9 {
        let entries: Vec<_> =
            names.iter().map(|name| ("40000", name.as_bytes(), id.as_str())).collect();
        id = store(&bare, "tree", &tree(&entries));
    }
    commit_of(&bare, &id, "bomb");
    let mut deep = store(&bare, "tree", &tree(&[("100644", b"f", &blob)]));
    for _ in 0..200 {
        deep = store(&bare, "tree", &tree(&[("40000", b"d", &deep)]));
    }
    commit_of(&bare, &deep, "deep");
    for (branch, dir) in [("bomb", "b"), ("deep", "d")] {
        let began = std::time::Instant::now();
        let error = world.refuse("git.clone", json!({"branch": branch, "dir": dir})).await;
        assert_eq!(error.kind(), ToolErrorKind::TooLarge, "{branch}: {error}");
        assert!(began.elapsed() < Duration::from_secs(20), "{branch}");
        assert!(!world.project().join(dir).exists());
    }
    // Neither is it a way to keep a thread busy.
    world.call("git.clone", json!({"branch": "main", "dir": "t"})).await;
    for (tool, arguments) in [
        ("git.show", json!({"rev": "origin/bomb"})),
        ("git.diff", json!({"from": "HEAD", "to": "origin/bomb"})),
        ("git.checkout", json!({"branch": "origin/bomb"})),
        ("git.merge", json!({"branch": "origin/bomb"})),
    ] {
        let error = world.refuse(tool, arguments).await;
        assert_eq!(error.kind(), ToolErrorKind::TooLarge, "{tool}: {error}");
    }
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_refused_before_they_are_unpacked() {
    let limits = GitLimits { blob_bytes_max: 1_000_000, ..GitLimits::default() };
    let world = World::with(limits, FsLimits::default());
    let bare = world.origin();
    let blob = store(&bare, "blob", &vec![b'0'; 1_000_001]);
    let root = store(&bare, "tree", &tree(&[("100644", b"large", &blob)]));
    commit_of(&bare, &root, "large");
    let error = world.refuse("git.clone", json!({"branch": "large"})).await;
    assert_eq!(error.kind(), ToolErrorKind::TooLarge, "{error}");
    world.call("git.init", json!({"dir": "t"})).await;
    world.write("t/large", &"0".repeat(1_000_001));
    assert_eq!(
        world.refuse("git.add", json!({"dir": "t", "paths": ["large"]})).await.kind(),
        ToolErrorKind::TooLarge
    );
    world.assert_tidy();
}
