//! Git's own files as a program in the project may leave them.

use std::{os::unix::fs::symlink, time::Duration};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_planted_in_a_configuration_has_an_effect() {
    let world = World::new();
    world.origin();
    world.repository().await;
    let marker = world.temp.path().join("pwned");
    let run = format!("touch {}", marker.display());
    let script = world.temp.path().join("evil.sh");
    fs::write(&script, format!("#!/bin/sh\n{run}\ncat\n")).unwrap();
    make_program(&script);
    let evil = script.display();
    let included = world.temp.path().join("included");
    fs::write(
        &included,
        format!("[core]\n\tfsmonitor = {evil}\n\tworktree = {}\n", world.outside().display()),
    )
    .unwrap();
    let outside = world.outside().display().to_string();
    let planted = format!(
        "[core]\n\tfsmonitor = {evil}\n\thooksPath = {hooks}\n\tsshCommand = {evil}\n\tpager = {evil}\n\teditor = {evil}\n\
         \tgitProxy = {evil}\n\tattributesFile = {attributes}\n\tworktree = {outside}\n\talternateRefsCommand = {evil}\n\
         [credential]\n\thelper = !{run}\n[gpg]\n\tprogram = {evil}\n[commit]\n\tgpgsign = true\n[push]\n\tgpgSign = true\n\
         [filter \"evil\"]\n\tclean = {evil}\n\tsmudge = {evil}\n\tprocess = {evil}\n\trequired = true\n\
         [diff \"evil\"]\n\tcommand = {evil}\n\ttextconv = {evil}\n[diff]\n\texternal = {evil}\n[merge \"evil\"]\n\tdriver = {evil}\n\
         [merge]\n\tdefault = evil\n[alias]\n\tstatus = !{run}\n[include]\n\tpath = {included}\n[http]\n\tproxy = http://127.0.0.1:1\n\
         [url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://127.0.0.1\n[remote \"origin\"]\n\turl = ext::{evil}\n\tuploadpack = {evil}\n\
         \treceivepack = {evil}\n\tfetch = +refs/heads/*:refs/heads/*\n[uploadpack]\n\tpackObjectsHook = {evil}\n\
         [submodule]\n\trecurse = true\n[user]\n\tname = Mallory\n\temail = mallory@evil.example\n",
        hooks = world.temp.path().display(),
        attributes = script.display(),
        included = included.display(),
    );
    fs::write(world.project().join("t/.git/config"), planted).unwrap();
    let hooks = world.project().join("t/.git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "pre-commit",
        "prepare-commit-msg",
        "commit-msg",
        "post-commit",
        "pre-merge-commit",
        "post-checkout",
        "post-merge",
        "pre-push",
        "pre-rebase",
        "post-index-change",
        "reference-transaction",
        "fsmonitor-watchman",
        "update",
    ] {
        let path = hooks.join(hook);
        fs::write(&path, format!("#!/bin/sh\n{run}\nexit 1\n")).unwrap();
        make_program(&path);
    }
    world.write("t/.gitattributes", "* filter=evil diff=evil merge=evil ident text=auto eol=crlf working-tree-encoding=UTF-16\n");
    fs::create_dir_all(world.project().join("t/.git/info")).unwrap();
    world.write("t/.git/info/attributes", "* filter=evil diff=evil merge=evil\n");
    world.write(
        "t/.gitmodules",
        &format!("[submodule \"x\"]\n\tpath = x\n\turl = ext::{evil}\n\tupdate = !{run}\n"),
    );
    world.write("t/a", "a\r\nb $Id$\n");
    world.use_everything().await;
    assert!(!marker.exists(), "a program was started");
    let config = world.read("t/.git/config");
    assert!(config.contains("hooksPath = /dev/null") && !config.contains("evil"), "{config}");
    assert_eq!(world.git("t", &["log", "-1", "--format=%an", "--no-merges"]), "agent-runner");
    // Bytes are kept as they are, whatever attributes say.
    assert_eq!(
        world.git("t", &["-c", "core.attributesFile=/dev/null", "cat-file", "blob", "main:a"]),
        "a\r\nb $Id$"
    );
    world.assert_tidy();
}

/// Ways in which Git's own files may lead elsewhere.
const WAYS: [&str; 14] = [
    "a link",
    "a file",
    "alternates",
    "alternates over HTTP",
    "a common directory",
    "a directory of git's",
    "a configuration of worktrees",
    "extensions",
    "objects behind a link",
    "references behind a link",
    "HEAD behind a link",
    "a pipe among the objects",
    "a HEAD that is no name",
    "a HEAD of another kind",
];

