//! A worktree for each run.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn runs_work_side_by_side_in_worktrees_of_their_own() {
    let world = World::new();
    let bare = world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    let one = world.call("git.worktree", json!({"action": "create", "name": "one"})).await;
    assert_eq!(
        (&one["dir"], &one["branch"], &one["created"]),
        (&json!("t/.worktrees/one"), &json!("agents/one"), &json!(true))
    );
    let mine = world.call("git.worktree", json!({"action": "create"})).await;
    let run = cx("1").run_id.unwrap().to_string();
    assert_eq!(mine["dir"], format!("t/.worktrees/{run}"));
    let again = world.call("git.worktree", json!({"action": "create", "name": "one"})).await;
    assert_eq!(again["created"], false);
    // The file tools see it like any other directory.
    world.call("files.write", json!({"path": "t/.worktrees/one/a", "text": "one"})).await;
    let read = world.call("files.read", json!({"path": "t/.worktrees/one/README.md"})).await;
    assert_eq!(read, "hello\nworld\n");
    for path in ["t/.worktrees/one/.git", "t/.git/config"] {
        let closed = world.refuse("files.read", json!({"path": path})).await;
        assert_eq!(closed.code(), "path_escape");
    }
    world
        .call("files.write", json!({"path": format!("t/.worktrees/{run}/a"), "text": "two"}))
        .await;
    for (dir, message) in
        [("t/.worktrees/one".to_owned(), "one"), (format!("t/.worktrees/{run}"), "two")]
    {
        let status = world.call("git.status", json!({"dir": dir})).await;
        assert_eq!((&status["untracked"], &status["dir"]), (&json!(["a"]), &json!(dir)));
        world.call("git.commit", json!({"dir": dir, "message": message, "paths": ["."]})).await;
        assert_eq!(
            world.git(&dir, &["status", "--porcelain"]),
            "",
            "git's own command line works there too"
        );
        assert_eq!(world.git(&dir, &["log", "-1", "--format=%s"]), message);
    }
    let main = world.call("git.status", json!({"dir": "t"})).await;
    assert_eq!((&main["clean"], &main["branch"]), (&json!(true), &json!("main")), "{main}");
    assert_eq!(world.git("t", &["fsck", "--strict"]), "");
    // One branch is checked out in one place.
    let taken = world.refuse("git.checkout", json!({"dir": "t", "branch": "agents/one"})).await;
    assert!(taken.for_model().contains("`t/.worktrees/one`"), "{taken}");
    let delete = world
        .refuse("git.branch", json!({"dir": "t", "action": "delete", "name": "agents/one"}))
        .await;
    assert_eq!(delete.kind(), ToolErrorKind::Conflict);
    world.call("git.merge", json!({"dir": "t", "branch": "agents/one"})).await;
    assert_eq!(world.read("t/a"), "one");
    world.call("git.push", json!({"dir": format!("t/.worktrees/{run}")})).await;
    assert_eq!(git(&bare, &["log", "-1", "--format=%s", &format!("agents/{run}")]), "two");
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worktree_is_removed_with_its_files_and_without_its_branch() {
    let world = World::new();
    world.origin();
    world.call("git.clone", json!({"dir": "t"})).await;
    world
        .call(
            "git.worktree",
            json!({"action": "create", "name": "w", "branch": "topic2", "start": "HEAD~1"}),
        )
        .await;
    world.write("t/.worktrees/w/new", "new");
    let dirty = world.refuse("git.worktree", json!({"action": "remove", "name": "w"})).await;
    assert!(dirty.for_model().contains("force"), "{dirty}");
    let listed = world.call("git.worktree", json!({})).await;
    assert_eq!(listed["worktrees"][0]["branch"], "topic2");
    let removed =
        world.call("git.worktree", json!({"action": "remove", "name": "w", "force": true})).await;
    assert_eq!(removed["removed"], true);
    assert_eq!(
        world.call("git.worktree", json!({"action": "remove", "name": "w"})).await["removed"],
        false
    );
    assert!(!world.project().join("t/.worktrees/w").exists());
    assert_eq!(world.git("t", &["rev-parse", "topic2"]), world.git("t", &["rev-parse", "HEAD~1"]));
    assert_eq!(
        world.refuse("git.status", json!({"dir": "t/.worktrees/w"})).await.kind(),
        ToolErrorKind::NotFound
    );
    // A worktree whose files somebody deleted is made again.
    world.call("git.worktree", json!({"action": "create", "name": "v"})).await;
    world.call("files.delete", json!({"path": "t/.worktrees/v", "recursive": true})).await;
    let gone = world.refuse("git.status", json!({"dir": "t/.worktrees/v"})).await;
    assert!(gone.for_model().contains("gone"), "{gone}");
    assert_eq!(
        world.call("git.worktree", json!({"action": "create", "name": "v"})).await["created"],
        true
    );
    assert_eq!(world.call("git.status", json!({"dir": "t/.worktrees/v"})).await["clean"], true);
    for name in ["..", "a/b", ".git", "-x", ""] {
        let error = world.refuse("git.worktree", json!({"action": "create", "name": name})).await;
        assert_eq!(error.kind(), ToolErrorKind::InvalidArgs, "{name}");
    }
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worktree_that_was_tampered_with_is_not_opened() {
    let world = World::new();
    world.call("git.init", json!({})).await;
    world.write("a", "a");
    world.call("git.commit", json!({"message": "a", "paths": ["."]})).await;
    let dir = ".worktrees/w";
    let evil = world.outside();
    git(&evil, &["init", "-q"]);
    let links = [
        (format!("{dir}/.git"), format!("gitdir: {}/.git\n", evil.display())),
        (".git/worktrees/w/commondir".to_owned(), format!("{}/.git\n", evil.display())),
    ];
    for (path, content) in links {
        world.call("git.worktree", json!({"action": "create", "name": "w"})).await;
        world.write(&path, &content);
        let error = world.refuse("git.status", json!({"dir": dir})).await;
        assert_eq!(error.kind(), ToolErrorKind::Denied, "{path}: {error}");
        fs::remove_dir_all(world.project().join(dir)).unwrap();
    }
    world.call("git.worktree", json!({"action": "create", "name": "w"})).await;
    let there = world.project().join(dir);
    fs::rename(&there, world.project().join("moved")).unwrap();
    std::os::unix::fs::symlink(&evil, &there).unwrap();
    let error = world.refuse("git.status", json!({"dir": dir})).await;
    assert_eq!(error.kind(), ToolErrorKind::NotFound, "{error}");
    fs::remove_dir_all(evil.join(".git")).unwrap();
    world.assert_tidy();
}
