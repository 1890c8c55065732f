//! Calls that were killed, calls of other processes, and programs that exchange names meanwhile.

use std::{
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_call_left_is_found_again() {
    let world = World::new();
    world.repository().await;
    let head = world.git("t", &["rev-parse", "HEAD"]);
    let dot_git = world.project().join("t/.git");
    let work = world.projects().join(".git-work").join(cx("1").project_id.to_string());
    let bench = fs::read_dir(&work)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    fs::rename(&dot_git, bench.join("repo")).unwrap();
    fs::create_dir(bench.join("new")).unwrap();
    let log = world.call("git.log", json!({"dir": "t"})).await;
    assert_eq!(log["commits"][0]["id"], head);
    assert!(dot_git.join("HEAD").exists());
    // A program has made something in its place meanwhile.
    fs::rename(&dot_git, bench.join("repo")).unwrap();
    world.git("t", &["init", "-q"]);
    assert_eq!(world.call("git.log", json!({"dir": "t"})).await["commits"][0]["id"], head);
    assert_eq!(world.git("t", &["rev-parse", "HEAD"]), head);
    fs::rename(&dot_git, bench.join("repo")).unwrap();
    symlink(world.outside(), &dot_git).unwrap();
    assert_eq!(world.call("git.log", json!({"dir": "t"})).await["commits"][0]["id"], head);
    assert!(dot_git.symlink_metadata().unwrap().is_dir());
    // What was caught in the place of `.git`, and did not fit back, is in nobody's way.
    symlink(world.outside(), bench.join("repo")).unwrap();
    assert_eq!(world.call("git.log", json!({"dir": "t"})).await["commits"][0]["id"], head);
    assert_eq!(fs::read_to_string(world.outside().join("secret")).unwrap(), "SECRET");
    fs::remove_dir_all(bench.join("new")).unwrap();
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_at_work_is_waited_for_by_trying_again() {
    let world = World::new();
    world.repository().await;
    let work = world.projects().join(".git-work").join(cx("1").project_id.to_string());
    let bench = fs::read_dir(&work)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    let lock = fs::OpenOptions::new().write(true).open(bench.join("lock")).unwrap();
    lock.lock().unwrap();
    let error = world.refuse("git.status", json!({"dir": "t"})).await;
    assert_eq!(error.kind(), ToolErrorKind::Conflict);
    assert!(error.retry_after().is_some() && world.project().join("t/.git").exists());
    drop(lock);
    world.call("git.status", json!({"dir": "t"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_are_exchanged_all_the_time_lead_nowhere() {
    let world = World::new();
    world.repository().await;
    let evil = world.temp.path().join("evil");
    fs::create_dir_all(evil.join("heads")).unwrap();
    git(&evil, &["init", "-q", "--bare", "-b", "main"]);
    fs::write(evil.join("lib.rs"), "SECRET outside\n").unwrap();
    let snapshot = |dir: &Path| {
        let mut names: Vec<_> = walk(dir)
            .into_iter()
            .map(|path| (path.clone(), fs::read(&path).unwrap_or_default()))
            .collect();
        names.sort();
        names
    };
    let before = snapshot(&evil);
    let of_files = ["src", ".git", "a"];
    let of_git = [".git/refs", ".git/objects", ".git/HEAD", ".git/index", "src/lib.rs"];
    let done = exchange_while_working(&world, &of_files, &evil).await;
    // Whatever a call met, it left nothing that keeps the next one from working.
    world.call("git.status", json!({"dir": "t"})).await;
    assert!(snapshot(&evil) == before, "something was written outside");
    // Here the repository itself may get broken.
    let done = done + exchange_while_working(&world, &of_git, &evil).await;
    assert!(done > 0, "the exchange leaves time to work");
    assert!(snapshot(&evil) == before, "something was written outside");
    assert_eq!(fs::read_to_string(world.outside().join("secret")).unwrap(), "SECRET");
}

/// Uses a repository while links take the place of these names and give it back; how many calls
/// found a moment in which they could work.
async fn exchange_while_working(world: &World, names: &[&str], evil: &Path) -> usize {
    let over = Arc::new(AtomicBool::new(false));
    let t = world.project().join("t");
    let swappers: Vec<_> = names
        .iter()
        .map(|name| {
            let (path, evil, over) = (t.join(name), evil.to_owned(), Arc::clone(&over));
            std::thread::spawn(move || {
                let aside = path.with_file_name(format!(
                    "{}-aside",
                    path.file_name().unwrap().to_str().unwrap()
                ));
                let is_link = || path.symlink_metadata().is_ok_and(|found| found.is_symlink());
                // A step fails where the repository is away at that moment; the next round mends it.
                let restore = || {
                    if is_link() {
                        let _ = fs::remove_file(&path);
                    }
                    if !path.exists() {
                        let _ = fs::rename(&aside, &path);
                    }
                };
                while !over.load(Ordering::Relaxed) {
                    if !is_link() && !aside.exists() && fs::rename(&path, &aside).is_ok() {
                        let _ = symlink(&evil, &path);
                        std::thread::yield_now();
                    }
                    restore();
                    for _ in 0..100 {
                        std::thread::yield_now();
                    }
                }
                restore();
            })
        })
        .collect();
    let mut done = 0;
    for round in 0..60 {
        for (tool, arguments) in [
            ("git.checkout", json!({"dir": "t", "branch": "side", "force": true})),
            ("git.diff", json!({"dir": "t"})),
            ("git.checkout", json!({"dir": "t", "branch": "main", "force": true})),
            ("git.commit", json!({"dir": "t", "message": format!("{round}"), "paths": ["."]})),
        ] {
            let told = match world.try_call(tool, arguments).await {
                Ok(output) => {
                    done += 1;
                    output.to_string()
                }
                Err(error) => error.to_string(),
            };
            assert!(!told.contains("SECRET"), "{tool}: {told}");
        }
    }
    over.store(true, Ordering::Relaxed);
    for swapper in swappers {
        swapper.join().unwrap();
    }
    done
}

/// All files below a directory, without following links.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}