/// Makes `git`, the `.git` of a repository, lead elsewhere.
fn lead_elsewhere(way: &str, world: &World, git: &Path) {
    let elsewhere = world.temp.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    super::git(&elsewhere, &["init", "-q", "-b", "main"]);
    let other = elsewhere.join(".git");
    let write = |name: &str, content: String| {
        let path = git.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let aside = || fs::rename(git, git.with_file_name("was")).unwrap();
    match way {
        "a link" => {
            aside();
            symlink(&other, git).unwrap();
        }
        "a file" => {
            aside();
            fs::write(git, format!("gitdir: {}\n", other.display())).unwrap();
        }
        "alternates" => write("objects/info/alternates", format!("{}/objects\n", other.display())),
        "alternates over HTTP" => {
            write("objects/info/http-alternates", "http://127.0.0.1:1/\n".into());
        }
        "a common directory" => write("commondir", other.display().to_string()),
        "a directory of git's" => write("gitdir", other.display().to_string()),
        "a configuration of worktrees" => write("config.worktree", String::new()),
        "extensions" => {
            let extensions =
                "[core]\nrepositoryformatversion = 1\n[Extensions]\nworktreeConfig = true\n";
            write("config", extensions.into());
        }
        "objects behind a link" => {
            fs::remove_dir_all(git.join("objects")).unwrap();
            symlink(other.join("objects"), git.join("objects")).unwrap();
        }
        "references behind a link" => {
            fs::rename(git.join("refs/heads"), git.join("was")).unwrap();
            symlink(world.outside(), git.join("refs/heads")).unwrap();
        }
        "HEAD behind a link" => {
            fs::remove_file(git.join("HEAD")).unwrap();
            symlink(world.outside().join("secret"), git.join("HEAD")).unwrap();
        }
        "a pipe among the objects" => {
            fs::create_dir_all(git.join("objects/ab")).unwrap();
            let pipe = git.join("objects/ab/cdef");
            assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        "a HEAD that is no name" => write("HEAD", "ref: ../../outside/secret\n".into()),
        "a HEAD of another kind" => write("HEAD", "ref: refs/heads/../../config\n".into()),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_leads_elsewhere_is_not_opened() {
    for way in WAYS {
        let world = World::new();
        world.repository().await;
        let git = world.project().join("t/.git");
        lead_elsewhere(way, &world, &git);
        let before = git.symlink_metadata().unwrap().file_type();
        let cx = world.cx("1");
        let call = world.call_in(&cx, "git.log", json!({"dir": "t"}));
        let error =
            tokio::time::timeout(Duration::from_secs(5), call).await.expect(way).unwrap_err();
        let refused = matches!(error.kind(), ToolErrorKind::Denied | ToolErrorKind::Conflict);
        assert!(refused, "{way}: {error}");
        let told = error.for_model();
        assert!(!told.contains("SECRET") && !told.contains("/tmp"), "{way}: {told}");
        world.use_everything().await;
        let after = git.symlink_metadata().unwrap().file_type();
        assert_eq!(after, before, "{way}: it is where it was");
        world.assert_tidy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_a_second_name_outside_keep_their_content_there() {
    let world = World::new();
    world.repository().await;
    let git = world.project().join("t/.git");
    let mut linked = Vec::new();
    for name in [
        "HEAD",
        "config",
        "index",
        "refs/heads/main",
        "packed-refs",
        "logs/HEAD",
        "logs/refs/heads/main",
        "FETCH_HEAD",
        "ORIG_HEAD",
    ] {
        let path = git.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        let outside = world.temp.path().join(name.replace('/', "-"));
        fs::hard_link(&path, &outside).unwrap();
        linked.push((outside.clone(), fs::read(&outside).unwrap()));
    }
    let file = world.temp.path().join("file");
    fs::write(&file, "outside\n").unwrap();
    fs::remove_file(world.project().join("t/src/lib.rs")).unwrap();
    fs::hard_link(&file, world.project().join("t/src/lib.rs")).unwrap();
    linked.push((file, b"outside\n".to_vec()));
    world.use_everything().await;
    let force = json!({"dir": "t", "branch": "side", "force": true});
    world.call("git.checkout", force).await;
    assert_eq!(world.read("t/src/lib.rs"), "fn side() {}\n");
    for (path, content) in linked {
        assert_eq!(fs::read(&path).unwrap(), content, "{}", path.display());
    }
}
