//! What the verbs do, checked by git's own command line.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_what_git_says_it_is() {
    let world = World::new();
    let bare = world.origin();
    let made = world.call("git.clone", json!({})).await;
    let head = git(&bare, &["rev-parse", "main"]);
    assert_eq!(
        made,
        json!({"dir": "tool", "remote": "origin", "branch": "main", "commit": head, "files": 3, "branches": 2})
    );
    assert_eq!(world.read("tool/README.md"), "hello\nworld\n");
    assert_eq!(world.git("tool", &["status", "--porcelain"]), "");
    assert_eq!(world.git("tool", &["fsck", "--strict"]), "");
    assert_eq!(world.git("tool", &["rev-parse", "HEAD"]), head);
    assert_eq!(world.git("tool", &["rev-parse", "origin/topic"]), head);
    assert_eq!(world.git("tool", &["ls-files", "-s", "run.sh"]).split(' ').next(), Some("100755"));
    let config = world.read("tool/.git/config");
    assert!(!config.contains("url") && !config.contains("127.0.0.1"), "{config}");
    let status = world.call("git.status", json!({})).await;
    assert_eq!(status["clean"], true, "{status}");
    assert_eq!(status["remotes"], json!([{"branch": "origin/main", "ahead": 0, "behind": 0}]));
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_added_and_committed() {
    let world = World::new();
    world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    world.write("t/README.md", "changed\n");
    world.write("t/new/deep/file.txt", "new\n");
    world.write("t/.gitignore", "*.log\n/build/\n");
    world.write("t/noise.log", "x");
    world.write("t/build/out", "x");
    fs::remove_file(world.project().join("t/src/lib.rs")).unwrap();
    make_program(&world.project().join("t/README.md"));
    let status = world.call("git.status", json!({})).await;
    assert_eq!(
        status["changed"],
        json!([{"path": "README.md", "change": "modified"}, {"path": "src/lib.rs", "change": "deleted"}])
    );
    assert_eq!(status["untracked"], json!([".gitignore", "new/"]));
    let added = world.call("git.add", json!({"paths": ["new", "README.md", "src/lib.rs"]})).await;
    assert_eq!(added["files"], 3);
    assert_eq!(
        world.git("t", &["status", "--porcelain"]),
        "M  README.md\nA  new/deep/file.txt\nD  src/lib.rs\n?? .gitignore"
    );
    let staged = world.call("git.diff", json!({"staged": true})).await;
    assert_eq!(staged["files"].as_array().unwrap().len(), 3);
    let text = staged["diff"].as_str().unwrap();
    assert!(text.contains("old mode 100644\nnew mode 100755\n"), "{text}");
    assert!(
        text.contains(
            "--- a/README.md\n+++ b/README.md\n@@ -1,2 +1 @@\n-hello\n-world\n+changed\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("new file mode 100644\n")
            && text.contains("--- /dev/null\n+++ b/new/deep/file.txt\n"),
        "{text}"
    );
    assert!(
        text.contains("deleted file mode 100644\n") && text.contains("+++ /dev/null\n"),
        "{text}"
    );
    let made = world.call("git.commit", json!({"message": "change\n\nmuch", "paths": ["."]})).await;
    assert_eq!((&made["branch"], &made["files_changed"]), (&json!("main"), &json!(4)));
    assert_eq!(world.git("t", &["status", "--porcelain"]), "");
    assert_eq!(
        world.git("t", &["log", "-1", "--format=%an <%ae>"]),
        "agent-runner <agent-runner@localhost>"
    );
    let message = world.git("t", &["log", "-1", "--format=%B"]);
    assert!(message.starts_with("change\n\nmuch\n\nRun-Id: 01930000-"), "{message}");
    assert_eq!(
        world.git("t", &["log", "-1", "--format=%(trailers:key=Run-Step,valueonly)"]).len(),
        64
    );
    let again = world.refuse("git.commit", json!({"message": "nothing"})).await;
    assert_eq!(again.kind(), ToolErrorKind::Conflict);
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_listed_and_shown() {
    let world = World::new();
    let bare = world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    let log = world.call("git.log", json!({})).await;
    let messages: Vec<_> =
        log["commits"].as_array().unwrap().iter().map(|c| c["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["second", "first"]);
    assert_eq!(log["commits"][0]["author"], "Ada <ada@example.com>");
    assert_eq!(log["more"], false);
    let one = world.call("git.log", json!({"limit": 1})).await;
    assert_eq!((one["commits"].as_array().unwrap().len(), &one["more"]), (1, &json!(true)));
    let skipped = world.call("git.log", json!({"skip": 1})).await;
    assert_eq!(skipped["commits"][0]["message"], "first");
    let of_file = world.call("git.log", json!({"path": "src", "rev": "origin/main"})).await;
    assert_eq!(of_file["commits"].as_array().unwrap().len(), 1);
    let shown = world.call("git.show", json!({})).await;
    assert_eq!(shown["commit"]["message"], "second");
    assert!(
        shown["diff"].as_str().unwrap().ends_with("@@ -1 +1,2 @@\n hello\n+world\n"),
        "{shown}"
    );
    let file = world.call("git.show", json!({"rev": "HEAD~1", "path": "README.md"})).await;
    assert_eq!((&file["text"], &file["bytes"]), (&json!("hello\n"), &json!(6)));
    let short = git(&bare, &["rev-parse", "--short=9", "main"]);
    assert_eq!(world.call("git.show", json!({"rev": short})).await["commit"], shown["commit"]);
    for (arguments, kind) in [
        (json!({"rev": "nowhere"}), ToolErrorKind::NotFound),
        (json!({"rev": "HEAD~9"}), ToolErrorKind::NotFound),
        (json!({"path": "none"}), ToolErrorKind::NotFound),
        (json!({"path": "src"}), ToolErrorKind::NotFound),
        (json!({"path": "../x"}), ToolErrorKind::Denied),
        (json!({"rev": "HEAD:README.md"}), ToolErrorKind::InvalidArgs),
        (json!({"rev": "--output=x"}), ToolErrorKind::InvalidArgs),
    ] {
        assert_eq!(world.refuse("git.show", arguments.clone()).await.kind(), kind, "{arguments}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_those_that_git_finds() {
    let world = World::new();
    world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    world.write("t/README.md", "hello\nthere\nworld\n");
    world.write("t/binary", "a\0b");
    world.call("git.add", json!({"paths": ["binary"]})).await;
    let all = world.call("git.diff", json!({})).await;
    assert_eq!((&all["insertions"], &all["deletions"]), (&json!(1), &json!(0)));
    assert!(
        all["diff"]
            .as_str()
            .unwrap()
            .contains("Binary or large files a/binary and b/binary differ\n")
    );
    let one = world.call("git.diff", json!({"paths": ["README.md"], "context_lines": 0})).await;
    let theirs = world.git("t", &["diff", "-U0", "--", "README.md"]);
    let hunks = |text: &str| text.split_once("--- a/").unwrap().1.trim_end().to_owned();
    assert_eq!(hunks(one["diff"].as_str().unwrap()), hunks(&theirs));
    // What is shown can be applied.
    let patch = world.temp.path().join("patch");
    fs::write(&patch, one["diff"].as_str().unwrap()).unwrap();
    world.git("t", &["checkout", "-q", "README.md"]);
    world.git("t", &["apply", "--unidiff-zero", patch.to_str().unwrap()]);
    assert_eq!(world.read("t/README.md"), "hello\nthere\nworld\n");
    let commits = world.call("git.diff", json!({"from": "HEAD~1", "to": "HEAD"})).await;
    assert_eq!(commits["files"], json!([{"path": "README.md", "change": "modified"}]));
    let since = world.call("git.diff", json!({"from": "HEAD~1", "paths": ["README.md"]})).await;
    assert_eq!(since["insertions"], 2);
    let staged = json!({"staged": true, "from": "HEAD"});
    assert_eq!(world.refuse("git.diff", staged).await.kind(), ToolErrorKind::InvalidArgs);
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_come_and_go() {
    let world = World::new();
    world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    let made = world
        .call("git.branch", json!({"action": "create", "name": "a/b", "start": "HEAD~1"}))
        .await;
    assert_eq!(made["created"], true);
    let again = json!({"action": "create", "name": "a/b", "start": "HEAD~1"});
    assert_eq!(world.call("git.branch", again).await["created"], false);
    for (name, kind) in [
        ("a", ToolErrorKind::Conflict),
        ("a/b/c", ToolErrorKind::Conflict),
        ("a/b", ToolErrorKind::Conflict),
    ] {
        let error = world.refuse("git.branch", json!({"action": "create", "name": name})).await;
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
    let branches = world.call("git.branch", json!({})).await;
    let names: Vec<_> = branches["branches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a/b", "main", "origin/main", "origin/topic"]);
    assert_eq!(branches["branches"][1]["checked_out"], "t");
    let taken = world.refuse("git.branch", json!({"action": "delete", "name": "main"})).await;
    assert_eq!(taken.kind(), ToolErrorKind::Conflict);
    assert_eq!(
        world.call("git.branch", json!({"action": "delete", "name": "a/b"})).await["deleted"],
        true
    );
    assert_eq!(
        world.call("git.branch", json!({"action": "delete", "name": "a/b"})).await["deleted"],
        false
    );
    world.call("git.checkout", json!({"branch": "mine", "create": true})).await;
    world.write("t/mine", "1");
    world.call("git.commit", json!({"message": "mine", "paths": ["mine"]})).await;
    world.call("git.checkout", json!({"branch": "main"})).await;
    assert!(!world.project().join("t/mine").exists());
    let unmerged = world.refuse("git.branch", json!({"action": "delete", "name": "mine"})).await;
    assert!(unmerged.for_model().contains("merge or push"), "{unmerged}");
    world.call("git.merge", json!({"branch": "mine"})).await;
    assert_eq!(
        world.call("git.branch", json!({"action": "delete", "name": "mine"})).await["deleted"],
        true
    );
    assert_eq!(world.git("t", &["fsck", "--strict"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_loses_nothing_unless_it_is_told_to() {
    let world = World::new();
    world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    world.call("git.checkout", json!({"branch": "old", "create": true, "start": "HEAD~1"})).await;
    assert_eq!(world.read("t/README.md"), "hello\n");
    world.write("t/README.md", "mine\n");
    let error = world.refuse("git.checkout", json!({"branch": "main"})).await;
    assert!(error.for_model().contains("`README.md`"), "{error}");
    assert_eq!(world.read("t/README.md"), "mine\n");
    assert_eq!(world.git("t", &["rev-parse", "--abbrev-ref", "HEAD"]), "old");
    // What is not in the way stays.
    world.write("t/src/lib.rs", "fn mine() {}\n");
    world.call("git.checkout", json!({"branch": "main", "force": true})).await;
    assert_eq!(world.read("t/README.md"), "hello\nworld\n");
    assert_eq!(world.read("t/src/lib.rs"), "fn a() {}\n");
    world.write("t/src/lib.rs", "fn mine() {}\n");
    world.write("t/untracked", "mine");
    let went = world.call("git.checkout", json!({"branch": "old"})).await;
    assert_eq!(went["files_changed"], 1);
    assert_eq!(
        (world.read("t/src/lib.rs"), world.read("t/untracked")),
        ("fn mine() {}\n".into(), "mine".into())
    );
    // A file that nobody committed is in the way of one of the branch.
    world.call("git.checkout", json!({"branch": "main"})).await;
    world.call("git.commit", json!({"message": "take", "paths": ["untracked"]})).await;
    world.call("git.checkout", json!({"branch": "old"})).await;
    world.write("t/untracked", "another");
    assert_eq!(
        world.refuse("git.checkout", json!({"branch": "main"})).await.kind(),
        ToolErrorKind::Conflict
    );
    world.write("t/untracked", "mine");
    world.call("git.checkout", json!({"branch": "main"})).await;
    // A branch that only the remote has.
    let topic = world.call("git.checkout", json!({"branch": "topic"})).await;
    assert_eq!(topic["branch"], "topic");
    let detached = world.call("git.checkout", json!({"branch": "HEAD~1"})).await;
    assert_eq!(detached["branch"], Value::Null);
    assert_eq!(world.git("t", &["fsck", "--strict"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_are_whole_or_nothing() {
    let world = World::new();
    world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    world.call("git.checkout", json!({"branch": "side", "create": true})).await;
    world.write("t/side", "side\n");
    world.write("t/README.md", "hello\nside\n");
    world.call("git.commit", json!({"message": "side", "paths": ["."]})).await;
    world.call("git.checkout", json!({"branch": "main"})).await;
    let forward = world.call("git.merge", json!({"branch": "side"})).await;
    assert_eq!(forward["result"], "fast_forward");
    assert_eq!(
        world.call("git.merge", json!({"branch": "side"})).await["result"],
        "already_merged"
    );
    world.write("t/main", "main\n");
    world.call("git.commit", json!({"message": "main", "paths": ["."]})).await;
    world.call("git.checkout", json!({"branch": "side"})).await;
    world.write("t/side", "more\n");
    world.call("git.commit", json!({"message": "more", "paths": ["."]})).await;
    let merged = world.call("git.merge", json!({"branch": "main", "message": "both"})).await;
    assert_eq!(merged["result"], "merged");
    assert_eq!((world.read("t/side"), world.read("t/main")), ("more\n".into(), "main\n".into()));
    assert_eq!(world.git("t", &["log", "-1", "--format=%P"]).split(' ').count(), 2);
    assert_eq!(world.git("t", &["status", "--porcelain"]), "");
    // Both sides change the same line.
    world.write("t/README.md", "side\n");
    world.call("git.commit", json!({"message": "s", "paths": ["."]})).await;
    world.call("git.checkout", json!({"branch": "main"})).await;
    world.write("t/README.md", "main\n");
    world.call("git.commit", json!({"message": "m", "paths": ["."]})).await;
    let before = world.git("t", &["rev-parse", "HEAD"]);
    let error = world.refuse("git.merge", json!({"branch": "side"})).await;
    assert!(error.for_model().contains("`README.md`") && !error.effect_possible(), "{error}");
    assert_eq!(
        (world.git("t", &["rev-parse", "HEAD"]), world.read("t/README.md")),
        (before, "main\n".into())
    );
    let theirs = world.call("git.merge", json!({"branch": "side", "prefer": "theirs"})).await;
    assert_eq!(
        (theirs["result"].as_str(), world.read("t/README.md")),
        (Some("merged"), "side\n".into())
    );
    assert_eq!(world.git("t", &["status", "--porcelain"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_undone() {
    let world = World::new();
    world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    world.write("t/README.md", "staged\n");
    world.call("git.add", json!({"paths": ["README.md"]})).await;
    world.write("t/README.md", "more\n");
    world.write("t/new", "new\n");
    fs::remove_file(world.project().join("t/src/lib.rs")).unwrap();
    assert_eq!(world.call("git.restore", json!({"paths": ["."]})).await["files"], 2);
    assert_eq!(
        (world.read("t/README.md"), world.read("t/src/lib.rs")),
        ("staged\n".into(), "fn a() {}\n".into())
    );
    assert_eq!(world.read("t/new"), "new\n", "what git does not know is not its to restore");
    assert_eq!(
        world.call("git.restore", json!({"paths": ["README.md"], "staged": true})).await["files"],
        1
    );
    assert_eq!(world.git("t", &["status", "--porcelain"]), " M README.md\n?? new");
    world.call("git.restore", json!({"paths": ["README.md"], "from": "HEAD~1"})).await;
    assert_eq!(world.read("t/README.md"), "hello\n");
    let none = world.refuse("git.restore", json!({"paths": ["nothing"]})).await;
    assert_eq!(none.kind(), ToolErrorKind::NotFound);
    assert_eq!(
        world.refuse("git.restore", json!({"paths": []})).await.kind(),
        ToolErrorKind::InvalidArgs
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_begins_empty_and_gets_its_first_commit() {
    let world = World::new();
    world.write("a.txt", "a\n");
    assert_eq!(world.call("git.init", json!({})).await, json!({"dir": ".", "created": true}));
    assert_eq!(world.call("git.init", json!({})).await["created"], false);
    let status = world.call("git.status", json!({})).await;
    assert_eq!((&status["branch"], &status["head"]), (&json!("main"), &Value::Null));
    assert_eq!(status["untracked"], json!(["a.txt"]));
    assert_eq!(world.refuse("git.log", json!({})).await.kind(), ToolErrorKind::NotFound);
    assert_eq!(
        world.refuse("git.commit", json!({"message": "x"})).await.kind(),
        ToolErrorKind::Conflict
    );
    world.call("git.checkout", json!({"branch": "trunk", "create": true})).await;
    let made = world.call("git.commit", json!({"message": "first", "paths": ["."]})).await;
    assert_eq!(made["branch"], "trunk");
    assert_eq!(world.git(".", &["log", "--format=%s"]), "first");
    assert_eq!(world.git(".", &["fsck", "--strict"]), "");
    assert_eq!(world.call("git.show", json!({})).await["files"][0]["path"], "a.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_finds_the_projects_only_repository() {
    let world = World::new();
    let none = world.refuse("git.status", json!({})).await;
    assert!(none.for_model().contains("git.init"), "{none}");
    world.call("git.init", json!({"dir": "a"})).await;
    assert_eq!(world.call("git.status", json!({})).await["dir"], "a");
    world.call("git.init", json!({"dir": "b"})).await;
    let several = world.refuse("git.status", json!({})).await;
    assert!(several.for_model().contains("`a`, `b`"), "{several}");
    assert_eq!(world.call("git.status", json!({"dir": "b"})).await["dir"], "b");
    let deep = world.refuse("git.status", json!({"dir": "a/none"})).await;
    assert_eq!(deep.kind(), ToolErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_commits_once_however_often_it_is_tried() {
    let world = World::new();
    world.call("git.init", json!({})).await;
    world.write("a", "1");
    let host = Arc::new(Remembers::default());
    let cx = world.cx("7").with_host(host.clone());
    let arguments = json!({"message": "once", "paths": ["."]});
    let first = world.call_in(&cx, "git.commit", arguments.clone()).await.unwrap();
    world.write("a", "2");
    let again = world.call_in(&cx, "git.commit", arguments).await.unwrap();
    assert_eq!(first.value, again.value);
    assert_eq!(world.git(".", &["log", "--format=%s"]), "once");
    assert_eq!(world.git(".", &["status", "--porcelain"]), " M a");
    let facts = serde_json::to_value(&first.facts).unwrap();
    assert_eq!(
        facts,
        json!([{"fact": "git", "action": "commit", "branch": "main", "to": first.value["commit"]}])
    );
    assert_eq!(first.artifacts.len(), 1);
    let (new, text) = host.kept.lock().unwrap()[0].clone();
    assert_eq!((new.kind.as_str(), new.media_type.as_str()), ("commit", "text/x-patch"));
    assert_eq!(first.value["artifact"], new.name.as_str());
    // The artifact is a patch that git takes.
    let copy = world.temp.path().join("copy");
    fs::create_dir(&copy).unwrap();
    git(&copy, &["init", "-q"]);
    fs::write(copy.join("../mail"), text).unwrap();
    git(&copy, &["am", "-q", "../mail"]);
    assert_eq!(fs::read_to_string(copy.join("a")).unwrap(), "1");
    for message in
        ["", " \n", "x\0", "fine\n\nRun-Step: forged", "run-id : x", &"x".repeat(64 * 1024 + 1)]
    {
        assert_eq!(
            world.refuse("git.commit", json!({"message": message})).await.kind(),
            ToolErrorKind::InvalidArgs
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_one_repository_take_turns() {
    let world = Arc::new(World::new());
    world.call("git.init", json!({})).await;
    let calls = (0..8).map(|n| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            world.write(&format!("f{n}"), "x");
            world
                .call("git.commit", json!({"message": format!("c{n}"), "paths": [format!("f{n}")]}))
                .await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(world.git(".", &["log", "--format=%s"]).lines().count(), 8);
    assert_eq!(world.git(".", &["fsck", "--strict"]), "");
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projects_quota_holds_for_git_too() {
    let files = FsLimits { project_files_max: 40, ..FsLimits::default() };
    let world = World::with(GitLimits::default(), files);
    world.call("git.init", json!({})).await;
    for n in 0..60 {
        world.write(&format!("many/{n}"), &n.to_string());
    }
    let error = world.refuse("git.add", json!({"paths": ["."]})).await;
    assert_eq!(error.kind(), ToolErrorKind::NoSpace, "{error}");
}
